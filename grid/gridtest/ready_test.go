package gridtest_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
)

// TestReadyWithoutALeader: a member that is started again while one group has no
// leader, and gets none, serves the others, and its readiness says which is
// missing.
func TestReadyWithoutALeader(t *testing.T) {
	c := gridtest.Start(t, 3, gridtest.WithConfig(func(_ int, cfg *grid.Config) {
		cfg.Replicas, cfg.HTTP = 1, "127.0.0.1:0"
	}))
	cl := c.Client(t)
	led := func(p protocol.PartitionID) string {
		return fmt.Sprint(cl.Table().Partitions[p])
	}
	lost := c.LeaderOf(cl.Table().Groups[1].ID)
	missing := fmt.Sprint(cl.Table().Groups[1].ID)
	again := (lost + 1) % 3
	c.Kill(lost)
	c.Kill(again)
	c.Restart(again)
	c.WaitReady()

	ctx, cancel := context.WithTimeout(t.Context(), gridtest.WaitTimeout)
	defer cancel()
	one, err := client.Dial(ctx, []string{c.Member(again).Addr()})
	if err != nil {
		t.Fatalf("%v\n%s", err, c.Diagnose())
	}
	defer one.Close()
	m := dmap.New[string, string](one, "m")
	served := 0
	for i := range 50 {
		key, err := structures.AppendKey(nil, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if led(one.Partition("m", key)) == missing {
			continue
		}
		if err := m.Put(ctx, fmt.Sprint(i), "v"); err != nil {
			t.Fatalf("put %d: %v\n%s", i, err, c.Diagnose())
		}
		served++
	}
	if served == 0 {
		t.Error("no key belongs to a group that has a leader")
	}
	r, err := http.Get("http://" + c.Member(again).HTTPAddr() + "/readyz?verbose")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK || !strings.Contains(string(b), "[-] leaders: none known of group "+missing) {
		t.Errorf("readyz: %d, %v\n%s", r.StatusCode, err, b)
	}
}
