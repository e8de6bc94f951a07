package nemesis

import (
	"context"
	"errors"
	"time"
)

// pauseFaults stop processes and let them go on.
func pauseFaults() []Fault {
	stop := func(choose func(context.Context, *Target) []*Member) func(context.Context, *Target) (Injected, error) {
		return func(ctx context.Context, t *Target) (Injected, error) {
			victims := choose(ctx, t)
			var errs []error
			for _, m := range victims {
				errs = append(errs, m.Pause())
			}
			return Injected{namesOf(victims), func(context.Context) error {
				var errs []error
				for _, m := range victims {
					errs = append(errs, m.Resume())
				}
				return errors.Join(errs...)
			}}, errors.Join(errs...)
		}
	}
	return []Fault{
		{
			Name: "pause-leader", Family: familyProcess, About: "SIGSTOP of a leader for 0.1 to 8 s", Needs: needsSignals,
			Lasts:  [2]time.Duration{100 * time.Millisecond, 8 * time.Second},
			Inject: stop(func(ctx context.Context, t *Target) []*Member { return []*Member{t.Grid.leader(ctx, t.Rand)} }),
		}, {
			Name: "pause-follower", Family: familyProcess, About: "SIGSTOP of the member that leads least for 0.1 to 8 s", Needs: needsSignals,
			Lasts:  [2]time.Duration{100 * time.Millisecond, 8 * time.Second},
			Inject: stop(func(ctx context.Context, t *Target) []*Member { return []*Member{t.Grid.follower(ctx, t.Rand)} }),
		}, {
			Name: "pause-all", Family: familyProcess, About: "SIGSTOP of all members for 0.1 to 3 s", Needs: needsSignals,
			Lasts:  [2]time.Duration{100 * time.Millisecond, 3 * time.Second},
			Inject: stop(func(_ context.Context, t *Target) []*Member { return shuffled(t.Grid.members, t.Rand) }),
		}, {
			Name: "pause-long", Family: familyProcess, About: "SIGSTOP of a leader for 15 to 30 s, longer than sessions live", Needs: needsSignals, Slow: true,
			Lasts:  [2]time.Duration{15 * time.Second, 30 * time.Second},
			Inject: stop(func(ctx context.Context, t *Target) []*Member { return []*Member{t.Grid.leader(ctx, t.Rand)} }),
		},
	}
}
