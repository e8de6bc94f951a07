package shardgroups

import (
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/histogram"
)

// Bounds of a group's queue and entries.
const (
	maxEntryRequests   = 4096
	maxEntryBytes      = 1 << 20
	maxEntriesInFlight = 4
	maxQueuedRequests  = 32 << 10
	busyWaitHint       = 20 // milliseconds

	// maxQueueTime is the longest that a write may wait: then more requests arrive than
	// can be carried out. In a longer queue as many would be carried out, but all would
	// be answered too late to be of use.
	maxQueueTime = 250 * time.Millisecond
	// shortQueue is the length below which the queued requests fit one entry, so that
	// there is no backlog.
	shortQueue = 256
)

// proposeTimeout bounds how long an entry may be in flight. It is much longer than an
// election. After it the outcome is unknown.
const proposeTimeout = 5 * time.Second

// A proposer is the leader's half of a [Group]: it queues requests, gathers them into
// entries, proposes the entries, and answers the rest if this replica no longer leads.
// On a follower its queues are empty.
//
// A request's path:
//
//	Group.Submit
//	  | refused, stale read, repeat of a waiting call: answered there
//	  | session not known to be kept: unkept -> resolveKeepers
//	  v
//	enter -> writes, reads
//	           |       |
//	           |       +-- no entry to build: readIndex -> majority -> Group.readNow
//	           v
//	run: step: build (session unknown: sessions.parked -> attach -> writes)
//	  |          takes the queued reads along: entry.piggybacked
//	  v
//	propose: inFlight -> Raft -> groupMachine.Update: complete, apply, answer
//	                      |                             then Group.readNow(piggybacked)
//	                      +-- refused, timed out, deposed: fail
//
// Lock order: Group.mu, then proposer.mu, then entry.mu. No lock is held while a
// Request's Done runs.
type proposer struct {
	group   *Group
	host    *Host
	session *client.Session // of the engine, for entries

	wake chan struct{} // run has something to do
	stop chan struct{} // closed when the group is stopped
	done sync.WaitGroup

	mu           sync.Mutex // guards what follows
	stopped      bool
	gates        int        // transfers in progress: no entry is proposed for a request
	gated        []*Request // refused during a transfer, before the next leader is known
	writes       []*Request
	reads        []*Request
	queuedBytes  int               // of writes and reads
	inFlight     map[uint64]*entry // by number
	number       uint64            // of the last entry
	completedAt  time.Time         // when an entry was applied that was proposed here
	reading      int               // ReadIndex rounds in progress
	wantEntry    bool              // log an entry even without a request
	claim        claim
	sessions     sessions
	unkept       gathering[*Request] // until it is known who keeps their sessions
	endsApplied  uint64              // number of the last ended session applied
	endings      uint64              // known sessions that had ended when known ones were last forgotten
	endsInFlight uint64              // the entry that carries further ended sessions; 0: none
	owned        int                 // partitions owned, as applied
	ownInFlight  uint64              // the entry that carries the partitions owned; 0: none
	raiseTo      uint32              // a level to log; 0: none
	restoreBatch *extract.Batch      // of a backup, to log; nil: none
}

// claim is this leader's claim to the group's clock.
type claim struct {
	nonce uint64        // of the claim that was last logged by this replica; 0: none
	entry uint64        // that carries it
	epoch uint64        // that it opened; 0: not applied yet
	base  time.Duration // host time when it was applied
}

// entry is an entry of the log that is in flight.
type entry struct {
	number      uint64
	proposed    time.Time
	requests    []*Request
	piggybacked []*Request // reads that are answered when the entry is applied here
	attached    []protocol.SessionID

	mu     sync.Mutex // guards the following, between repeats and completion
	over   bool
	joined map[int][]*Request // repeats of requests in flight
}

func (p *proposer) init(g *Group) {
	p.group, p.host = g, g.host
	p.session = g.host.nh.GetNoOPSession(uint64(g.id))
	p.wake, p.stop = make(chan struct{}, 1), make(chan struct{})
	p.inFlight = map[uint64]*entry{}
}

// start starts run.
func (p *proposer) start() { p.done.Go(p.run) }

// close stops run, and refuses further requests. It reports whether this was the first
// call.
func (p *proposer) close() bool {
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return false
	}
	p.stopped = true
	p.mu.Unlock()
	close(p.stop)
	p.done.Wait()
	return true
}

func (p *proposer) isStopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stopped
}

