package delection

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

// FuzzReply checks that no answer of a member, however wrong, makes a handle
// panic or go on for ever.
func FuzzReply(f *testing.F) {
	l := leader{hold: 1, token: 2, session: 3, note: "n", since: time.Second, value: []byte{3, 'v'}}
	p := page{next: 5, named: 1, list: []candidate{{hold: 1, session: 2, priority: -1, note: "n", waits: time.Second, value: []byte{3}}}}
	for _, body := range [][]byte{
		nil, protocol.AppendInts(nil), protocol.AppendInts(nil, 1, 2), protocol.AppendInts(nil, 0, 0),
		l.append(nil, true), l.append(nil, false), p.append(nil), existed(true).Body,
	} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(codeNone), (&protocol.Problem{Detail: "no"}).Append(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		ctx, grid := t.Context(), structurestest.Echo{Code: protocol.Code(code), Body: body}
		e := New[string](grid, "e", Codec(structures.Raw))
		_, _ = e.Campaign(ctx, "v")
		_, _ = e.Campaign(ctx, "v", Wait(0))
		_, _, _ = e.Leader(ctx)
		_, _ = e.Candidates(ctx)
		_, _ = e.Transfer(ctx, 1, 2)
		_, _ = e.ForceResign(ctx, 1)
		_, _ = e.Inspect(ctx)
		for range e.Observe(ctx) {
			break
		}
		_ = e.Destroy(ctx)
	})
}
