package bench

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dservice"
)

var serviceWorkloads = map[string]workload{
	"service": {about: "register an instance, list the service, then deregister it", operations: []string{"register", "list", "deregister"}, prepare: prepareServices},
}

// serviceInstances is how many instances each service has beside those that come and go.
const serviceInstances = 20

// prepareServices makes services with some instances that stay.
func prepareServices(ctx context.Context, inv structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	name := func(i int) string { return fmt.Sprint(structure(c, i)) }
	for i := range c.Keys {
		for k := range serviceInstances {
			in := dservice.Instance{ID: fmt.Sprint("stays-", k), Address: "10.0.0.1", Port: 8000 + k}
			if _, err := dservice.New(inv, name(i)).Register(ctx, in); err != nil {
				return nil, err
			}
		}
		loaded(i + 1)
	}
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		in := dservice.Instance{ID: fmt.Sprint("comes-", stream), Address: "10.0.0.2", Port: 9000}
		return func(ctx context.Context, lap lap) {
			s := dservice.New(inv, name(choose.next()))
			reg, err := s.Register(ctx, in)
			if lap(0, err); err != nil {
				return
			}
			_, _, err = s.List(ctx)
			lap(1, err)
			lap(2, reg.Deregister(ctx))
		}
	}, nil
}
