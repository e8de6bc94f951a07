package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	c.FillMemory(follower, 90)
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

	c.FillMemory(follower, 10)
	c.Eventually("it takes writes again", func() bool { return users.Put(ctx, "cid", "1") == nil })
}

// TestNoRoomToStart: a member whose data does not fit says so and does not
// serve.
func TestNoRoomToStart(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1)
	c.Close(0)
	c.FillMemory(0, 99)
	c.Restart(0)
	ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
	defer cancel()
	err := c.Member(0).Ready(ctx)
	if err == nil || ctx.Err() != nil {
		t.Fatalf("it serves: %v", err)
	}
	t.Log(err)
}
