package gridtest_test

import (
	"context"
	"testing"

	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/internal/flood"
	"github.com/quorate/quorate/structures/dmap"
)

// TestFlood lets hostile clients send every message there is, and heartbeats of
// sessions that were never opened from 300 connections. The member serves
// afterwards, and so it does after a restart: nothing was logged that cannot be
// applied.
func TestFlood(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*gridtest.WaitTimeout)
	defer cancel()
	c := gridtest.Start(t, 1)
	users := dmap.New[string, int](c.Client(t), "users")
	serves := func(n int) {
		t.Helper()
		if err := users.Put(ctx, "n", n); err != nil {
			t.Fatalf("%v\n%s", err, c.Diagnose())
		}
		if v, ok, err := users.Get(ctx, "n"); err != nil || !ok || v != n {
			t.Fatalf("%d, %t, %v", v, ok, err)
		}
	}
	serves(1)
	for n, cfg := range []flood.Config{
		{Connections: 300, Bursts: 40, Heartbeats: true},
		{Connections: 60, Bursts: 40},
	} {
		cfg.Addresses, cfg.Seed = c.Addrs(), 9
		r := flood.Run(ctx, cfg)
		t.Logf("%+v", r)
		if r.Bursts == 0 || r.ReplyBytes == 0 && !cfg.Heartbeats { // those may hang up before they are answered
			t.Errorf("the flood was none: %+v", r)
		}
		serves(2 + 2*n)
		c.Kill(0)
		c.Restart(0)
		c.WaitReady()
		serves(3 + 2*n)
	}
}
