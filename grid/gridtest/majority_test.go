package gridtest_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// victims returns two members that hold a majority of one data group's replicas
// and of no other, and that group.
func victims(t *testing.T, c *gridtest.Cluster) (a, b int, lost uint64) {
	t.Helper()
	s, err := c.Status(0)
	if err != nil {
		t.Fatal(err)
	}
	at := map[uint64]int{} // member ids to numbers
	for _, m := range s.Members {
		var n int
		if _, err := fmt.Sscanf(m.Name, "n%d", &n); err != nil {
			t.Fatal(err)
		}
		at[m.ID] = n - 1
	}
	for a := range c.Len() {
		for b := range a {
			var hit []uint64
			for _, g := range s.Groups {
				n := 0
				for _, r := range g.Replicas {
					if i := at[r.Member]; i == a || i == b {
						n++
					}
				}
				if 2*n > len(g.Replicas) {
					hit = append(hit, g.ID)
				}
			}
			if len(hit) == 1 && hit[0] != uint64(protocol.SystemGroup) {
				return a, b, hit[0]
			}
		}
	}
	t.Fatal("no two members hold a majority of just one group")
	return 0, 0, 0
}

// groupOf returns the group that has the partition of a structure's name, as
// the first table says.
func groupOf(t *testing.T, name string) uint64 {
	t.Helper()
	return uint64(firstTable(t).Partitions[partition.Of(partition.DefaultPartitions, name, nil)])
}

