package grid

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/memory"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// lookEvery is how often a member looks at its memory and at what the others
// announce of theirs.
const lookEvery = 100 * time.Millisecond

// SystemMemory returns how much memory the system lets this process have: what
// its control group may use, or else what the machine has. 0: not known.
func SystemMemory() int64 { return int64(memory.System()) }

// OutsideMemory returns how much resident memory the process has that Go's
// runtime does not count, nor hold to its limit. 0: none, or not known.
func OutsideMemory() int64 { return int64(memory.Outside()) }

// watchLimits looks at the member's memory, announces what others must know,
// and passes on to the groups led here what their voters announce.
func (m *Member) watchLimits(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		m.lookAtMemory()
		m.press()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Member) lookAtMemory() {
	s := m.memory.Look()
	if was := m.memoryState.Swap(&s); was == nil || was.Full != s.Full {
		if s.Full {
			m.log.Warn("memory is full: operations that grow are refused", "used", s.Used, "limit", s.Limit)
		} else if was != nil {
			m.log.Info("memory has room again", "used", s.Used, "limit", s.Limit)
		}
		m.coordinator.SetState(func(g *gossip.State) { g.MemoryFull = s.Full })
	}
	if s.Over && !m.coordinator.IsReady() {
		m.coordinator.Fail(fmt.Errorf(
			"what its data needs does not fit into this member's memory: %s of %s are in use before it serves: give it more memory (GOMEMLIMIT, or the limit of its control group)",
			bytesText(s.Used), bytesText(s.Limit)))
	}
}

func (m *Member) memoryStatus() protocol.StatusMemory {
	s := m.memoryState.Load()
	if s == nil {
		return protocol.StatusMemory{}
	}
	return protocol.StatusMemory{Used: s.Used, Limit: s.Limit, Full: s.Full}
}

// press tells each group with a replica here whether a voter is short of
// something. It matters where this member leads.
func (m *Member) press() {
	h, v := m.coordinator.Host(), m.coordinator.View()
	if h == nil || v == nil {
		return
	}
	states := map[protocol.MemberID]gossip.State{}
	for _, o := range v.Members {
		states[o.ID] = m.coordinator.StateOf(o.Incarnation)
	}
	for _, g := range v.Groups {
		if local := h.Group(g.ID); local != nil {
			local.SetPressure(pressureOn(v, g, states))
		}
	}
}

// pressureOn returns the pressure on a group: a single voter that is short of
// memory counts, since it must apply whatever is logged.
func pressureOn(v *systemstate.Agreement, g systemstate.Group, states map[protocol.MemberID]gossip.State) *shardgroups.Pressure {
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

// bytesText prints a number of bytes for people.
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

// share returns a part of the memory's limit for queues and buffers of one
// kind, within bounds; the most where the limit is not known.
func share(limit uint64, part, least, most int64) int64 {
	if limit == 0 {
		return most
	}
	return min(max(int64(limit/uint64(part)), least), most)
}

// bounded fits the queues of the groups and the engine's buffers into the
// memory, before tune.
func bounded(limit uint64, tune func(*shardgroups.Config)) func(*shardgroups.Config) {
	return func(c *shardgroups.Config) {
		c.QueueBytes = int(share(limit, 64, 8<<20, 64<<20))
		c.LogBufferBytes = int(share(limit, 128, 2<<20, 16<<20))
		c.PeerQueueBytes = int(share(limit, 16, 32<<20, 64<<20))
		tune(c)
	}
}
