package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/watch"
)

var testSpec = structures.WatchSpec{Kind: 1, Verb: "watch", Label: "map", Name: "m", Partitions: []protocol.PartitionID{3}}

// serving has a member accept watches, which begin at version 10. It returns the
// connections and IDs of those that it has accepted.
func serving(m *fakeMember) <-chan accepted {
	all := make(chan accepted, 16)
	m.script(func(c *fakeConn, q *protocol.Request) {
		if q.Kind != protocol.KindControl || q.Op != protocol.OpWatch {
			c.reply(q, protocol.CodeOK, q.Body)
			return
		}
		var w protocol.Watch
		if err := w.Decode(q.Body); err != nil {
			m.t.Error(err)
			return
		}
		c.reply(q, protocol.CodeOK, protocol.AppendPositions(nil, []protocol.WatchPosition{{Partition: 3, Version: 10}}))
		all <- accepted{c, q.ID, w.Parts[0]}
	})
	return all
}

type accepted struct {
	c    *fakeConn
	id   uint64
	part protocol.WatchPart
}

// sends sends a put of a key.
func (a accepted) sends(version protocol.Version, key string) {
	a.c.send((&protocol.WatchEvents{IDs: []uint64{a.id}, Sections: []protocol.WatchSection{
		{Partition: 3, Version: version, Events: []protocol.WatchEvent{{Type: 1, Version: version, Key: []byte(key)}}},
	}}).Append(nil))
}

func next(t *testing.T, s structures.WatchStream, want string) {
	t.Helper()
	e, err := s.Next(testContext(t))
	got := e.Type.String() + " " + string(e.Key)
	if err != nil || got != want {
		t.Fatalf("%s, %v; want %s", got, err, want)
	}
}

func await(t *testing.T, all <-chan accepted) accepted {
	t.Helper()
	select {
	case a := <-all:
		return a
	case <-time.After(testTimeout):
		t.Fatal("no watch was registered")
		return accepted{}
	}
}

func (m *fakeMember) told(what protocol.WatchAction) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.controls {
		if c.Action == what {
			n++
		}
	}
	return n
}

// TestWatch_LateFrames: a table that names another leader in a higher term moves the watch
// there, from what was received. What the old leader sends after that is dropped, and
// answered with the end of the watch.
func TestWatch_LateFrames(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		one, two := serving(members[0]), serving(members[1])
		c := dial()
		s, err := c.Watch(t.Context(), testSpec)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		old := await(t, one)
		next(t, s, "synced ")
		old.sends(11, "a")
		next(t, s, "put a")
		table := fakeTable(2, 2, members...)
		for i := range table.Groups {
			table.Groups[i].Term = 9
		}
		setTables(table, members...)
		members[0].push(table)
		a := await(t, two)
		if a.part.Version != 11 || a.part.Start != protocol.WatchAfter {
			t.Errorf("it goes on from %+v", a.part)
		}
		ends := members[0].told(protocol.WatchEnd)
		old.sends(12, "late")
		waitFor(t, "the end of an unknown watch", func() bool { return members[0].told(protocol.WatchEnd) > ends })
		a.sends(12, "b")
		next(t, s, "put b")
		if n := c.Stats(); n.Watches != 1 || n.WatchResumes != 1 {
			t.Errorf("%+v", n)
		}
	})
}

// TestWatch_Silent: a leader of which nothing comes is asked for a sign, and left if none
// comes, though its connection stands.
func TestWatch_Silent(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		one, two := serving(members[0]), serving(members[1])
		c := dial()
		s, err := c.Watch(t.Context(), testSpec)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		began := time.Now()
		a := await(t, one)
		next(t, s, "synced ")
		waitFor(t, "a probe", func() bool { return members[0].told(protocol.WatchSync) > 0 })
		a.c.send((&protocol.WatchNote{ID: a.id, What: protocol.WatchConfirmed}).Append(nil)) // it stays
		waitFor(t, "another probe", func() bool { return members[0].told(protocol.WatchSync) > 1 })
		if n := members[0].told(protocol.WatchEnd); n > 0 {
			t.Fatal("a member that answers was left")
		}
		table := fakeTable(2, 2, members...)
		setTables(table, members[1]) // only the other one knows
		await(t, two)
		if took := time.Since(began); took < watchSilent {
			t.Errorf("it was left after %v", took)
		}
	})
}

// TestWatch_LeftEarly: a registration that is given up before it is answered, because the
// table names another leader, is answered as cancelled. That ends no watch.
func TestWatch_LeftEarly(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		asked := make(chan func(), 1)
		members[0].script(func(c *fakeConn, q *protocol.Request) {
			if q.Kind == protocol.KindControl && q.Op == protocol.OpWatch {
				id := q.ID
				asked <- func() { c.problem(&protocol.Request{ID: id}, protocol.CodeCancelled, protocol.Problem{}) }
				return
			}
			c.reply(q, protocol.CodeOK, q.Body)
		})
		two := serving(members[1])
		c := dial()
		s, err := c.Watch(t.Context(), testSpec)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		answer := <-asked
		table := fakeTable(2, 2, members...)
		for i := range table.Groups {
			table.Groups[i].Term = 9
		}
		setTables(table, members...)
		members[0].push(table)
		waitFor(t, "the end of the registration", func() bool { return members[0].told(protocol.WatchEnd) > 0 })
		answer()
		a := await(t, two)
		next(t, s, "synced ")
		a.sends(11, "a")
		next(t, s, "put a")
	})
}

