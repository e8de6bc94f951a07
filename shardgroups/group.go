package shardgroups

import (
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/histogram"
	"github.com/quorate/quorate/structures"
)

// Bounds of a group's queue and entries (DESIGN: the life of a write).
const (
	maxEntryRequests  = 4096
	maxEntryBytes     = 1 << 20
	maxEntriesFlying  = 4
	maxQueuedRequests = 32 << 10
	busyWaitHint      = 20 // milliseconds

	// A write that has waited this long tells that more comes than is carried out.
	// Where the queue were longer, all in it would be answered too late to be of
	// use, though as many were carried out as ever.
	maxQueueTime = 250 * time.Millisecond
	// Fewer than these are one entry's, not a queue.
	shortQueue = 256
)

// proposeTimeout bounds how long an entry may be in flight. It is far above an
// election, and after it the outcome is unknown.
const proposeTimeout = 5 * time.Second

// Group is this member's replica of one Raft group.
//
// Lock order: mu, then qmu, then an entry's mu. No lock is held while a
// Request's Done runs.
//
//	Submit -> waiting, or an answer from the record: repeats of waiting calls
//	Submit -> writes, reads -> run (one goroutine): build -> Raft -> Update: apply, answer
//	                                    reads --> ReadIndex -> answer
type Group struct {
	host    *Host
	id      protocol.GroupID
	replica protocol.ReplicaID
	session *client.Session
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
	slow  *slowLog // nil: slow operations are not told of

	wake chan struct{} // run has something to do
	stop chan struct{}
	done sync.WaitGroup

	// qmu guards what follows.
	qmu            sync.Mutex
	stopped        bool
	gated          int        // entries are held back for a transfer
	held           []*Request // refused in a transfer, before the next leader is known
	writes         []*Request
	landedAt       time.Time // when an entry was applied that was proposed here
	reads          []*Request
	queuedBytes    int
	flying         map[uint64]*entry
	number         uint64 // of the last entry
	reading        int    // ReadIndex rounds under way
	wantEntry      bool   // log an entry even without a request
	claim          claim
	sessions       sessions
	unkept         unkept
	endsApplied    uint64 // number of the last ended session applied
	endings        uint64 // known sessions that had ended when known ones were last forgotten
	endsFlying     uint64 // the entry that carries further ones; 0: none
	owned          int    // partitions owned, as applied
	ownFlying      uint64 // the entry that carries them; 0: none
	raiseTo        uint32 // a level to log; 0: none
	restoring      bool   // restore runs
	restoreProblem string // why it failed last; of restore alone
	restoreBatch   *extract.Batch

	stats groupStats
}

// groupStats counts what a group has done since it was started here.
type groupStats struct {
	Entries, Writes, Reads, Rides, Repeats, Snapshots atomic.Uint64
}

// waitKey names a waiting call.
type waitKey struct {
	partition protocol.PartitionID
	caller    protocol.Caller
}

// claim is this leader's hold on the group's clock.
type claim struct {
	nonce uint64        // of the claim that was last logged by this replica; 0: none
	entry uint64        // that carries it
	epoch uint64        // that it opened; 0: not applied yet
	base  time.Duration // host time when it was applied
}

// entry is an entry of the log on its way.
type entry struct {
	number   uint64
	proposed time.Time
	requests []*Request
	riders   []*Request // reads that are answered when the entry is applied here
	attached []protocol.SessionID

	mu     sync.Mutex // guards the following, between repeats and completion
	over   bool
	joined map[int][]*Request // repeats of requests in flight
}

type answer struct {
	q     *Request
	class Class
	reply protocol.Reply
}

func newGroup(h *Host, spec GroupSpec) *Group {
	g := &Group{
		host: h, id: spec.Group, replica: spec.Replica,
		session: h.nh.GetNoOPSession(uint64(spec.Group)),
		waiting: map[waitKey][]*Request{},
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		flying:  map[uint64]*entry{},
	}
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
	s.SetMaxLevel(g.host.cfg.MaxLevel)
	s.OnPanic(g.onPanic)
	return s
}

// panicked logs that a structure has panicked, with the stack, unless another was
// logged a moment ago: a client that knows how may cause as many as it likes.
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

// Leader returns who leads, as this member knows it.
func (g *Group) Leader() Leader { return *g.leader.Load() }

