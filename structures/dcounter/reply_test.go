package dcounter

import (
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

// FuzzReply checks that no answer of a member, however wrong, makes a handle
// panic or go on for ever.
func FuzzReply(f *testing.F) {
	for _, body := range [][]byte{nil, protocol.AppendInts(nil), protocol.AppendInts(nil, -5), protocol.AppendInts(nil, 1, 2)} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(protocol.CodeInvalid), (&protocol.Problem{Detail: "no"}).Append(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		ctx, grid := t.Context(), structurestest.Echo{Code: protocol.Code(code), Body: body}
		c := New(grid, "hits")
		_, _ = c.Get(ctx)
		_ = c.Set(ctx, 1)
		_, _ = c.Add(ctx, 1)
		_, _ = c.GetAndAdd(ctx, 1)
		_, _ = c.CompareAndSet(ctx, 0, 1)
		_ = c.Destroy(ctx)
	})
}
