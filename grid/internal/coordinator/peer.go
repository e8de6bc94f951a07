package coordinator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Peer answers another member's question.
func (c *Coordinator) Peer(ctx context.Context, q protocol.PeerRequest) protocol.Reply {
	answer, err := c.answer(ctx, q)
	if err != nil {
		code, p := protocol.CodeBusy, protocol.Problem{Detail: err.Error()}
		var r *refusal
		if errors.As(err, &r) {
			code, p.Leader = r.code, r.leader
		}
		return protocol.Reply{Code: code, Body: p.Append(nil)}
	}
	if answer == nil {
		return protocol.Reply{}
	}
	return protocol.Reply{Body: protocol.Encode(answer)}
}

func (c *Coordinator) answer(ctx context.Context, q protocol.PeerRequest) (any, error) {
	switch q.What {
	case askState:
		return with(q.Args, c.onState)
	case askGive:
		return with(q.Args, c.onGive)
	case askRelease:
		return with(q.Args, c.onRelease)
	case askStart:
		return with(q.Args, c.onStart)
	case askJoin:
		return with(q.Args, func(j join) (any, error) { return nil, c.onJoin(ctx, q, j) })
	case askAddress:
		return with(q.Args, func(j join) (any, error) { return nil, c.onAddress(ctx, q, j) })
	case askTransfer:
		return with(q.Args, func(t transfer) (any, error) {
			h, err := c.hostOf(t.Cluster)
			if err != nil {
				return nil, err
			}
			return nil, c.handOver(ctx, h, t)
		})
	case askCaughtUp:
		return with(q.Args, func(t transfer) (any, error) {
			h, err := c.hostWith(t.Cluster, t.Group, t.Replica)
			if err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(ctx, caughtUpTimeout)
			defer cancel()
			return nil, h.CaughtUp(ctx, t.Group)
		})
	case askApplied:
		return with(q.Args, func(a applied) (any, error) { return nil, c.onApplied(ctx, a) })
	case askLeaders:
		return c.onLeaders()
	case askWithout:
		return with(q.Args, func(w without) (any, error) { return nil, c.onWithout(ctx, w) })
	case askWitness:
		return with(q.Args, func(w witnessQuery) (any, error) { return c.onWitness(ctx, w) })
	case askLeave:
		return with(q.Args, func(x leave) (any, error) {
			h, err := c.hostOf(x.Cluster)
			if err != nil {
				return nil, err
			}
			return nil, c.onLeave(ctx, h, x)
		})
	case askChange:
		return with(q.Args, func(x change) (any, error) {
			h, err := c.hostOf(x.Cluster)
			if err != nil {
				return nil, err
			}
			return nil, c.makeChange(ctx, h, x)
		})
	case askSize:
		return with(q.Args, func(x sizeQuery) (any, error) {
			h, err := c.hostOf(x.Cluster)
			if err != nil {
				return nil, err
			}
			return sizeHere(h, x.Group)
		})
	case askRoom:
		return with(q.Args, func(x roomQuery) (any, error) { return nil, c.onRoom(x) })
	}
	return nil, &refusal{code: protocol.CodeUnsupported, detail: fmt.Sprintf("unknown question %q", q.What)}
}

// hostOf returns the host of a member of the cluster that is meant.
func (c *Coordinator) hostOf(cluster protocol.UUID) (*shardgroups.Host, error) {
	h := c.host.Load()
	if v := c.View(); h == nil || v == nil || v.Cluster != cluster {
		return nil, errAnotherCluster
	}
	return h, nil
}

// hostWith is hostOf where the member has a replica, too.
func (c *Coordinator) hostWith(cluster protocol.UUID, g protocol.GroupID, r protocol.ReplicaID) (*shardgroups.Host, error) {
	h, err := c.hostOf(cluster)
	if err != nil {
		return nil, err
	}
	if m := c.member(); !m.Runs(g, r) {
		return nil, &refusal{code: protocol.CodeInvalid, detail: fmt.Sprintf("replica %d of group %d is not here", r, g)}
	}
	return h, nil
}

// with decodes the arguments of a question.
func with[T any](args []byte, f func(T) (any, error)) (any, error) {
	var v T
	if err := protocol.Decode(args, &v); err != nil {
		return nil, &refusal{code: protocol.CodeInvalid, detail: err.Error()}
	}
	return f(v)
}

