package grid

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/memory"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// How often a member measures its memory: the less headroom there is, the more often,
// so that it notices that it is full before it has used as much again. Measuring is a
// good part of what an idle member does.
const (
	lookOften  = 100 * time.Millisecond
	lookSeldom = time.Second
	takenFast  = 512 << 10 // bytes of memory a millisecond
)

// SystemMemory returns how much memory the system lets this process have: what
// its control group may use, or else what the machine has. 0: not known.
func SystemMemory() int64 { return int64(memory.System()) }

// ResidentMemory returns how much memory of the process is resident, and how
// much of that Go's runtime does not count, nor hold to its limit. 0: none, or
// not known.
func ResidentMemory() (all, outside int64) {
	a, o := memory.Resident()
	return int64(a), int64(o)
}

// watchLimits measures the member's memory, announces the member's state to the others,
// and passes the state that voters announce to the groups that this member leads.
func (m *Member) watchLimits(ctx context.Context) {
	for {
		m.lookAtMemory()
		m.press()
		if h := m.coordinator.Host(); h != nil {
			m.snapshot.Store(h.LargestSnapshot()) // the last size of a stopped replica's
		}
		select {
		case <-ctx.Done():
			return
		case <-m.news:
		case <-time.After(nextLook(m.memoryState.Load())):
		}
	}
}

// nextLook returns when to measure the memory again.
func nextLook(s *memory.State) time.Duration {
	if s.Limit == 0 {
		return lookSeldom
	}
	return min(max(time.Duration(s.Headroom/takenFast)*time.Millisecond, lookOften), lookSeldom)
}

// notify makes watchLimits run at once, because other members have announced a new
// state, or the members of a group have changed.
func (m *Member) notify() {
	select {
	case m.news <- struct{}{}:
	default:
	}
}

func (m *Member) lookAtMemory() {
	look := m.memory.Look
	if m.lookClosely.Swap(false) {
		look = m.memory.LookClosely
	}
	s := look()
	if was := m.memoryState.Swap(&s); was == nil || was.Full != s.Full {
		if s.Full {
			m.log.Warn("memory is full: operations that grow are refused", "used", s.Used, "limit", s.Limit)
		} else if was != nil {
			m.log.Info("memory has headroom again", "used", s.Used, "limit", s.Limit)
		}
		m.coordinator.SetState(func(g *gossip.State) { g.MemoryFull = s.Full })
	}
	if s.Over && !m.coordinator.IsReady() {
		m.coordinator.Status.Fail(fmt.Errorf(
			"what its data needs does not fit into this member's memory: %s of %s are in use before it serves: give it more memory (GOMEMLIMIT, or the limit of its control group)",
			bytesText(s.Used), bytesText(s.Limit)))
	}
}

// headroom returns how much memory may be used before the member is full, and whether
// there is a limit. If that is less than need, the next measurement collects garbage
// first.
func (m *Member) headroom(need uint64) (room uint64, known bool) {
	s := m.memoryState.Load()
	if s == nil {
		return 0, true // it looks just now
	}
	if s.Limit > 0 && s.Headroom < need {
		m.lookClosely.Store(true)
		m.notify()
	}
	return s.Headroom, s.Limit > 0
}

func (m *Member) memoryStatus() protocol.StatusMemory {
	s := m.memoryState.Load()
	if s == nil {
		return protocol.StatusMemory{}
	}
	return protocol.StatusMemory{Used: s.Used, Limit: s.Limit, Full: s.Full}
}

// lookAtDisk measures the free space of the data directory, reports it to the
// coordinator, and returns when to measure again.
func (m *Member) lookAtDisk() time.Duration {
	was := m.diskState.Load()
	s, err := m.disk.Look(m.snapshot.Load())
	if err != nil {
		m.log.Debug("free space on disk", "err", err)
	}
	m.diskState.Store(&s)
	if s.Level != was.Level {
		m.coordinator.Rejoin.SetDisk(s.Level)
		args := []any{"level", s.Level.String(), "free", bytesText(s.Free), "size", bytesText(s.Size)}
		switch s.Level {
		case disk.OK:
			m.log.Info("the disk has free space again", args...)
		case disk.Full:
			m.log.Warn("the disk is nearly full: this member transfers its leaderships away", args...)
		case disk.Hard:
			m.log.Warn("the disk is full: replicas are stopped if their groups can do without them, the other groups refuse writes", args...)
		default:
			m.log.Error("the disk is full and the reserve is used up: nothing is written to it", args...)
		}
		m.press()
	}
	return m.disk.Next()
}

