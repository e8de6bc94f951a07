package dservice

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/roster"
	"github.com/quorate/quorate/structures/structurestest"
)

// provider returns a Provider of three instances, and what moves its clock.
func provider(t *testing.T, s Strategy) (*Provider, *structurestest.Client, func(time.Duration)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	c := structurestest.NewLocal(t, Kind()).Client()
	svc := New(c, "payments")
	for i := range 3 {
		if _, err := svc.Register(ctx, Instance{ID: fmt.Sprint("i", i), Tags: []string{fmt.Sprint("t", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	p, err := svc.Provider(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	var moved atomic.Int64
	p.mu.Lock()
	p.now = func() time.Time { return time.Now().Add(time.Duration(moved.Load())) }
	p.mu.Unlock()
	return p, c, func(d time.Duration) { moved.Add(int64(d)) }
}

// picks counts what is picked.
func picks(t *testing.T, p *Provider, n int, opts ...PickOption) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		i, err := p.Pick(opts...)
		if err != nil {
			t.Fatal(err)
		}
		got[i.ID]++
	}
	return got
}

// await waits for a condition of the provider's view.
func await(t *testing.T, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(time.Millisecond) {
		if time.Since(start) > 2*time.Minute {
			t.Fatal("it does not come")
		}
	}
}

func TestProvider_Strategies(t *testing.T) {
	p, _, _ := provider(t, RoundRobin())
	if got := picks(t, p, 30); got["i0"] != 10 || got["i1"] != 10 || got["i2"] != 10 {
		t.Errorf("round robin: %v", got)
	}
	if got := picks(t, p, 5, WithTag("t1")); got["i1"] != 5 {
		t.Errorf("of one tag: %v", got)
	}
	p, _, _ = provider(t, Random())
	if got := picks(t, p, 300); len(got) != 3 {
		t.Errorf("random: %v", got)
	}
	p, _, _ = provider(t, LeastFailing())
	p.Failed(Instance{ID: "i0"})
	if got := picks(t, p, 20); got["i0"] != 0 || got["i1"] != 10 {
		t.Errorf("least failing: %v", got)
	}
}

func TestProvider_Sticky(t *testing.T) {
	p, c, _ := provider(t, Sticky())
	before, count := map[string]string{}, map[string]int{}
	for k := range 300 {
		key := fmt.Sprint("user", k)
		i, _ := p.Pick(Key(key))
		before[key] = i.ID
		count[i.ID]++
		if again, _ := p.Pick(Key(key)); again.ID != i.ID {
			t.Fatalf("%s moves from %s to %s", key, i.ID, again.ID)
		}
	}
	for id, n := range count {
		if n < 50 {
			t.Errorf("%s has %d of 300 keys", id, n)
		}
	}
	if _, err := New(c, "payments").Remove(t.Context(), "i0"); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return len(p.All()) == 2 })
	for key, id := range before {
		if i, _ := p.Pick(Key(key)); id != "i0" && i.ID != id {
			t.Errorf("%s moves from %s to %s, although that is there", key, id, i.ID)
		}
	}
}

// Passing comes before warning, and what is critical or drained is never picked.
func TestProvider_Health(t *testing.T) {
	p, c, _ := provider(t, RoundRobin())
	s, ctx := New(c, "payments"), t.Context()
	reg, err := s.Register(ctx, Instance{ID: "w"}, Initially(Warning, ""))
	if err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return len(p.All()) == 4 })
	if got := picks(t, p, 30); got["w"] != 0 {
		t.Errorf("although others are passing: %v", got)
	}
	for i := range 3 {
		if _, err := s.Drain(ctx, fmt.Sprint("i", i)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, func() bool { return p.All()[2].Drained })
	if got := picks(t, p, 3); got["w"] != 3 {
		t.Errorf("only a warning one is left: %v", got)
	}
	if err := reg.Critical(ctx, ""); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return p.All()[3].Health == Critical })
	if i, err := p.Pick(); !errors.Is(err, ErrNoInstance) {
		t.Errorf("%v, %v", i, err)
	}
}

// What fails twice within 30 s is put aside for 30 s.
func TestProvider_Failed(t *testing.T) {
	p, _, sleep := provider(t, RoundRobin())
	bad := Instance{ID: "i0"}
	p.Failed(bad)
	sleep(31 * time.Second)
	p.Failed(bad)
	if got := picks(t, p, 3); got["i0"] != 1 {
		t.Errorf("after two failures far apart: %v", got)
	}
	p.Failed(bad)
	if got := picks(t, p, 4); got["i0"] != 0 {
		t.Errorf("aside: %v", got)
	}
	sleep(29 * time.Second)
	if got := picks(t, p, 4); got["i0"] != 0 {
		t.Errorf("aside for 29 s: %v", got)
	}
	for _, id := range []string{"i1", "i2"} {
		p.Failed(Instance{ID: id})
		p.Failed(Instance{ID: id})
	}
	picks(t, p, 1) // all are aside: better one of them than none
	sleep(2 * time.Second)
	if got := picks(t, p, 4); got["i0"] != 4 {
		t.Errorf("back, while the others are aside: %v", got)
	}
}

// away is a grid that can be away.
type away struct {
	*structurestest.Client
	is atomic.Bool
}

type awayStream struct {
	structures.WatchStream
	grid *away
}

func (a *away) Watch(ctx context.Context, spec structures.WatchSpec) (structures.WatchStream, error) {
	s, err := a.Client.Watch(ctx, spec)
	return awayStream{s, a}, err
}

func (s awayStream) Next(ctx context.Context) (structures.WatchEvent, error) {
	for {
		e, err := s.WatchStream.Next(ctx)
		if !s.grid.is.Load() || err != nil {
			return e, err
		}
	}
}

// While the grid is away a provider goes on with its last view, and says how old it is
// (ROSTER-7).
func TestProvider_Age(t *testing.T) {
	g := &away{Client: structurestest.NewLocal(t, Kind()).Client()}
	s := New(g, "payments")
	if _, err := s.Register(t.Context(), Instance{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	p, err := s.Provider(t.Context(), RoundRobin())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	g.is.Store(true)
	p.mu.Lock()
	p.now = func() time.Time { return time.Now().Add(time.Hour) }
	p.mu.Unlock()
	if i, err := p.Pick(); err != nil || i.ID != "a" || p.Age() < time.Hour {
		t.Fatalf("%v, %v, age %v", i, err, p.Age())
	}
}

// TestProvider_Unreadable: an instance that has become one of a later version, which cannot be
// read, is not picked as what it was before.
func TestProvider_Unreadable(t *testing.T) {
	p, c, _ := provider(t, RoundRobin())
	view := p.View()
	if _, err := roster.New(c, &kind, "payments", nil).Register(t.Context(), roster.Registering{ID: "i1", Data: []byte{0xff}}); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return p.View() > view || len(p.All()) == 2 })
	if got := picks(t, p, 30); got["i1"] != 0 || len(got) != 2 {
		t.Errorf("picked %v", got)
	}
}
