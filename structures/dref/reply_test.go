package dref

import (
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

// FuzzReply checks that no answer of a member, however wrong, makes a handle panic or go on
// for ever.
func FuzzReply(f *testing.F) {
	for _, body := range [][]byte{nil, nothing, op(0, testValues[0]).Body, op(0, testValues[0], uint64(7)).Body, op(0, uint64(9), uint64(7), testValues[0]).Body, op(0, true).Body} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(protocol.CodeInvalid), (&protocol.Problem{Detail: "no"}).Append(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		ctx, grid := t.Context(), structurestest.Echo{Code: protocol.Code(code), Body: body}
		r := New[int](grid, "limits")
		_, _, _ = r.Get(ctx)
		_, _, _ = r.Entry(ctx)
		_ = r.Set(ctx, 1)
		_, _, _ = r.Swap(ctx, 1)
		_, _, _ = r.SetIfAbsent(ctx, 1)
		_, _ = r.Replace(ctx, 1, 1)
		_, _ = r.CompareAndSet(ctx, 0, 1)
		_, _ = r.Delete(ctx)
		_, _ = r.Rollback(ctx, 1)
		pages := 0
		for range r.History(ctx) {
			if pages++; pages > 1000 {
				break
			}
		}
		for range r.Watch(ctx) {
		}
		_ = r.Destroy(ctx)
	})
}
