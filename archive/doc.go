// Package archive is the form in which the state of a Raft group is saved outside
// of its log: what quorate recover writes, and what a group is restored from.
//
//	archive    = "quorate-archive\n", version: 4 bytes, header, partitions | state, footer
//	partitions = for each partition a section frame, structures frames, rows frames
//	frame      = type, flags, 2 zero bytes, stored length, content length, CRC-32C, stored content
//
// A frame has at most [MaxContent] bytes of content, compressed by zstd if that
// makes it smaller. Content is a sequence of CBOR arrays. docs/archive.md describes
// all of it, so that another program can read an archive.
//
// Nothing here knows how a group keeps its state. [Writer] and [Reader] hold one frame
// in memory. [Progress] holds an archive to its rules, frame by frame, and is small
// enough to be kept: a reader that has it can continue in the middle of an archive, at
// the beginning of any frame. Every damage is an [*Error], which names the frame.
package archive
