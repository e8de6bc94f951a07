package shardgroups

import (
	"errors"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/hub"
	"github.com/quorate/quorate/structures"
)

// Group is this member's replica of one Raft group: its state, and its proposer, which
// works while the replica leads. See proposer for the path of a request and the order
// of locks.
type Group struct {
	host    *Host
	id      protocol.GroupID
	replica protocol.ReplicaID
	kinds   *groupstate.Kinds
	onPanic func(groupstate.Panic) // panicked

	leader atomic.Pointer[Leader]
	level  atomic.Uint32 // of the applied state
	// partitions is how many the cluster has; 0: the applied state does not say.
	partitions atomic.Uint32
	holds      atomic.Bool              // the applied state refuses some operations, or all
	pressure   atomic.Pointer[Pressure] // nil: none

	// mu guards the state: Update holds it, reads share it.
	mu      sync.RWMutex
	state   *groupstate.State
	applied uint64
	waiting map[waitKey][]*Request // calls whose reply comes with a grant

	log   logged
	meter meter
	slow  *slowLog // nil: slow operations are not logged

	proposer proposer
	restorer restorer
	hub      *hub.Hub // of the watches that this replica serves
	stats    groupStats
}

// groupStats counts what a group has done since it was started here.
type groupStats struct {
	Entries, Writes, Reads, Piggybacked, Repeats, Snapshots atomic.Uint64
}

// waitKey names a waiting call.
type waitKey struct {
	partition protocol.PartitionID
	caller    protocol.Caller
}

type answer struct {
	q     *Request
	class Class
	reply protocol.Reply
}

func newGroup(h *Host, spec GroupSpec) *Group {
	g := &Group{
		host: h, id: spec.Group, replica: spec.Replica,
		waiting: map[waitKey][]*Request{},
	}
	g.proposer.init(g)
	g.restorer.group = g
	g.hub = hub.New(watchSource{g})
	g.onPanic = g.panicked
	g.state = g.newState()
	g.kinds = g.state.Kinds()
	g.meter.kinds[protocol.KindControl] = new(kindMeter)
	for id, k := range g.kinds {
		if k != nil {
			g.meter.kinds[id] = new(kindMeter)
		}
	}
	g.slow = h.slow
	g.level.Store(g.state.Level())
	g.leader.Store(&Leader{})
	return g
}

// newState returns the state before the first entry, or before a snapshot.
func (g *Group) newState() *groupstate.State {
	s := groupstate.New(g.host.cfg.Kinds)
	s.SetMaxLevel(g.host.cfg.TestHooks.MaxLevel)
	s.OnPanic(g.onPanic)
	return s
}

// panicked logs that a structure has panicked, with the stack, unless another panic was
// logged a moment ago: a client that knows how could cause any number of them.
func (g *Group) panicked(p groupstate.Panic) {
	more, ok := g.host.panics.allows(time.Now())
	if !ok {
		return
	}
	kind, op := "unknown", ""
	if k := g.kinds[p.Kind]; k != nil {
		kind, op = k.Name, k.OpName(p.Op)
	}
	g.host.cfg.Logger.Error("a structure has panicked", "group", uint64(g.id), "kind", kind, "name", strings.Clone(p.Name), "op", op,
		"panic", p.Value, "stack", string(debug.Stack()), "suppressed", more)
}

// Leader returns the group's leader, as this member knows it.
func (g *Group) Leader() Leader { return *g.leader.Load() }

// Submit submits a request. It never blocks. Done is called exactly once, with a reply
// that may refuse the request, unless the request waits for a grant when the Host
// closes.
func (g *Group) Submit(q *Request) {
	q.group = g
	if q.Arrived.IsZero() {
		q.Arrived = time.Now()
	}
	if q.confirms {
		g.lead(q)
		return
	}
	if r := g.check(&q.Request); r.Code != protocol.CodeOK {
		q.answer(r, 0)
		return
	}
	read := q.Flags&protocol.FlagRead != 0
	if !read {
		q.cost = groupstate.Cost(g.kinds, &q.Request)
		if q.Extended { // elements that this version does not know are not logged
			q.Raw, q.Extended = q.Append(nil), false
		}
	}
	if g.holds.Load() && !read && q.Kind != protocol.KindControl {
		g.mu.RLock()
		r, refused := g.state.Refuses(q.Kind, q.Op)
		g.mu.RUnlock()
		if refused {
			q.answer(r, 0)
			return
		}
	}
	if read && q.Flags&protocol.FlagStale != 0 {
		g.readNow([]*Request{q}, q.Arrived)
		return
	}
	if !g.Leader().Self {
		g.refuseFollower(q)
		return
	}
	if g.gives(q) && !g.host.system.isKept(q.Caller.Session) {
		g.proposer.askKeeper(q)
		return
	}
	g.proposer.enter(q)
}

