package bench

import (
	"context"
	"time"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/drate"
)

var rateWorkloads = map[string]workload{
	"rate": {about: "ask a rate limit that allows all", operations: []string{"allow"}, prepare: prepareRates},
}

func prepareRates(ctx context.Context, inv structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	for i := range c.Keys {
		if err := drate.New(inv, structure(c, i)).Configure(ctx, drate.Rate(drate.MaxTokens, time.Second)); err != nil {
			return nil, err
		}
		loaded(i + 1)
	}
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		limits := make([]*drate.Limit, c.Keys)
		for i := range limits {
			limits[i] = drate.New(inv, structure(c, i))
		}
		return func(ctx context.Context, lap lap) {
			_, err := limits[choose.next()].Allow(ctx, 1)
			lap(0, err)
		}
	}, nil
}
