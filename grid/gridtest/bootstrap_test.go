package gridtest_test

import (
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
)

// TestCrashesWhileForming kills members at any moment of the first start, and
// starts them again: there must be one cluster in the end, with everyone in it.
func TestCrashesWhileForming(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := gridtest.Start(t, 3, gridtest.WithoutWait())
	for range 6 {
		time.Sleep(time.Duration(rng.IntN(600)) * time.Millisecond)
		i := rng.IntN(3)
		c.Kill(i)
		c.Restart(i)
	}
	c.WaitReady()
	oneCluster(t, c, 3)
}

// TestPauseWhileForming cuts the founder off while it founds.
func TestPauseWhileForming(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithoutWait())
	time.Sleep(300 * time.Millisecond)
	for i := range 3 {
		c.Pause(i)
		time.Sleep(200 * time.Millisecond)
		c.Resume(i)
	}
	c.WaitReady()
	oneCluster(t, c, 3)
}

// A member that expects others to found a cluster with, and finds one that is
// formed, joins it.
func TestBlankMembersJoinRatherThanFound(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1)
	// A member that expects three finds a formed cluster, and joins it.
	c2 := gridtest.Start(t, 1, gridtest.WithoutWait(), gridtest.WithConfig(func(_ int, cfg *grid.Config) {
		cfg.Name, cfg.BootstrapExpect, cfg.Join = "late", 3, c.Addrs()
	}))
	c2.WaitReady()
	oneCluster(t, c2, 2)
}

func oneCluster(t *testing.T, c *gridtest.Cluster, members int) {
	t.Helper()
	cluster := ""
	for i := range c.Len() {
		var err error
		c.Eventually("all members listed", func() bool {
			s, e := c.Status(i)
			err = e
			if e == nil && cluster == "" {
				cluster = s.Cluster
			}
			return e == nil && s.Ready && s.Cluster == cluster && len(s.Members) == members
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	n, err := dcounter.New(c.Client(t), "hits").Add(testContext(t), 1)
	if err != nil || n != 1 {
		t.Fatalf("counter %d, %v", n, err)
	}
}

// TestTableNamesTheCluster has a client greet a member before the cluster is
// formed, and wait for the table: it says which cluster it is of.
func TestTableNamesTheCluster(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1, gridtest.WithoutWait(), gridtest.WithDurability(grid.Memory),
		gridtest.WithConfig(func(_ int, cfg *grid.Config) { cfg.BootstrapExpect = 2 }))
	conn, err := net.Dial("tcp", c.Addrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello := protocol.Encode(protocol.NewHello(protocol.UUID{7}, ""))
	b := protocol.AppendPreface(nil, protocol.PurposeClient)
	b = append(b, protocol.EndFrame(append(protocol.BeginFrame(nil), hello...), 0)...)
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
	frames := protocol.NewFrameReader(conn, protocol.MaxFrame)
	for formed := false; ; {
		frame, err := frames.Next()
		if err != nil {
			t.Fatalf("%v\n%s", err, c.Diagnose())
		}
		switch protocol.PeekType(frame) {
		case protocol.TypeWelcome:
			var w protocol.Welcome
			if err := protocol.Decode(frame, &w); err != nil || len(w.Table.Partitions) != 0 || w.Table.Cluster != (protocol.UUID{}) {
				t.Fatalf("before the cluster is formed: %+v, %v", w, err)
			}
			c.Add()
			formed = true
		case protocol.TypeTable:
			var table protocol.Table
			if err := protocol.Decode(frame, &table); err != nil || !formed {
				t.Fatal(err)
			}
			if len(table.Partitions) == 0 {
				continue
			}
			if s, err := c.Status(0); err != nil || s.Cluster != table.Cluster.String() {
				t.Errorf("the table is of cluster %v, the member of %v, %v", table.Cluster, s.Cluster, err)
			}
			return
		}
	}
}
