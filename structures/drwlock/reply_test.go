package drwlock

import (
	"context"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

// FuzzReply checks that no answer of a member, however wrong, makes a handle
// panic or go on for ever.
func FuzzReply(f *testing.F) {
	for _, body := range [][]byte{nil, protocol.AppendArray(nil, 0), protocol.AppendInts(nil, 7), protocol.AppendInts(nil, 1, 2), protocol.AppendInts(nil, 0, 0)} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(codeHeld), (&protocol.Problem{Detail: "no"}).Append(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		ctx, grid := t.Context(), structurestest.Echo{Code: protocol.Code(code), Body: body}
		l := New(grid, "l")
		_, _ = l.Lock(ctx)
		_, _, _ = l.TryLock(ctx, Note("ann"))
		_, _ = l.Lock(ctx, Wait(time.Second))
		_ = l.Do(ctx, func(context.Context, protocol.Token) error { return nil })
		_ = l.RDo(ctx, func(context.Context, protocol.Token) error { return nil })
		if held, err := l.RLock(ctx); err == nil {
			_, _, _ = l.TryUpgrade(ctx, held)
			_, _ = l.Downgrade(ctx, held)
		}
		_, _ = l.Inspect(ctx)
		_, _ = l.ForceUnlock(ctx, 1, Now())
		_ = l.Configure(ctx, Delay(time.Second))
		_ = l.Destroy(ctx)
	})
}
