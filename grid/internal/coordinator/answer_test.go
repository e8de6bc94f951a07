package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/quorate/quorate/grid/internal/coordinator/coordinatortest"
	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

var errNobody = errors.New("nobody is there")

func nobody(context.Context, string, string, []byte) (any, error) { return nil, errNobody }

// idleMember returns a Coordinator that does nothing by itself, of a member that keeps
// nothing on disk.
func idleMember(tb testing.TB, others coordinatortest.AskerFunc, change func(*Config)) *Coordinator {
	tb.Helper()
	dir, err := identity.Volatile("n1")
	if err != nil {
		tb.Fatal(err)
	}
	cfg := Config{
		Dir: dir, Address: "127.0.0.1:1", Network: &network.Network{}, Tune: func(*shardgroups.Config) {},
		Changed: func() {}, Announced: func() {}, Reset: func() {}, Logger: slog.New(slog.DiscardHandler),
		Outside: Outside{
			Peers:  others,
			Gossip: func(gossip.Config) (membership.Gossip, error) { return nil, errNobody },
		},
	}
	if change != nil {
		change(&cfg)
	}
	c, err := newCoordinator(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(c.cancel)
	return c
}

// TestWrongQuestions: a question that a later version has is refused by its name, and
// one whose elements are of other types than those of this version by what is wrong.
func TestWrongQuestions(t *testing.T) {
	c := idleMember(t, nobody, nil)
	refused := func(what string, args []byte, code protocol.Code, detail string) {
		t.Helper()
		r := c.Peer(t.Context(), protocol.PeerRequest{What: what, Args: args})
		var p protocol.Problem
		if err := p.Decode(r.Body); err != nil || r.Code != code || p.Detail != detail {
			t.Errorf("%q: code %d, %q, %v, want %d, %q", what, r.Code, p.Detail, err, code, detail)
		}
	}
	refused("shuffle", []byte{0x81, 1}, protocol.CodeUnsupported, `unknown question "shuffle"`)
	for _, what := range questions {
		if what == "" {
			continue
		}
		wrong := [][]byte{{}, {0x00}, {0x82, 0x01}, {0x81, 0xf6}, {0x81, 0xa0}, {0x81, 0xf9, 0x3c, 0x00}}
		if what == peers.AskLeaders { // it has no elements: any that are well formed are skipped
			wrong = wrong[:3]
		}
		for _, args := range wrong {
			refused(what, args, protocol.CodeInvalid, "the arguments of the question: malformed message")
		}
	}
}
