package coordinatortest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

var errClosed = errors.New("the engine is closed")

// engine is a membership.Engine. The lock of its World guards it.
type engine struct {
	node    *Node
	cfg     shardgroups.Config
	closed  bool
	running map[protocol.GroupID]*replica
}

func (e *engine) lock() func() {
	e.node.w.mu.Lock()
	return e.node.w.mu.Unlock
}

// stop stops all replicas. In memory they have nothing any more.
func (e *engine) stop() {
	for id, r := range e.running {
		r.running = false
		if e.node.memory {
			r.held, r.stored = 0, false
		}
		delete(e.running, id)
	}
	e.closed = true
}

// poll calls try until it returns true or an error, or ctx ends.
func (e *engine) poll(ctx context.Context, try func() (bool, error)) error {
	for {
		unlock := e.lock()
		ok, err := e.closed || !e.node.up, error(errClosed)
		if !ok {
			ok, err = try()
		}
		unlock()
		if ok || err != nil {
			return err
		}
		if err := contexts.Sleep(ctx, roundTrip); err != nil {
			return err
		}
	}
}

func (e *engine) Close() error {
	defer e.lock()()
	e.stop()
	return nil
}

func (e *engine) StartGroup(spec shardgroups.GroupSpec, _ bool) error {
	defer e.lock()()
	if e.closed || !e.node.up {
		return errClosed
	}
	w, key := e.node.w, groupKey{e.cfg.Cluster, spec.Group}
	g := w.groups[key]
	if g == nil {
		g = newGroup(w, key, spec.Initial)
	}
	r := g.replicas[spec.Replica]
	if r == nil {
		r = &replica{g: g, id: spec.Replica}
		g.replicas[spec.Replica] = r
	}
	r.owner, r.running, r.stored, r.begun, r.applied = e.cfg.Incarnation, true, true, time.Now(), 0
	r.known = shardgroups.Leader{}
	if spec.Group == protocol.SystemGroup {
		r.state = systemstate.New()
	}
	e.running[spec.Group] = r
	return nil
}

func (e *engine) StopGroup(_ context.Context, id protocol.GroupID, _ protocol.ReplicaID) error {
	defer e.lock()()
	if r := e.running[id]; r != nil {
		r.running, r.stored = false, false
		delete(e.running, id)
		if !r.listed {
			delete(r.g.replicas, r.id)
		}
	}
	return nil
}

func (e *engine) SuspendGroup(id protocol.GroupID) error {
	defer e.lock()()
	if r := e.running[id]; r != nil {
		r.running = false
		delete(e.running, id)
	}
	return nil
}

func (e *engine) Running() map[protocol.GroupID]protocol.ReplicaID {
	defer e.lock()()
	all := map[protocol.GroupID]protocol.ReplicaID{}
	for id, r := range e.running {
		all[id] = r.id
	}
	return all
}

func (e *engine) LeaderOf(id protocol.GroupID) shardgroups.Leader {
	defer e.lock()()
	if r := e.running[id]; r != nil {
		return r.known
	}
	return shardgroups.Leader{}
}

func (e *engine) ObservedProgress(id protocol.GroupID, number protocol.ReplicaID) (shardgroups.ObservedProgress, bool) {
	defer e.lock()()
	g := e.node.w.groups[groupKey{e.cfg.Cluster, id}]
	if e.running[id] == nil || g == nil || g.replicas[number] == nil {
		return shardgroups.ObservedProgress{}, false
	}
	return shardgroups.ObservedProgress{Group: id, Replica: number, Term: 1, HeldTerm: 1, HeldIndex: uint64(g.replicas[number].highest)}, true
}

func (e *engine) SlowDisk() bool { return false }

func (e *engine) CaughtUp(ctx context.Context, id protocol.GroupID) error {
	return e.poll(ctx, func() (bool, error) {
		r := e.running[id]
		if r == nil {
			return false, fmt.Errorf("group %d does not run here", id)
		}
		leader := r.g.leading()
		return leader != nil && r.listed && r.reaches(leader) && r.held == r.g.last && (r.state == nil || r.applied == r.held), nil
	})
}

func (e *engine) AwaitApplied(ctx context.Context, id protocol.GroupID, index uint64) error {
	return e.poll(ctx, func() (bool, error) {
		r := e.running[id]
		if r == nil {
			return false, fmt.Errorf("group %d does not run here", id)
		}
		return uint64(r.held) >= index, nil
	})
}

// change changes the replicas of a group that is led here.
func (e *engine) change(ctx context.Context, id protocol.GroupID, f func(*group)) error {
	return e.poll(ctx, func() (bool, error) {
		r := e.running[id]
		if r == nil || r.g.leader != r.id {
			return false, fmt.Errorf("group %d is not led here", id)
		}
		if _, ok, err := r.g.commit(nil); !ok || err != nil {
			return false, err
		}
		f(r.g)
		return true, nil
	})
}

func (e *engine) AddNonVoting(ctx context.Context, id protocol.GroupID, number protocol.ReplicaID, member protocol.UUID) error {
	return e.change(ctx, id, func(g *group) {
		r := g.replicas[number]
		if r == nil {
			r = &replica{g: g, id: number}
			g.replicas[number] = r
		}
		if !r.listed {
			r.owner, r.listed, r.begun = member, true, time.Now()
		}
	})
}

