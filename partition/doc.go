// Package partition says where things are and plans how to move them: key to
// partition to group to members. It is pure mathematics: no I/O, no clock, no
// randomness, and the same answer on every member and in every client.
//
// # Routing
//
// What is hashed, with xxHash64 and seed 0, is the first of these that applies;
// the partition is the hash modulo the number of partitions:
//
//  1. the tag in the structure's name;
//  2. for a structure without keys: its name;
//  3. for a key of kind protocol.KeyText: the tag in the key;
//  4. the key's bytes after its first byte, which only names the key's kind.
//
// A tag is what stands between a "{" and the next "}", where that is not empty;
// the first such tag counts. "a{b}c{d}" has the tag "b", "{}{d}" has "d", "{{a}}"
// has "{a", "{a" has none. Only the tag is hashed, not its braces. The name of a
// structure without a tag is not hashed where there is a key, so equal keys of
// two maps live in one partition.
//
// testdata/vectors.json has the vectors a client in another language checks
// itself against.
//
// # Plans
//
// A Table says which group owns each partition and which members hold each
// group's replicas. The planners compare a table with what is wanted and return
// the steps between; carrying them out is somebody else's work. A plan depends
// on its arguments only, so that a coordinator that failed half way plans again
// from what it finds, and a table that is as wanted gives an empty plan.
package partition