// watchDisk measures the disk until ctx ends.
func (m *Member) watchDisk(ctx context.Context) {
	for {
		wait := m.lookAtDisk()
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// checkDisk measures the disk for the first time, and returns an error if it is too
// small for a member.
func (m *Member) checkDisk(space func(string) (uint64, uint64, error)) error {
	m.diskState.Store(&disk.State{})
	if m.cfg.DataDir == "" {
		return nil
	}
	m.disk = disk.New(m.cfg.DataDir, space)
	s, err := m.disk.Look(0)
	if err != nil {
		m.log.Warn("free space on disk", "err", err)
	}
	if s.Size > 0 && s.Size < disk.MinSize {
		return fmt.Errorf("the file system of the data directory %s has %s, a member needs at least %s: name a directory on a larger one", m.cfg.DataDir, bytesText(s.Size), bytesText(disk.MinSize))
	}
	if s.Level > disk.OK {
		m.log.Warn("the disk is nearly full", "level", s.Level.String(), "free", bytesText(s.Free), "size", bytesText(s.Size))
	}
	m.diskState.Store(&s)
	return nil
}

func (m *Member) diskStatus() protocol.StatusDisk {
	s := m.diskState.Load()
	if s.Size == 0 {
		return protocol.StatusDisk{}
	}
	return protocol.StatusDisk{Free: s.Free, Size: s.Size, Full: s.Marks.Full, Hard: s.Marks.Hard, Level: s.Level.String()}
}

// press sets on each group with a replica here whether a voter is short of memory or
// disk. Only the leader of a group uses it.
func (m *Member) press() {
	h, v := m.coordinator.Host(), m.coordinator.View()
	if h == nil || v == nil {
		return
	}
	states := map[protocol.MemberID]gossip.State{}
	heard := map[protocol.MemberID]bool{}
	self := m.coordinator.Member().Incarnation
	for _, o := range v.Members {
		states[o.ID] = m.coordinator.StateOf(o.Incarnation)
		heard[o.ID] = o.Incarnation == self || m.coordinator.Heard(o.Incarnation)
	}
	mine, state := m.coordinator.Self(), m.diskState.Load()
	level := state.Level
	stop := disk.Hard // from here on this member refuses what it leads
	if state.Size < disk.Small {
		stop = disk.Full // there is no time to transfer the leadership first
	}
	for _, g := range v.Groups {
		if local := h.Group(g.ID); local != nil {
			p := pressureOnDisk(v, g, states, heard, mine, level, stop)
			if p == nil {
				p = pressureOn(v, g, states)
			}
			local.SetPressure(p)
			local.KeepBrief(slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool { return states[r.Member].DiskFull }))
		}
	}
}

// pressureOn returns the pressure on a group: a single voter that is short of
// memory counts, since it must apply whatever is logged.
func pressureOn(v *systemstate.ClusterState, g systemstate.Group, states map[protocol.MemberID]gossip.State) *shardgroups.Pressure {
	var full []string
	for _, r := range g.Replicas {
		if !r.NonVoting && states[r.Member].MemoryFull {
			o, _ := v.Member(r.Member)
			full = append(full, o.Name)
		}
	}
	if len(full) == 0 {
		return nil
	}
	slices.Sort(full)
	return &shardgroups.Pressure{
		Code:   protocol.CodeMemoryFull,
		Detail: "short of memory: " + strings.Join(full, ", "),
	}
}

// pressureOnDisk returns the pressure on a group for lack of free space. There is none
// while a majority of its voters has free space, since the replicas of the others stop.
// A leader that cannot stop its replica refuses all the same.
func pressureOnDisk(v *systemstate.ClusterState, g systemstate.Group, states map[protocol.MemberID]gossip.State, heard map[protocol.MemberID]bool, mine protocol.MemberID, level, stop disk.Level) *shardgroups.Pressure {
	voters, enough, out := 0, 0, level >= disk.Out
	var short []string
	for _, r := range g.Replicas {
		if r.NonVoting {
			continue
		}
		voters++
		switch s := states[r.Member]; {
		case s.DiskFull:
			o, _ := v.Member(r.Member)
			short = append(short, o.Name)
			out = out || s.DiskOut
		case heard[r.Member]:
			enough++
		}
	}
	full := level >= stop && slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool { return r.Member == mine })
	if !full && (len(short) == 0 || enough > voters/2) {
		return nil
	}
	slices.Sort(short)
	return &shardgroups.Pressure{
		Code:   protocol.CodeReadOnly,
		Detail: "no free space on the disk of " + strings.Join(short, ", "), Everything: out,
	}
}

// bytesText prints a number of bytes, human-readable.
func bytesText(n uint64) string {
	const kib = 1 << 10
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= kib && i < len(units)-1 {
		f, i = f/kib, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// share returns a fraction of the memory limit, between least and most, for queues and
// buffers of one kind; most if the limit is not known.
func share(limit uint64, part, least, most int64) int64 {
	if limit == 0 {
		return most
	}
	return min(max(int64(limit/uint64(part)), least), most)
}

// bounded sizes the queues of the groups and the engine's buffers by the memory, and
// the engine's log by the disk, before it calls tune.
func (m *Member) bounded(limit uint64, tune func(*shardgroups.Config)) func(*shardgroups.Config) {
	size := m.diskState.Load().Size
	return func(c *shardgroups.Config) {
		if size > 0 {
			c.DiskBytes, c.FreeSpace = size, m.disk.Left
		}
		c.QueueBytes = int(share(limit, 64, 8<<20, 64<<20))
		c.LogBufferBytes = int(share(limit, 128, 2<<20, 16<<20))
		c.PeerQueueBytes = int(share(limit, 16, 32<<20, 64<<20))
		c.HistoryBytes = m.cfg.HistoryBytes
		tune(c)
	}
}