// Submit lets a request enter the group. It never blocks; Done is called
// exactly once, unless the request waits for a grant when the Host closes.
func (g *Group) Submit(q *Request) {
	q.group = g
	if q.Arrived.IsZero() {
		q.Arrived = time.Now()
	}
	if r := g.check(&q.Request); r.Code != protocol.CodeOK {
		q.answer(r, 0)
		return
	}
	read := q.Flags&protocol.FlagRead != 0
	if !read {
		q.cost = groupstate.Cost(g.kinds, &q.Request)
		if q.Extended { // what this version does not know is not logged
			q.Raw, q.Extended = q.Append(nil), false
		}
	}
	if g.holds.Load() && !read && q.Kind != protocol.KindControl {
		g.mu.RLock()
		r, held := g.state.Refuses(q.Kind, q.Op)
		g.mu.RUnlock()
		if held {
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
		g.askKeeper(q)
		return
	}
	g.enter(q)
}

// enter is Submit for a request that is known to be in order.
func (g *Group) enter(q *Request) {
	read := q.Flags&protocol.FlagRead != 0
	if g.waitsAlready(q) {
		return
	}
	if !read && g.pressed(q) {
		return
	}
	g.qmu.Lock()
	switch {
	case g.stopped:
		g.qmu.Unlock()
		q.refuse(protocol.CodeShutdown)
		return
	case !g.leads(): // it led when it was asked above
		g.qmu.Unlock()
		g.refuseFollower(q)
		return
	case len(g.writes)+len(g.reads) >= maxQueuedRequests || g.queuedBytes+len(q.Raw) > g.host.cfg.QueueBytes:
		g.qmu.Unlock()
		q.busy("the group's queue is full", busyWaitHint)
		return
	case !read && q.Kind != protocol.KindControl && g.overrun(q.Arrived):
		g.qmu.Unlock()
		q.busy("the group is overloaded: more requests come than it can carry out", int(maxQueueTime/time.Millisecond))
		return
	case q.Flags&protocol.FlagRepeat != 0 && !read:
		if joined, _ := g.join(q); joined {
			g.qmu.Unlock()
			g.stats.Repeats.Add(1)
			return
		}
	}
	if read && mutants.On(mutants.LateRider) && g.rideLate(q) {
		g.qmu.Unlock()
		return
	}
	if read {
		g.reads = append(g.reads, q)
	} else {
		g.writes = append(g.writes, q)
	}
	g.queuedBytes += len(q.Raw)
	g.qmu.Unlock()
	g.poke()
}

// check decides whether a request is well formed, and came to where it belongs.
func (g *Group) check(q *protocol.Request) structures.Result {
	gate := groupstate.Gate{
		Kinds: g.kinds, Limits: g.host.cfg.Limits, Level: g.level.Load(), Partitions: int(g.partitions.Load()), Panicked: g.onPanic,
	}
	if gate.Partitions == 0 { // a new group is told with the entry that this request may be in
		gate.Partitions = len(g.host.system.View().Partitions)
	}
	r := gate.Check(q)
	if r.Code == protocol.CodeOK && gate.Partitions == 0 {
		r.Code = protocol.CodeNotOwner
	}
	return r
}

// overrun reports whether the queue is as long in time as it may be. A queue that
// stands still is none of that: it waits for a leader or a majority. qmu is held.
func (g *Group) overrun(now time.Time) bool {
	return len(g.writes) >= shortQueue && now.Sub(g.writes[0].Arrived) > maxQueueTime && now.Sub(g.landedAt) < maxQueueTime
}

// maxJoined bounds the repeats that share the answer of one request in flight.
// Further ones are queued as others are, and answered from its record.
const maxJoined = 16

// join lets a repeat share the answer of the same request in flight (ONCE-3).
// If the first still waits in the queue both are logged, and the second is
// answered from the record of the first. qmu is held.
func (g *Group) join(q *Request) (joined, inFlight bool) {
	for _, e := range g.flying {
		for i, o := range e.requests {
			if o.Partition != q.Partition || o.Caller != q.Caller || o.Kind != q.Kind {
				continue
			}
			e.mu.Lock()
			inFlight = !e.over
			if joined = inFlight && len(e.joined[i]) < maxJoined; joined {
				if e.joined == nil {
					e.joined = map[int][]*Request{}
				}
				e.joined[i] = append(e.joined[i], q)
			}
			e.mu.Unlock()
			return joined, inFlight
		}
	}
	return false, false
}

func (g *Group) poke() {
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run gathers requests into entries and reads into ReadIndex rounds, until the
// group is stopped.
func (g *Group) run() {
	defer g.done.Done()
	for {
		select {
		case <-g.wake:
		case <-g.stop:
			return
		}
		for g.step() {
		}
	}
}

// step does one thing and reports whether there may be another.
func (g *Group) step() bool {
	g.qmu.Lock()
	if !g.leads() {
		g.qmu.Unlock()
		return false
	}
	canWrite := g.gated == 0 && len(g.flying) < maxEntriesFlying
	if canWrite && (len(g.writes) > 0 || g.wantEntry) {
		e, b := g.build()
		g.qmu.Unlock()
		if e != nil {
			g.propose(e, b)
		}
		return true
	}
	if len(g.reads) > 0 && g.reading < maxReadRounds && !(g.reading > 0 && mutants.On(mutants.ReadIndexReused)) {
		batch := g.takeReads()
		g.reading++
		g.qmu.Unlock()
		g.readIndex(batch)
		return true
	}
	g.qmu.Unlock()
	return false
}

func (g *Group) takeReads() []*Request {
	batch := g.reads
	g.reads = nil
	for _, q := range batch {
		g.queuedBytes -= len(q.Raw)
	}
	return batch
}

// fitting returns how many of the first requests fit in one entry, and their
// size.
func fitting(queued []*Request) (n, size int) {
	cost := 0
	for n < len(queued) && n < maxEntryRequests {
		q := queued[n]
		more := len(q.Raw) + 4
		if n > 0 && (size+more > maxEntryBytes || cost+q.cost > groupstate.MaxEntryCost) {
			break
		}
		size += more
		cost += q.cost
		n++
	}
	return n, size
}

// build makes the next entry of what is queued. qmu is held.
func (g *Group) build() (*entry, *groupstate.Builder) {
	now := time.Now()
	take, size := fitting(g.writes)
	requests := make([]*Request, 0, take)
	var late, parked []*Request
	for _, q := range g.writes[:take] {
		g.queuedBytes -= len(q.Raw)
		switch {
		case q.late(now):
			late = append(late, q)
		case !g.sessions.known(q.Caller.Session):
			parked = append(parked, q)
		default:
			requests = append(requests, q)
		}
	}
	if take == len(g.writes) {
		clear(g.writes)
		g.writes = g.writes[:0]
	} else {
		g.writes = append([]*Request(nil), g.writes[take:]...)
	}
	g.wantEntry = false
	if len(late)+len(parked) > 0 {
		g.host.spawn(func() {
			for _, q := range late {
				q.refuse(protocol.CodeExpired)
			}
			g.park(parked)
		})
	}
	return g.seal(&entry{proposed: now, requests: requests}, size)
}

// seal builds an entry around its requests, which have size bytes. qmu is held.
func (g *Group) seal(e *entry, size int) (*entry, *groupstate.Builder) {
	g.number++
	e.number = g.number
	var b groupstate.Builder
	b.Reset(g.header(e.number), size+256)
	if g.claim.nonce == 0 {
		g.claim = claim{nonce: rand.Uint64() | 1, entry: e.number}
		b.Claim(g.claim.nonce)
	}
	g.addCommands(e, &b)
	for _, q := range e.requests {
		b.Request(q.Raw)
	}
	e.riders = g.takeReads()
	g.flying[e.number] = e
	return e, &b
}

// header is the header of an entry that is proposed now. qmu is held.
func (g *Group) header(number uint64) groupstate.Header {
	h := groupstate.Header{Proposer: g.host.nonce, Number: number, Level: g.level.Load()}
	if g.claim.epoch != 0 {
		h.ClockEpoch = g.claim.epoch
		h.Elapsed = int64(g.host.mono.now() - g.claim.base)
		if mutants.On(mutants.FastTime) {
			h.Elapsed *= 2
		}
	}
	return h
}

// propose logs an entry. Its callers are answered by Update, or here where the
// entry does not get that far.
func (g *Group) propose(e *entry, b *groupstate.Builder) {
	g.stats.Entries.Add(1)
	g.stats.Writes.Add(uint64(len(e.requests)))
	g.stats.Rides.Add(uint64(len(e.riders)))
	g.meter.entrySizes.Observe(uint64(len(e.requests)), histogram.SizeLow)
	if mutants.On(mutants.AckBeforeCommit) {
		acknowledgeEarly(e)
	}
	rs, err := g.host.nh.Propose(g.session, b.Bytes(), proposeTimeout)
	if err != nil {
		g.fail(e, codeOf(err))
		return
	}
	g.host.spawn(func() {
		r := <-rs.ResultC()
		switch {
		case r.Completed():
		case r.Dropped():
			g.fail(e, protocol.CodeNoLeader)
		default:
			g.fail(e, protocol.CodeUnknown)
		}
		rs.Release()
		g.poke()
	})
}

// acknowledgeEarly is a planted bug: callers hear that all went well before it
// has.
func acknowledgeEarly(e *entry) {
	for _, q := range e.requests {
		q.answer(structures.OK(protocol.AppendInts(nil, 1)), 1)
		q.Done = func(protocol.Reply) {}
	}
}

// rideLate is a planted bug: a read rides on an entry that was proposed before it
// came. qmu is held.
func (g *Group) rideLate(q *Request) bool {
	for _, e := range g.flying {
		e.riders = append(e.riders, q)
		return true
	}
	return false
}

// codeOf says what an error of Propose or ReadIndex means: whether the request
// entered, not whether it is temporary.
func codeOf(err error) protocol.Code {
	switch {
	case errors.Is(err, dragonboat.ErrSystemBusy):
		return protocol.CodeBusy
	case errors.Is(err, dragonboat.ErrShardNotReady):
		return protocol.CodeNoLeader
	case errors.Is(err, dragonboat.ErrClosed), errors.Is(err, dragonboat.ErrShardClosed), errors.Is(err, dragonboat.ErrShardNotFound):
		return protocol.CodeShutdown
	case errors.Is(err, dragonboat.ErrPayloadTooBig):
		return protocol.CodeTooLarge
	default:
		return protocol.CodeUnknown
	}
}

// land removes an entry from those in flight; whoever lands it answers its
// callers. It returns nil where it has landed already.
func (g *Group) land(number uint64) *entry {
	g.qmu.Lock()
	defer g.qmu.Unlock()
	e := g.flying[number]
	delete(g.flying, number)
	return e
}

// finish closes an entry to repeats and returns who joined whom.
func (e *entry) finish() map[int][]*Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	return e.joined
}

// fail answers the callers of an entry that was not applied here. Its reads
// try again by ReadIndex.
func (g *Group) fail(e *entry, code protocol.Code) {
	if g.land(e.number) == nil {
		return
	}
	g.qmu.Lock()
	if g.claim.entry == e.number {
		g.claim = claim{}
	}
	g.landed(e.number)
	g.qmu.Unlock()
	for _, s := range e.attached {
		g.unpark(s, protocol.CodeSessionUnknown)
	}
	joined := e.finish()
	for i, q := range e.requests {
		g.refuseWith(q, code)
		for _, j := range joined[i] {
			g.refuseWith(j, code)
		}
	}
	g.readAgain(e.riders, false)
	g.poke()
}

// leads reports whether this replica leads and takes requests in. Whoever ends
// that empties the queues afterwards, under qmu: what is queued while leads is
// true is answered, and nothing may be queued otherwise. qmu is held.
func (g *Group) leads() bool { return !g.stopped && g.Leader().Self }

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

// refuseFollower answers a request that this replica cannot take because it
// does not lead, or does no longer.
func (g *Group) refuseFollower(q *Request) {
	if g.hold(q) {
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

// setLeader notes who leads. A replica that leads no longer answers everybody
// who waits for it, so that they go to the new leader at once.
func (g *Group) setLeader(l Leader) {
	old := g.leader.Swap(&l)
	if old.Self && (!l.Self || l.Term != old.Term) {
		g.stepDown()
	}
	if l.Replica != 0 {
		g.letGo()
	}
	g.poke()
}

func (g *Group) stepDown() {
	g.qmu.Lock()
	queued := append(g.writes, g.reads...)
	g.writes, g.reads, g.queuedBytes = nil, nil, 0
	flying := make([]*entry, 0, len(g.flying))
	for _, e := range g.flying {
		flying = append(flying, e)
	}
	g.claim = claim{}
	g.endsFlying, g.ownFlying = 0, 0
	parked := g.sessions.reset()
	g.qmu.Unlock()
	for _, q := range append(queued, parked...) {
		g.refuseFollower(q)
	}
	for _, e := range flying {
		g.fail(e, protocol.CodeUnknown)
	}
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

// close stops run and answers everybody.
func (g *Group) close() {
	g.qmu.Lock()
	if g.stopped {
		g.qmu.Unlock()
		return
	}
	g.stopped = true
	g.qmu.Unlock()
	close(g.stop)
	g.done.Wait()
	g.leader.Store(&Leader{})
	g.stepDown()
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

// turnDown answers a request that was not carried out.
func (q *Request) turnDown(r protocol.Reply) {
	if int(r.Code) < protocol.NumCodes {
		q.group.meter.refused[r.Code].Add(1)
	}
	q.Done(r)
}
