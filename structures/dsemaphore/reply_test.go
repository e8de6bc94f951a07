package dsemaphore

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

// FuzzReply checks that no answer of a member, however wrong, makes a handle
// panic or go on for ever.
func FuzzReply(f *testing.F) {
	for _, body := range [][]byte{nil, protocol.AppendInts(nil), protocol.AppendInts(nil, 7), protocol.AppendInts(nil, 1, 2), protocol.AppendInts(nil, 0, 0)} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(protocol.CodeInvalid), (&protocol.Problem{Detail: "no"}).Append(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		ctx, grid := t.Context(), structurestest.Echo{Code: protocol.Code(code), Body: body}
		s := New(grid, "s")
		_ = s.Init(ctx, 3)
		_, _ = s.Acquire(ctx, 1)
		_, _, _ = s.TryAcquire(ctx, 1, Note("ann"))
		_, _ = s.Acquire(ctx, 1, Wait(time.Second))
		_, _ = s.Available(ctx)
		_, _ = s.Drain(ctx)
		_ = s.AddPermits(ctx, 1)
		_, _ = s.Inspect(ctx)
		_, _ = s.Revoke(ctx, 1)
		_ = s.Destroy(ctx)
	})
}
