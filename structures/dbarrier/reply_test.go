package dbarrier

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

// FuzzReply checks that no answer of a member, however wrong, makes a handle
// panic or go on for ever.
func FuzzReply(f *testing.F) {
	for _, body := range [][]byte{nil, protocol.AppendInts(nil), protocol.AppendInts(nil, 7), protocol.AppendInts(nil, 1, 2), protocol.AppendInts(nil, 0, -3)} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(protocol.CodeInvalid), (&protocol.Problem{Detail: "no"}).Append(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		ctx, grid := t.Context(), structurestest.Echo{Code: protocol.Code(code), Body: body}
		b, d := New(grid, "b", 2), NewDouble(grid, "b", 2)
		_, _ = b.Await(ctx, Wait(time.Second))
		_, _ = b.Inspect(ctx)
		_ = b.Destroy(ctx)
		if i, err := d.Enter(ctx, Note("who")); err == nil {
			_ = i.Leave(ctx)
		}
		_, _ = d.Revoke(ctx, 1)
		_, _ = d.Inspect(ctx)
		_ = d.Destroy(ctx)
	})
}
