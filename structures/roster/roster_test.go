package roster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

var testKind = Kind(structures.Kind{ID: 13, Name: "service", Level: 1, Doc: "A roster", Unit: "instances"})

// changing is a client under whose lists a roster changes.
type changing struct {
	*structurestest.Client
	lists  atomic.Int64
	change func(n int64)
}

func (c *changing) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	if call.Op == opList && call.Flags&protocol.FlagRead != 0 {
		c.change(c.lists.Add(1))
	}
	return c.Client.Invoke(ctx, call)
}

// A list of several pages is of one state, even if every page meets another one.
func TestList_Torn(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	grid := structurestest.NewLocal(t, testKind)
	c := grid.Client()
	plain := New(c, &testKind, "r", nil)
	const n = 250
	put := func(id string) {
		q := request{id: id, nonce: 1, data: []byte(strings.Repeat("x", 10_000))}
		if _, err := plain.handle.Invoke(ctx, plain.call("register", opRegister, &q)); err != nil {
			t.Error(err)
		}
	}
	for i := range n {
		put(fmt.Sprintf("m%04d", i))
	}
	for _, changes := range []int64{0, 1, 1 << 40} {
		c := &changing{Client: c, change: func(k int64) {
			// One at the front and one at the end: a torn list has one and not the other.
			if k > 1 && k <= changes {
				put(fmt.Sprintf("a%d-%d", changes, k))
				put(fmt.Sprintf("z%d-%d", changes, k))
			}
		}}
		list, view, err := New(c, &testKind, "r", nil).List(ctx, protocol.FlagRead)
		if err != nil {
			t.Fatal(err)
		}
		front, back := 0, 0
		for i, e := range list {
			switch e.ID[0] {
			case 'a':
				front++
			case 'z':
				back++
			}
			if e.Version > view || i > 0 && list[i-1].ID >= e.ID {
				t.Fatalf("entry %d: %s of version %d, in the view %d", i, e.ID, e.Version, view)
			}
		}
		if len(list) != n+front+back || front != back {
			t.Errorf("with changes up to list %d: %d entries, %d and %d new ones", changes, len(list), front, back)
		}
		again, _, err := plain.List(ctx, protocol.FlagRead)
		if err != nil || len(again) != len(list) {
			t.Errorf("%d entries, then %d, %v", len(list), len(again), err)
		}
	}
}

