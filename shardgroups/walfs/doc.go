// Package walfs is the file system under the engine's log and snapshots.
//
// dragonboat and Pebble end the process if a write fails. Here a write that finds
// no free space waits until there is some, with everything that comes after it.
// The member then behaves as one whose disk has stopped: its groups go on without
// it, and it goes on by itself. A snapshot that is being taken does not wait: it
// is given up, and its space is free again.
//
// A sync that has failed neither waits nor is tried again: what was written before
// it may be lost, and the next sync may succeed without it. The process ends, and
// the log says why. It is ended here: dragonboat takes this kind of file system
// for one that injects errors in a test, and swallows panics of its step workers
// on it.
//
// The package also measures the syncs of the log, and decides whether the disk is
// slow.
package walfs
