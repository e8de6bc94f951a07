package bench

import (
	"context"
	"math/rand/v2"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
)

var nearWorkloads = map[string]workload{
	"near": {about: "99 % get from a near cache, 1 % put", mapped: true, operations: []string{"get", "put"}, prepare: prepareNear},
}

// prepareNear writes every key once. One operation in a hundred writes.
func prepareNear(ctx context.Context, inv structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	if !c.NoLoad {
		if err := loadMap(ctx, inv, c, loaded); err != nil {
			return nil, err
		}
	}
	return func(inv structures.Invoker, stream uint64) turn {
		m := dmap.New[string, []byte](inv, c.Name, dmap.NearCache())
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		random := rand.New(rand.NewPCG(c.Seed, ^stream))
		value := randomBytes(random, c.ValueSize)
		return func(ctx context.Context, lap lap) {
			k := key(choose.next())
			if random.IntN(100) > 0 {
				_, _, err := m.Get(ctx, k)
				lap(opGet, err)
				return
			}
			value[random.IntN(len(value))]++
			lap(opPut, m.Put(ctx, k, value))
		}
	}, nil
}
