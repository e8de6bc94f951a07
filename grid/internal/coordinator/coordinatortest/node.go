package coordinatortest

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

var errDown = errors.New("connection refused")

// Node is one process of a member: what its coordinator meets outside.
type Node struct {
	Address string
	// Answer answers the questions of other members: the Peer of the coordinator. It is
	// set before anybody asks.
	Answer func(ctx context.Context, q protocol.PeerRequest) protocol.Reply

	w      *World
	dir    *identity.Dir
	up     bool
	cut    bool
	memory bool
	gossip *fakeGossip
	engine *engine
}

// NewNode returns the node of a process that is starting at an address at which none runs.
func (w *World) NewNode(address string, dir *identity.Dir) *Node {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := &Node{Address: address, w: w, dir: dir, up: true, memory: dir.Volatile()}
	if before := w.nodes[address]; before != nil {
		n.cut = before.cut
	}
	w.nodes[address] = n
	return n
}

func (n *Node) incarnation() protocol.UUID { return n.dir.Member().Incarnation }

// Kill ends the process: it does and hears nothing any more.
func (n *Node) Kill() {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.up = false
	if n.engine != nil {
		n.engine.stop()
	}
}

// Lose has the disk lose the logs of all replicas, which the process had when it ended.
func (n *Node) Lose() {
	n.stored(func(r *replica) { r.held, r.stored = 0, false })
}

// Truncate has the disk lose all but the beginning of the logs.
func (n *Node) Truncate() {
	n.stored(func(r *replica) { r.held = min(r.held, 1) })
}

func (n *Node) stored(f func(*replica)) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	for _, g := range n.w.order {
		for _, r := range g.replicas {
			if r.owner == n.incarnation() {
				f(r)
			}
		}
	}
}

// SetCut cuts the node off from all others, or connects it again.
func (n *Node) SetCut(cut bool) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.cut = cut
}

// Ask is that of a membership.Asker.
func (n *Node) Ask(ctx context.Context, address, what string, args, out any) error {
	return n.ask(ctx, address, protocol.PeerRequest{Type: protocol.TypePeer, What: what, Args: protocol.Encode(args)}, out)
}

// Forward is that of a membership.Asker.
func (n *Node) Forward(ctx context.Context, address, what string, args, out any) error {
	return n.ask(ctx, address, protocol.PeerRequest{Type: protocol.TypePeer, What: what, Args: protocol.Encode(args), Forwarded: true}, out)
}

func (n *Node) ask(ctx context.Context, address string, q protocol.PeerRequest, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 3*peers.AskTimeout)
	defer cancel()
	time.Sleep(roundTrip)
	n.w.mu.Lock()
	to := n.w.nodes[address]
	reached := n.w.reach(n, to)
	refused := !n.up || to == nil || !to.up
	n.w.mu.Unlock()
	switch {
	case refused:
		return errDown
	case !reached:
		ctx, cancel := context.WithTimeout(ctx, peers.AskTimeout)
		defer cancel()
		<-ctx.Done()
		return contexts.Err(ctx)
	}
	answered := make(chan protocol.Reply, 1)
	go func() {
		defer close(answered) // without an answer if the member ends while it answers
		answered <- to.Answer(ctx, q)
	}()
	r, ok := <-answered
	if !ok {
		return errDown
	}
	n.w.mu.Lock()
	reached = n.w.reach(n, to)
	n.w.mu.Unlock()
	if !reached {
		return errDown
	}
	if r.Code != protocol.CodeOK {
		var p protocol.Problem
		if err := p.Decode(r.Body); err != nil {
			return err
		}
		return &peers.Refusal{Code: r.Code, Detail: p.Detail, Leader: p.Leader}
	}
	if out == nil {
		return nil
	}
	return protocol.Decode(r.Body, out)
}

// StartGossip is that of a coordinator.
func (n *Node) StartGossip(cfg gossip.Config) (membership.Gossip, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if !n.up {
		return nil, errDown
	}
	n.gossip = &fakeGossip{node: n, cfg: cfg, heard: map[protocol.UUID]*heard{}, changed: time.Now()}
	return n.gossip, nil
}

// Open opens an engine.
func (n *Node) Open(cfg shardgroups.Config) (membership.Engine, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if !n.up {
		return nil, errDown
	}
	n.engine = &engine{node: n, cfg: cfg, running: map[protocol.GroupID]*replica{}}
	return n.engine, nil
}

// Inspect returns what the logs of the incarnation hold.
func (n *Node) Inspect(_ context.Context, _ string, _ *slog.Logger, had func(protocol.GroupID, protocol.ReplicaID) bool) ([]shardgroups.Stored, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	var all []shardgroups.Stored
	for _, g := range n.w.order {
		for _, r := range g.replicas {
			if r.owner == n.incarnation() && r.stored && had(g.key.id, r.id) {
				all = append(all, shardgroups.Stored{Group: g.key.id, Replica: r.id, Term: 1, Last: uint64(r.held)})
			}
		}
	}
	return all, nil
}
