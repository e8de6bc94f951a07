package did

import (
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

// FuzzReply checks that no answer of a member, however wrong, makes a handle
// panic or go on for ever.
func FuzzReply(f *testing.F) {
	for _, body := range [][]byte{nil, protocol.AppendInts(nil), protocol.AppendInts(nil, -5), protocol.AppendInts(nil, 1, 2), protocol.AppendInts(nil, 1<<63-1)} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(protocol.CodeInvalid), (&protocol.Problem{Detail: "no"}).Append(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		s := New(structurestest.Echo{Code: protocol.Code(code), Body: body}, "orders", Block(3))
		for range 5 {
			_, _ = s.Next(t.Context())
		}
		_, _ = s.Raise(t.Context(), 9)
	})
}
