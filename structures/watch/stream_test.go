package watch_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/watch"
)

// member is the other end of a stream: what it is told.
type member struct {
	t      *testing.T
	s      *watch.Stream
	reg    *watch.Registration
	body   protocol.Watch
	credit uint64
	probes []uint64
	ended  bool
}

func stream(t *testing.T, spec structures.WatchSpec) *watch.Stream {
	t.Helper()
	spec.Name, spec.Label, spec.Verb = "m", "map", "watch"
	if spec.Partitions == nil {
		spec.Partitions = []protocol.PartitionID{0, 1}
	}
	s, err := watch.New(spec, protocol.UUID{1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func register(t *testing.T, s *watch.Stream) *member {
	t.Helper()
	return registerOnly(t, s, s.Unregistered()...)
}

func registerOnly(t *testing.T, s *watch.Stream, ids ...protocol.PartitionID) *member {
	t.Helper()
	m := &member{t: t, s: s}
	var body []byte
	m.reg, body = s.Register(ids)
	if err := m.body.Decode(body); err != nil {
		t.Fatal(err)
	}
	m.reg.Sent(1, func(c protocol.WatchControl) {
		switch c.Action {
		case protocol.WatchCredit:
			m.credit += c.N
		case protocol.WatchSync:
			m.probes = append(m.probes, c.N)
		case protocol.WatchEnd:
			m.ended = true
		}
	})
	return m
}

// begun says that the registration stands, from version 10 on.
func (m *member) begun() *member {
	var at []protocol.WatchPosition
	for _, p := range m.body.Parts {
		at = append(at, protocol.WatchPosition{Partition: p.Partition, Version: 10})
	}
	if err := m.reg.Begun(protocol.AppendPositions(nil, at)); err != nil {
		m.t.Fatal(err)
	}
	return m
}

// sends sends puts of the letters of a partition, of one mutation; a + at the end says
// that more of it follows.
func (m *member) sends(p protocol.PartitionID, version protocol.Version, letters string, more bool) {
	s := protocol.WatchSection{Partition: p, Version: version}
	for i := range letters {
		e := protocol.WatchEvent{Type: 1, Version: version, Key: []byte{letters[i]}}
		if more || i < len(letters)-1 {
			e.Flags = protocol.WatchMore
		}
		s.Events = append(s.Events, e)
	}
	if more {
		s.Version, s.Skip = version-1, uint32(len(letters))
	}
	m.reg.Take([]protocol.WatchSection{s})
}

// yields wants the keys of the next events, those that others follow with a + behind.
func yields(t *testing.T, s *watch.Stream, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := ""
	for len(got) < len(want) {
		e, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("%q, then %v; want %q", got, err, want)
		}
		switch e.Type {
		case structures.EventSynced:
			got += "."
		case structures.EventGap:
			got += "!"
		}
		if got += string(e.Key); e.More {
			got += "+"
		}
	}
	if got != want {
		t.Fatalf("%q, want %q", got, want)
	}
}

func yieldsNothing(t *testing.T, s *watch.Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if e, err := s.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v %s, %v", e.Type, e.Key, err)
	}
}

// A mutation is yielded as a whole, when its last event, or a position behind it, has come.
func TestStream_WholeMutations(t *testing.T) {
	s := stream(t, structures.WatchSpec{})
	m := register(t, s).begun()
	yields(t, s, ".")
	m.sends(0, 11, "ab", true)
	yieldsNothing(t, s)
	m.sends(1, 12, "x", false)
	m.sends(0, 11, "c", false)
	yields(t, s, "xa+b+c")
	m.sends(0, 13, "d", true)
	yieldsNothing(t, s)
	m.reg.Take([]protocol.WatchSection{{Partition: 0, Version: 13}}) // the rest is of no interest
	yields(t, s, "d")
}

// Two mutations that are not whole and have used up all credit do not wait for ever.
func TestStream_CreditDeadlock(t *testing.T) {
	s := stream(t, structures.WatchSpec{Window: 100})
	m := register(t, s).begun()
	yields(t, s, ".")
	m.sends(0, 11, "ab", true)
	m.sends(1, 12, "xy", true)
	yields(t, s, "a+b+")
	if yieldsNothing(t, s); m.credit != 66 {
		t.Errorf("credit for %d bytes came back", m.credit)
	}
	m.sends(0, 11, "c", false)
	yields(t, s, "c")
}

// A stream goes on from what it has received, and what was received is yielded once.
func TestStream_Resumes(t *testing.T) {
	s := stream(t, structures.WatchSpec{})
	m := register(t, s).begun()
	yields(t, s, ".")
	m.sends(0, 11, "a", false)
	m.sends(1, 15, "x", false)
	m.sends(0, 12, "bc", true)
	old := m.reg
	m.reg.Lost()
	next := register(t, s)
	for i, want := range []protocol.WatchPart{{Partition: 0, Version: 11, Skip: 2}, {Partition: 1, Version: 15}} {
		if got := next.body.Parts[i]; got.Partition != want.Partition || got.Version != want.Version || got.Skip != want.Skip {
			t.Errorf("it goes on from %+v, want %+v", got, want)
		}
	}
	if buffered := structures.DefaultWindow - int(next.body.Credit); buffered != 4*33 {
		t.Errorf("%d bytes are taken for buffered", buffered)
	}
	// Late frames of the first member come behind those of the next.
	next.begun()
	next.sends(0, 12, "d", false)
	old.Take([]protocol.WatchSection{{Partition: 0, Version: 12, Events: []protocol.WatchEvent{{Type: 1, Version: 12, Key: []byte("d")}}}})
	yields(t, s, "axb+c+d")
	yieldsNothing(t, s)
}

// The cursor is of what was yielded.
func TestStream_Cursor(t *testing.T) {
	s := stream(t, structures.WatchSpec{})
	m := register(t, s).begun()
	yields(t, s, ".")
	m.sends(0, 11, "ab", false)
	m.sends(0, 12, "c", false)
	yields(t, s, "a+")
	c := s.Cursor()
	if p := c.Parts[0]; p.Version != 10 || p.Passed != 1 || c.Parts[1].Version != 10 {
		t.Errorf("%+v", c)
	}
	other := stream(t, structures.WatchSpec{After: &c})
	n := register(t, other).begun()
	n.sends(0, 11, "ab", false)
	n.sends(0, 12, "c", false)
	yields(t, other, ".bc")
}

// A gap ends the watch behind what has come, or with Relist begins the partition anew.
func TestStream_Gap(t *testing.T) {
	note := protocol.WatchNote{What: protocol.WatchGap, N: protocol.GapCompacted, Parts: []protocol.WatchPosition{{Partition: 0, Version: 99}}}
	s := stream(t, structures.WatchSpec{})
	m := register(t, s).begun()
	m.sends(0, 11, "a", false)
	m.reg.Note(&note)
	yields(t, s, ".a")
	_, err := s.Next(t.Context())
	var gap *structures.GapError
	if !errors.As(err, &gap) || !errors.Is(err, quorate.ErrCompacted) || gap.Cursor.Parts[0].Version != 11 || !m.ended {
		t.Errorf("%v, %+v", err, gap)
	}

	s = stream(t, structures.WatchSpec{Relist: true})
	m = register(t, s).begun()
	m.sends(0, 11, "a", true) // what is not whole is dropped
	m.reg.Note(&note)
	next := register(t, s).begun()
	if p := next.body.Parts; p[0].Start != protocol.WatchCurrent || p[1].Start != protocol.WatchAfter {
		t.Errorf("%+v", p)
	}
	next.reg.Take([]protocol.WatchSection{{Partition: 0, Version: 100, Events: []protocol.WatchEvent{{Type: 1, Flags: protocol.WatchListed, Version: 7, Key: []byte("k")}}}})
	next.reg.Note(&protocol.WatchNote{What: protocol.WatchAllListed, Parts: note.Parts})
	yields(t, s, ".!k.")
}

// A Progress says as of when all has come: when it was asked for, not when it was answered.
func TestStream_Progress(t *testing.T) {
	s := stream(t, structures.WatchSpec{})
	m := register(t, s).begun()
	yields(t, s, ".")
	before := time.Now()
	s.Probe()
	asked := time.Now()
	m.sends(0, 11, "a", false)
	m.reg.Note(&protocol.WatchNote{What: protocol.WatchSynced, N: 1})
	yields(t, s, "a")
	e, err := s.Next(t.Context())
	if err != nil || e.Type != structures.EventProgress || e.AsOf.Before(before) || e.AsOf.After(asked) {
		t.Errorf("%v as of %v, %v", e.Type, e.AsOf, err)
	}
}

// A probe that a member has left without an answer, because it could not be confirmed as
// the leader in time, is repeated there, and not where it was answered.
func TestStream_ProbeRepeated(t *testing.T) {
	s := stream(t, structures.WatchSpec{})
	a, b := registerOnly(t, s, 0).begun(), registerOnly(t, s, 1).begun()
	yields(t, s, ".")
	s.Probe()
	a.reg.Note(&protocol.WatchNote{What: protocol.WatchSynced, N: 1})
	s.Probe()
	if got, want := fmt.Sprint(a.probes, b.probes), "[1] [1 1]"; got != want {
		t.Fatalf("probes %s were sent, want %s", got, want)
	}
	b.reg.Note(&protocol.WatchNote{What: protocol.WatchSynced, N: 1})
	if e, err := s.Next(t.Context()); err != nil || e.Type != structures.EventProgress {
		t.Fatalf("%v, %v", e.Type, err)
	}
	b.reg.Note(&protocol.WatchNote{What: protocol.WatchSynced, N: 1}) // both are answered in the end
	yieldsNothing(t, s)
	s.Probe()
	if got, want := fmt.Sprint(a.probes, b.probes), "[1 2] [1 1 2]"; got != want {
		t.Errorf("probes %s were sent, want %s", got, want)
	}
}

// Another grid is a gap in every partition.
func TestStream_GridLost(t *testing.T) {
	s := stream(t, structures.WatchSpec{Relist: true})
	register(t, s).begun()
	s.GridLost(protocol.UUID{2})
	yields(t, s, ".!!")
	s = stream(t, structures.WatchSpec{})
	register(t, s).begun()
	yields(t, s, ".")
	c := s.Cursor()
	s.GridLost(protocol.UUID{2})
	if _, err := s.Next(t.Context()); !errors.Is(err, quorate.ErrGridLost) {
		t.Error(err)
	}
	s, err := watch.New(structures.WatchSpec{Name: "m", Partitions: []protocol.PartitionID{0, 1}, After: &c}, protocol.UUID{2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Next(t.Context()); !errors.Is(err, quorate.ErrGridLost) {
		t.Error(err)
	}
}
