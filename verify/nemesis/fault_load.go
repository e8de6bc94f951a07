package nemesis

import (
	"context"
	"errors"
	"time"
)

// loadFaults ask more of the grid than an application should, or what none
// would. Each is a load of its own beside that of the run, and has its own check.
func loadFaults() []Fault {
	load := func(name, about string, lasts [2]time.Duration) Fault {
		return Fault{
			Name: name, Family: familyLoad, About: about, Lasts: lasts, KeepsSessions: true, Slow: true,
			Inject: func(ctx context.Context, t *Target) (Injected, error) { return started(ctx, t, name) },
		}
	}
	hostile := load(LoadFlood, "hundreds of hostile connections: heartbeats of sessions that do not exist, or all messages, valid and malformed; then the members must start again", [2]time.Duration{8 * time.Second, 15 * time.Second})
	hostile.Loses = LosesRAM
	hostile.Inject = restarts(hostile.Inject)
	kill := load(LoadKill, "the session of a client that holds is killed, at once or not, and so is that of a client of the load", [2]time.Duration{0, time.Second})
	kill.Slow = false
	return []Fault{
		hostile, kill,
		load(LoadExpiry, "far more entries with a short time to live than are read, while a holder dies and waiting calls time out", [2]time.Duration{2 * time.Second, 5 * time.Second}),
		load(LoadCrowd, "more waiting calls of one client than a partition has slots, and more idle ones at one member than it takes, beside those who hold", [2]time.Duration{0, time.Second}),
	}
}

// started starts a load.
func started(ctx context.Context, t *Target, name string) (Injected, error) {
	if t.Load == nil {
		return Injected{"", nothing}, errors.New("there is no such load")
	}
	l, err := t.Load(ctx, name)
	if err != nil {
		return Injected{"", nothing}, err
	}
	return Injected{l.Detail, l.Check}, nil
}

// restarts has members killed and started when a load is over: all where they
// keep what they have, else one. Whatever the load has left in their logs must
// not keep them from it.
func restarts(inject func(context.Context, *Target) (Injected, error)) func(context.Context, *Target) (Injected, error) {
	return func(ctx context.Context, t *Target) (Injected, error) {
		in, err := inject(ctx, t)
		heal := in.Heal
		in.Heal = func(ctx context.Context) error {
			err := heal(ctx)
			if t.Grid == nil {
				return err
			}
			victims := shuffled(t.Grid.members, t.Rand)
			if t.Grid.Durability() == "memory" {
				victims = victims[:1]
			}
			return errors.Join(err, killed(t.Grid, victims).Heal(ctx))
		}
		return in, err
	}
}

// The loads.
const (
	LoadFlood  = "flood"
	LoadExpiry = "expiry-backlog"
	LoadCrowd  = "crowd"
	LoadKill   = "session-kill"
	LoadPause  = "client-pause"
)