// enter queues a request that [Group.Submit] has checked, or answers it.
func (p *proposer) enter(q *Request) {
	read := q.Flags&protocol.FlagRead != 0
	if p.group.waitsAlready(q) {
		return
	}
	if !read && p.group.pressed(q) {
		return
	}
	p.mu.Lock()
	switch {
	case p.stopped:
		p.mu.Unlock()
		q.refuse(protocol.CodeShutdown)
		return
	case !p.leads(): // it led when Submit looked
		p.mu.Unlock()
		p.group.refuseFollower(q)
		return
	case len(p.writes)+len(p.reads) >= maxQueuedRequests || p.queuedBytes+len(q.Raw) > p.host.cfg.QueueBytes:
		p.mu.Unlock()
		q.busy("the group's queue is full", busyWaitHint)
		return
	case !read && q.Kind != protocol.KindControl && p.overrun(q.Arrived):
		p.mu.Unlock()
		q.busy("the group is overloaded: more requests come than it can carry out", int(maxQueueTime/time.Millisecond))
		return
	case q.Flags&protocol.FlagRepeat != 0 && !read:
		if joined, _ := p.join(q); joined {
			p.mu.Unlock()
			p.group.stats.Repeats.Add(1)
			return
		}
	}
	if read {
		p.reads = append(p.reads, q)
	} else {
		p.writes = append(p.writes, q)
	}
	p.queuedBytes += len(q.Raw)
	plantLatePiggyback(p, q)
	p.mu.Unlock()
	p.poke()
}

// overrun reports whether requests have waited for as long as they may. A queue that
// does not move at all is not overrun: it waits for a leader or a majority. mu is held.
func (p *proposer) overrun(now time.Time) bool {
	return len(p.writes) >= shortQueue && now.Sub(p.writes[0].Arrived) > maxQueueTime && now.Sub(p.completedAt) < maxQueueTime
}

// maxJoined bounds the repeats that share the answer of one request in flight. Further
// ones are queued like other requests, and answered from the record.
const maxJoined = 16

