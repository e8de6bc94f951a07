package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/dservice"
)

// TestService_Failover: instances stay, watches go on and registrations report while the
// leader is killed.
func TestService_Failover(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	cl, other := c.Client(t), c.Client(t)
	s := dservice.New(cl, "payments")
	var regs []*dservice.Registration
	for i := range 10 {
		reg, err := s.Register(ctx, dservice.Instance{ID: fmt.Sprint("i", i), Address: "10.0.0.1", Port: 8000 + i})
		if err != nil {
			t.Fatal(err)
		}
		regs = append(regs, reg)
	}
	var critical, gone atomic.Int64
	watching, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for e, err := range dservice.New(other, "payments").Watch(watching, dservice.WithCurrent()) {
			switch {
			case err != nil:
			case e.Type == dservice.Put && e.Entry.Health == dservice.Critical:
				critical.Add(1)
			case e.Type == dservice.Removed, e.Type == dservice.Ended, e.Type == dservice.Gap:
				gone.Add(1)
			}
		}
	})
	p, err := dservice.New(other, "payments").Provider(ctx, dservice.RoundRobin())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	c.Kill(c.Leader(cl, "payments", nil))
	if in, err := p.Pick(); err != nil || in.Port < 8000 {
		t.Errorf("while there is no leader: %v, %v", in, err)
	}
	for _, reg := range regs {
		if err := reg.Critical(ctx, "overloaded"); err != nil {
			t.Error(err)
		}
	}
	c.Eventually("all changes to come", func() bool { return critical.Load() == 10 })
	list, _, err := s.List(ctx, dservice.AnyHealth())
	if err != nil || len(list) != 10 || list[3].Note != "overloaded" {
		t.Errorf("%d listed, %v", len(list), err)
	}
	stop()
	done.Wait()
	if n := gone.Load(); n != 0 {
		t.Errorf("%d have gone", n)
	}
}

// TestService_DeadProcess: what a process registered goes when its session has ended, and
// not what lives; a process that was only cut off comes back.
func TestService_DeadProcess(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	living, dying := c.Client(t, client.WithSessionTTL(ttl)), c.Client(t, client.WithSessionTTL(ttl))
	for id, cl := range map[string]*client.Client{"living": living, "dying": dying} {
		if _, err := dpresence.New[int](cl, "workers").Join(ctx, 1, dpresence.ID(id)); err != nil {
			t.Fatal(err)
		}
	}
	g := dpresence.New[int](c.Client(t), "workers")
	before, _, err := g.List(ctx)
	if err != nil || len(before) != 2 {
		t.Fatalf("%v, %v", before, err)
	}
	if err := dying.Close(); err != nil {
		t.Error(err)
	}
	c.Eventually("the dead one to go", func() bool {
		list, _, err := g.List(ctx)
		return err == nil && len(list) == 1 && list[0].ID == "living"
	})
}

