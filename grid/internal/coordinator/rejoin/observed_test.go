package rejoin

import (
	"testing"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
)

// TestBelieved: a member discards its data on the word of those only whom it
// knows, where it knows them to be.
func TestBelieved(t *testing.T) {
	a, b := identity.NewUUID(), identity.NewUUID()
	known := []identity.Peer{{Incarnation: a, Address: "a:1"}, {Incarnation: b, Address: "b:1"}}
	from := func(at string, u protocol.UUID) answer {
		return answer{at, peers.ProgressReply{Self: peers.Self{Incarnation: u, Address: at}}}
	}
	got := believed([]answer{
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
	if got := believed([]answer{from("a:1", protocol.UUID{9})}, known, nil); len(got) != 1 {
		t.Error("another incarnation at a known address is not believed")
	}
}
