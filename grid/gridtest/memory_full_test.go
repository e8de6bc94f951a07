package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// TestMemoryFull: while one voter is short of memory nothing grows, and all
// else goes on.
func TestMemoryFull(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithConfig(func(_ int, cfg *grid.Config) { cfg.MemoryLimit = 1 << 40 }))
	cl := c.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
	defer cancel()
	users := dmap.New[string, string](cl, "users")
	jobs := dqueue.New[string](cl, "jobs")
	permits := dsemaphore.New(cl, "permits")
	hits := dcounter.New(cl, "hits")
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	must("put", users.Put(ctx, "ada", "1"))
	must("put", users.Put(ctx, "bob", "1"))
	must("put", users.Put(ctx, "soon", "1", dmap.TTL(2*time.Second)))
	must("queue", jobs.Put(ctx, "a"))
	must("init", permits.Init(ctx, 2))
	must("set", hits.Set(ctx, 1))

	follower := (c.Leader(cl, "users", nil) + 1) % 3
	c.Sensors(follower).FillMemory(90)
	refused := func(what string, f func() error) {
		t.Helper()
		var err error
		c.Eventually(what+" is refused", func() bool { err = f(); return err != nil })
		if !errors.Is(err, quorate.ErrMemoryFull) || !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("put", func() error { return users.Put(ctx, "cid", "1") })
	refused("put of another group's key", func() error { return users.Put(ctx, "dan", "1") })
	refused("queue put", func() error { return jobs.Put(ctx, "b") })
	refused("add", func() error { _, err := dcounter.New(cl, "new").Add(ctx, 1); return err })

	_, ok, err := users.Get(ctx, "ada")
	must("get", err)
	if !ok {
		t.Error("ada is gone")
	}
	_, err = users.Delete(ctx, "bob")
	must("delete", err)
	_, err = jobs.Take(ctx)
	must("take", err)
	held, err := permits.Acquire(ctx, 1)
	must("acquire", err)
	must("release", held.Release(ctx))
	c.Eventually("an entry expires", func() bool {
		_, ok, err := users.Get(ctx, "soon")
		return err == nil && !ok
	})
	s, err := c.Status(c.Leader(cl, "users", nil))
	must("status", err)
	told := func(m protocol.StatusMember) bool { return m.MemoryFull && m.Name == fmt.Sprintf("n%d", follower+1) }
	if !slices.ContainsFunc(s.Members, told) {
		t.Errorf("the status does not tell: %+v", s.Members)
	}

	c.Sensors(follower).FillMemory(10)
	c.Eventually("it takes writes again", func() bool { return users.Put(ctx, "cid", "1") == nil })
}

// TestNoRoomToStart: a member whose data does not fit says so and does not
// serve.
func TestNoRoomToStart(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1)
	c.Close(0)
	c.Sensors(0).FillMemory(99)
	c.Restart(0)
	ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
	defer cancel()
	err := c.Member(0).Ready(ctx)
	if err == nil || ctx.Err() != nil {
		t.Fatalf("it serves: %v", err)
	}
	t.Log(err)
}

// TestNoRoomToReceive: a member that returns without its data gets a copy of a
// group only when it has the memory to receive it, and is told to lack it.
func TestNoRoomToReceive(t *testing.T) {
	t.Parallel()
	const returns = 2
	var limit atomic.Int64
	limit.Store(1 << 40)
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory), gridtest.WithConfig(func(i int, cfg *grid.Config) {
		cfg.Groups, cfg.MemoryLimit = 1, 1<<40
		if i == returns {
			cfg.MemoryLimit = limit.Load()
		}
	}))
	cl := c.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
	defer cancel()
	m := dmap.New[int, []byte](cl, "blobs")
	for i := range 16 {
		if err := m.Put(ctx, i, make([]byte, 1<<19)); err != nil {
			t.Fatal(err)
		}
	}
	c.Kill(returns)
	limit.Store(1 << 30)
	c.Sensors(returns).FillMemory(84) // headroom for 10 MiB, and it takes twice 8
	c.Restart(returns)
	groups := c.Groups(0)
	id := groups[slices.IndexFunc(groups, func(g protocol.GroupID) bool { return g != protocol.SystemGroup })]
	group := func() (protocol.StatusGroup, bool) {
		s, err := c.Status(c.LeaderOf(protocol.SystemGroup))
		i := slices.IndexFunc(s.Groups, func(g protocol.StatusGroup) bool { return g.ID == uint64(id) })
		if err != nil || i < 0 {
			return protocol.StatusGroup{}, false
		}
		return s.Groups[i], true
	}
	c.Eventually("the status says that the group waits for headroom", func() bool {
		g, ok := group()
		if ok && slices.ContainsFunc(g.Replicas, func(r protocol.StatusReplica) bool { return r.State == protocol.ReplicaNonVoting }) {
			t.Fatalf("it gets a copy: %+v", g)
		}
		return ok && strings.Contains(g.NoHeadroom, "to receive, n3 has headroom for 10.2 MiB")
	})
	c.Sensors(returns).FillMemory(10)
	c.WaitFull()
	c.Eventually("nothing waits", func() bool {
		g, ok := group()
		return ok && g.NoHeadroom == "" && g.Missing == 0
	})
}
