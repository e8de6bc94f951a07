package hub

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// Source is the replica whose state is watched. Its methods are safe for concurrent use.
type Source interface {
	// View calls f with the applied state, which does not change meanwhile. f must not
	// block, and keeps nothing but what it may keep of a Change or a Listing.
	View(f func(groupstate.Watched))
	// Term returns in which term the replica leads, 0 if it does not.
	Term() uint64
	// Leader returns who leads, 0 if that is not known.
	Leader() protocol.MemberID
	// Began returns the version at which the group has begun. What is below it was lost with
	// the group of before: in memory the generation alone does not say so.
	Began() protocol.Version
	// Confirm calls done, with CodeOK once a majority has confirmed, after Confirm was
	// called, that the replica leads, and it has applied what was committed by then. done
	// must not block.
	Confirm(done func(protocol.Code))
}

// Sink is a connection on which watches are served. Its methods are safe for concurrent
// use and do not block; the Hub calls them without a lock.
type Sink interface {
	// Writable reports whether events may be sent. If it reports false it calls Hub.Wake once
	// they may.
	Writable(h *Hub) bool
	// Send sends an encoded message, whatever Writable reports.
	Send(message []byte)
	// Reply answers the registration of a watch.
	Reply(r protocol.Reply)
	// Forgotten says that the Hub has no watch of the ID any more.
	Forgotten(id uint64)
	// Closed reports whether the connection has ended. Hub.Drop comes after that.
	Closed() bool
}

const (
	maxHold    = 256       // events that are read under one hold of the state's lock, and the rest of their mutation
	maxTurns   = 32        // of partitions that are behind, in turn with those that are live
	turnBytes  = 64 << 10  // of events in a turn
	pageBytes  = 256 << 10 // of entries in a turn
	pageLength = 1000      // entries in a turn
	maxLive    = 256 << 10 // bytes of events that all watches of a filter are sent at once
	maxIDs     = 1024      // watches that share a frame

	maxCommands = 4096 // of clients, beyond which they are not read
)

// Hub serves watches. Its methods are safe for concurrent use and do not block.
type Hub struct {
	source   Source
	wake     chan struct{} // capacity 1
	stop     chan struct{}
	done     sync.WaitGroup
	watching atomic.Bool // somebody watches, or is about to
	began    time.Time
	changed  atomic.Int64 // since began: when the state first changed after it was last looked at; 0: it has not

	mu       sync.Mutex // guards what follows
	commands []func()
	coming   map[*watch]struct{} // whose registration is under way
	closed   bool

	loop  loop // of the goroutine alone
	stats stats
}

// loop is what the goroutine of a Hub has and does.
type loop struct {
	hub *Hub

	term    uint64               // in which the replica leads
	pass    uint64               // counts looks at the partitions
	tracked []tracked            // by partition
	sinks   map[Sink]watches     // all watches
	feeds   map[feedKey]*feed    // by filter
	names   map[structure]*named // by structure
	ready   []*part              // that are behind and may go on, in turn
	waiting int                  // parts that wait for the hub to reach their position
	syncing map[*watch]struct{}
	touched []*feed // with events of the partition that is looked at
	filled  []*feed // with sections to send
	bytes   int     // of these
	told    int     // bytes of history since all watches were told their positions
	frame   []byte
	ids     []uint64
	lagged  time.Time // when the lag was last looked at
}

// tracked is a partition that somebody watches.
type tracked struct {
	watches int                 // parts of watches; 0: nobody watches it
	at      groupstate.Position // where those are that are live; no mutation is half done there
	changed uint64              // the pass in which it last moved
	rows    map[*feed]struct{}  // of watches of rows
	waiting []*part             // whose position is ahead of at
}

// New returns the Hub of a replica. Start starts it.
func New(source Source) *Hub {
	h := &Hub{source: source, coming: map[*watch]struct{}{}, began: time.Now(), wake: make(chan struct{}, 1), stop: make(chan struct{})}
	h.loop = loop{hub: h, sinks: map[Sink]watches{}, feeds: map[feedKey]*feed{}, names: map[structure]*named{}, syncing: map[*watch]struct{}{}}
	return h
}