// join lets a repeat share the answer of the same request in flight (ONCE-3). If the
// first request is still queued both are logged, and the second is answered from the
// record of the first. mu is held.
func (p *proposer) join(q *Request) (joined, inFlight bool) {
	for _, e := range p.inFlight {
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

// poke wakes run.
func (p *proposer) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run gathers requests into entries and reads into ReadIndex rounds, until the
// group is stopped.
func (p *proposer) run() {
	for {
		select {
		case <-p.wake:
		case <-p.stop:
			return
		}
		for p.step() {
		}
	}
}

// step does one thing and reports whether there may be another.
func (p *proposer) step() bool {
	p.mu.Lock()
	if !p.leads() {
		p.mu.Unlock()
		return false
	}
	canWrite := p.gates == 0 && len(p.inFlight) < maxEntriesInFlight
	if canWrite && (len(p.writes) > 0 || p.wantEntry) {
		e, b := p.build()
		p.mu.Unlock()
		if e != nil {
			p.propose(e, b)
		}
		return true
	}
	if len(p.reads) > 0 && p.reading < mutantReadRounds(maxReadRounds) {
		batch := p.takeReads()
		p.reading++
		p.mu.Unlock()
		p.readIndex(batch)
		return true
	}
	p.mu.Unlock()
	return false
}

// takeReads empties the queue of reads. mu is held.
func (p *proposer) takeReads() []*Request {
	batch := p.reads
	p.reads = nil
	for _, q := range batch {
		p.queuedBytes -= len(q.Raw)
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

// build makes the next entry from the queue. mu is held.
func (p *proposer) build() (*entry, *groupstate.Builder) {
	now := time.Now()
	take, size := fitting(p.writes)
	requests := make([]*Request, 0, take)
	var late, parked []*Request
	for _, q := range p.writes[:take] {
		p.queuedBytes -= len(q.Raw)
		switch {
		case q.late(now):
			late = append(late, q)
		case !p.sessions.known(q.Caller.Session):
			parked = append(parked, q)
		default:
			requests = append(requests, q)
		}
	}
	if take == len(p.writes) {
		clear(p.writes)
		p.writes = p.writes[:0]
	} else {
		p.writes = append([]*Request(nil), p.writes[take:]...)
	}
	p.wantEntry = false
	if len(late)+len(parked) > 0 {
		p.host.spawn(func() {
			for _, q := range late {
				q.refuse(protocol.CodeExpired)
			}
			p.park(parked)
		})
	}
	return p.seal(&entry{proposed: now, requests: requests}, size)
}

// seal builds an entry around its requests, which have size bytes. mu is held.
func (p *proposer) seal(e *entry, size int) (*entry, *groupstate.Builder) {
	p.number++
	e.number = p.number
	var b groupstate.Builder
	b.Reset(p.header(e.number), size+256)
	if p.claim.nonce == 0 {
		p.claim = claim{nonce: rand.Uint64() | 1, entry: e.number}
		b.Claim(p.claim.nonce)
	}
	p.addCommands(e, &b)
	for _, q := range e.requests {
		b.Request(q.Raw)
	}
	e.piggybacked = p.takeReads()
	p.inFlight[e.number] = e
	return e, &b
}

// header is the header of an entry that is proposed now. mu is held.
func (p *proposer) header(number uint64) groupstate.Header {
	h := groupstate.Header{Proposer: p.host.nonce, Number: number, Level: p.group.level.Load()}
	if p.claim.epoch != 0 {
		h.ClockEpoch = p.claim.epoch
		h.Elapsed = mutantElapsed(int64(p.host.mono.now() - p.claim.base))
	}
	return h
}

// propose proposes an entry. Its callers are answered by Update, or by fail if it is
// not applied here.
func (p *proposer) propose(e *entry, b *groupstate.Builder) {
	p.group.stats.Entries.Add(1)
	p.group.stats.Writes.Add(uint64(len(e.requests)))
	p.group.stats.Piggybacked.Add(uint64(len(e.piggybacked)))
	p.group.meter.entrySizes.Observe(uint64(len(e.requests)), histogram.SizeLow)
	plantEarlyAcknowledgement(e)
	rs, err := p.host.nh.Propose(p.session, b.Bytes(), proposeTimeout)
	if err != nil {
		p.fail(e, codeOf(err))
		return
	}
	p.host.spawn(func() {
		r := <-rs.ResultC()
		switch {
		case r.Completed():
		case r.Dropped():
			p.fail(e, protocol.CodeNoLeader)
		default:
			p.fail(e, protocol.CodeUnknown)
		}
		rs.Release()
		p.poke()
	})
}

// codeOf returns what an error of Propose or ReadIndex means: whether the request
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

// complete removes an entry from those in flight; the caller then answers its
// requests. It returns nil if it is complete already.
func (p *proposer) complete(number uint64) *entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.inFlight[number]
	delete(p.inFlight, number)
	return e
}

// finish closes an entry to repeats and returns the repeats that joined its requests.
func (e *entry) finish() map[int][]*Request {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	return e.joined
}

// fail answers the callers of an entry that was not applied here. Its piggybacked reads
// are queued for ReadIndex.
func (p *proposer) fail(e *entry, code protocol.Code) {
	if p.complete(e.number) == nil {
		return
	}
	p.mu.Lock()
	if p.claim.entry == e.number {
		p.claim = claim{}
	}
	p.completed(e.number)
	p.mu.Unlock()
	for _, s := range e.attached {
		p.unpark(s, protocol.CodeSessionUnknown)
	}
	joined := e.finish()
	for i, q := range e.requests {
		p.group.refuseWith(q, code)
		for _, j := range joined[i] {
			p.group.refuseWith(j, code)
		}
	}
	p.readAgain(e.piggybacked, false)
	p.poke()
}

// leads reports whether this replica leads and accepts requests. When that ends,
// stepDown empties the queues under mu: so a request that is queued while leads is true
// is answered, and none may be queued otherwise. mu is held.
func (p *proposer) leads() bool { return !p.stopped && p.group.Leader().Self }

// stepDown answers all requests that are queued or in flight, because this replica no
// longer leads, or not in the same term.
func (p *proposer) stepDown() {
	p.mu.Lock()
	queued := append(p.writes, p.reads...)
	p.writes, p.reads, p.queuedBytes = nil, nil, 0
	inFlight := make([]*entry, 0, len(p.inFlight))
	for _, e := range p.inFlight {
		inFlight = append(inFlight, e)
	}
	p.claim = claim{}
	p.endsInFlight, p.ownInFlight = 0, 0
	parked := p.sessions.reset()
	p.mu.Unlock()
	for _, q := range append(queued, parked...) {
		p.group.refuseFollower(q)
	}
	for _, e := range inFlight {
		p.fail(e, protocol.CodeUnknown)
	}
}