func (c *Coordinator) onState(from self) (any, error) {
	targets := c.targets()
	h := c.host.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.dir.Member()
	if from.Incarnation != m.Incarnation && from.Address != "" {
		if _, known := c.callers[from.Address]; !known && len(c.callers) < 1024 {
			defer c.wake() // somebody new: look around at once
			c.callers[from.Address] = time.Now()
		} else if known {
			c.callers[from.Address] = time.Now()
		}
	}
	_, placed := m.Replica(protocol.SystemGroup)
	r := stateReply{
		Self:    self{Incarnation: m.Incarnation, Name: m.Name, Address: c.cfg.Address, Level: c.level},
		Cluster: m.Cluster, ClusterName: m.ClusterName, Formed: m.Formed && placed, Recovered: m.Recovered,
		Founder: m.Founder, FounderAddress: m.FounderAddress,
		Expect: uint32(c.cfg.Expect), Settings: wireOf(&m), Known: targets,
	}
	r.HoldOff = int64(c.lostTTL)
	if m.Blank() {
		r.ClusterName, r.Settings = c.cfg.ClusterName, c.wanted()
	}
	for _, s := range c.seen {
		r.Seen = append(r.Seen, s.Self.Incarnation)
	}
	if h != nil {
		r.SystemApplied, r.Led = h.System().Applied(), h.System().Leader().Replica != 0
	}
	return r, nil
}

// onGive gives this blank member to a founder. It is on disk before the answer.
func (c *Coordinator) onGive(g gift) (any, error) {
	if err := c.agree(g.ClusterName, g.Settings); err != nil {
		return nil, &refusal{code: protocol.CodeSettings, detail: err.Error()}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.dir.Member()
	if m.Cluster == g.Cluster && m.Founder == g.Founder.Incarnation {
		return nil, nil
	}
	if !m.Blank() {
		return nil, &refusal{code: protocol.CodeWrongGrid, detail: fmt.Sprintf("%s has given itself to the founder at %s", m.Name, m.FounderAddress)}
	}
	c.known[g.Founder.Incarnation] = g.Founder.Address
	c.wake()
	return nil, c.dir.Update(func(m *identity.Member) {
		m.Cluster, m.ClusterName = g.Cluster, g.ClusterName
		m.Founder, m.FounderAddress = g.Founder.Incarnation, g.Founder.Address
		m.Durability, m.Partitions = g.Settings.Durability, g.Settings.Partitions
		m.Groups, m.Replicas = g.Settings.Groups, g.Settings.Replicas
		m.Peers = []identity.Peer{{Incarnation: g.Founder.Incarnation, Address: g.Founder.Address}}
	})
}

// onRelease undoes onGive where the cluster was not formed. The step of run
// does the work; until it has, the founder asks again.
func (c *Coordinator) onRelease(r release) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.dir.Member()
	switch {
	case m.Cluster != r.Cluster:
		return nil, nil // released already, or never given
	case m.Founder != r.Founder || m.Formed:
		return nil, &refusal{code: protocol.CodeWrongGrid, detail: "the cluster is formed"}
	}
	c.released = r.Cluster
	c.wake()
	return nil, &refusal{code: protocol.CodeBusy, detail: "being released"}
}

func (c *Coordinator) isReleased() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.dir.Member()
	return !m.Blank() && !m.Formed && m.Cluster == c.released
}

// onStart notes this member's replica of the system group; the step of run
// starts it.
func (c *Coordinator) onStart(s start) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.dir.Member()
	if m.Cluster != s.Cluster {
		return nil, errAnotherCluster
	}
	if m.Incarnation != s.Incarnation {
		return nil, &refusal{code: protocol.CodeInvalid, detail: "the replica is that of another incarnation, which is no more"}
	}
	for _, p := range s.Peers {
		if p.Incarnation != m.Incarnation {
			c.known[p.Incarnation] = p.Address
		}
	}
	if r, ok := m.Replica(protocol.SystemGroup); ok {
		if r.Replica != s.Replica {
			return nil, &refusal{code: protocol.CodeInvalid, detail: fmt.Sprintf("replica %d of the system group runs here", r.Replica)}
		}
		return nil, nil
	}
	c.wake()
	return nil, c.dir.Update(func(m *identity.Member) {
		m.Started = append(m.Started, identity.Replica{Group: protocol.SystemGroup, Replica: s.Replica, NonVoting: true})
	})
}

