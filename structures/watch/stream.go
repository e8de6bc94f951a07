package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// maxOverruns is how often in a row a list may begin anew, because changes came faster
// than they were taken.
const maxOverruns = 3

// Stream is one watch. It is safe for concurrent use, but for Next and Cursor, which are
// for one goroutine.
type Stream struct {
	spec   structures.WatchSpec
	window int
	work   chan struct{} // capacity 1: the driver has something to do
	filled chan struct{} // capacity 1: there is something to yield
	ended  chan struct{} // closed by Close

	mu       sync.Mutex // guards what follows; Registration.send is called under it
	cluster  protocol.UUID
	parts    map[protocol.PartitionID]*part
	order    []protocol.PartitionID
	regs     map[*Registration]struct{}
	queue    []*item
	events   int   // of queue
	awaited  int   // partitions that a Synced waits for
	err      error // why the watch has ended; yielded after the queue
	closed   bool
	sequence uint64

	begun   bool   // Synced was told once
	probe   uint64 // the last
	asked   time.Time
	probing map[*Registration]struct{}
	row     *item // of a watched row: not yielded yet
	last    rowState
	stats   Stats
}

// Stats are counts of a Stream.
type Stats struct{ Resumes, Gaps, Relists uint64 }

// rowState is what was last known of a watched row.
type rowState struct {
	known, gone bool
	version     protocol.Version
}

// position is what a partition's registration goes on from.
type position struct {
	known   bool
	version protocol.Version
	skip    uint32
	listing bool
	listed  string
}

// part is a partition of the watch.
type part struct {
	id       protocol.PartitionID
	reg      *Registration // nil: it is registered nowhere
	at       position      // of what was received
	out      structures.CursorPart
	drop     uint32  // events still to come that were yielded before
	open     []*item // of a mutation that is not whole
	opened   uint64  // when it began
	tail     *item   // the last in the queue; nil: none is
	buffered int     // bytes of what was received and not yielded
	awaited  bool    // Synced waits for it
	overruns int     // of its list
}

// item is what is yielded, or, without an event, where that moves the cursor.
type item struct {
	part  *part // nil: of the whole watch
	event structures.WatchEvent
	cost  int
	yield bool
	at    position // of a move, and of an entry
}

// New returns the stream of a watch on a grid. Errors: [quorate.ErrInvalid] for a bad
// window or progress, and for a cursor that is none, or of another structure.
func New(spec structures.WatchSpec, cluster protocol.UUID) (*Stream, error) {
	s := &Stream{
		spec: spec, window: spec.Window, cluster: cluster,
		work: make(chan struct{}, 1), filled: make(chan struct{}, 1), ended: make(chan struct{}),
		parts: map[protocol.PartitionID]*part{}, order: slices.Clone(spec.Partitions), regs: map[*Registration]struct{}{},
	}
	switch {
	case s.window == 0:
		s.window = structures.DefaultWindow
	case s.window < 0 || s.window > structures.MaxWindow:
		return nil, s.failed(fmt.Errorf("%w: a window of %d bytes, at most %d", quorate.ErrInvalid, s.window, structures.MaxWindow))
	}
	if p := spec.Progress; p != 0 && p < structures.MinProgress {
		return nil, s.failed(fmt.Errorf("%w: progress every %v, at least %v", quorate.ErrInvalid, p, structures.MinProgress))
	}
	for _, id := range s.order {
		s.parts[id] = &part{id: id, awaited: true}
	}
	s.awaited = len(s.parts)
	if err := s.begin(); err != nil {
		return nil, s.failed(err)
	}
	s.poke(s.work)
	return s, nil
}

