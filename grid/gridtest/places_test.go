package gridtest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

// load adds to a counter and puts keys into a map until it is stopped, and
// knows what was acknowledged.
type load struct {
	t    *testing.T
	hits *dcounter.Counter
	m    *dmap.Map[string, int64]
	stop chan struct{}
	done chan struct{}
	n    int64 // acknowledged; of the load's goroutine until done is closed
}

func startLoad(t *testing.T, cl *client.Client) *load {
	l := &load{
		t: t, hits: dcounter.New(cl, "hits"), m: dmap.New[string, int64](cl, "numbers"),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	ctx := t.Context()
	go func() {
		defer close(l.done)
		for {
			select {
			case <-l.stop:
				return
			default:
			}
			n, err := l.hits.Add(ctx, 1)
			if err == nil {
				l.n++
				err = l.m.Put(ctx, fmt.Sprint("k", n), n)
			}
			if err != nil {
				t.Errorf("after %d: %v", l.n, err)
				return
			}
		}
	}()
	return l
}

// end stops the load and checks that all it was promised is there.
func (l *load) end() {
	l.t.Helper()
	close(l.stop)
	<-l.done
	ctx := testContext(l.t)
	if n, err := l.hits.Get(ctx); err != nil || n != l.n {
		l.t.Fatalf("counter %d, %v, want %d", n, err, l.n)
	}
	found := int64(0)
	for e, err := range l.m.All(ctx) {
		if err != nil {
			l.t.Fatal(err)
		}
		if e.Key != fmt.Sprint("k", e.Value) {
			l.t.Fatalf("%s is %d", e.Key, e.Value)
		}
		found++
	}
	if found != l.n {
		l.t.Fatalf("%d entries, want %d", found, l.n)
	}
	l.t.Logf("%d acknowledged", l.n)
}

// TestWiped wipes each member in turn under load: each gets its places back,
// and nothing that was acknowledged is lost.
func TestWiped(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	l := startLoad(t, c.Client(t))
	for i := range 3 {
		c.WaitFull()
		c.Kill(i)
		c.Wipe(i)
		began := time.Now()
		c.Restart(i)
		c.WaitFull()
		t.Logf("member %d: full after %v", i, time.Since(began))
	}
	l.end()
	sameHashes(t, c)
	s, err := c.Status(0)
	if err != nil || len(s.Members) != 3 {
		t.Errorf("members %+v, %v, want three", s.Members, err)
	}
}

// TestGrow shows that a grid of one member becomes one of three, its data
// groups too.
func TestGrow(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1)
	l := startLoad(t, c.Client(t))
	c.Add()
	c.WaitFull()
	votes := func() (most, copies int) {
		s, err := c.Status(0)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range s.Groups {
			n := 0
			for _, r := range g.Replicas {
				if r.State != "non-voting" {
					n++
				}
			}
			most, copies = max(most, n), copies+len(g.Replicas)
		}
		return most, copies
	}
	if most, copies := votes(); most != 1 || copies != 8 {
		t.Errorf("with two members: %d votes in a group, %d replicas in all; want 1 and 8", most, copies)
	}
	c.Add()
	c.WaitFull()
	if most, copies := votes(); most != 3 || copies != 12 {
		t.Errorf("with three members: %d votes in a group, %d replicas in all; want 3 and 12", most, copies)
	}
	c.Kill(0)
	l.end()
}

// TestSameName shows that a living member keeps its name.
func TestSameName(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1, gridtest.WithConfig(func(_ int, cfg *grid.Config) { cfg.Name = "n1" }), gridtest.WithoutWait())
	c.WaitReady()
	i := c.Add()
	c.Eventually("the second n1 is refused", func() bool {
		s, err := c.Status(i)
		return err == nil && !s.Ready && s.Waiting == "cluster \"quorate\" to admit this member: a member called n1 runs at "+c.Addrs()[0]+": give one of them another name"
	})
}
