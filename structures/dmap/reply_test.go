package dmap

import (
	"maps"
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

// FuzzReply checks that no answer of a member, however wrong, makes a handle
// panic or go on for ever.
func FuzzReply(f *testing.F) {
	key, value := testKeys[1], testValues[1]
	for _, body := range [][]byte{
		nil, op(0).Body, op(0, value, uint64(7), uint64(1)).Body, op(0, value).Body, op(0, 5).Body,
		op(0, uint64(1), uint64(0), value).Body, op(0, key).Body,
		append([]byte{0x85, 0xf4}, op(0, key, value, uint64(1), uint64(0)).Body[1:]...),
		append([]byte{0x82, 0xf5}, op(0, key).Body[1:]...),
	} {
		f.Add(uint16(protocol.CodeOK), body)
	}
	f.Add(uint16(codeConflict), []byte(nil))
	f.Fuzz(func(t *testing.T, code uint16, body []byte) {
		ctx := t.Context()
		grid := structurestest.Echo{Code: protocol.Code(code), Body: body}
		m := New[string, int](grid, "m")
		_, _, _ = m.Get(ctx, "a")
		_, _, _ = m.Entry(ctx, "a")
		_, _, _ = m.Swap(ctx, "a", 1)
		_, _, _ = m.PutIfAbsent(ctx, "a", 1)
		_, _ = m.Replace(ctx, "a", 1, 1)
		_, _ = m.Delete(ctx, "a")
		_, _ = m.SetTTL(ctx, "a", minTTL)
		_, _ = Add(ctx, m, "a", 1)
		_, _ = m.GetAll(ctx, "a", "b")
		_ = m.PutAll(ctx, maps.All(map[string]int{"a": 1}))
		_, _ = m.DeleteAll(ctx, "a")
		_ = AddAll(ctx, m, maps.All(map[string]int{"a": 1}))
		_, _ = m.Len(ctx)
		_ = m.Clear(ctx)
		_ = m.Configure(ctx)
		for _, err := range m.All(ctx) {
			_ = err
		}
		for _, err := range m.Keys(ctx) {
			_ = err
		}
	})
}
