package shardgroups

import (
	"maps"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftio"

	"github.com/quorate/quorate/protocol"
)

// events collects what dragonboat and the apply path report, for one goroutine of
// the Host: listeners run under the engine's locks and may call nothing.
type events struct {
	wake chan struct{}

	mu      sync.Mutex // guards the following
	leaders map[protocol.GroupID]raftio.LeaderInfo
	updated bool // leaders has changed
	changed bool // the system state has changed
}

var _ raftio.IRaftEventListener = (*events)(nil)

// LeaderUpdated is called by dragonboat.
func (e *events) LeaderUpdated(info raftio.LeaderInfo) {
	e.mu.Lock()
	if e.leaders == nil {
		e.leaders = map[protocol.GroupID]raftio.LeaderInfo{}
	}
	e.leaders[protocol.GroupID(info.ShardID)] = info
	e.updated = true
	e.mu.Unlock()
	e.poke()
}

func (e *events) system() {
	e.mu.Lock()
	e.changed = true
	e.mu.Unlock()
	e.poke()
}

// again makes dispatch report the known leaders once more.
func (e *events) again() {
	e.mu.Lock()
	e.updated = true
	e.mu.Unlock()
	e.poke()
}

func (e *events) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// take returns what was reported since the last call.
func (e *events) take() (leaders map[protocol.GroupID]raftio.LeaderInfo, changed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.updated {
		leaders = make(map[protocol.GroupID]raftio.LeaderInfo, len(e.leaders))
		maps.Copy(leaders, e.leaders)
	}
	changed = e.changed
	e.updated, e.changed = false, false
	return leaders, changed
}

// dispatch passes events on until the Host closes.
func (h *Host) dispatch() {
	for {
		select {
		case <-h.events.wake:
		case <-h.ctx.Done():
			return
		}
		leaders, changed := h.events.take()
		for id, info := range leaders {
			h.setLeader(id, info)
		}
		if len(leaders) > 0 && h.cfg.LeaderChanged != nil {
			h.cfg.LeaderChanged()
		}
		if changed && h.cfg.SystemChanged != nil {
			h.cfg.SystemChanged()
		}
	}
}

func (h *Host) setLeader(id protocol.GroupID, info raftio.LeaderInfo) {
	l := Leader{
		Replica: protocol.ReplicaID(info.LeaderID), Term: info.Term,
		Self: info.LeaderID != 0 && info.LeaderID == info.ReplicaID,
	}
	if id == protocol.SystemGroup {
		h.logLeader(id, *h.system.leader.Swap(&l), l)
		return
	}
	if g := h.Group(id); g != nil && g.Leader() != l {
		h.logLeader(id, g.Leader(), l)
		g.setLeader(l)
	}
}

// logLeader logs a change of leaders as this member sees it.
func (h *Host) logLeader(id protocol.GroupID, old, l Leader) {
	log := h.cfg.Logger.With("group", uint64(id), "term", l.Term)
	switch {
	case old == l:
	case l.Self:
		log.Info("became leader of the group")
	case old.Self:
		log.Info("no longer leader of the group", "replica", uint64(l.Replica))
	default:
		log.Debug("leader", "replica", uint64(l.Replica))
	}
}

// ticker lets groups check, ten times a second, whether an entry or a snapshot is due.
func (h *Host) ticker() {
	t := time.NewTicker(tickInterval)
	defer t.Stop()
	h.spawn(h.systemTicker)
	for n := 0; ; n++ {
		select {
		case <-t.C:
		case <-h.ctx.Done():
			return
		}
		h.mono.tick()
		second := n%10 == 0
		compacts := second || h.cfg.Memory // a log in memory is looked at more often
		for _, g := range h.Groups() {
			g.proposer.tick(second)
			if compacts {
				h.maybeSnapshot(g.id, &g.log, time.Now())
			}
		}
		h.system.poke()
		if compacts {
			h.maybeSnapshot(protocol.SystemGroup, &h.system.log, time.Now())
		}
	}
}

// systemTicker runs in a goroutine of its own, because an entry of the system group may
// take long while the group has no leader.
func (h *Host) systemTicker() {
	for {
		select {
		case <-h.system.due:
			h.system.tick()
		case <-h.ctx.Done():
			return
		}
	}
}
