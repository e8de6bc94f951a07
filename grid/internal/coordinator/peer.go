package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Peer answers another member's question.
func (c *peerServer) Peer(ctx context.Context, q protocol.PeerRequest) protocol.Reply {
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

func (c *peerServer) answer(ctx context.Context, q protocol.PeerRequest) (any, error) {
	if !isStillAsked(ctx, q.What) {
		return nil, errHungUp
	}
	switch q.What {
	case askState:
		return with(q.Args, c.onState)
	case askEnlist:
		return with(q.Args, c.Formation.onEnlist)
	case askRelease:
		return with(q.Args, c.Formation.onRelease)
	case askStart:
		return with(q.Args, c.Formation.onStart)
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
			return nil, c.Leadership.handOver(ctx, h, t)
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
		return with(q.Args, func(a applied) (any, error) { return nil, c.Leadership.onApplied(ctx, a) })
	case askLeaders:
		return with(q.Args, func(leadersQuery) (any, error) { return c.onLeaders(), nil })
	case askWithout:
		return with(q.Args, func(w without) (any, error) { return nil, c.Rejoin.onWithout(ctx, w) })
	case askObserved:
		return with(q.Args, func(w progressQuery) (any, error) { return c.Rejoin.onObserved(ctx, w) })
	case askLeave:
		return with(q.Args, func(x leave) (any, error) {
			h, err := c.hostOf(x.Cluster)
			if err != nil {
				return nil, err
			}
			return nil, c.Leadership.onLeave(ctx, h, x)
		})
	case askChange:
		return with(q.Args, func(x change) (any, error) {
			h, err := c.hostOf(x.Cluster)
			if err != nil {
				return nil, err
			}
			return nil, c.Placement.makeChange(ctx, h, x)
		})
	case askSize:
		return with(q.Args, func(x sizeQuery) (any, error) {
			h, err := c.hostOf(x.Cluster)
			if err != nil {
				return nil, err
			}
			return sizeHere(h, x.Group)
		})
	case askRun:
		return with(q.Args, func(l runQuery) (any, error) { return nil, c.Rejoin.onRun(l) })
	case askCondition:
		return with(q.Args, c.onCondition)
	case askSessions:
		return with(q.Args, func(x sessionsQuery) (any, error) { return c.onSessions(ctx, x) })
	case askRoom:
		return with(q.Args, func(x roomQuery) (any, error) { return nil, c.Placement.onRoom(x) })
	}
	return nil, &refusal{code: protocol.CodeUnsupported, detail: fmt.Sprintf("unknown question %q", q.What)}
}

// closeLook is how long a question that changes something waits for news that
// its asker has hung up.
const closeLook = 2 * time.Millisecond

var errHungUp = &refusal{code: protocol.CodeBusy, detail: "the asking member has closed the connection"}

// isStillAsked reports whether a question is still of use: ctx ends when its asker
// hangs up. One that has waited for a process that was paused would change
// something for a member that has asked others since, or is no more.
func isStillAsked(ctx context.Context, what string) bool {
	switch what {
	case askEnlist, askRelease, askStart, askJoin, askAddress, askTransfer, askLeave, askChange:
		select {
		case <-ctx.Done():
		case <-time.After(closeLook):
		}
	}
	return ctx.Err() == nil
}

// hostOf returns the host of a member of the cluster that is meant.
func (c *peerServer) hostOf(cluster protocol.UUID) (*shardgroups.Host, error) {
	h := c.host.Load()
	if v := c.View(); h == nil || v == nil || v.Cluster != cluster {
		return nil, errAnotherCluster
	}
	return h, nil
}

// hostWith is hostOf where the member has a replica, too.
func (c *peerServer) hostWith(cluster protocol.UUID, g protocol.GroupID, r protocol.ReplicaID) (*shardgroups.Host, error) {
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
		return nil, &refusal{code: protocol.CodeInvalid, detail: "the arguments of the question: " + err.Error()}
	}
	return f(v)
}