// Start starts the goroutine.
func (h *Hub) Start() { h.done.Go(h.run) }

// Close ends all watches with CodeShutdown, and the goroutine. It may be called twice.
func (h *Hub) Close() {
	h.mu.Lock()
	first := !h.closed
	h.closed = true
	h.mu.Unlock()
	if first {
		close(h.stop)
	}
	h.done.Wait()
}

// Applied says that the state has changed, or who leads. It costs an atomic load while
// nobody watches.
func (h *Hub) Applied() {
	if h.watching.Load() {
		if h.changed.Load() == 0 {
			h.changed.CompareAndSwap(0, int64(time.Since(h.began)))
		}
		h.poke()
	}
}

func (h *Hub) poke() {
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// do has the goroutine call f. It reports false if the hub is closed.
func (h *Hub) do(f func()) bool {
	h.mu.Lock()
	closed := h.closed
	if !closed {
		h.commands = append(h.commands, f)
	}
	h.mu.Unlock()
	h.poke()
	return !closed
}

// Watch registers a watch that was checked, for a request. The sink gets the reply, and
// then what is watched.
//
// Everything begins with a confirmation that was asked for after the request had come:
// else a deposed leader would list an old state, and "from now" would bring a write that
// was acknowledged before the call (WATCH-9). It also says that this replica has applied
// what any position can be of, so that one ahead of it is of another history (WATCH-4).
func (h *Hub) Watch(sink Sink, q *protocol.Request, spec *protocol.Watch) {
	w := newWatch(sink, q, spec)
	h.mu.Lock()
	h.coming[w] = struct{}{}
	h.mu.Unlock()
	h.watching.Store(true) // before the state is looked at: what is applied after that wakes the hub
	confirm := h.source.Confirm
	if mutants.On(mutants.WatchFromDeposed) || mutants.On(mutants.AheadIsGap) && spec.Parts[0].Start == protocol.WatchAfter {
		confirm = func(done func(protocol.Code)) { done(protocol.CodeOK) }
	}
	confirm(func(code protocol.Code) {
		if !h.do(func() { h.loop.add(w, spec, code) }) {
			w.refuse(protocol.CodeShutdown, 0)
		}
	})
}

// Credit lets a watch be sent n bytes more.
func (h *Hub) Credit(sink Sink, id, n uint64) {
	h.do(func() {
		if w := h.loop.sinks[sink][id]; w != nil {
			w.credit = min(w.credit+int64(min(n, maxCredit)), maxCredit)
			h.loop.resume(w)
		}
	})
}

// Sync is a probe: the watch is sent a note as soon as a majority has confirmed this
// leader, and another once it has been sent all that was committed by then. One probe is
// under way and one waits, in place of any that waited before.
func (h *Hub) Sync(sink Sink, id, n uint64) {
	h.do(func() {
		w := h.loop.sinks[sink][id]
		switch {
		case w == nil:
		case w.probing:
			w.next, w.hasNext = n, true
		default:
			h.loop.probe(w, n)
		}
	})
}

// End ends a watch, also one that is not registered yet.
func (h *Hub) End(sink Sink, id uint64) {
	h.mu.Lock()
	for w := range h.coming {
		if w.sink == sink && w.id == id {
			w.cancelled.Store(true)
		}
	}
	h.mu.Unlock()
	h.do(func() {
		if w := h.loop.sinks[sink][id]; w != nil {
			h.loop.remove(w)
		}
	})
}

// Drop ends the watches of a sink.
func (h *Hub) Drop(sink Sink) {
	h.do(func() {
		for _, w := range h.loop.sinks[sink] {
			h.loop.remove(w)
		}
	})
}

// Wake says that a sink is writable again.
func (h *Hub) Wake(sink Sink) {
	h.do(func() {
		for _, w := range h.loop.sinks[sink] {
			h.loop.resume(w)
		}
	})
}

// Crowded reports whether more is asked for than the hub has got round to.
func (h *Hub) Crowded() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.closed && len(h.commands) > maxCommands
}

