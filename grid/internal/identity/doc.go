// Package identity keeps what a member must remember of itself: member.json in
// its data directory, and the lock on that directory.
//
// The file names the incarnation, which stands for the data beside it, the cluster that
// the member has enlisted with, and every replica it ever started. It is written to a
// temporary file, synced and renamed, so a crash leaves either the old content or the
// new.
package identity