func (e *engine) AddVoter(ctx context.Context, id protocol.GroupID, number protocol.ReplicaID, _ protocol.UUID) error {
	return e.change(ctx, id, func(g *group) {
		if r := g.replicas[number]; r != nil && r.listed {
			r.votes = true
		}
	})
}

func (e *engine) RemoveReplica(ctx context.Context, id protocol.GroupID, number protocol.ReplicaID) error {
	return e.change(ctx, id, func(g *group) {
		r := g.replicas[number]
		if r == nil {
			return
		}
		r.listed, r.votes = false, false
		if !r.running {
			delete(g.replicas, number)
		}
	})
}

// transfer transfers the leadership of a group that is led here.
func (e *engine) transfer(ctx context.Context, id protocol.GroupID, to protocol.ReplicaID, ready func(context.Context, uint64) error) error {
	unlock := e.lock()
	r := e.running[id]
	index := 0
	if r != nil {
		index = r.g.last
	}
	unlock()
	if r == nil {
		return fmt.Errorf("group %d does not run here", id)
	}
	if err := ready(ctx, uint64(index)); err != nil {
		return err
	}
	defer e.lock()()
	g := r.g
	target := g.replicas[to]
	if g.leader != r.id || g.leading() == nil || target == nil || !target.votes || target.held != g.last || !target.reaches(r) {
		return errors.New("the leadership is not transferred")
	}
	g.leader = to
	g.term++
	return nil
}

func (e *engine) Group(id protocol.GroupID) membership.Group {
	defer e.lock()()
	if e.running[id] == nil || id == protocol.SystemGroup {
		return nil
	}
	return dataGroup{e, id}
}

func (e *engine) System() membership.System { return system{e} }

// dataGroup is a membership.Group.
type dataGroup struct {
	e  *engine
	id protocol.GroupID
}

func (g dataGroup) Leader() shardgroups.Leader       { return g.e.LeaderOf(g.id) }
func (g dataGroup) Footprint() shardgroups.Footprint { return shardgroups.Footprint{State: 1 << 20} }
func (g dataGroup) Begun() bool                      { return true }
func (g dataGroup) Loading() (uint64, bool)          { return 0, false }

func (g dataGroup) TransferLeader(ctx context.Context, to protocol.ReplicaID, ready func(context.Context, uint64) error) error {
	return g.e.transfer(ctx, g.id, to, ready)
}

// system is a membership.System.
type system struct{ e *engine }

// state calls f with the state of the replica here, an empty one if there is none.
func (s system) state(f func(*systemstate.State, *replica)) {
	defer s.e.lock()()
	if r := s.e.running[protocol.SystemGroup]; r != nil {
		f(r.state, r)
		return
	}
	f(systemstate.New(), &replica{})
}

func (s system) View() (v *systemstate.ClusterState) {
	s.state(func(st *systemstate.State, _ *replica) { v = st.ClusterState() })
	return v
}

func (s system) Applied() (n uint64) {
	s.state(func(_ *systemstate.State, r *replica) { n = uint64(r.applied) })
	return n
}

func (s system) Highest() (f systemstate.Floor) {
	s.state(func(st *systemstate.State, _ *replica) { f = st.Highest() })
	return f
}

func (s system) LongestTTL() (d time.Duration) {
	s.state(func(st *systemstate.State, _ *replica) { d = st.LongestTTL() })
	return d
}

func (s system) Leader() shardgroups.Leader { return s.e.LeaderOf(protocol.SystemGroup) }

func (s system) Refresh(ctx context.Context) (*systemstate.ClusterState, error) {
	if err := s.e.CaughtUp(ctx, protocol.SystemGroup); err != nil {
		return nil, fmt.Errorf("%w: %v", shardgroups.ErrNoSystem, err)
	}
	return s.View(), nil
}

func (s system) Propose(ctx context.Context, c systemstate.Command) (a systemstate.Answer, err error) {
	if err := contexts.Sleep(ctx, roundTrip); err != nil {
		return a, err
	}
	var answer []byte
	err = s.e.poll(ctx, func() (ok bool, err error) {
		r := s.e.running[protocol.SystemGroup]
		if r == nil {
			return false, errClosed
		}
		leader := r.g.leading()
		if leader == nil || !r.reaches(leader) {
			return false, nil
		}
		entry := systemstate.Encode(groupstate.Header{Level: leader.state.ClusterState().Level}, c)
		if err := systemstate.Check(entry); err != nil {
			return false, err
		}
		answer, ok, err = r.g.commit(entry)
		return ok, err
	})
	if err != nil {
		return a, fmt.Errorf("%w: %v", shardgroups.ErrNoSystem, err)
	}
	if err := protocol.DecodeLarge(answer, &a); err != nil {
		return a, err
	}
	if a.Problem != "" {
		return a, errors.New(a.Problem)
	}
	return a, nil
}

func (s system) TransferLeader(ctx context.Context, to protocol.ReplicaID, ready func(context.Context, uint64) error) error {
	return s.e.transfer(ctx, protocol.SystemGroup, to, ready)
}

var errNoSessions = errors.New("there are no sessions in a script")

func (s system) GreetedSessions(context.Context, []systemstate.Opening) ([]systemstate.Opened, error) {
	return nil, errNoSessions
}

func (s system) RenewSessions(context.Context, []protocol.SessionID) ([]protocol.SessionID, error) {
	return nil, errNoSessions
}
