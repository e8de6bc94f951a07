package bench

import (
	"context"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
)

var counterWorkloads = map[string]workload{
	"counter": {about: "add 1", operations: []string{"add"}, prepare: prepareCounters},
}

func prepareCounters(_ context.Context, _ structures.Invoker, c Config, _ func(int)) (newWorker, error) {
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		counters := make([]*dcounter.Counter, c.Keys)
		for i := range counters {
			counters[i] = dcounter.New(inv, structure(c, i))
		}
		return func(ctx context.Context, lap lap) {
			_, err := counters[choose.next()].Add(ctx, 1)
			lap(0, err)
		}
	}, nil
}
