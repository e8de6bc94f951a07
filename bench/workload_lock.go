package bench

import (
	"context"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/drwlock"
)

var lockWorkloads = map[string]workload{
	"rwlock": {about: "lock to read, then unlock; one of ten to write", operations: []string{"read", "write", "unlock"}, prepare: prepareRWLocks},
	"lock":   {about: "lock, then unlock", operations: []string{"lock", "unlock"}, prepare: prepareLocks},
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

// writeOneOf calls of the workload rwlock writes.
const writeOneOf = 10

// prepareRWLocks makes nothing, as prepareLocks.
func prepareRWLocks(_ context.Context, _ structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	loaded(c.Keys)
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		locks := make([]*drwlock.RWLock, c.Keys)
		for i := range locks {
			locks[i] = drwlock.New(inv, structure(c, i))
		}
		turns := 0
		return func(ctx context.Context, lap lap) {
			acquire, operation := locks[choose.next()].RLock, 0
			if turns++; turns%writeOneOf == 0 {
				acquire, operation = locks[choose.next()].Lock, 1
			}
			held, err := acquire(ctx)
			lap(operation, err)
			if err != nil {
				return
			}
			lap(2, held.Release(ctx))
		}
	}, nil
}
