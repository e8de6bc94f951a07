package shardgroups

import (
	"time"

	"github.com/lni/dragonboat/v4/config"

	"github.com/quorate/quorate/protocol"
)

// TestHooks are for tests of whole grids. The zero TestHooks change nothing.
type TestHooks struct {
	// FS holds the engine's files, in place of the system's. member.json, and the
	// note of the location of the data, stay files of the system.
	FS config.IFS
	// Clock is the monotonic clock that entries carry, in place of the process's. Its
	// jumps are not bounded as the gap of a paused process is.
	Clock func() time.Duration
	// EndedSessions is how many ended sessions the system group lists, and must be the
	// same on all members; 0: the usual number.
	EndedSessions int
	// ReadIndexTimeout bounds a ReadIndex round, in place of half a second.
	ReadIndexTimeout func() time.Duration
	// MaxLevel is the highest level of state that this member understands; 0:
	// groupstate.MaxLevel. With it tests simulate other versions.
	MaxLevel uint32
	// TrustDisk starts replicas without asking what others have observed of them. The
	// Host ignores it: its member uses it.
	TrustDisk bool
	// Opened is called with the Host before Open returns it.
	Opened func(*Host)
}

// Snapshot takes a snapshot of this member's replica of a group, whatever was
// logged since the last, and removes the log before it. It is for tests.
func (h *Host) Snapshot(g protocol.GroupID) error {
	index := h.system.Applied()
	if local := h.Group(g); local != nil {
		local.mu.RLock()
		index = local.applied
		local.mu.RUnlock()
	}
	h.snapshotting.Lock()
	defer h.snapshotting.Unlock()
	return h.snapshot(g, max(index, 1))
}