// What a watcher makes of the changes is what is listed at the same view.
func TestMirror(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	grid := structurestest.NewLocal(t, testKind)
	c, other := grid.Client(), grid.Client()
	r := New(c, &testKind, "r", nil)
	views := make(chan structures.Version, 1)
	lists := map[structures.Version][]Entry{}
	go func() {
		defer close(views)
		for i := range 50 {
			by := c
			if i%3 == 0 {
				by = other
			}
			q := request{id: fmt.Sprint("m", i%7), nonce: uint64(i + 1), data: []byte{byte(i)}}
			_, err := by.Invoke(ctx, New(by, &testKind, "r", nil).call("register", opRegister, &q))
			if err == nil && i%5 == 4 {
				_, err = r.Remove(ctx, fmt.Sprint("m", (i+3)%7))
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
		other.End()
		views <- 0
	}()
	<-views
	all, view, err := r.List(ctx, protocol.FlagRead)
	if err != nil {
		t.Fatal(err)
	}
	lists[view] = all
	var m Mirror
	for change, err := range r.Watch(ctx, Watching{Current: true}) {
		if err != nil {
			t.Fatal(err)
		}
		if m.Apply(&change); m.Complete() {
			break
		}
	}
	if m.View() != view || m.Len() != len(all) {
		t.Fatalf("the mirror has %d at %d, the list %d at %d", m.Len(), m.View(), len(all), view)
	}
	for i, e := range m.Entries() {
		l := all[i]
		l.Session, l.For = 0, 0
		if fmt.Sprint(e) != fmt.Sprint(l) {
			t.Errorf("%v in the mirror, %v in the list", e, l)
		}
	}
}

// lateOnce is a client to which the outcome of the first registration comes too late.
type lateOnce struct{ *structurestest.Client }

func (c lateOnce) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	reply, err := c.Client.Invoke(ctx, call)
	if call.Op == opRegister && err == nil {
		call.Late(reply)
		time.Sleep(20 * time.Millisecond) // the one who takes it back is not faster than the caller learns
		return structures.Reply{}, &quorate.Error{Op: call.Verb, Object: call.Object(), Cause: quorate.ErrSessionLost}
	}
	return reply, err
}

// A registration that comes too late for its caller is taken back, even if that is known
// before the caller has its error.
func TestRegister_LateIsTakenBack(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := New(lateOnce{structurestest.NewLocal(t, testKind).Client()}, &testKind, "r", nil)
	if _, err := r.Register(ctx, Registering{ID: "a", Permanent: true}); !errors.Is(err, quorate.ErrSessionLost) {
		t.Fatal(err)
	}
	for {
		all, _, err := r.List(ctx, protocol.FlagRead)
		if err != nil {
			t.Fatalf("it stays: %v", err)
		}
		if len(all) == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestNamed(t *testing.T) {
	if got := Named(strings.Repeat("x", 254) + "\u00e9"); len(got) != 254 {
		t.Errorf("a note is cut to %d bytes: %q", len(got), got[250:])
	}
}

// unavailable is a client some of whose reports are not answered.
type unavailable struct {
	*structurestest.Client
	fails atomic.Int64 // so many more
}

func (c *unavailable) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	if call.Op == opReport && c.fails.Add(-1) >= 0 {
		return structures.Reply{}, &quorate.Error{Op: call.Verb, Object: call.Object(), Cause: quorate.ErrUnavailable}
	}
	return c.Client.Invoke(ctx, call)
}

// A registration whose entry was removed is told, also if the grid is away when it asks what
// has become of the entry.
func TestRemoved_GridIsAway(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := &unavailable{Client: structurestest.NewLocal(t, testKind).Client()}
	r := New(c, &testKind, "r", nil)
	reg, err := r.Register(ctx, Registering{ID: "a"})
	if err != nil {
		t.Fatal(err)
	}
	c.fails.Store(2)
	removed(ctx, t, r, reg)
}

// removed removes the entry of a registration, which is to end with that.
func removed(ctx context.Context, t *testing.T, r *Roster, reg *Registration) {
	t.Helper()
	if existed, err := r.Remove(ctx, "a"); !existed || err != nil {
		t.Fatal(existed, err)
	}
	select {
	case <-reg.Done():
	case <-ctx.Done():
		t.Fatal("the registration goes on without an entry")
	}
	if err := reg.Err(); !errors.Is(err, structures.ErrRevoked) {
		t.Errorf("it has ended with %v", err)
	}
}

// forgetful is a client of a grid that does not keep the changes of entries.
type forgetful struct{ *structurestest.Client }

func (c forgetful) Watch(ctx context.Context, spec structures.WatchSpec) (structures.WatchStream, error) {
	s, err := c.Client.Watch(ctx, spec)
	if spec.Options&protocol.WatchRow == 0 && err == nil {
		s.(interface{ Fail(error) }).Fail(&structures.GapError{Reason: structures.GapCompacted})
	}
	return s, err
}

// A permanent registration whose entry was removed is told, also if the removal is not in the
// history any more: only a loss of data is a reason to come back.
func TestRemoved_NotKept(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r := New(forgetful{structurestest.NewLocal(t, testKind).Client()}, &testKind, "r", nil)
	reg, err := r.Register(ctx, Registering{ID: "a", Permanent: true})
	if err != nil {
		t.Fatal(err)
	}
	removed(ctx, t, r, reg)
}