func (c *peerServer) onState(from self) (any, error) {
	targets := c.Directory.targets()
	h := c.host.Load()
	m := c.member()
	c.mu.Lock()
	defer c.mu.Unlock()
	if from.Incarnation != m.Incarnation && from.Address != "" {
		if _, known := c.Directory.callers[from.Address]; !known && len(c.Directory.callers) < 1024 {
			defer c.wake() // somebody new: look around at once
			c.Directory.callers[from.Address] = time.Now()
		} else if known {
			c.Directory.callers[from.Address] = time.Now()
		}
	}
	_, placed := m.Replica(protocol.SystemGroup)
	r := stateReply{
		Self:    self{Incarnation: m.Incarnation, Name: m.Name, Address: c.cfg.Address, Level: c.level},
		Cluster: m.Cluster, ClusterName: m.ClusterName, Formed: m.Formed && placed, Recovered: m.Recovered,
		Founder: m.Founder, FounderAddress: m.FounderAddress,
		Expect: uint32(c.cfg.Expect), Settings: wireOf(&m), Known: targets,
	}
	r.GracePeriod = int64(c.Formation.lostTTL)
	if m.Blank() {
		r.ClusterName, r.Settings = c.Formation.wantedName(), c.wanted()
	}
	if r.Settings.Durability == "memory" {
		r.Floor = c.floor.now()
	}
	for _, s := range c.Formation.seen {
		r.Seen = append(r.Seen, s.Self.Incarnation)
	}
	if h != nil {
		v := h.System().View()
		r.SystemApplied, r.Led = h.System().Applied(), c.Formation.isLed(h, v) && votesInSystem(v, m.Incarnation)
	}
	return r, nil
}

// onEnlist gives this blank member to a founder. It is on disk before the answer.
func (c *formation) onEnlist(g enlistment) (any, error) {
	if err := c.agree(g.ClusterName, g.Settings); err != nil {
		return nil, &refusal{code: protocol.CodeSettings, detail: err.Error()}
	}
	c.deciding.Lock()
	defer c.deciding.Unlock()
	m := c.dir.Member()
	if m.Incarnation != g.Incarnation {
		return nil, &refusal{code: protocol.CodeInvalid, detail: "another incarnation was meant, which is dead"}
	}
	if m.Cluster == g.Cluster {
		return nil, nil
	}
	if !m.Blank() {
		return nil, &refusal{code: protocol.CodeWrongGrid, detail: fmt.Sprintf("%s has enlisted with the founder at %s", m.Name, m.FounderAddress)}
	}
	c.Directory.noteKnown(g.Founder)
	c.mu.Lock()
	c.founderName = g.Founder.Name
	c.mu.Unlock()
	c.wake()
	return nil, c.dir.Update(func(m *identity.Member) {
		m.Cluster, m.ClusterName = g.Cluster, g.ClusterName
		m.Founder, m.FounderAddress = g.Founder.Incarnation, g.Founder.Address
		m.Durability, m.Partitions = g.Settings.Durability, g.Settings.Partitions
		m.Groups, m.Replicas = g.Settings.Groups, g.Settings.Replicas
		m.Peers = []identity.Peer{{Incarnation: g.Founder.Incarnation, Address: g.Founder.Address}}
	})
}

// onRelease undoes onEnlist where the cluster was not formed. The step of run
// does the work; until it has, the founder asks again.
func (c *formation) onRelease(r release) (any, error) {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	m := c.dir.Member()
	switch {
	case m.Cluster != r.Cluster:
		return nil, nil // released already, or never given
	case m.Formed:
		return nil, &refusal{code: protocol.CodeWrongGrid, detail: "the cluster is formed"}
	}
	c.mu.Lock()
	c.released = r.Cluster
	c.mu.Unlock()
	c.wake()
	return nil, &refusal{code: protocol.CodeBusy, detail: "being released"}
}

func (c *formation) isReleased() bool {
	m := c.member()
	c.mu.Lock()
	defer c.mu.Unlock()
	return !m.Blank() && !m.Formed && m.Cluster == c.released
}

