package watch

import (
	"slices"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// partBytes is about what a partition takes in a registration.
const partBytes = 32

// Registration is a watch, or its part, at the leader of one group.
type Registration struct {
	Partition protocol.PartitionID // the first, for the request
	// Group, Term and Member are the driver's.
	Group  protocol.GroupID
	Term   uint64
	Member protocol.MemberID

	s          *Stream
	parts      map[protocol.PartitionID]*part
	send       func(protocol.WatchControl)
	begun      bool
	over       bool
	unreturned int // credit of events that were yielded
	id         uint64
}

// Work returns a channel that has a token when there is something for the driver to do:
// partitions to register, or the watch has ended.
func (s *Stream) Work() <-chan struct{} { return s.work }

// Unregistered returns the partitions that are registered nowhere.
func (s *Stream) Unregistered() (ids []protocol.PartitionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || s.closed {
		return nil
	}
	for _, id := range s.order {
		if s.parts[id].reg == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// Overruns returns how often in a row the lists of partitions had to begin anew.
func (s *Stream) Overruns(ids []protocol.PartitionID) (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		most = max(most, s.parts[id].overruns)
	}
	return most
}

// Registrations returns those that stand.
func (s *Stream) Registrations() (rs []*Registration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for r := range s.regs {
		rs = append(rs, r)
	}
	return rs
}

// Register begins a registration of partitions, of those that are registered nowhere, and
// returns it with the body of its request, which is nil if there are none. It goes on from what was received, and its credit is
// the window less what is buffered.
func (s *Stream) Register(ids []protocol.PartitionID) (*Registration, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &Registration{s: s, parts: map[protocol.PartitionID]*part{}}
	w := protocol.Watch{Kind: s.spec.Kind, Options: s.spec.Options, From: s.spec.From, To: s.spec.To, Types: s.spec.Types}
	credit, size := s.window, 0
	for _, id := range ids {
		p := s.parts[id]
		if p == nil || p.reg != nil {
			continue
		}
		if size += partBytes + len(p.at.listed); size > protocol.MaxWatchBody/2 && len(w.Parts) > 0 {
			break // the others get a registration of their own
		}
		p.reg, r.parts[id] = r, p
		credit -= p.buffered
		w.Parts = append(w.Parts, s.start(p))
	}
	if len(w.Parts) == 0 {
		r.over = true
		return r, nil
	}
	r.Partition = w.Parts[0].Partition
	w.Credit = uint32(max(credit, 0))
	s.regs[r] = struct{}{}
	return r, w.Append(nil)
}

// start says where a partition begins. mu is held.
func (s *Stream) start(p *part) protocol.WatchPart {
	at := p.at
	w := protocol.WatchPart{Partition: p.id, Version: at.version, Skip: at.skip}
	switch {
	case s.isRow():
		return protocol.WatchPart{Partition: p.id, Start: protocol.WatchCurrent}
	case at.listing:
		w.Start, w.Listed = protocol.WatchCurrent, []byte(at.listed)
		if at.listed == "" {
			w.Version, w.Skip = 0, 0
		}
	case !at.known:
		w.Start = protocol.WatchNow
	case mutants.On(mutants.WatchResumeOff):
		w.Version--
	}
	return w
}

// Sent says under which ID the registration was requested, and how the member is told of
// it. It comes before anything that the member sends.
func (r *Registration) Sent(id uint64, send func(protocol.WatchControl)) {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.id, r.send = id, send
}

// Begun takes in the answer to the registration.
func (r *Registration) Begun(body []byte) error {
	begins, err := protocol.DecodePositions(body)
	if err != nil {
		return err
	}
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.over {
		return nil
	}
	r.begun = true
	s.giveBack(1)
	for _, b := range begins {
		p := r.parts[b.Partition]
		if p == nil {
			continue
		}
		if !p.at.known && !p.at.listing { // from now
			p.at = position{known: true, version: b.Version}
		}
		if !p.out.Known && !p.out.Listing {
			p.out.Known, p.out.Version = true, b.Version
		}
		if s.spec.Restart && p.awaited {
			s.push(&item{part: p, yield: true, event: structures.WatchEvent{
				Event: structures.Event{Type: structures.EventSynced}, Partition: p.id, Version: b.Version,
			}})
		}
		if !p.at.listing && !s.isRow() {
			s.settled(p)
		}
	}
	return nil
}

// KeepAlive asks the member for a sign that it still leads: a note.
func (r *Registration) KeepAlive() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	n := uint64(0)
	if _, waits := r.s.probing[r]; waits {
		n = r.s.probe // it must not be forgotten for this one
	}
	r.control(protocol.WatchSync, n)
}

// End gives the registration up; what it was for is registered nowhere then. The member
// is told, if it was ever.
func (r *Registration) End() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.end()
}

func (r *Registration) end() {
	if r.over {
		return
	}
	r.control(protocol.WatchEnd, 0)
	r.forget()
}

// Lost says that the member has ended the registration, or cannot be reached.
func (r *Registration) Lost() {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	r.forget()
}

func (r *Registration) forget() {
	if r.over {
		return
	}
	if r.over = true; r.begun && r.s.err == nil && !r.s.closed {
		r.s.stats.Resumes++
	}
	for _, p := range r.parts {
		p.reg = nil
	}
	delete(r.s.regs, r)
	r.s.probing = nil
	r.s.poke(r.s.work)
}

// Over reports whether the registration stands no more.
func (r *Registration) Over() bool {
	r.s.mu.Lock()
	defer r.s.mu.Unlock()
	return r.over
}

