// Package shardgroups runs Raft groups that own many partitions each.
//
// A [Host] is one member's engine with the member's replica of each group. A
// [Group] is one of those replicas: it takes requests (Submit), gathers them into
// entries of its log while it leads, applies entries to its deterministic state
// (package groupstate), serves linearizable reads, and answers. The [System] is the
// replica of the system group, in which members agree on the cluster, its members,
// its tables and its sessions (package systemstate).
//
// Below it: engine configures and opens dragonboat, walfs has its files, memlog its
// log in memory; raftnet carries messages between members; extract reads groups that
// do not run. Only these packages import dragonboat.
//
// This package's API may change in any version.
package shardgroups
