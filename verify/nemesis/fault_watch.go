package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// watchFaults hold up watches, or what they are served over, and nothing else.
func watchFaults() []Fault {
	return []Fault{
		{
			Name: "watch-stall", Family: familyClients, About: "half of the watches read nothing", KeepsSessions: true,
			Lasts: [2]time.Duration{time.Second, 10 * time.Second},
			Inject: func(_ context.Context, t *Target) (Injected, error) {
				if t.StallWatches == nil {
					return Injected{"", nothing}, errors.New("there are no watches")
				}
				end := t.StallWatches()
				return Injected{"", func(context.Context) error {
					end()
					return nil
				}}, nil
			},
		}, {
			Name: "watch-cut", Family: familyClients, About: "the connections for watches reset, ten times, or silent, and no others", KeepsSessions: true,
			Lasts: [2]time.Duration{500 * time.Millisecond, 8 * time.Second},
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				if t.Rand.IntN(2) == 0 {
					t.Clients.SetWatches(true)
					return Injected{"silent", func(context.Context) error {
						t.Clients.SetWatches(false)
						return nil
					}}, nil
				}
				n := 0
				for range 10 {
					n += t.Clients.ResetWatches()
					if err := pauseFor(ctx, between(t.Rand, time.Millisecond, 300*time.Millisecond)); err != nil {
						return Injected{"", nothing}, err
					}
				}
				return Injected{fmt.Sprint(n, " connections reset"), nothing}, nil
			},
		},
	}
}