func (r *Registration) control(what protocol.WatchAction, n uint64) {
	if r.send != nil {
		r.send(protocol.WatchControl{ID: r.id, Action: what, N: n})
	}
}

// Take takes in events. They are kept until they are yielded. What comes when the
// registration is over is dropped: the partitions go on elsewhere, from what came before
// (WATCH-10).
func (r *Registration) Take(sections []protocol.WatchSection) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.over && !mutants.On(mutants.WatchTwoStreams) {
		return
	}
	for i := range sections {
		if p := r.parts[sections[i].Partition]; p != nil {
			if s.isRow() {
				s.takeRow(p, &sections[i])
			} else {
				s.take(p, &sections[i])
			}
		}
	}
	if s.events == 0 { // what came may have been passed over, and more may wait for its credit
		s.giveBack(1)
		s.unblock()
	}
}

// take takes in a section. mu is held.
func (s *Stream) take(p *part, in *protocol.WatchSection) {
	for i := range in.Events {
		e := &in.Events[i]
		cost := e.Cost()
		p.buffered += cost
		it := &item{part: p, event: s.decoded(p.id, e), cost: cost, yield: true}
		switch {
		case e.Flags&protocol.WatchListed != 0:
			p.at.listed = string(e.Key)
			it.at = position{known: true, version: in.Version, listing: true, listed: p.at.listed}
			it.yield = e.Type != 0
			s.push(it)
		case p.drop > 0: // it came before the cursor
			p.drop--
			s.skip(it)
		default:
			if len(p.open) == 0 {
				s.sequence++
				p.opened = s.sequence
			}
			if p.open = append(p.open, it); !it.event.More {
				s.push(p.open...)
				p.open = nil
			}
		}
	}
	p.at.known, p.at.version, p.at.skip = true, in.Version, in.Skip
	if in.Skip > 0 {
		return
	}
	if n := len(p.open); n > 0 { // the position has passed it: the rest was of no interest
		p.open[n-1].event.More = false
		s.push(p.open...)
		p.open = nil
	}
	s.mark(p)
}

// skip gives the credit of an item back that is not yielded. mu is held.
func (s *Stream) skip(it *item) {
	it.part.buffered -= it.cost
	if it.part.reg != nil {
		it.part.reg.unreturned += it.cost
	}
}

// mark moves the cursor to what was received, once all of that was yielded. mu is held.
func (s *Stream) mark(p *part) {
	if p.drop > 0 {
		return // the position is still before the cursor
	}
	switch t := p.tail; {
	case t == nil: // all was yielded
		s.pass(&item{part: p, at: p.at})
	case !t.yield && t.cost == 0:
		t.at = p.at
	default:
		s.push(&item{part: p, at: p.at})
	}
}

// takeRow takes in the state of a watched row, in place of one that was not yielded yet.
// mu is held.
func (s *Stream) takeRow(p *part, in *protocol.WatchSection) {
	for i := range in.Events {
		e := &in.Events[i]
		cost := e.Cost()
		p.buffered += cost
		it := &item{part: p, event: s.decoded(p.id, e), cost: cost, yield: true}
		it.event.State = in.Version
		gone := it.event.Type == structures.EventRemoved
		if s.last.known && s.last.gone == gone && (gone || s.last.version == e.Version) {
			s.skip(it)
			continue
		}
		s.last = rowState{true, gone, e.Version}
		if s.row != nil {
			old := *s.row
			*s.row = *it
			s.skip(&old)
			continue
		}
		s.row = it
		s.push(it)
		s.settled(p)
	}
}

// Note takes in a note. It reports whether the registration is over, and why: with a code
// and, if the member knows it, who leads the group.
func (r *Registration) Note(m *protocol.WatchNote) (over bool, code protocol.Code, leader protocol.MemberID) {
	s := r.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.over {
		return false, 0, 0
	}
	switch m.What {
	case protocol.WatchSynced:
		if s.spec.Restart && m.N != 0 {
			s.push(&item{yield: true, event: structures.WatchEvent{
				Event: structures.Event{Type: structures.EventProgress}, Probe: m.N, Covered: r.covered(m.Parts),
			}})
		} else if _, waits := s.probing[r]; waits && m.N == s.probe {
			if delete(s.probing, r); len(s.probing) == 0 {
				s.tell(structures.EventProgress)
			}
		}
	case protocol.WatchAllListed:
		for _, at := range m.Parts {
			if p := r.parts[at.Partition]; p != nil && p.at.listing {
				p.overruns = 0
				p.at.listing, p.at.listed = false, ""
				s.mark(p)
				s.settled(p)
			}
		}
	case protocol.WatchGap:
		for _, at := range m.Parts {
			if p := r.parts[at.Partition]; p != nil && s.err == nil {
				s.gap(p, structures.GapReason(m.N))
			}
		}
		r.end() // the partition begins anew, with the others where they are
	case protocol.WatchNotHere:
		r.end()
		return true, protocol.Code(m.N), 0
	case protocol.WatchEnded:
		var p protocol.Problem
		_ = p.Decode(m.Detail) // without a leader that can be read none is known
		r.forget()
		return true, protocol.Code(m.N), p.Leader
	}
	return false, 0, 0
}

// covered returns the partitions of the registration but those of a list.
func (r *Registration) covered(but []protocol.WatchPosition) (ids []protocol.PartitionID) {
	for id := range r.parts {
		if !slices.ContainsFunc(but, func(at protocol.WatchPosition) bool { return at.Partition == id }) {
			ids = append(ids, id)
		}
	}
	return ids
}
