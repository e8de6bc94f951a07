package nemesis

import (
	"context"
	"testing"
	"time"

	"github.com/quorate/quorate/verify/network"
)

func TestChoose(t *testing.T) {
	chosen, err := Choose([]string{"clients", "kill-all", "no-client-cut"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range chosen {
		names = append(names, f.Name)
	}
	if len(names) != 8 || names[0] != "kill-all" {
		t.Errorf("chose %v", names)
	}
	if _, err := Choose([]string{"x"}); err == nil {
		t.Error("a name that no fault has is no error")
	}
	seen := map[string]bool{}
	for _, f := range Faults() {
		if seen[f.Name] || f.About == "" || f.Family == "" || f.Inject == nil {
			t.Errorf("fault %q is not complete, or not the only one", f.Name)
		}
		seen[f.Name] = true
	}
}

// TestGridFallsBack: a grid that asks for whatever works has a network.
func TestGridFallsBack(t *testing.T) {
	for _, kind := range []string{network.Auto, network.Proxy, network.Direct} {
		g, err := New(Config{Dir: t.TempDir(), Members: 3, Durability: "memory", Network: kind})
		if err != nil {
			t.Fatal(err)
		}
		name, lacks := g.NetworkKind()
		t.Logf("%s: %s; %s", kind, name, lacks)
		if (g.Network() == nil) != (kind == network.Direct) {
			t.Errorf("%s: network %v", kind, g.Network())
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if _, err := g.Dial(ctx, g.Members()[0].Address); err == nil && kind != network.Proxy {
			t.Error("nobody listens, and yet a connection is made")
		}
		cancel()
		g.Close()
	}
}
