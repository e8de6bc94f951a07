package protocol

import (
	"encoding/hex"
	"fmt"
	"time"
)

// PartitionID numbers a slice of the key space, from 0.
type PartitionID uint32

// GroupID numbers a Raft group. 1 is the system group, data groups follow.
type GroupID uint64

// SystemGroup is the group of agreements: members, tables, sessions.
const SystemGroup GroupID = 1

// ReplicaID numbers a group's copy on one member. It is never used again.
type ReplicaID uint64

// MemberID numbers one incarnation of a member, given out by the system group.
type MemberID uint64

// Epoch is the version of the tables.
type Epoch uint64

// Revision is a partition's own count of mutations.
type Revision uint64

// Version names a state of a partition, and of an entry that was written in it: the
// partition's generation in the upper 16 bits, the revision of the mutation in the
// lower 48. It only grows, also over a loss of data.
type Version uint64

// Revision returns the revision of the mutation.
func (v Version) Revision() Revision { return Revision(v & (1<<48 - 1)) }

// Token is a fencing number of the same form as Version: it only grows, so a
// resource that remembers the largest token seen can refuse an older holder.
type Token uint64

// HoldID names something that a session holds: it is the version of the call that
// asked for it, so no other hold of its structure ever has the same.
type HoldID uint64

// SessionID numbers a client's session, given out by the system group.
type SessionID uint64

// LogTime is the replicated clock: nanoseconds since the group's first entry.
// It moves no faster than real time and stands still without a leader.
type LogTime int64

// Add returns t moved by d.
func (t LogTime) Add(d time.Duration) LogTime { return t + LogTime(d) }

// Sub returns the duration from u to t.
func (t LogTime) Sub(u LogTime) time.Duration { return time.Duration(t - u) }

// UUID identifies a client, an incarnation or a cluster.
type UUID [16]byte

// String returns the usual hexadecimal form.
func (u UUID) String() string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// ParseUUID reads what String wrote.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, fmt.Errorf("bad UUID %q", s)
	}
	b, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		return u, fmt.Errorf("bad UUID %q", s)
	}
	copy(u[:], b)
	return u, nil
}

// Caller names one call of a client: the identity under which a mutation is
// applied exactly once, inside one partition.
type Caller struct {
	Session  SessionID
	Slot     uint16
	Sequence uint64
}
