package bench

import (
	"context"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/did"
)

var idWorkloads = map[string]workload{
	"id": {about: "take the next id, of blocks of 1000", operations: []string{"next"}, prepare: prepareIDs},
}

func prepareIDs(_ context.Context, _ structures.Invoker, c Config, _ func(int)) (newWorker, error) {
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		ids := make([]*did.Sequence, c.Keys)
		for i := range ids {
			ids[i] = did.New(inv, structure(c, i))
		}
		return func(ctx context.Context, lap lap) {
			_, err := ids[choose.next()].Next(ctx)
			lap(0, err)
		}
	}, nil
}
