package bench

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/txn"
)

// Both write three entries together, whose keys have one tag.
var txnWorkloads = map[string]workload{
	"txn": {
		about: "put 3 keys of one tag in a transaction", mapped: true, operations: []string{"commit"},
		prepare: tagged(func(inv structures.Invoker, m *dmap.Map[string, []byte]) func(context.Context, string, []byte) error {
			in := m.Txn()
			return func(ctx context.Context, tag string, value []byte) error {
				_, err := txn.New(inv).Then(in.Put(tag+"a", value), in.Put(tag+"b", value), in.Put(tag+"c", value)).Commit(ctx)
				return err
			}
		}),
	},
	"putall": {
		about: "put 3 keys of one tag with PutAll", mapped: true, operations: []string{"put all"},
		prepare: tagged(func(_ structures.Invoker, m *dmap.Map[string, []byte]) func(context.Context, string, []byte) error {
			return func(ctx context.Context, tag string, value []byte) error {
				return m.PutAll(ctx, maps.All(map[string][]byte{tag + "a": value, tag + "b": value, tag + "c": value}))
			}
		}),
	},
}

// tagged has the writers write under tags that are chosen as keys are.
func tagged(writer func(structures.Invoker, *dmap.Map[string, []byte]) func(context.Context, string, []byte) error) func(context.Context, structures.Invoker, Config, func(int)) (newWorker, error) {
	return func(_ context.Context, _ structures.Invoker, c Config, _ func(int)) (newWorker, error) {
		return func(inv structures.Invoker, stream uint64) turn {
			write := writer(inv, benchMap(inv, c))
			choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
			value := randomBytes(rand.New(rand.NewPCG(c.Seed, ^stream)), c.ValueSize)
			return func(ctx context.Context, lap lap) {
				lap(0, write(ctx, fmt.Sprintf("{%s}", key(choose.next())), value))
			}
		}, nil
	}
}
