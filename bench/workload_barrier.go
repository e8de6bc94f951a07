package bench

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dbarrier"
)

var barrierWorkloads = map[string]workload{
	"barrier": {about: "two calls of each worker meet", operations: []string{"await"}, prepare: prepareBarriers},
}

func prepareBarriers(_ context.Context, _ structures.Invoker, c Config, _ func(int)) (newWorker, error) {
	return func(inv structures.Invoker, stream uint64) turn {
		b := dbarrier.New(inv, fmt.Sprintf("%s-%d", c.Name, stream), 2)
		other := make(chan error, 1)
		return func(ctx context.Context, lap lap) {
			go func() {
				_, err := b.Await(ctx)
				other <- err
			}()
			_, err := b.Await(ctx)
			lap(0, err)
			lap(0, <-other)
		}
	}, nil
}
