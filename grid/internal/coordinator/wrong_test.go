package coordinator

import (
	"testing"

	"github.com/quorate/quorate/protocol"
)

// TestWrongQuestions: a question that a later version has is refused by its name, and
// one whose elements are of other types than those of this version by what is wrong.
func TestWrongQuestions(t *testing.T) {
	c := blank(t)
	refused := func(what string, args []byte, code protocol.Code, detail string) {
		t.Helper()
		r := c.Peers.Peer(t.Context(), protocol.PeerRequest{What: what, Args: args})
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
		if what == askLeaders { // it has no elements: any that are well formed are skipped
			wrong = wrong[:3]
		}
		for _, args := range wrong {
			refused(what, args, protocol.CodeInvalid, "the arguments of the question: malformed message")
		}
	}
}
