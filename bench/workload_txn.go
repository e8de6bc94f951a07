package bench

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/txn"
)

var txnWorkloads = map[string]workload{
	"txn": {about: "put 3 keys of one tag in a transaction", mapped: true, operations: []string{"commit"}, prepare: prepareTxns},
}

// prepareTxns writes three entries together, whose keys have one tag.
func prepareTxns(_ context.Context, _ structures.Invoker, c Config, _ func(int)) (newWorker, error) {
	return func(inv structures.Invoker, stream uint64) turn {
		m := benchMap(inv, c).Txn()
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		value := randomBytes(rand.New(rand.NewPCG(c.Seed, ^stream)), c.ValueSize)
		return func(ctx context.Context, lap lap) {
			tag := fmt.Sprintf("{%s}", key(choose.next()))
			_, err := txn.New(inv).Then(m.Put(tag+"a", value), m.Put(tag+"b", value), m.Put(tag+"c", value)).Commit(ctx)
			lap(0, err)
		}
	}, nil
}
