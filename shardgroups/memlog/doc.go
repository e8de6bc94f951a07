// Package memlog is a Raft log in memory: dragonboat's log store for members
// whose durability is memory.
//
// A member that uses it promises nothing after its process: its replicas are
// new ones at every start, so a vote or an entry that is forgotten was never
// counted on. What is left of a log store is then small: the entries since the
// last compaction, the newest snapshot's description, and the Raft state.
// Entries are shared with the engine, not copied: nobody changes the command
// of an entry once it is in a log.
package memlog
