// Package disk measures the free space on the file system of a member's data directory
// against two watermarks. It keeps a ballast file there, which is released at the
// second mark, so that what is running then can still be finished.
//
// The marks follow the size of the file system. The first also leaves space for one
// more snapshot of the largest group, without which a log cannot be compacted.
package disk
