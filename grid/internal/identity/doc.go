// Package identity keeps what a member must remember of itself: member.json in
// its data directory, and the lock on that directory.
//
// The file names the incarnation, which is one life of the data beside it, the
// cluster it has given itself to, and every replica it ever started. It is
// written to a temporary file, synced and renamed, so a crash leaves the old
// content or the new one.
package identity
