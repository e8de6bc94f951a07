package shardgroups

import (
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"

	"github.com/quorate/quorate/protocol"
)

// logged counts what a replica has applied since its last snapshot. A snapshot is due
// after a number of bytes: small entries need few snapshots, and large entries must not
// fill the disk. In memory a snapshot does not write the state: it only compacts the
// log.
type logged struct {
	mu      sync.Mutex // guards the following
	index   uint64     // index of the last entry applied
	total   uint64     // bytes applied since the start
	at      uint64     // total when the last snapshot was taken
	marks   []mark     // one for every step of bytes, oldest first
	step    uint64     // a part of what is kept before a snapshot
	removed uint64     // the log up to here may be removed
	asked   time.Time
	pending bool
	renew   bool // the last snapshot lies under a path that no longer exists
	brief   bool // little of the log is kept
}

type mark struct{ index, total uint64 }

const (
	snapshotInterval = 10 * time.Minute
	snapshotMinimum  = 1 << 20 // bytes below which time alone asks for none
	snapshotTimeout  = 10 * time.Minute

	// snapshotRow is roughly what a row takes in a snapshot, in addition to its key and
	// value.
	snapshotRow = 48
	// memoryRow is roughly what a row takes in memory, in addition to its key and
	// value: 118 to 164 bytes were measured for values of 1 to 1,000 bytes, depending
	// on how full the tree's nodes are.
	memoryRow = 160

	// briefSnapshot is how many bytes at least are logged between two snapshots, and
	// kept before one, while a member of the group is short of free space.
	briefSnapshot = 2 << 20
	briefRetain   = 1 << 20

	// entryOverhead is roughly what an entry takes in the log, in addition to its
	// command.
	entryOverhead = 128
)

// begin sets how much of the log is kept before a snapshot, and whether the
// last one lies under a path that no longer exists.
func (l *logged) begin(retain uint64, moved bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.step, l.renew = retain/32, moved
}

// applied records that entries up to index were applied, whose commands have bytes in
// total.
func (l *logged) applied(index uint64, entries, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.index = index
	l.total += uint64(bytes + entries*entryOverhead)
	if n := len(l.marks); n == 0 || l.total-l.marks[n-1].total >= l.step {
		l.marks = append(l.marks, mark{index, l.total})
	}
}

// due reports whether a snapshot should be taken, and up to which index the log may be
// removed then.
func (l *logged) due(now time.Time, every, retain uint64) (compact uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked.IsZero() {
		l.asked = now
	}
	since := l.total - l.at
	if l.renew && l.index > 0 && !l.pending {
		l.renew, l.pending, l.asked, l.at = false, true, now, l.total
		return 1, true
	}
	if l.pending || (since < every && (since < snapshotMinimum || now.Sub(l.asked) < snapshotInterval)) {
		return 0, false
	}
	keep := 0
	for keep+1 < len(l.marks) && l.total-l.marks[keep+1].total >= retain {
		keep++
	}
	l.marks = append([]mark(nil), l.marks[keep:]...)
	l.pending, l.asked, l.at = true, now, l.total
	return max(l.marks[0].index, 1), true
}

// taken records that the snapshot that was due was taken, and that the log up to
// compact may be removed.
func (l *logged) taken(compact uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = false
	l.removed = max(l.removed, compact)
}

// later records that the snapshot that was due was not taken. It is due again after a
// tenth of the usual bytes.
func (l *logged) later(every uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = false
	l.at = l.total - min(l.total, every-every/10)
}

// compacted returns the index up to which the log may be removed.
func (l *logged) compacted() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.removed
}

func (l *logged) isBrief() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.brief
}

// KeepBrief makes this replica keep little of its log, while a member of the group is
// short of free space. Such a member would be sent the entries that it misses all at
// once, and would have to write them twice. A snapshot takes less space, and its size
// is known.
func (g *Group) KeepBrief(brief bool) {
	g.log.mu.Lock()
	defer g.log.mu.Unlock()
	g.log.brief = brief
}

// maybeSnapshot starts a snapshot of a group if one is due.
func (h *Host) maybeSnapshot(id protocol.GroupID, l *logged, now time.Time) {
	every, retain := h.cfg.SnapshotBytes, h.cfg.RetainBytes
	if l.isBrief() {
		every = min(every, max(briefSnapshot, h.snapshotBytes(id)))
		retain = min(retain, briefRetain)
	}
	compact, ok := l.due(now, every, retain)
	if !ok {
		return
	}
	h.spawn(func() {
		h.snapshotting.Lock()
		defer h.snapshotting.Unlock()
		if need := h.snapshotBytes(id); h.cfg.FreeSpace != nil && h.cfg.FreeSpace() < need {
			h.cfg.Logger.Debug("no free space for a snapshot", "group", uint64(id), "bytes", need)
			l.later(every)
			return
		}
		if err := h.snapshot(id, compact); err != nil {
			if h.ctx.Err() == nil {
				h.cfg.Logger.Warn("snapshot failed", "group", uint64(id), "err", err)
			}
			compact = 0
		}
		l.taken(compact)
	})
}

// LargestSnapshot returns the approximate size of the largest snapshot that this member
// may have to write, in bytes.
func (h *Host) LargestSnapshot() uint64 {
	most := uint64(0)
	for _, g := range h.Groups() {
		most = max(most, h.snapshotBytes(g.id))
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	return max(most, h.suspended)
}

// snapshotBytes returns the approximate size of a snapshot of a group: each row and
// record has a header, and there are replies and events in addition.
func (h *Host) snapshotBytes(id protocol.GroupID) uint64 {
	g := h.Group(id)
	if g == nil {
		return snapshotMinimum
	}
	return snapshotMinimum + g.Footprint().Stream
}

// Footprint is the approximate size of a group's state, in bytes.
type Footprint struct {
	State  uint64 // in the memory of a replica
	Stream uint64 // as it is written, or sent to another replica
}

// Footprint returns the approximate size of the state of the replica here.
func (g *Group) Footprint() Footprint {
	g.mu.RLock()
	t := g.state.Totals()
	total := 0
	g.state.Sizes(func(_ protocol.PartitionID, bytes int) { total += bytes })
	g.mu.RUnlock()
	bytes, rows := uint64(max(total, t.Bytes)), uint64(t.Rows+t.Records+t.Events)
	return Footprint{State: bytes + rows*memoryRow, Stream: bytes + rows*snapshotRow}
}

// snapshot takes a snapshot and waits for it. The log before compact may be removed.
func (h *Host) snapshot(id protocol.GroupID, compact uint64) error {
	rs, err := h.nh.RequestSnapshot(uint64(id),
		dragonboat.SnapshotOption{OverrideCompactionOverhead: true, CompactionIndex: compact}, snapshotTimeout)
	if err != nil {
		return err
	}
	r := <-rs.ResultC()
	defer rs.Release()
	if r.Completed() || r.Rejected() {
		return nil // rejected: there is one at this index already
	}
	return errSnapshot
}
