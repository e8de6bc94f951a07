package bench

import (
	"context"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dlock"
)

var lockWorkloads = map[string]workload{
	"lock": {about: "lock, then unlock", operations: []string{"lock", "unlock"}, prepare: prepareLocks},
}

// prepareLocks makes nothing: a lock that nobody holds does not exist. With one key all
// workers wait for one lock.
func prepareLocks(_ context.Context, _ structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	loaded(c.Keys)
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		locks := make([]*dlock.Lock, c.Keys)
		for i := range locks {
			locks[i] = dlock.New(inv, structure(c, i))
		}
		return func(ctx context.Context, lap lap) {
			held, err := locks[choose.next()].Lock(ctx)
			lap(0, err)
			if err != nil {
				return
			}
			lap(1, held.Release(ctx))
		}
	}, nil
}
