package bench

import (
	"context"
	"errors"
	"math/rand/v2"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dref"
)

var refWorkloads = map[string]workload{
	"ref": {about: "read half of the references, replace the others by version", operations: []string{"get", "replace"}, prepare: prepareRefs},
}

func prepareRefs(_ context.Context, _ structures.Invoker, c Config, _ func(int)) (newWorker, error) {
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		random := rand.New(rand.NewPCG(c.Seed, stream))
		value := randomBytes(random, c.ValueSize)
		refs := make([]*dref.Ref[[]byte], c.Keys)
		for i := range refs {
			refs[i] = dref.New[[]byte](inv, structure(c, i))
		}
		return func(ctx context.Context, lap lap) {
			r := refs[choose.next()]
			e, _, err := r.Entry(ctx)
			lap(0, err)
			if err != nil || random.IntN(2) == 0 {
				return
			}
			_, err = r.Replace(ctx, e.Version, value)
			if errors.Is(err, dref.ErrConflict) {
				err = nil // it is an answer
			}
			lap(1, err)
		}
	}, nil
}
