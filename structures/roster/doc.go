// Package roster is what services and presence have in common: a set of registrations by
// ID, each bound to the session that made it, which everybody can list and watch.
// Packages dservice and dpresence give it their types; applications use those.
//
// A Roster is the handle of one set, a Registration keeps one entry of it for as long as
// its process lives, and a Mirror is what a watcher makes of the changes.
//
// # Rules
//
// The rules have names (ROSTER-1 and so on) in docs/rules.md.
package roster