// begin sets where the partitions begin.
func (s *Stream) begin() error {
	for _, p := range s.parts {
		p.out.Partition = p.id
		switch {
		case s.spec.Current:
			p.at.listing, p.out.Listing = true, true
		case s.spec.AfterVersion != 0 || s.spec.FromVersion:
			p.at = position{known: true, version: s.spec.AfterVersion}
			p.out.Known, p.out.Version = true, s.spec.AfterVersion
		}
	}
	c := s.spec.After
	switch {
	case c == nil:
		return nil
	case c.IsZero():
		return fmt.Errorf("%w: the cursor is none", quorate.ErrInvalid)
	case c.Kind != s.spec.Kind || c.Name != s.spec.Name:
		return fmt.Errorf("%w: a cursor of %s, which is another structure", quorate.ErrInvalid, c.Name)
	}
	for i := range c.Parts {
		if p := s.parts[c.Parts[i].Partition]; p != nil {
			p.out = c.Parts[i]
			p.at = position{p.out.Known, p.out.Version, p.out.Skip, p.out.Listing, p.out.Listed}
			p.drop = p.out.Passed
		}
	}
	for _, p := range s.parts {
		if !p.at.known && !p.at.listing {
			return fmt.Errorf("%w: a cursor of other keys", quorate.ErrInvalid)
		}
	}
	if c.Cluster != s.cluster {
		s.gridLost()
	}
	return nil
}

func (s *Stream) poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// failed makes the caller's error.
func (s *Stream) failed(cause error) error {
	return &quorate.Error{Op: s.spec.Verb, Object: s.spec.Object(), Cause: cause}
}

// Next returns the next event, or the error that ends the watch.
func (s *Stream) Next(ctx context.Context) (structures.WatchEvent, error) {
	for {
		if err := contexts.Err(ctx); err != nil {
			return structures.WatchEvent{}, s.failed(err)
		}
		s.mu.Lock()
		for len(s.queue) > 0 && (s.begun || !s.fromNow()) {
			it := s.queue[0]
			s.queue[0] = nil
			s.queue = s.queue[1:]
			s.pass(it)
			if it.yield {
				s.giveBack(s.window / 4)
				s.mu.Unlock()
				return it.event, nil
			}
		}
		if len(s.queue) == 0 {
			s.queue = nil
		}
		err, closed := s.err, s.closed
		if closed {
			err = s.failed(quorate.ErrClosed)
		}
		s.giveBack(1) // what waits may need it
		more := err == nil && (s.begun || !s.fromNow()) && s.unblock()
		s.mu.Unlock()
		if err != nil {
			var gap *structures.GapError
			if errors.As(err, &gap) {
				gap.Cursor = s.Cursor()
			}
			return structures.WatchEvent{}, err
		}
		if more {
			continue
		}
		select {
		case <-s.filled:
		case <-ctx.Done():
		case <-s.ended:
		}
	}
}

// pass moves the cursor behind an item. mu is held.
func (s *Stream) pass(it *item) {
	if it.yield {
		s.events--
	}
	if it == s.row {
		s.row = nil
	}
	p := it.part
	if p == nil {
		return
	}
	if p.tail == it {
		p.tail = nil
	}
	p.buffered -= it.cost
	if p.reg != nil {
		p.reg.unreturned += it.cost
	}
	switch {
	case s.isRow(): // it has no cursor
	case !it.yield || it.event.Type == structures.EventCurrent || it.event.Type == structures.EventGap:
		p.out.Known, p.out.Version, p.out.Skip, p.out.Passed = it.at.known, it.at.version, it.at.skip, 0
		p.out.Listing, p.out.Listed = it.at.listing, it.at.listed
	case it.event.More:
		p.out.Passed++
	default:
		p.out.Known, p.out.Version, p.out.Skip, p.out.Passed = true, it.event.Version, 0, 0
	}
}

// giveBack sends the credit of what was yielded to registrations that have as much of it.
// mu is held.
func (s *Stream) giveBack(least int) {
	for r := range s.regs {
		if r.unreturned >= least && r.unreturned > 0 && r.begun {
			r.control(protocol.WatchCredit, uint64(r.unreturned))
			r.unreturned = 0
		}
	}
}