// TestService_MemoryLost takes the memory of a majority of one group, and then of all: what is
// registered comes back with its process, permanent or not, and what somebody removed does not.
func TestService_MemoryLost(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 5, gridtest.WithDurability(grid.Memory))
	ctx := testContext(t)
	cl, other := c.Client(t, client.WithSessionTTL(2*time.Second)), c.Client(t)
	a, b, lost := victims(t, c)
	name := "workers"
	for i := 0; groupOf(t, name) != lost; i++ {
		name = fmt.Sprint("workers", i)
	}
	g := dpresence.New[int](cl, name)
	permanent, err := g.Join(ctx, 1, dpresence.ID("permanent"), dpresence.Permanent())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Join(ctx, 2, dpresence.ID("session")); err != nil {
		t.Fatal(err)
	}
	before, _, err := g.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, members := range [][]int{{a, b}, {0, 1, 2, 3, 4}} {
		for _, i := range members {
			c.Kill(i)
		}
		for _, i := range members {
			c.Restart(i)
		}
		c.Eventually("both to come back", func() bool {
			list, _, err := dpresence.New[int](other, name).List(ctx)
			return err == nil && len(list) == 2 && list[0].Payload == 1 && list[1].Payload == 2 && list[0].Version > before[0].Version
		})
		if before, _, err = g.List(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := permanent.Set(ctx, 3); err != nil {
		t.Error(err)
	}
	if existed, err := dpresence.New[int](other, name).Remove(ctx, "permanent"); !existed || err != nil {
		t.Fatal(existed, err)
	}
	select {
	case <-permanent.Done():
	case <-ctx.Done():
	}
	if err := permanent.Err(); !errors.Is(err, structures.ErrRevoked) {
		t.Errorf("it has ended with %v", err)
	}
}

// TestService_Many measures many instances of many services with many watchers: by default
// few, with QUORATE_MANY=10000 as many as that, of 100 services with 100 watchers.
func TestService_Many(t *testing.T) {
	instances, services, watchers := 500, 10, 10
	if n := 0; os.Getenv("QUORATE_MANY") != "" {
		if _, err := fmt.Sscan(os.Getenv("QUORATE_MANY"), &n); err != nil {
			t.Fatal(err)
		}
		instances, services, watchers = n, 100, 100
	}
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const processes = 10
	var clients []*client.Client
	for range processes {
		clients = append(clients, c.Client(t))
	}
	name := func(i int) string { return fmt.Sprint("service-", i%services) }
	var told, synced atomic.Int64
	watching, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	for i := range watchers {
		done.Go(func() {
			s := dservice.New(clients[i%processes], name(i))
			for e, err := range s.Watch(watching, dservice.WithCurrent()) {
				switch {
				case err != nil:
				case e.Type == dservice.Synced:
					synced.Add(1)
				default:
					told.Add(1)
				}
			}
		})
	}
	c.Eventually("all watches to stand", func() bool { return int(synced.Load()) == watchers })
	began := time.Now()
	var registering sync.WaitGroup
	for p := range processes {
		registering.Go(func() {
			var some sync.WaitGroup
			limit := make(chan struct{}, 32)
			for i := p; i < instances; i += processes {
				limit <- struct{}{}
				some.Go(func() {
					defer func() { <-limit }()
					in := dservice.Instance{ID: fmt.Sprint("i", i), Address: "10.0.0.1", Port: 8000, Tags: []string{"v2"}}
					if _, err := dservice.New(clients[p], name(i)).Register(ctx, in); err != nil {
						t.Error(err)
					}
				})
			}
			some.Wait()
		})
	}
	registering.Wait()
	registered := time.Since(began)
	want := int64(0)
	for w := range watchers {
		for i := w % services; i < instances; i += services {
			want++
		}
	}
	c.Eventually("all watchers to be told of all", func() bool { return told.Load() == want })
	t.Logf("%d instances of %d services registered in %v; %d watchers told of %d changes %v later", instances, services, registered, watchers, want, time.Since(began)-registered)
	began = time.Now()
	for i := range services {
		list, _, err := dservice.New(clients[0], name(i)).List(ctx)
		if err != nil || len(list) != instances/services {
			t.Fatalf("%d, %v", len(list), err)
		}
	}
	t.Logf("all listed in %v", time.Since(began))
	stop()
	done.Wait()
}

// TestMembers: a client learns of the members, and of one that dies and comes back.
func TestMembers(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	cl := c.Client(t)
	list, err := cl.Members(ctx)
	if err != nil || len(list) != 3 || list[0].Name == "" || list[0].Address == "" || list[0].State == "" {
		t.Fatalf("%+v, %v", list, err)
	}
	alive := list[0].State
	states := make(chan string, 100)
	watching, stop := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		for list, err := range cl.WatchMembers(watching) {
			if err != nil {
				return
			}
			var text strings.Builder
			for _, m := range list {
				text.WriteString(m.Name + " " + m.State + ", ")
			}
			states <- text.String()
		}
	})
	last := ""
	await := func(what string, ok func(string) bool) {
		t.Helper()
		c.Eventually(what, func() bool {
			for len(states) > 0 {
				last = <-states
			}
			return ok(last)
		})
	}
	all := func(text string) bool { return strings.Count(text, " "+alive+",") == 3 }
	await("three members", all)
	c.Kill(1)
	await("one to be dead", func(text string) bool { return text != "" && !all(text) })
	c.Restart(1)
	await("three members again", all)
	stop()
	done.Wait()
}