// lead takes in a request that asks for nothing but whether this replica leads.
func (g *Group) lead(q *Request) {
	if g.Leader().Self {
		g.proposer.enter(q)
		return
	}
	g.refuseFollower(q)
}

// check decides whether a request is well formed, and has reached the group that owns
// its partition.
func (g *Group) check(q *protocol.Request) structures.Result {
	gate := groupstate.Gate{
		Kinds: g.kinds, Limits: g.host.cfg.Limits, Level: g.level.Load(), Partitions: int(g.partitions.Load()), Panicked: g.onPanic,
	}
	if gate.Partitions == 0 { // a new group learns it from the entry that may carry this request
		gate.Partitions = len(g.host.system.View().Partitions)
	}
	r := gate.Check(q)
	if r.Code == protocol.CodeOK && gate.Partitions == 0 {
		r.Code = protocol.CodeNotOwner
	}
	return r
}

func (g *Group) refuseWith(q *Request, code protocol.Code) {
	switch code {
	case protocol.CodeNoLeader:
		g.refuseFollower(q)
	case protocol.CodeBusy:
		q.busy("the group's queue is full", busyWaitHint)
	default:
		q.refuse(code)
	}
}

// refuseFollower answers a request that this replica cannot take because it does
// not lead, or no longer does.
func (g *Group) refuseFollower(q *Request) {
	if g.proposer.gate(q) {
		return
	}
	l := g.Leader()
	if l.Replica == 0 || l.Self {
		r := structures.Result{Code: protocol.CodeNoLeader}
		if why := g.host.system.View().LostDetail(g.id); why != "" {
			r = structures.Refuse(protocol.CodeNoLeader, why)
		}
		q.answer(r, 0)
		return
	}
	p := protocol.Problem{Leader: g.host.memberOf(g.id, l.Replica)}
	q.answer(structures.Result{Code: protocol.CodeNotLeader, Body: p.Append(nil)}, 0)
}

// setLeader records the leader. A replica that no longer leads answers all callers that
// wait for it, so that they go to the new leader immediately.
func (g *Group) setLeader(l Leader) {
	old := g.leader.Swap(&l)
	if old.Self && (!l.Self || l.Term != old.Term) {
		g.stepDown()
	}
	if l.Replica != 0 {
		g.proposer.release()
	}
	g.proposer.poke()
	g.hub.Applied()
}

// stepDown answers all callers that wait for this replica.
func (g *Group) stepDown() {
	g.proposer.stepDown()
	g.mu.Lock()
	waiting := g.waiting
	g.waiting = map[waitKey][]*Request{}
	g.mu.Unlock()
	for _, qs := range waiting {
		for _, q := range qs {
			q.refuse(protocol.CodeUnknown)
		}
	}
}

// close stops the proposer and answers all callers.
func (g *Group) close() {
	if !g.proposer.close() {
		return
	}
	g.leader.Store(&Leader{})
	g.stepDown()
	g.hub.Close()
}

var (
	errNotLeader = errors.New("this replica does not lead")
	errSnapshot  = errors.New("the snapshot was not taken")
)

// late reports whether the caller has given up on the attempt.
func (q *Request) late(now time.Time) bool {
	return q.TimeLeft > 0 && now.Sub(q.Arrived) > time.Duration(q.TimeLeft)*time.Millisecond
}

// answer calls Done with a result.
func (q *Request) answer(r structures.Result, v protocol.Version) {
	q.turnDown(protocol.Reply{ID: q.ID, Code: r.Code, Version: v, Body: r.Body})
}

func (q *Request) refuse(c protocol.Code) { q.turnDown(protocol.Reply{ID: q.ID, Code: c}) }

func (q *Request) busy(why string, wait int) {
	p := protocol.Problem{Detail: why, Wait: uint32(wait)}
	q.turnDown(protocol.Reply{ID: q.ID, Code: protocol.CodeBusy, Body: p.Append(nil)})
}

// turnDown answers a request that is not carried out.
func (q *Request) turnDown(r protocol.Reply) {
	if int(r.Code) < protocol.NumCodes {
		q.group.meter.refused[r.Code].Add(1)
	}
	q.Done(r)
}
