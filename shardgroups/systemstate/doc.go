// Package systemstate is the replicated state of the system group, which the members of
// a cluster agree on: cluster id, settings, members and their incarnations, groups and
// their replicas, the partition table with its epoch, sessions, and the numbered list
// of ended sessions.
//
// It is deterministic, like package groupstate, and keeps time the same way.
package systemstate
