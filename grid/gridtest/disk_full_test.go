package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dmap"
)

// leads returns how many groups a member leads, as another sees it.
func leads(t *testing.T, c *gridtest.Cluster, of, seenBy int) (groups, known int) {
	t.Helper()
	s, err := c.Status(seenBy)
	if err != nil {
		return -1, 0
	}
	for _, g := range s.Groups {
		if g.Leader != 0 {
			known++
		}
		for _, m := range s.Members {
			if m.ID == g.Leader && m.Name == fmt.Sprintf("n%d", of+1) {
				groups++
			}
		}
	}
	return groups, known
}

// running returns how many data groups have a replica that runs on a member.
func running(c *gridtest.Cluster, i int) int {
	h, err := c.Hashes(i)
	if err != nil {
		return -1
	}
	return len(h.Groups)
}

const keys = 30

func putAll(ctx context.Context, cl *client.Client, value string) error {
	users := dmap.New[string, string](cl, "users")
	for i := range keys {
		if err := users.Put(ctx, fmt.Sprint(i), value); err != nil {
			return err
		}
	}
	return nil
}

func checkAll(t *testing.T, ctx context.Context, cl *client.Client, value string) {
	t.Helper()
	users := dmap.New[string, string](cl, "users")
	for i := range keys {
		if v, ok, err := users.Get(ctx, fmt.Sprint(i)); err != nil || !ok || v != value {
			t.Fatalf("key %d: %q, %t, %v; want %q", i, v, ok, err, value)
		}
	}
}

// TestDiskFull: a member without room gives its leads away, then stops its
// replicas, and the grid goes on without them; with room it is as before. The
// member has had its places given back before.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	cl := c.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*gridtest.WaitTimeout)
	defer cancel()
	if err := putAll(ctx, cl, "0"); err != nil {
		t.Fatal(err)
	}
	full := c.Leader(cl, "users", nil)
	other := (full + 1) % 3
	// Its replicas were copies first, which have got their votes since.
	c.Kill(full)
	c.Wipe(full)
	c.Restart(full)
	c.WaitFull()

	c.Sensors(full).FillDisk(gridtest.SpaceLow)
	c.Eventually("it leads nothing", func() bool {
		n, known := leads(t, c, full, other)
		return n == 0 && known == 4
	})
	if n := running(c, full); n != 3 {
		t.Errorf("%d replicas run, it has space for all 3", n)
	}
	if err := putAll(ctx, cl, "1"); err != nil {
		t.Fatalf("with one member short of space: %v", err)
	}

	c.Sensors(full).FillDisk(gridtest.SpaceCritical)
	c.Eventually("its replicas are stopped", func() bool { return running(c, full) == 0 })
	if err := putAll(ctx, cl, "2"); err != nil {
		t.Fatalf("with one member without space: %v", err)
	}
	checkAll(t, ctx, cl, "2")

	// A second one has to stay, and its groups are read only.
	c.Sensors(other).FillDisk(gridtest.SpaceCritical)
	refused(t, ctx, c, cl)
	checkAll(t, ctx, cl, "2")
	if _, err := dmap.New[string, string](cl, "users").Delete(ctx, "none"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if n := running(c, other); n != 3 {
		t.Errorf("%d replicas run on the second member, its groups need all 3", n)
	}

	c.Sensors(other).FillDisk(gridtest.SpaceEnough)
	c.Eventually("it takes writes again", func() bool { return putAll(ctx, cl, "3") == nil })
	c.Sensors(full).FillDisk(gridtest.SpaceEnough)
	c.Eventually("the replicas run again", func() bool { return running(c, full) == 3 })
	c.Eventually("it leads again", func() bool { n, _ := leads(t, c, full, other); return n > 0 })
	checkAll(t, ctx, cl, "3")
	c.Eventually("the replicas are the same", func() bool { return allTheSame(c) })
}

// refused waits until puts are refused for good. One may have entered before, where
// its leader changed on the way: what came of that is not known.
func refused(t *testing.T, ctx context.Context, c *gridtest.Cluster, cl *client.Client) {
	t.Helper()
	users := dmap.New[string, string](cl, "users")
	for i := range keys {
		c.Eventually("puts are refused", func() bool {
			err := users.Put(ctx, fmt.Sprint("new", i), "1")
			if err != nil && !errors.Is(err, quorate.ErrReadOnly) {
				t.Fatalf("put: %v", err)
			}
			return err != nil && quorate.SafeToRetry(err)
		})
		if i >= 3 {
			break
		}
	}
}

func allTheSame(c *gridtest.Cluster) bool {
	type at struct{ group, applied uint64 }
	seen := map[at]uint64{}
	n := 0
	for i := range c.Len() {
		h, err := c.Hashes(i)
		if err != nil {
			return false
		}
		for _, g := range h.Groups {
			if was, ok := seen[at{g.ID, g.Applied}]; ok && was != g.Hash {
				return false
			}
			seen[at{g.ID, g.Applied}] = g.Hash
			n++
		}
	}
	return n == 3*c.Len() && len(seen) == 3
}

// TestDiskFullEverywhere: without room anywhere the grid is read only, also
// after a restart, and goes on when there is room.
func TestDiskFullEverywhere(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	cl := c.Client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*gridtest.WaitTimeout)
	defer cancel()
	if err := putAll(ctx, cl, "0"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		c.Sensors(i).FillDisk(gridtest.SpaceLow)
	}
	refused(t, ctx, c, cl)
	checkAll(t, ctx, cl, "0")
	for i := range 3 {
		c.Sensors(i).FillDisk(gridtest.SpaceCritical)
	}
	c.Eventually("the groups are led", func() bool { _, known := leads(t, c, 0, 1); return known == 4 })
	checkAll(t, ctx, cl, "0")
	refused(t, ctx, c, cl)
	c.Kill(0)
	c.Restart(0)
	c.WaitReady()
	checkAll(t, ctx, cl, "0")
	refused(t, ctx, c, cl)
	s, err := c.Status(0)
	if err != nil || s.Disk.Level != "hard" {
		t.Errorf("status: %+v, %v", s.Disk, err)
	}
	for i := range 3 {
		c.Sensors(i).FillDisk(gridtest.SpaceEnough)
	}
	c.Eventually("it takes writes again", func() bool { return putAll(ctx, cl, "1") == nil })
	c.Eventually("all replicas run", func() bool {
		return running(c, 0) == 3 && running(c, 1) == 3 && running(c, 2) == 3
	})
	checkAll(t, ctx, cl, "1")
}
