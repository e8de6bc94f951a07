package coordinator

import (
	"context"
	"testing"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
)

// TestForgedRun: what somebody says of another member's run is kept only if that member
// confirms it. It would discard its data for a later one.
func TestForgedRun(t *testing.T) {
	other := identity.Peer{Incarnation: identity.NewUUID(), Address: "127.0.0.1:2"}
	cluster := identity.NewUUID()
	present := identity.Run{Number: 3, Nonce: 8}
	c := idleMember(t, func(_ context.Context, address, what string, args []byte) (any, error) {
		var q peers.RunQuery
		if err := protocol.Decode(args, &q); err != nil || what != peers.AskRun || address != other.Address {
			t.Errorf("%s is asked for %s, %v", address, what, err)
		}
		if q.Incarnation == other.Incarnation && q.Run == present.Number && q.Nonce == present.Nonce {
			return nil, nil
		}
		return nil, peers.Refuse(protocol.CodeInvalid, "no")
	}, func(cfg *Config) {
		if err := cfg.Dir.Update(func(m *identity.Member) {
			m.Cluster, m.Formed, m.Peers = cluster, true, []identity.Peer{other}
		}); err != nil {
			t.Fatal(err)
		}
	})
	says := func(u protocol.UUID, l identity.Run) peers.ProgressReply {
		t.Helper()
		// It may come from anywhere, and name any address.
		r, err := c.Rejoin.OnObserved(t.Context(), peers.ProgressQuery{
			Cluster: cluster, Self: peers.Self{Incarnation: u, Address: "127.0.0.1:9"}, Run: l.Number, Nonce: l.Nonce,
		})
		if err != nil {
			t.Fatal(err)
		}
		return r.(peers.ProgressReply)
	}
	forged := identity.Run{Number: 1 << 40, Nonce: 5}
	if r := says(other.Incarnation, forged); r.Noted || r.Older {
		t.Errorf("a forged run: %+v", r)
	}
	if r := says(identity.NewUUID(), forged); r.Noted {
		t.Errorf("of a stranger: %+v", r)
	}
	if m := c.Member(); m.RunOf(other.Incarnation) != (identity.Run{}) || len(m.Peers) != 1 {
		t.Errorf("kept: %+v", m.Peers)
	}
	if r := says(other.Incarnation, present); !r.Noted || r.Older {
		t.Errorf("the true run: %+v", r)
	}
	if r := says(other.Incarnation, identity.Run{Number: 2, Nonce: 4}); r.Noted || !r.Older || r.Run != present.Number {
		t.Errorf("an older copy: %+v", r)
	}
	if m := c.Member(); m.RunOf(other.Incarnation) != present {
		t.Errorf("kept: %+v", m.Peers)
	}
}