// unblock hands on the oldest mutation that is not whole, if all credit is used up for
// such: no more would come. It reports whether it did. mu is held.
func (s *Stream) unblock() bool {
	if s.events > 0 {
		return false
	}
	for r := range s.regs {
		buffered := 0
		var oldest *part
		for _, p := range r.parts {
			buffered += p.buffered
			if len(p.open) > 0 && (oldest == nil || p.opened < oldest.opened) {
				oldest = p
			}
		}
		if oldest != nil && buffered >= s.window {
			s.push(oldest.open...)
			oldest.open = nil
			return true
		}
	}
	return false
}

// push queues items. mu is held.
func (s *Stream) push(items ...*item) {
	for _, it := range items {
		if it.yield {
			s.events++
		}
		if it.part != nil {
			it.part.tail = it
		}
	}
	s.queue = append(s.queue, items...)
	s.poke(s.filled)
}

// tell queues an event of the whole watch. mu is held.
func (s *Stream) tell(t structures.EventType) {
	e := structures.WatchEvent{Event: structures.Event{Type: t}}
	if t == structures.EventProgress {
		e.AsOf = s.asked
	}
	s.push(&item{yield: true, event: e})
}

// Name returns the name of the structure.
func (s *Stream) Name() string { return s.spec.Name }

// Cursor returns the position behind the last event that Next has returned.
func (s *Stream) Cursor() structures.WatchCursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor()
}

func (s *Stream) cursor() structures.WatchCursor {
	c := structures.WatchCursor{Cluster: s.cluster, Kind: s.spec.Kind, Name: s.spec.Name}
	for _, id := range s.order {
		p := s.parts[id]
		out := p.out
		if !out.Known && !out.Listing { // from now: nothing has come, and where it began is known
			out.Known, out.Version, out.Skip = p.at.known, p.at.version, p.at.skip
		}
		if out.Known || out.Listing {
			c.Parts = append(c.Parts, out)
		}
	}
	return c
}

// Close ends the watch.
func (s *Stream) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for r := range s.regs {
		r.end()
	}
	close(s.ended)
}

// Ended returns a channel that is closed with the watch.
func (s *Stream) Ended() <-chan struct{} { return s.ended }

// Err returns why the watch has ended, nil if it has not.
func (s *Stream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return s.failed(quorate.ErrClosed)
	}
	return s.err
}

// Fail ends the watch with an error, after what was received.
func (s *Stream) Fail(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail(cause)
}

func (s *Stream) fail(cause error) {
	if s.err != nil || s.closed {
		return
	}
	s.err = s.failed(cause)
	for r := range s.regs {
		r.end()
	}
	s.poke(s.filled)
	s.poke(s.work)
}

// settled notes that a partition is where Synced waits for it to be. mu is held.
func (s *Stream) settled(p *part) {
	if !p.awaited {
		return
	}
	p.awaited = false
	if s.awaited--; s.awaited > 0 {
		return
	}
	if s.spec.Restart {
		return // each partition has told it
	}
	if s.tell(structures.EventSynced); !s.begun && s.fromNow() { // before what has come already
		n := len(s.queue) - 1
		copy(s.queue[1:], s.queue[:n])
		s.queue[0] = &item{yield: true, event: structures.WatchEvent{Event: structures.Event{Type: structures.EventSynced}}}
	}
	s.begun = true
}

// isRow reports whether the newest state of one row is watched, not its changes.
func (s *Stream) isRow() bool { return s.spec.Options&protocol.WatchRow != 0 }

// fromNow reports whether the watch began with neither entries nor a position. Then
// nothing is yielded before it stands in all partitions, so that each event has a cursor.
func (s *Stream) fromNow() bool {
	return !s.spec.Current && s.spec.After == nil && s.spec.AfterVersion == 0 && !s.spec.FromVersion && !s.isRow() && !s.spec.Restart
}