// leading returns the host where this member leads the system group of the
// cluster that is meant.
func (c *Coordinator) leading(cluster protocol.UUID) (*shardgroups.Host, error) {
	h, err := c.hostOf(cluster)
	if err != nil {
		return nil, err
	}
	if !h.System().Leader().Self {
		leader := c.LeaderOf(protocol.SystemGroup)
		return nil, &refusal{code: protocol.CodeNotLeader, detail: "this member does not lead the system group", leader: leader}
	}
	return h, nil
}

// atLeader returns the host where this member leads the system group; where
// another does, it passes the question on and returns nil.
func (c *Coordinator) atLeader(ctx context.Context, q protocol.PeerRequest, j join) (*shardgroups.Host, error) {
	h, err := c.leading(j.Cluster)
	var r *refusal
	if !errors.As(err, &r) || r.code != protocol.CodeNotLeader || q.ID == forwardedID {
		return h, err
	}
	address, ok := c.AddressOf(r.leader)
	if !ok || r.leader == c.Self() {
		return nil, err
	}
	return nil, askAs(ctx, c.cfg.Network, address, forwardedID, q.What, j, nil)
}

// onAddress notes where a member is now, for this member and for all.
func (c *Coordinator) onAddress(ctx context.Context, q protocol.PeerRequest, j join) error {
	if v := c.View(); v == nil || v.Cluster != j.Cluster {
		return errAnotherCluster
	}
	c.learn(self{Incarnation: j.Incarnation, Name: j.Name, Address: j.Address})
	h, err := c.atLeader(ctx, q, j)
	if h == nil || err != nil {
		return err
	}
	return c.setAddress(ctx, h, j)
}

// onJoin lists a member of a formed cluster, at the leader or by asking it. The
// coordinator's step gives it its places.
func (c *Coordinator) onJoin(ctx context.Context, q protocol.PeerRequest, j join) error {
	h, err := c.atLeader(ctx, q, j)
	if h == nil || err != nil {
		return err
	}
	v := h.System().View()
	if !v.Formed {
		return &refusal{code: protocol.CodeBusy, detail: "the cluster is not formed yet"}
	}
	s := self{Incarnation: j.Incarnation, Name: j.Name, Address: j.Address, Level: j.Level}
	if err := c.mayTakeName(ctx, v, s); err != nil {
		return err
	}
	return c.list(ctx, h, s)
}

// list has the system group list a member. Another incarnation of its name is
// gone with it.
func (c *Coordinator) list(ctx context.Context, h *shardgroups.Host, s self) error {
	c.learn(s)
	old, replaces := h.System().View().Named(s.Name)
	_, err := h.System().Propose(ctx, systemstate.Command{
		Kind:   systemstate.AddMember,
		Member: systemstate.Member{Incarnation: s.Incarnation, Name: s.Name, Address: s.Address, Level: s.Level},
	})
	if err == nil && replaces && old.Incarnation != s.Incarnation {
		c.log.Warn("a member has returned without its data: it gets its places back", "name", s.Name, "address", s.Address,
			"lost", old.Incarnation.String(), "incarnation", s.Incarnation.String())
	}
	c.wake()
	return err
}

// mayTakeName refuses a member whose name another has that lives. Only one
// member can be at an address: a name that returns there has lost its data.
func (c *Coordinator) mayTakeName(ctx context.Context, v *systemstate.Agreement, s self) error {
	old, ok := v.Named(s.Name)
	if !ok || old.Incarnation == s.Incarnation {
		return nil
	}
	address, ok := c.resolve(old.Incarnation)
	if !ok {
		address = old.Address
	}
	if address == s.Address {
		return nil
	}
	var r stateReply
	err := ask(ctx, c.cfg.Network, address, askState, c.self(), &r)
	if err == nil && r.Self.Incarnation != old.Incarnation || err != nil && !c.Heard(old.Incarnation) {
		return nil
	}
	return &refusal{
		code:   protocol.CodeSettings,
		detail: fmt.Sprintf("a member called %s runs at %s: give one of them another name", s.Name, address),
	}
}

// onLeaders answers with what the replicas here know, not with what others have
// said: two members must not keep up each other's belief.
func (c *Coordinator) onLeaders() (any, error) {
	h, v := c.host.Load(), c.View()
	known := []leaderOf{}
	if h == nil || v == nil {
		return known, nil
	}
	for _, g := range h.Groups() {
		member, term := leadsHere(h, v, g.ID())
		known = append(known, leaderOf{Group: g.ID(), Term: term, Member: member})
	}
	return known, nil
}
