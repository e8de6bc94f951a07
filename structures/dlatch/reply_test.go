package dlatch

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

// FuzzReply checks that no answer of a member, however wrong, makes a handle
// panic or go on for ever.
func FuzzReply(f *testing.F) {
	for _, body := range [][]byte{nil, protocol.AppendInts(nil), protocol.AppendInts(nil, 7), protocol.AppendInts(nil, 1, 2), protocol.AppendInts(nil, 0, 3, -3)} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(protocol.CodeInvalid), (&protocol.Problem{Detail: "no"}).Append(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		ctx, grid := t.Context(), structurestest.Echo{Code: protocol.Code(code), Body: body}
		l := New(grid, "l")
		_, _ = l.Set(ctx, 3)
		_, _ = l.CountDown(ctx, By(2))
		_, _, _ = l.Count(ctx)
		_, _ = l.Await(ctx, Wait(time.Second))
		_, _ = l.Await(ctx, Wait(0), In(2))
		_, _ = l.Hold(ctx)
		_, _ = l.Inspect(ctx)
		_, _ = l.Revoke(ctx, 1)
		_ = l.Destroy(ctx)
	})
}