// gap begins a partition anew, or ends the watch, because events are missing. What was
// received of a mutation that is not whole is dropped. mu is held.
func (s *Stream) gap(p *part, reason structures.GapReason) {
	s.stats.Gaps++
	if s.spec.Restart {
		s.restart(p, reason)
		return
	}
	if !s.spec.Relist {
		s.fail(&structures.GapError{Reason: reason})
		return
	}
	if p.at.listing && p.at.known {
		if p.overruns++; p.overruns > maxOverruns {
			s.fail(fmt.Errorf("%w: the entries change faster than they are taken", quorate.ErrOverloaded))
			return
		}
	}
	s.stats.Relists++
	for _, it := range p.open {
		p.buffered -= it.cost
	}
	p.open, p.drop = nil, 0
	p.at = position{listing: true}
	s.push(&item{part: p, yield: true, at: p.at, event: structures.WatchEvent{
		Event: structures.Event{Type: structures.EventGap}, Partition: p.id, Reason: reason,
	}})
	if !p.awaited {
		p.awaited = true
		s.awaited++
	}
}

// restart begins a partition anew, from now on. mu is held.
func (s *Stream) restart(p *part, reason structures.GapReason) {
	for _, it := range p.open {
		p.buffered -= it.cost
	}
	p.open, p.drop = nil, 0
	p.at = position{}
	s.push(&item{part: p, yield: true, event: structures.WatchEvent{
		Event: structures.Event{Type: structures.EventGap}, Partition: p.id, Reason: reason,
	}})
	if !p.awaited {
		p.awaited = true
		s.awaited++
	}
}

// GridLost goes on with another grid, in place of one that was lost: nothing of what was
// there is there (WATCH-22).
func (s *Stream) GridLost(cluster protocol.UUID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cluster == cluster {
		return
	}
	for r := range s.regs {
		r.end()
	}
	s.gridLost()
	s.cluster = cluster
	s.last = rowState{}
	s.poke(s.work)
}

func (s *Stream) gridLost() {
	if s.isRow() {
		return
	}
	for _, id := range s.order {
		if s.err == nil {
			s.gap(s.parts[id], structures.GapOtherGrid)
		}
	}
}

// Stats returns the counts.
func (s *Stream) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats
}

// Probe asks for an EventProgress: all that is acknowledged now will have been yielded
// before it. Nothing is asked for while the partitions are not all registered. While the
// last probe has no answer it is repeated instead: a leader that could not be confirmed in
// time leaves it without one, though it goes on to lead.
func (s *Stream) Probe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.awaited > 0 || s.closed || s.err != nil {
		return
	}
	if len(s.probing) > 0 {
		for r := range s.probing {
			if !mutants.On(mutants.ProbeAskedOnce) {
				r.control(protocol.WatchSync, s.probe)
			}
		}
		return
	}
	for _, p := range s.parts {
		if p.reg == nil || !p.reg.begun {
			return
		}
	}
	s.probe++
	s.asked = time.Now() // before anything is sent: what is acknowledged from now on may come later
	s.probing = map[*Registration]struct{}{}
	for r := range s.regs {
		s.probing[r] = struct{}{}
		r.control(protocol.WatchSync, s.probe)
	}
}

// Sync sends a probe with a number, larger than any before, to each member where a part of
// the watch stands. Each answers for its part: with Restart that is an EventProgress. A probe
// that a later one has overtaken may stay without an answer.
func (s *Stream) Sync(n uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.regs {
		if r.begun {
			r.control(protocol.WatchSync, n)
		}
	}
}

// decoded makes an event of a change. mu is held.
func (s *Stream) decoded(p protocol.PartitionID, e *protocol.WatchEvent) structures.WatchEvent {
	ev := structures.WatchEvent{
		Event:     structures.Event{Type: structures.EventType(e.Type), Key: e.Key, Value: e.Value, Previous: e.Previous, Old: e.Old},
		Partition: p, Cluster: s.cluster, Version: e.Version, More: e.Flags&protocol.WatchMore != 0 && !mutants.On(mutants.MoreIgnored),
	}
	if e.Flags&protocol.WatchListed != 0 {
		ev.Type, ev.Previous, ev.Left = structures.EventCurrent, 0, time.Duration(e.Previous)*time.Millisecond
	}
	return ev
}