// TestWatch_ClusterSwitched: the client switches to a new cluster while watches are about to
// be registered. None is registered at a member of the old one any more. It is for the race
// detector, too.
func TestWatch_ClusterSwitched(t *testing.T) {
	t.Parallel()
	members := fakeGrid(t, 1)
	all := serving(members[0])
	c := dialFake(t, members)
	for range 2 * crowdedWatches { // so many that registrations come with jitter
		s, err := c.Watch(t.Context(), testSpec)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
	}
	await(t, all)
	go func() {
		for {
			select {
			case <-all:
			case <-t.Context().Done():
				return
			}
		}
	}()
	table := fakeTable(1, 1, members...)
	c.table.replace(&cluster{id: protocol.UUID{2}}, &table)
	registered := func() (n int) {
		for _, q := range members[0].seen() {
			if q.Kind == protocol.KindControl && q.Op == protocol.OpWatch {
				n++
			}
		}
		return n
	}
	before := registered()
	time.Sleep(2 * registerJitter)
	if n := registered(); n > before+crowdedWatches/2 {
		t.Errorf("%d watches were registered at the old cluster, %d before the switch", n, before)
	}
}

// TestWatch_Refused: what no other leader would accept either ends the watch.
func TestWatch_Refused(t *testing.T) {
	for code, want := range map[protocol.Code]error{
		protocol.CodeWaiters: quorate.ErrOverloaded, protocol.CodeUnsupported: quorate.ErrUnsupported, protocol.CodeInvalid: quorate.ErrInvalid,
	} {
		inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
			members[0].script(func(c *fakeConn, q *protocol.Request) { c.problem(q, code, protocol.Problem{Detail: "no"}) })
			c := dial()
			s, err := c.Watch(t.Context(), testSpec)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Next(testContext(t)); !errors.Is(err, want) {
				t.Errorf("code %d: %v", code, err)
			}
			s.Close()
		})
	}
}

// TestWatch_PausedLoop: credit comes back as events are taken, and the client with its
// watches closes though a loop has gone away.
func TestWatch_PausedLoop(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		one := serving(members[0])
		c := dial()
		spec := testSpec
		spec.Window = 100
		s, err := c.Watch(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		a := await(t, one)
		next(t, s, "synced ")
		for i := range 4 {
			a.sends(protocol.Version(11+i), "k")
		}
		synctest.Wait()
		if n := members[0].told(protocol.WatchCredit); n > 0 {
			t.Errorf("credit came back %d times before anything was taken", n)
		}
		for range 4 {
			next(t, s, "put k")
		}
		waitFor(t, "credit", func() bool { return members[0].told(protocol.WatchCredit) > 0 })
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Next(context.Background()); !errors.Is(err, quorate.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// FuzzWatchFrames hands a watch any frames that a member may send.
func FuzzWatchFrames(f *testing.F) {
	f.Add((&protocol.WatchEvents{IDs: []uint64{1}, Sections: []protocol.WatchSection{{Partition: 3, Version: 11, Events: []protocol.WatchEvent{{Type: 1, Version: 11, Key: []byte("k")}}}}}).Append(nil))
	f.Add((&protocol.WatchNote{ID: 1, What: protocol.WatchGap, N: 1, Parts: []protocol.WatchPosition{{Partition: 3, Version: 9}}}).Append(nil))
	f.Add((&protocol.WatchNote{ID: 1, What: protocol.WatchEnded, N: 1, Detail: []byte{1}}).Append(nil))
	f.Fuzz(func(t *testing.T, frame []byte) {
		spec := testSpec
		spec.Relist = true
		s := newTestStream(t, spec)
		reg, _ := s.Register(s.Unregistered())
		reg.Sent(1, func(protocol.WatchControl) {})
		if err := reg.Begun(protocol.AppendPositions(nil, []protocol.WatchPosition{{Partition: 3, Version: 10}})); err != nil {
			t.Fatal(err)
		}
		var events protocol.WatchEvents
		var note protocol.WatchNote
		for range 3 {
			if events.Decode(frame) == nil {
				reg.Take(events.Sections)
			}
			if note.Decode(frame) == nil {
				reg.Note(&note)
			}
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		_, _ = s.Next(ended)
		var c structures.WatchCursor
		b, err := s.Cursor().MarshalBinary()
		if err != nil || c.UnmarshalBinary(b) != nil {
			t.Fatalf("a cursor that cannot be read: %x", b)
		}
		s.Close()
	})
}

func newTestStream(t *testing.T, spec structures.WatchSpec) *watch.Stream {
	s, err := watch.New(spec, protocol.UUID{1})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