func (h *Hub) run() {
	for {
		select {
		case <-h.wake:
		case <-h.stop:
			h.takeCommands()
			h.loop.endAll(protocol.CodeShutdown)
			return
		}
		for !h.stopped() && h.loop.round() {
		}
	}
}

func (h *Hub) stopped() bool {
	select {
	case <-h.stop:
		return true
	default:
		return false
	}
}

// takeCommands carries out what was asked for.
func (h *Hub) takeCommands() {
	h.mu.Lock()
	commands := h.commands
	h.commands = nil
	h.mu.Unlock()
	for _, f := range commands {
		f()
	}
}

// round does what there is to do, in bounded steps: what was asked for, what is new, and
// then some turns of those that are behind. It reports whether there is more.
func (h *loop) round() bool {
	if term := h.hub.source.Term(); term != h.term {
		// A replica that no longer leads, or leads anew, serves none of the watches that it
		// had (WATCH-10): others may have written in between.
		h.endAll(protocol.CodeNotLeader)
		h.term = term
	}
	h.hub.takeCommands()
	if len(h.sinks) == 0 {
		h.hub.mu.Lock()
		idle := len(h.hub.coming) == 0
		if idle {
			h.hub.watching.Store(false)
			h.hub.stats.lag.Store(0)
		}
		h.hub.mu.Unlock()
		return false
	}
	more := h.advance()
	more = h.serve() || more
	h.answerProbes()
	h.lag()
	return more || h.waiting > 0
}

// advance takes the live watches to the present state, at most one hold of the lock for
// each partition. It reports whether there is more.
func (h *loop) advance() (more bool) {
	var moved []protocol.PartitionID
	budget := 0
	changed, frames := h.hub.changed.Swap(0), h.hub.stats.Frames.Load() // before the state is looked at
	h.hub.source.View(func(s groupstate.Watched) {
		budget = s.HistoryBudget()
		for i := range h.tracked {
			id := protocol.PartitionID(i)
			if t := &h.tracked[i]; t.watches > 0 {
				if current, _ := s.Current(id); current != t.at.Version {
					moved = append(moved, id)
				}
			}
		}
	})
	h.pass++
	for _, id := range moved {
		more = h.follow(id) || more
		if h.bytes > maxLive {
			h.flush()
		}
	}
	h.flush()
	if changed != 0 && h.hub.stats.Frames.Load() != frames {
		h.hub.stats.delay.ObserveTime(time.Since(h.hub.began) - time.Duration(changed))
	}
	if h.told > budget/4 && !mutants.On(mutants.BookmarkForgotten) { // WATCH-13
		h.told = 0
		for _, of := range h.sinks {
			for _, w := range of {
				h.bookmark(w)
			}
		}
	}
	return more
}

// follow takes the live watches of a partition on, by whole mutations.
func (h *loop) follow(id protocol.PartitionID) (more bool) {
	t := &h.tracked[id]
	from := t.at
	var changes []groupstate.Change
	var next groupstate.Position
	var ok bool
	code := protocol.CodeOK
	h.hub.source.View(func(s groupstate.Watched) {
		if code = s.Watchable(id); code != protocol.CodeOK {
			return
		}
		current, _ := s.Current(id)
		if changes, next, ok = s.Mutations(id, from, maxHold); !ok || next.Version > current {
			next = groupstate.Position{Version: current}
		}
		more = next.Version < current
		for f := range t.rows {
			f.row, f.exists = s.WatchedRow(id, f.key.kind, f.key.name, []byte(f.key.from))
			f.seen = current
		}
	})
	if code != protocol.CodeOK {
		h.notHere(id, code)
		return false
	}
	t.at, t.changed = next, h.pass
	if ok {
		h.dispatch(id, from, changes)
	} else { // the history is shorter than what has come since: each watch learns by itself what that means for it
		h.leaveBehind(id, from)
	}
	for f := range t.rows {
		for _, of := range f.watches {
			for _, w := range of {
				h.sendRow(w)
			}
		}
	}
	h.waiting -= len(t.waiting)
	for _, p := range t.waiting {
		h.queue(p)
	}
	t.waiting = nil
	return more
}
