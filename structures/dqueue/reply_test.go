package dqueue

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

// FuzzReply checks that no answer of a member, however wrong, makes a handle
// panic or go on for ever. Clear is not in it: it asks until it is told that
// nothing is left, or ctx ends.
func FuzzReply(f *testing.F) {
	value, err := structures.AppendValue(nil, structures.CBOR, 7)
	if err != nil {
		f.Fatal(err)
	}
	for _, body := range [][]byte{nil, protocol.AppendInts(nil), protocol.AppendInts(nil, 7), appendValues(nil, value), appendValues(nil, value, value)} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(protocol.CodeInvalid), (&protocol.Problem{Detail: "no"}).Append(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		ctx, grid := t.Context(), structurestest.Echo{Code: protocol.Code(code), Body: body}
		q := New[int](grid, "q")
		_ = q.Put(ctx, 1)
		_, _ = q.Offer(ctx, 1)
		_, _ = q.Take(ctx)
		_, _, _ = q.Poll(ctx)
		_, _ = q.TakeN(ctx, 2, Wait(time.Second))
		_ = q.PutAll(ctx, []int{1, 2, 3}, Wait(0))
		_, _, _ = q.Peek(ctx)
		_, _ = q.Drain(ctx, 3000)
		_, _ = q.Len(ctx)
		_ = q.Configure(ctx, Capacity(3))
		_ = q.Destroy(ctx)
	})
}