// onStart notes this member's replica of the system group; the step of run
// starts it.
func (c *formation) onStart(s start) (any, error) {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	m := c.dir.Member()
	if m.Cluster != s.Cluster {
		return nil, errAnotherCluster
	}
	if m.Incarnation != s.Incarnation {
		return nil, &refusal{code: protocol.CodeInvalid, detail: "the replica is that of another incarnation, which is dead"}
	}
	c.Directory.noteKnown(slices.DeleteFunc(s.Peers, func(p self) bool { return p.Incarnation == m.Incarnation })...)
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
func (c *peerServer) leading(cluster protocol.UUID) (*shardgroups.Host, error) {
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
func (c *peerServer) atLeader(ctx context.Context, q protocol.PeerRequest, j join) (*shardgroups.Host, error) {
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
func (c *peerServer) onAddress(ctx context.Context, q protocol.PeerRequest, j join) error {
	if v := c.View(); v == nil || v.Cluster != j.Cluster {
		return errAnotherCluster
	}
	// The news may be old: the member has moved on, or is no more.
	if _, err := c.callBack(ctx, j.Cluster, j.self()); err != nil {
		return err
	}
	c.Directory.learn(j.self())
	h, err := c.atLeader(ctx, q, j)
	if h == nil || err != nil {
		return err
	}
	return c.setAddress(ctx, h, j)
}

// onJoin lists a member of a formed cluster, at the leader or by asking it. The
// coordinator's step gives it its places.
func (c *peerServer) onJoin(ctx context.Context, q protocol.PeerRequest, j join) error {
	h, err := c.atLeader(ctx, q, j)
	if h == nil || err != nil {
		return err
	}
	v := h.System().View()
	if !v.Formed {
		return &refusal{code: protocol.CodeBusy, detail: "the cluster is not formed yet"}
	}
	return c.list(ctx, h, v, j.self())
}

// list has the system group list a member that wants to join. Another
// incarnation of its name is gone with it.
//
// The question may be an old one: its asker, or who passed it on, was paused, and
// the name has a newer incarnation by now. So the member is called back at its
// address first; the one it replaces is looked for there, too; and the command
// names it, so that between the look and the entry nobody else is replaced.
func (c *peerServer) list(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, s self) error {
	if old, ok := v.Incarnation(s.Incarnation); ok && !old.Gone {
		c.wake()
		return nil
	}
	r, err := c.callBack(ctx, v.Cluster, s)
	if err != nil {
		return err
	}
	floor := systemstate.Floor(0)
	if v.Settings.Durability == "memory" {
		floor = r.Floor
	}
	replaces, err := c.mayTakeName(ctx, v, s)
	if err != nil {
		return err
	}
	c.Directory.learn(s)
	_, err = h.System().Propose(ctx, systemstate.Command{
		Kind:     systemstate.AddMember,
		Member:   systemstate.Member{Incarnation: s.Incarnation, Name: s.Name, Address: s.Address, Level: s.Level},
		Replaces: replaces, Floor: floor,
	})
	if err == nil && replaces != (protocol.UUID{}) {
		c.log.Warn("a member rejoins without its data: it gets its replicas back", "name", s.Name, "address", s.Address,
			"lost", replaces.String(), "incarnation", s.Incarnation.String())
	}
	c.wake()
	return err
}

// callBack returns the answer of a member that is at its address, as it has said,
// and belongs to a cluster or wants to.
func (c *peerServer) callBack(ctx context.Context, cluster protocol.UUID, s self) (r stateReply, err error) {
	if err := ask(ctx, c.cfg.Network, s.Address, askState, c.self(), &r); err != nil {
		return r, &refusal{
			code:   protocol.CodeBusy,
			detail: fmt.Sprintf("nobody answers at %s: %v: advertise an address at which the other members reach this one", s.Address, err),
		}
	}
	if r.Self != s || r.Cluster != cluster {
		return r, &refusal{code: protocol.CodeInvalid, detail: fmt.Sprintf("the member at %s has become another in the meantime", s.Address)}
	}
	return r, nil
}

// mayTakeName returns the incarnation that a member replaces, zero where its name
// is free. It refuses one whose name another has that lives. Only one member can
// be at an address: a name that returns there has lost its data.
func (c *peerServer) mayTakeName(ctx context.Context, v *systemstate.ClusterState, s self) (replaces protocol.UUID, err error) {
	old, ok := v.Named(s.Name)
	if !ok {
		return protocol.UUID{}, nil
	}
	address, ok := c.Directory.resolve(old.Incarnation)
	if !ok {
		address = old.Address
	}
	if address == s.Address {
		return old.Incarnation, nil
	}
	var r stateReply
	err = ask(ctx, c.cfg.Network, address, askState, c.self(), &r)
	if err == nil && r.Self.Incarnation != old.Incarnation || err != nil && !c.Directory.Heard(old.Incarnation) {
		return old.Incarnation, nil
	}
	return protocol.UUID{}, &refusal{
		code:   protocol.CodeSettings,
		detail: fmt.Sprintf("a member called %s runs at %s: give one of them another name", s.Name, address),
	}
}

// answers reports whether an incarnation is at its address.
func (c *peerServer) answers(ctx context.Context, o systemstate.Member) bool {
	address, ok := c.Directory.resolve(o.Incarnation)
	if !ok {
		address = o.Address
	}
	var r stateReply
	return ask(ctx, c.cfg.Network, address, askState, c.self(), &r) == nil && r.Self.Incarnation == o.Incarnation
}

// onLeaders answers with what the replicas here know, not with what others have
// said: two members must not keep up each other's belief.
func (c *peerServer) onLeaders() leadersReply {
	h, v := c.host.Load(), c.View()
	var known leadersReply
	if h == nil || v == nil {
		return known
	}
	for _, g := range h.Groups() {
		member, term := leadsHere(h, v, g.ID())
		known.Leaders = append(known.Leaders, leaderOf{Group: g.ID(), Term: term, Member: member})
	}
	return known
}
