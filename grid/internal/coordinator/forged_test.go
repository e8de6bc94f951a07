package coordinator

import (
	"testing"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
)

// ofCluster makes a member one of a formed cluster with one other, at an address.
func ofCluster(t *testing.T, c *Coordinator, other identity.Peer) protocol.UUID {
	t.Helper()
	cluster := identity.NewUUID()
	if err := c.dir.Update(func(m *identity.Member) {
		m.Cluster, m.Formed, m.Peers = cluster, true, []identity.Peer{other}
	}); err != nil {
		t.Fatal(err)
	}
	return cluster
}

// TestForgedLife: what somebody says of another member's life is kept only where
// that member confirms it. It would discard its data for a later one.
func TestForgedLife(t *testing.T) {
	c := blankMember(t)
	l := peers(t, 1)[0]
	other := identity.Peer{Incarnation: identity.NewUUID(), Address: l.Addr().String()}
	cluster := ofCluster(t, c, other)
	present := identity.Life{Number: 3, Nonce: 8}
	serveQuestions(t, l, func(q protocol.PeerRequest) protocol.Reply {
		var life runQuery
		if err := protocol.Decode(q.Args, &life); err != nil || q.What != askRun {
			t.Errorf("asked for %s, %v", q.What, err)
		}
		if life.Incarnation == other.Incarnation && life.Life == present.Number && life.Nonce == present.Nonce {
			return protocol.Reply{}
		}
		return protocol.Reply{Code: protocol.CodeInvalid, Body: (&protocol.Problem{Detail: "no"}).Append(nil)}
	})
	tell := func(u protocol.UUID, l identity.Life) progressReply {
		t.Helper()
		// It may come from anywhere, and name any address.
		r, err := c.Rejoin.onObserved(t.Context(), progressQuery{
			Cluster: cluster, Self: self{Incarnation: u, Address: "127.0.0.1:9"}, Life: l.Number, Nonce: l.Nonce,
		})
		if err != nil {
			t.Fatal(err)
		}
		return r.(progressReply)
	}
	forged := identity.Life{Number: 1 << 40, Nonce: 5}
	if r := tell(other.Incarnation, forged); r.Noted || r.Older {
		t.Errorf("a forged life: %+v", r)
	}
	if r := tell(identity.NewUUID(), forged); r.Noted {
		t.Errorf("of a stranger: %+v", r)
	}
	if m := c.Member(); m.LifeOf(other.Incarnation) != (identity.Life{}) || len(m.Peers) != 1 {
		t.Errorf("kept: %+v", m.Peers)
	}
	if r := tell(other.Incarnation, present); !r.Noted || r.Older {
		t.Errorf("the true life: %+v", r)
	}
	if r := tell(other.Incarnation, identity.Life{Number: 2, Nonce: 4}); r.Noted || !r.Older || r.Life != present.Number {
		t.Errorf("an older copy: %+v", r)
	}
	if m := c.Member(); m.LifeOf(other.Incarnation) != present {
		t.Errorf("kept: %+v", m.Peers)
	}
}

// TestBelieved: a member discards its data on the word of those only whom it
// knows, where it knows them to be.
func TestBelieved(t *testing.T) {
	a, b := identity.NewUUID(), identity.NewUUID()
	known := []identity.Peer{{Incarnation: a, Address: "a:1"}, {Incarnation: b, Address: "b:1"}}
	from := func(at string, u protocol.UUID) testimony {
		return testimony{at, progressReply{Self: self{Incarnation: u, Address: at}}}
	}
	got := believed([]testimony{
		from("a:1", a),                  // where it was
		from("evil:1", a),               // somebody else says that it is a
		from("b:2", b),                  // has moved
		from("evil:2", protocol.UUID{}), // nobody knows it
		from("join:1", protocol.UUID{7}),
	}, known, []string{"join:1"})
	var at []string
	for _, r := range got {
		at = append(at, r.Self.Address)
	}
	if len(at) != 3 || at[0] != "a:1" || at[1] != "b:2" || at[2] != "join:1" {
		t.Errorf("believed: %v", at)
	}
	if got := believed([]testimony{from("a:1", protocol.UUID{9})}, known, nil); len(got) != 1 {
		t.Error("another incarnation at a known address is not believed")
	}
}

// TestConditionIsAskedFor: a member is asked at once when something else is
// announced of it, and again, but seldom, for as long as it does not say so itself.
func TestConditionIsAskedFor(t *testing.T) {
	now := time.Unix(1000, 0)
	full := gossip.State{MemoryFull: true}
	var k condition
	if ask, _ := k.due(now, full); !ask {
		t.Error("not asked at first")
	}
	k = condition{confirmed: true, announced: full, asked: now} // it has said that it is well
	asked := 0
	for range 100 {
		now = now.Add(conditionPause)
		if ask, _ := k.due(now, full); ask {
			asked++
			k.asked = now
		}
	}
	if asked != 10 {
		t.Errorf("asked %d times in ten seconds of forged news", asked)
	}
	if ask, in := k.due(now, gossip.State{}); ask || in != 0 {
		t.Errorf("asked although nothing is announced but what it says (%t, %v)", ask, in)
	}
	if ask, in := k.due(now, gossip.State{DiskFull: true}); ask || in != conditionPause {
		t.Errorf("of other news: %t, %v", ask, in)
	}
	if ask, _ := k.due(now.Add(conditionPause), gossip.State{DiskFull: true}); !ask {
		t.Error("not asked of other news")
	}
}
