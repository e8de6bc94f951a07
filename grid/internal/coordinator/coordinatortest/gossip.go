package coordinatortest

import (
	"bytes"
	"net"
	"slices"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/protocol"
)

// fakeGossip is the gossip of one node. The lock of its World guards it.
type fakeGossip struct {
	node    *Node
	cfg     gossip.Config
	closed  bool
	left    bool
	changed time.Time // when something else was announced
	heard   map[protocol.UUID]*heard
}

type heard struct {
	hint gossip.Hint
	last time.Time
}

// hear hears what the others announce, and reports whether anything has changed.
func (g *fakeGossip) hear() (changed bool) {
	if g.closed || !g.node.up {
		return false
	}
	now := time.Now()
	for _, n := range g.node.w.nodes {
		o := n.gossip
		if n == g.node || o == nil || o.closed && !o.left || o.cfg.Label != g.cfg.Label || !g.node.w.reach(g.node, n) || now.Sub(o.changed) < hearTime {
			continue
		}
		h := g.heard[o.cfg.Incarnation]
		if h == nil {
			h = &heard{}
			g.heard[o.cfg.Incarnation] = h
		}
		hint := gossip.Hint{
			Incarnation: o.cfg.Incarnation, Name: o.cfg.Name, Address: o.cfg.Address, Cluster: o.cfg.Cluster, State: o.cfg.State, Alive: !o.left,
		}
		changed = changed || h.hint != hint
		h.hint, h.last = hint, now
	}
	for _, h := range g.heard {
		if h.hint.Alive && now.Sub(h.last) >= suspectTime {
			h.hint.Alive, changed = false, true
		}
	}
	return changed
}

func (g *fakeGossip) set(change func()) {
	g.node.w.mu.Lock()
	defer g.node.w.mu.Unlock()
	change()
	g.changed = time.Now()
}

func (g *fakeGossip) SetCluster(cluster protocol.UUID) {
	g.set(func() { g.cfg.Cluster = cluster })
}

func (g *fakeGossip) SetState(s gossip.State) {
	g.node.w.mu.Lock()
	same := g.cfg.State == s
	g.node.w.mu.Unlock()
	if !same {
		g.set(func() { g.cfg.State = s })
	}
}

func (g *fakeGossip) Leave() { g.set(func() { g.left = true }) }
func (g *fakeGossip) Close() { g.set(func() { g.closed = true }) }

func (g *fakeGossip) Serve(c net.Conn) { _ = c.Close() } // nobody connects

func (g *fakeGossip) Hints() []gossip.Hint {
	g.node.w.mu.Lock()
	defer g.node.w.mu.Unlock()
	var all []gossip.Hint
	for _, h := range g.heard {
		all = append(all, h.hint)
	}
	slices.SortFunc(all, func(a, b gossip.Hint) int { return bytes.Compare(a.Incarnation[:], b.Incarnation[:]) })
	return all
}

func (g *fakeGossip) Hint(u protocol.UUID) (gossip.Hint, bool) {
	g.node.w.mu.Lock()
	defer g.node.w.mu.Unlock()
	if h := g.heard[u]; h != nil {
		return h.hint, true
	}
	return gossip.Hint{}, false
}

func (g *fakeGossip) Address(u protocol.UUID) (address string, alive bool) {
	h, _ := g.Hint(u)
	return h.Address, h.Alive
}
