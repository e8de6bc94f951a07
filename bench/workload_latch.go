package bench

import (
	"context"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dlatch"
)

var latchWorkloads = map[string]workload{
	"latch": {about: "hold a latch, then release", operations: []string{"hold", "release"}, prepare: prepareLatches},
}

// prepareLatches sets the latches, so that they are not open while workers hold them.
func prepareLatches(ctx context.Context, inv structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	for i := range c.Keys {
		l := dlatch.New(inv, structure(c, i))
		if err := l.Destroy(ctx); err != nil {
			return nil, err
		}
		if _, err := l.Set(ctx, 1); err != nil {
			return nil, err
		}
		loaded(i + 1)
	}
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		latches := make([]*dlatch.Latch, c.Keys)
		for i := range latches {
			latches[i] = dlatch.New(inv, structure(c, i))
		}
		return func(ctx context.Context, lap lap) {
			held, err := latches[choose.next()].Hold(ctx)
			lap(0, err)
			if err != nil {
				return
			}
			lap(1, held.Release(ctx))
		}
	}, nil
}
