// Package structures has the commands that use structures: one file for each kind, and those
// that all kinds have alike: ls, inspect, configure, revoke, destroy.
package structures