// firstTable returns the first table of a grid of five.
func firstTable(t *testing.T) *partition.Table {
	t.Helper()
	table, err := partition.PlanGroups(partition.First{
		Partitions: partition.DefaultPartitions, Groups: 3, Replicas: 3, Members: []protocol.MemberID{1, 2, 3, 4, 5}, NextReplica: 1,
	})
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestMemory_MajorityLost takes the memory of two of five members, which hold a
// majority of one group: that group is back, empty, the others have lost
// nothing, and no permit is granted before everybody who held one must know
// that it is lost.
func TestMemory_MajorityLost(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 5, gridtest.WithDurability(grid.Memory))
	ctx := testContext(t)
	const ttl = 3 * time.Second
	cl := c.Client(t, client.WithSessionTTL(ttl))
	a, b, lost := victims(t, c)

	const counters = 40
	for i := range counters {
		if _, err := dcounter.New(cl, fmt.Sprint("c", i)).Add(ctx, int64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	// One semaphore in each data group.
	semaphores := map[uint64]string{}
	for i := 0; len(semaphores) < 3; i++ {
		name := fmt.Sprint("s", i)
		semaphores[groupOf(t, name)] = name
	}
	tokens := map[uint64]protocol.Token{}
	var ended []<-chan struct{}
	for g, name := range semaphores {
		s := dsemaphore.New(cl, name)
		if err := s.Init(ctx, 1); err != nil {
			t.Fatal(err)
		}
		held, err := s.Acquire(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		tokens[g] = held.Token()
		ended = append(ended, held.Context().Done())
	}

	c.Kill(a)
	c.Kill(b)
	c.Restart(a)
	c.Restart(b)
	began := time.Now()
	survivor := 0
	for survivor == a || survivor == b {
		survivor++
	}
	c.Eventually("the group is replaced", func() bool {
		s, err := c.Status(survivor)
		if err != nil {
			return false
		}
		return !slices.ContainsFunc(s.Groups, func(g protocol.StatusGroup) bool { return g.ID == lost })
	})
	t.Logf("replaced after %v", time.Since(began))

	gone := 0
	for i := range counters {
		name := fmt.Sprint("c", i)
		n, err := dcounter.New(cl, name).Get(ctx)
		want := int64(i + 1)
		if groupOf(t, name) == lost {
			want = 0
			gone++
		}
		if err != nil || n != want {
			t.Errorf("%s of group %d is %d, %v; want %d", name, groupOf(t, name), n, err, want)
		}
	}
	t.Logf("%d of %d counters are lost with group %d; served again after %v", gone, counters, lost, time.Since(began))
	for _, done := range ended {
		select {
		case <-done:
		case <-ctx.Done():
			t.Fatal("a holder is not told that it holds nothing")
		}
	}
	told := time.Since(began)
	for g, name := range semaphores {
		s := dsemaphore.New(cl, name)
		if g == lost {
			if err := s.Init(ctx, 1); err != nil {
				t.Fatal(err)
			}
		}
		held, err := s.Acquire(ctx, 1)
		if err != nil {
			t.Fatal(err)
		}
		at := time.Since(began)
		t.Logf("group %d: told after %v, token %d after %d, after %v", g, told, held.Token(), tokens[g], at)
		if held.Token() <= tokens[g] {
			t.Errorf("group %d: token %d after %d", g, held.Token(), tokens[g])
		}
		if g == lost && at < ttl*9/10 {
			t.Errorf("a permit of the lost group after %v: sessions have %v", at, ttl)
		}
	}
}

// TestDisk_GroupLost deletes the data of a data group's majority. The group
// says so and how to bring it back; a survivor offers what recover has saved,
// and everything is there again.
func TestDisk_GroupLost(t *testing.T) {
	t.Parallel()
	dirs := make([]string, 5)
	c := gridtest.Start(t, 5, gridtest.WithConfig(func(i int, cfg *grid.Config) { dirs[i] = cfg.DataDir }))
	ctx := testContext(t)
	cl := c.Client(t)
	a, b, lost := victims(t, c)
	const counters = 40
	of := "" // a counter of the group
	for i := range counters {
		name := fmt.Sprint("c", i)
		if groupOf(t, name) == lost {
			of = name
		}
		if _, err := dcounter.New(cl, name).Add(ctx, int64(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, i := range []int{a, b} {
		c.Kill(i)
		if err := os.RemoveAll(dirs[i]); err != nil {
			t.Fatal(err)
		}
	}
	c.Restart(a)
	c.Restart(b)
	survivor := holder(t, c, lost, a, b)
	c.Eventually("status shows the group as lost", func() bool {
		s, err := c.Status(survivor)
		if err != nil {
			return false
		}
		i := slices.IndexFunc(s.Groups, func(g protocol.StatusGroup) bool { return g.ID == lost })
		return i >= 0 && strings.Contains(s.Groups[i].Lost, fmt.Sprintf("quorate recover --group %d", lost))
	})
	c.Eventually("clients are told the way out", func() bool {
		short, cancel := context.WithTimeout(ctx, 4*time.Second)
		defer cancel()
		_, err := dcounter.New(cl, of).Get(short)
		if err == nil {
			t.Fatalf("%s of the lost group can be read", of)
		}
		return strings.Contains(err.Error(), "quorate recover")
	})

	c.Close(survivor)
	to := filepath.Join(t.TempDir(), "saved")
	report, err := grid.Recover(ctx, grid.RecoverConfig{DataDir: dirs[survivor], To: to, Groups: []uint64{lost}})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Groups) != 1 || report.Whole {
		t.Errorf("%+v", report)
	}
	if err := os.Rename(filepath.Join(to, "backup"), filepath.Join(dirs[survivor], "backup")); err != nil {
		t.Fatal(err)
	}
	c.Restart(survivor)
	for i := range counters {
		name := fmt.Sprint("c", i)
		var n int64
		c.Eventually(name+" is served", func() bool {
			n, err = dcounter.New(cl, name).Get(ctx)
			return err == nil
		})
		if n != int64(i+1) {
			t.Errorf("%s of group %d is %d, want %d", name, groupOf(t, name), n, i+1)
		}
	}
	s, err := c.Status(survivor)
	if err != nil || slices.ContainsFunc(s.Groups, func(g protocol.StatusGroup) bool { return g.Lost != "" }) {
		t.Errorf("%+v, %v", s.Groups, err)
	}
}

// holder returns a member that has a replica of a group, other than two.
func holder(t *testing.T, c *gridtest.Cluster, group uint64, a, b int) int {
	t.Helper()
	for i := range c.Len() {
		if i == a || i == b {
			continue
		}
		s, err := c.Status(i)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range s.Groups {
			if g.ID == group && slices.ContainsFunc(g.Replicas, func(r protocol.StatusReplica) bool { return r.Member == s.Member }) {
				return i
			}
		}
	}
	t.Fatalf("nobody has group %d", group)
	return 0
}
