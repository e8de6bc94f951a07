package flood

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/quorate/quorate/protocol"
)

// TestMessages shows that what a flood sends as valid is taken by the decoders,
// reaches every operation of every structure, and concerns nobody else.
func TestMessages(t *testing.T) {
	const own = protocol.SessionID(7)
	h := &hostile{cfg: &Config{}, rng: rand.New(rand.NewPCG(1, 2))}
	mine := func(id protocol.SessionID) bool { return id == own || id == 0 || id >= 1<<40 }
	seen := map[[2]byte]bool{}
	check := func(q *protocol.Request) {
		seen[[2]byte{byte(q.Kind), byte(q.Op)}] = true
		if !mine(q.Caller.Session) || !strings.HasPrefix(q.Name, NamePrefix) {
			t.Fatalf("a request for others: %+v", q)
		}
	}
	for range 20_000 {
		b := h.message(own)
		var err error
		switch protocol.PeekType(b) {
		case protocol.TypeRequest:
			var q protocol.Request
			if err = q.Decode(b); err == nil {
				check(&q)
			}
		case protocol.TypeBatch:
			err = protocol.EachRequest(b, func(_ []byte, q *protocol.Request) { check(q) })
		case protocol.TypeSession:
			var q protocol.SessionRequest
			if err = protocol.Decode(b, &q); err == nil && !mine(q.Session) {
				t.Fatalf("a session of others: %+v", q)
			}
		case protocol.TypeTableRequest:
			err = protocol.Decode(b, &protocol.TableRequest{})
		case protocol.TypeAdmin:
			err = protocol.Decode(b, &protocol.AdminRequest{})
		default:
			t.Fatalf("an unknown message: %x", b)
		}
		if err != nil {
			t.Fatalf("%x: %v", b, err)
		}
	}
	for kind := range byte(8) {
		for op := range byte(32) {
			if !seen[[2]byte{kind, op}] {
				t.Errorf("operation %d of kind %d is never sent", op, kind)
			}
		}
	}
}
