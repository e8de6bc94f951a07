package bench

import (
	"context"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delection"
)

var electionWorkloads = map[string]workload{
	"election": {about: "lead, then resign", operations: []string{"lead", "resign"}, prepare: prepareElections},
}

// prepareElections makes nothing: an election that nobody leads does not exist. With one key all
// workers are candidates of one election.
func prepareElections(_ context.Context, _ structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	loaded(c.Keys)
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		elections := make([]*delection.Election[string], c.Keys)
		for i := range elections {
			elections[i] = delection.New[string](inv, structure(c, i))
		}
		return func(ctx context.Context, lap lap) {
			lead, err := elections[choose.next()].Campaign(ctx, "bench")
			lap(0, err)
			if err != nil {
				return
			}
			lap(1, lead.Resign(ctx))
		}
	}, nil
}
