package gridtest_test

import (
	"strings"
	"testing"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/internal/ports"
	"github.com/quorate/quorate/structures/dcounter"
)

// TestTwoClustersOnOverlappingAddresses has the members of one cluster told, among
// the addresses to join, those of another that is formed: each forms its own. Then
// members of each are started at addresses that were the other's.
func TestTwoClustersOnOverlappingAddresses(t *testing.T) {
	t.Parallel()
	addresses, err := ports.Free(4)
	if err != nil {
		t.Fatal(err)
	}
	where := map[string][]string{"one": addresses[:1], "two": addresses[1:3]}
	start := func(name string) *gridtest.Cluster {
		return gridtest.Start(t, len(where[name]), gridtest.WithDurability(grid.Memory), gridtest.WithoutWait(),
			gridtest.WithConfig(func(i int, cfg *grid.Config) {
				cfg.Cluster, cfg.Listen, cfg.Join = name, where[name][i], addresses
			}))
	}
	one := start("one")
	one.WaitReady()
	two := start("two")
	two.WaitReady()
	oneCluster(t, one, 1)
	oneCluster(t, two, 2)
	// The second member of two gives way to one of one, and returns elsewhere.
	two.Kill(1)
	where["one"] = addresses[:1:1]
	where["one"] = append(where["one"], addresses[2])
	where["two"][1] = addresses[3]
	one.Add()
	two.Restart(1)
	one.WaitFull()
	two.WaitFull()
	for i, c := range []*gridtest.Cluster{one, two} {
		for m := range 2 {
			s, err := c.Status(m)
			if err != nil || len(s.Members) != 2 || s.ClusterName != []string{"one", "two"}[i] {
				t.Errorf("member %d of cluster %d: cluster %q, members %+v, %v", m, i, s.ClusterName, s.Members, err)
			}
		}
	}
	if n, err := dcounter.New(one.Client(t), "hits").Add(testContext(t), 1); err != nil || n != 2 {
		t.Errorf("the counter of one is %d, %v", n, err)
	}
}

// TestNoStrangerIsJoined has a blank member, at an address that a formed cluster of
// the same name knows, wait for members at the addresses that it was told.
func TestNoStrangerIsJoined(t *testing.T) {
	t.Parallel()
	addresses, err := ports.Free(2)
	if err != nil {
		t.Fatal(err)
	}
	c := gridtest.Start(t, 1, gridtest.WithConfig(func(_ int, cfg *grid.Config) {
		cfg.Listen, cfg.Join, cfg.BootstrapExpect = addresses[0], addresses[1:], 1
	}))
	blank := gridtest.Start(t, 1, gridtest.WithoutWait(), gridtest.WithConfig(func(_ int, cfg *grid.Config) {
		cfg.Name, cfg.Listen, cfg.BootstrapExpect = "stranger", addresses[1], 3
	}))
	blank.Eventually("the blank member to say whom it does not join", func() bool {
		s, err := blank.Status(0)
		if err == nil && (s.Formed || s.Cluster != "") {
			t.Fatalf("it has joined a cluster that it was not told of: %+v", s)
		}
		return err == nil && strings.Contains(s.Waiting, addresses[0]+" belongs to one of that name, and is not among them")
	})
	oneCluster(t, c, 1)
}
