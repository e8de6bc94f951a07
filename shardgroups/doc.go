// Package shardgroups runs Raft groups that own many partitions each. It is the
// only importer of dragonboat.
//
// A Host is one member's engine: the log store, our transport on the member's
// one port, our registry of incarnations, and the member's replica of each
// group. A Group takes requests (Submit), gathers them into entries of its log
// while it leads, applies entries to its deterministic state (package
// groupstate), serves linearizable reads, and answers. The System is the group
// of agreements: cluster, members, tables, sessions.
//
// This package makes no promise of compatibility.
package shardgroups
