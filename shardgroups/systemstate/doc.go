// Package systemstate is the replicated state of the system group: what the
// members of a cluster agree on. Cluster id, settings, members and their
// incarnations, groups and their replicas, the partition table with its epoch,
// sessions, and the numbered list of those that have ended.
//
// It is deterministic, like package groupstate, and keeps time the same way.
package systemstate
