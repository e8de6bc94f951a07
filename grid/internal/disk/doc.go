// Package disk tells how much room is left on the file system of a member's
// data directory, against two marks, and keeps a file there that is given free
// at the second: what runs then can still be finished.
//
// Marks follow the size of the file system. The first also leaves room for one
// more snapshot of the largest group, without which a log cannot be shortened.
package disk
