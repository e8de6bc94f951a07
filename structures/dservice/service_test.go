package dservice_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/structures/roster"
	"github.com/quorate/quorate/structures/structurestest"
)

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func newGrid(t *testing.T) *structurestest.Local { return structurestest.NewLocal(t, dservice.Kind()) }

func register(t *testing.T, c *structurestest.Client, id string, opts ...dservice.RegisterOption) *dservice.Registration {
	t.Helper()
	reg, err := dservice.New(c, "payments").Register(bounded(t), dservice.Instance{ID: id, Address: "10.0.0.5", Port: 8080, Tags: []string{"v2"}}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// texts are entries as tests compare them.
func texts(list []dservice.Entry) (all []string) {
	for _, e := range list {
		all = append(all, text(e))
	}
	return all
}

func text(e dservice.Entry) string {
	s := e.ID + " " + e.Health.String()
	if e.Note != "" {
		s += " (" + e.Note + ")"
	}
	if e.Drained {
		s += " drained " + e.Reason
	}
	return strings.TrimSpace(s)
}

func wantList(t *testing.T, c *structurestest.Client, want ...string) dservice.Version {
	t.Helper()
	list, view, err := dservice.New(c, "payments").List(bounded(t), dservice.AnyHealth())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, texts(list)); diff != "" {
		t.Fatalf("the list: -want +got\n%s", diff)
	}
	return view
}

// watched is a watch that a test takes changes from, one by one.
type watched struct {
	t    *testing.T
	next func() (dservice.Change, error, bool)
}

func watch(t *testing.T, c *structurestest.Client, opts ...dservice.WatchOption) *watched {
	next, stop := iter.Pull2(dservice.New(c, "payments").Watch(bounded(t), opts...))
	t.Cleanup(stop)
	return &watched{t, next}
}

// expect takes as many changes as there are texts, and compares them.
func (w *watched) expect(want ...string) {
	w.t.Helper()
	var got []string
	for range want {
		c, err, ok := w.next()
		if err != nil || !ok {
			w.t.Fatalf("after %q: %v, %v", got, err, ok)
		}
		s := c.Type.String()
		switch {
		case c.Type == dservice.Put || c.Type == dservice.Current:
			s += " " + text(c.Entry)
		case c.Entry.ID != "":
			s += " " + c.Entry.ID
		}
		got = append(got, s)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		w.t.Fatalf("changes: -want +got\n%s", diff)
	}
}

func wantDone(t *testing.T, reg *dservice.Registration, want error) {
	t.Helper()
	select {
	case <-reg.Done():
	case <-time.After(2 * time.Minute):
		t.Fatal("the registration goes on")
	}
	if err := reg.Err(); !errors.Is(err, want) {
		t.Fatalf("the registration has ended with %v, want %v", err, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestService(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c, other := g.Client(), g.Client()
	s := dservice.New(other, "payments")

	list, _, err := s.List(ctx)
	if err != nil || len(list) != 0 {
		t.Fatalf("of nothing: %v, %v", list, err)
	}
	a, b := register(t, c, "a"), register(t, c, "b", dservice.Initially(dservice.Critical, "starting"))
	wantList(t, other, "a passing", "b critical (starting)")
	if list, _, err = s.List(ctx); err != nil || len(list) != 1 || list[0].HostPort() != "10.0.0.5:8080" || list[0].Session == 0 {
		t.Fatalf("%+v, %v", list, err)
	}
	check(t, b.Warning(ctx, "slow"))
	check(t, a.Update(ctx, func(i *dservice.Instance) { i.Tags, i.Port, i.ID = nil, 9090, "z" }))
	if list, _, err = s.List(ctx, dservice.Tag("v2")); err != nil || len(list) != 1 || list[0].ID != "b" || list[0].Note != "slow" {
		t.Fatalf("%+v, %v", list, err)
	}
	names, err := dservice.Names(ctx, other)
	if err != nil || !slices.Equal(names, []string{"payments"}) {
		t.Fatalf("%q, %v", names, err)
	}
	check(t, a.Deregister(ctx))
	check(t, a.Deregister(ctx))
	wantDone(t, a, nil)
	if err := a.Passing(ctx, ""); err == nil {
		t.Fatal("a report of what was deregistered is taken")
	}
	wantList(t, other, "b warning (slow)")
	check(t, b.Deregister(ctx))
	if names, err = dservice.Names(ctx, other); err != nil || len(names) != 0 {
		t.Fatalf("a name that is free is left: %q, %v", names, err)
	}
}

// An instance that cannot be decoded is named, and the others are listed.
func TestList_Unreadable(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c, kind := g.Client(), dservice.Kind()
	register(t, c, "a")
	register(t, c, "z")
	raw := roster.New(c, &kind, "payments", nil)
	for _, r := range []roster.Registering{
		{ID: "bad", Data: []byte{0xff}}, {ID: "worse", Data: []byte{0xff}}, {ID: "hidden", Data: []byte{0xff}, Health: roster.Critical},
	} {
		_, err := raw.Register(ctx, r)
		check(t, err)
	}
	for _, test := range []struct {
		opts []dservice.ListOption
		want string
	}{{nil, "instance bad: another codec: "}, {[]dservice.ListOption{dservice.AnyHealth()}, "and 2 more"}} {
		list, view, err := dservice.New(c, "payments").List(ctx, test.opts...)
		if !errors.Is(err, quorate.ErrCodec) || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v", err)
		}
		if diff := cmp.Diff([]string{"a passing", "z passing"}, texts(list)); diff != "" || view == 0 {
			t.Errorf("view %d: -want +got\n%s", view, diff)
		}
	}
}

func TestErrors(t *testing.T) {
	ctx, c := bounded(t), newGrid(t).Client()
	s := dservice.New(c, "payments")
	for _, test := range []struct {
		instance dservice.Instance
		opts     []dservice.RegisterOption
		want     error
	}{
		{dservice.Instance{ID: "a\n"}, nil, quorate.ErrInvalid},
		{dservice.Instance{ID: strings.Repeat("a", 256)}, nil, quorate.ErrTooLarge},
		{dservice.Instance{Port: 70000}, nil, quorate.ErrInvalid},
		{dservice.Instance{Meta: map[string]string{"a": strings.Repeat("x", 64<<10)}}, nil, quorate.ErrTooLarge},
		{dservice.Instance{}, []dservice.RegisterOption{dservice.TTL(time.Millisecond)}, quorate.ErrInvalid},
		{dservice.Instance{}, []dservice.RegisterOption{dservice.RemoveCritical(-1)}, quorate.ErrInvalid},
		{dservice.Instance{}, []dservice.RegisterOption{dservice.Check(func(context.Context) error { return nil }, 0)}, quorate.ErrInvalid},
	} {
		if _, err := s.Register(ctx, test.instance, test.opts...); !errors.Is(err, test.want) || !quorate.SafeToRetry(err) {
			t.Errorf("%v, want %v", err, test.want)
		}
	}
	if _, err := s.Drain(ctx, ""); !errors.Is(err, quorate.ErrInvalid) {
		t.Error(err)
	}
	wantList(t, c)
}

// An instance whose time has come is critical; it is never absent before (ROSTER-1).
func TestCriticalDoesNotVanish(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c := g.Client()
	w := watch(t, c)
	w.expect("synced")
	reg := register(t, c, "a", dservice.TTL(2*time.Second), dservice.RemoveCritical(5*time.Second))
	w.expect("put a passing")
	g.Advance(1500 * time.Millisecond)
	check(t, reg.Passing(ctx, "")) // nothing new, but the timer begins anew
	g.Advance(1500 * time.Millisecond)
	wantList(t, c, "a passing")
	g.Advance(time.Second)
	wantList(t, c, "a critical (no report within 2s)")
	w.expect("put a critical (no report within 2s)")
	check(t, reg.Critical(ctx, "full")) // does not put the removal off
	g.Advance(4900 * time.Millisecond)
	wantList(t, c, "a critical (full)")
	check(t, reg.Passing(ctx, ""))
	g.Advance(time.Second)
	check(t, reg.Critical(ctx, ""))
	g.Advance(5 * time.Second)
	wantList(t, c)
	w.expect("put a critical (full)", "put a passing", "put a critical", "expired a")
	wantDone(t, reg, structures.ErrRevoked)
}

// A process that is restarted takes the ID of its old entry over, at once (ROSTER-2).
func TestRestartTakesOver(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	before, after := g.Client(), g.Client()
	old := register(t, before, "a")
	w := watch(t, after)
	w.expect("synced")
	reg := register(t, after, "a", dservice.Initially(dservice.Warning, ""))
	w.expect("put a warning")
	wantDone(t, old, dservice.ErrReplaced)
	if err := old.Critical(ctx, "dying"); !errors.Is(err, dservice.ErrReplaced) {
		t.Fatalf("a report of the old one: %v", err)
	}
	before.End() // the end of the old session finds nothing
	wantList(t, after, "a warning")
	check(t, reg.Passing(ctx, ""))
}

// A process that is late to die does not remove its successor (ROSTER-3).
func TestLateDeregisterRemovesNoSuccessor(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	before, after := g.Client(), g.Client()
	old := register(t, before, "a")
	register(t, after, "a")
	if err := old.Deregister(ctx); !errors.Is(err, dservice.ErrReplaced) {
		t.Fatalf("%v", err)
	}
	wantList(t, after, "a passing")
}

// An instance comes back by itself after a lost session, and nobody sees it gone if that
// comes before the session's end; the end then finds nothing (ROSTER-4).
func TestComesBackUnseen(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c, other := g.Client(), g.Client()
	reg := register(t, c, "a")
	check(t, reg.Warning(ctx, "slow"))
	w := watch(t, other)
	w.expect("synced")
	end := c.Renew()
	w.expect("put a warning (slow)") // it was registered again
	end()
	check(t, reg.Passing(ctx, ""))
	w.expect("put a passing")
	wantList(t, other, "a passing")

	c.End()
	w.expect("ended a")
	c.Renew()
	w.expect("put a passing")
}

// Of two processes with one ID the later one stays: they do not replace each other for ever
// (ROSTER-4).
func TestNoFlapping(t *testing.T) {
	g := newGrid(t)
	one, two := g.Client(), g.Client()
	first := register(t, one, "a")
	one.End()
	second := register(t, two, "a")
	one.Renew()
	wantDone(t, first, dservice.ErrReplaced)
	select {
	case <-second.Done():
		t.Fatalf("the later one has ended: %v", second.Err())
	default:
	}
	wantList(t, two, "a passing")
}

// A drain outlives registrations, and is taken off by name only (ROSTER-5).
func TestDrainOutlivesRegistrations(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c := g.Client()
	s := dservice.New(c, "payments")
	reg := register(t, c, "a")
	changed, err := s.Drain(ctx, "a", dservice.Reason("repair"))
	if err != nil || !changed {
		t.Fatal(changed, err)
	}
	wantList(t, c, "a passing drained repair")
	if list, _, err := s.List(ctx); err != nil || len(list) != 0 {
		t.Fatalf("a drained one is listed for use: %v, %v", list, err)
	}
	check(t, reg.Deregister(ctx))
	reg = register(t, c, "a")
	wantList(t, c, "a passing drained repair")
	c.End()
	c.Renew()
	w := watch(t, c, dservice.WithCurrent())
	for {
		e, err, _ := w.next()
		check(t, err)
		if e.Entry.ID == "a" { // it has come back
			break
		}
	}
	wantList(t, c, "a passing drained repair")
	check(t, reg.Undrain(ctx))
	wantList(t, c, "a passing")
	if changed, err = s.Undrain(ctx, "a"); err != nil || changed {
		t.Fatal(changed, err)
	}
}

// The end of the last drain of a service without instances destroys nothing, so watchers are
// told nothing.
func TestUndrain_NotShown(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c := g.Client()
	s := dservice.New(c, "payments")
	w := watch(t, c)
	w.expect("synced")
	if changed, err := s.Drain(ctx, "a"); err != nil || !changed {
		t.Fatal(changed, err)
	}
	if changed, err := s.Undrain(ctx, "a"); err != nil || !changed {
		t.Fatal(changed, err)
	}
	register(t, c, "b")
	w.expect("put b passing")
}

// A watch goes on from the view of a list: nothing between the two is missed (ROSTER-6).
func TestWatchGoesOnFromList(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c := g.Client()
	a := register(t, c, "a")
	view := wantList(t, c, "a passing")
	register(t, c, "b")
	check(t, a.Deregister(ctx))
	w := watch(t, c, dservice.After(view))
	w.expect("synced") // the watch stands
	register(t, c, "c")
	w.expect("put b passing")
	w.expect("removed a", "put c passing")
}

// Whoever is removed, or whose service is destroyed, is told, and does not come back.
func TestRemoved(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c, admin := g.Client(), g.Client()
	s := dservice.New(admin, "payments")
	w := watch(t, admin)
	w.expect("synced")
	a, b := register(t, c, "a"), register(t, c, "b")
	w.expect("put a passing", "put b passing")
	existed, err := s.Remove(ctx, "a")
	if err != nil || !existed {
		t.Fatal(existed, err)
	}
	wantDone(t, a, structures.ErrRevoked)
	check(t, s.Destroy(ctx))
	wantDone(t, b, structures.ErrRevoked)
	w.expect("removed a", "destroyed")
	wantList(t, admin)
	if existed, err = s.Remove(ctx, "a"); err != nil || existed {
		t.Fatal(existed, err)
	}
	// The end of an instance of the name with its last entry is not shown.
	a = register(t, c, "a")
	check(t, a.Deregister(ctx))
	register(t, c, "b")
	w.expect("put a passing", "removed a", "put b passing")
}

func TestPermanent(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c, other := g.Client(), g.Client()
	reg := register(t, c, "a", dservice.Permanent(), dservice.TTL(time.Minute))
	c.End()
	wantList(t, other, "a passing")
	g.Advance(time.Minute)
	wantList(t, other, "a critical (no report within 1m0s)")
	c.Renew()
	check(t, reg.Passing(ctx, ""))
	wantList(t, other, "a passing")
	check(t, reg.Deregister(ctx))
	wantList(t, other)
}

// A permanent instance whose group has lost its data is registered again by its process, as
// one of a session is. One that somebody has removed is not.
func TestPermanent_GroupLost(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c, other := g.Client(), g.Client()
	a, _ := register(t, c, "a", dservice.Permanent()), register(t, c, "b")
	check(t, a.Warning(ctx, "slow"))
	w := watch(t, other)
	w.expect("synced")
	for range 2 {
		g.Lose()
		all := map[string]bool{}
		for len(all) < 2 { // they come in any order, behind the gap
			change, err, ok := w.next()
			if err != nil || !ok {
				t.Fatal(err, ok)
			}
			if change.Type == dservice.Put || change.Type == dservice.Current {
				all[text(change.Entry)] = true
			}
		}
		wantList(t, other, "a warning (slow)", "b passing")
	}
	existed, err := dservice.New(other, "payments").Remove(ctx, "a")
	if err != nil || !existed {
		t.Fatal(existed, err)
	}
	wantDone(t, a, structures.ErrRevoked)

	a = register(t, c, "a", dservice.Permanent())
	g.Lose()
	check(t, a.Critical(ctx, "full")) // whether that comes first or not
	for {
		list, _, err := dservice.New(other, "payments").List(ctx, dservice.AnyHealth())
		check(t, err)
		if len(list) == 2 && text(list[0]) == "a critical (full)" {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func TestCheck(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c := g.Client()
	var says atomic.Pointer[error]
	down := errors.New("connection refused")
	says.Store(&down)
	reg := register(t, c, "a", dservice.Check(func(context.Context) error { return *says.Load() }, 100*time.Millisecond))
	wantList(t, c, "a critical (connection refused)")
	w := watch(t, c)
	w.expect("synced")
	for _, step := range []struct {
		err  error
		want string
	}{
		{nil, "put a passing"},
		{fmt.Errorf("%w: slow", dservice.ErrWarning), "put a warning (warning: slow)"},
		{down, "put a critical (connection refused)"},
	} {
		says.Store(&step.err)
		w.expect(step.want)
	}
	check(t, reg.Deregister(ctx))
	w.expect("removed a")
}
