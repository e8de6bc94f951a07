package drate

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
	for _, body := range [][]byte{nil, protocol.AppendInts(nil), protocol.AppendInts(nil, -5), protocol.AppendInts(nil, 1, 2), protocol.AppendInts(nil, 3)} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(protocol.CodeInvalid), (&protocol.Problem{Detail: "no"}).Append(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		l := New(structurestest.Echo{Code: protocol.Code(code), Body: body}, "mails")
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer cancel()
		_ = l.Configure(ctx, Rate(1, time.Second))
		_, _ = l.Allow(ctx, 1)
		_, _ = l.Left(ctx)
		_ = l.Wait(ctx, 1)
		_ = l.Destroy(ctx)
	})
}
