package nemesis

import (
	"context"
	"fmt"
	"time"
)

// machineFaults do something to the machine, as one member sees it.
func machineFaults() []Fault {
	return []Fault{
		{
			Name: "cpu", Family: familyMachine, About: "5 % of a CPU for a leader", Lasts: [2]time.Duration{3 * time.Second, 8 * time.Second}, Needs: needsSignals,
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				m := t.Grid.leader(ctx, t.Rand)
				if end, err := limitCPU(m.pid(), 5); err == nil {
					return Injected{m.Name, func(context.Context) error { return end() }}, nil
				}
				return Injected{m.Name + " by stopping it", dutyCycle(m)}, nil
			},
		}, {
			Name: "clock", Family: familyMachine, About: "the clock of the whole machine jumps by up to an hour, back and forth", OnlyByName: true,
			Lasts: [2]time.Duration{3 * time.Second, 8 * time.Second}, Needs: needsClock, Inject: stepClock,
		},
	}
}

// dutyCycle lets a member run for 5 ms of 100 ms, and returns what ends that.
func dutyCycle(m *Member) func(context.Context) error {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for run := false; ; run = !run {
			wait := 95 * time.Millisecond
			if run {
				wait = 5 * time.Millisecond
				_ = m.Resume()
			} else {
				_ = m.Pause()
			}
			select {
			case <-time.After(wait):
			case <-stop:
				_ = m.Resume()
				return
			}
		}
	}()
	return func(context.Context) error {
		close(stop)
		<-stopped
		return nil
	}
}

// stepClock moves the wall clock every 300 ms, and back to where it would be
// at the end.
func stepClock(_ context.Context, t *Target) (Injected, error) {
	began := time.Now() // with the monotonic clock, which nothing moves
	wall := began.Round(0)
	set := func(offset time.Duration) error { return setClock(wall.Add(time.Since(began) + offset)) }
	if err := set(between(t.Rand, -time.Hour, time.Hour)); err != nil {
		return Injected{"", nothing}, err
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	steps := 1
	go func() {
		defer close(stopped)
		for {
			select {
			case <-time.After(300 * time.Millisecond):
				_ = set(between(t.Rand, -time.Hour, time.Hour))
				steps++
			case <-stop:
				return
			}
		}
	}()
	return Injected{"", func(context.Context) error {
		close(stop)
		<-stopped
		if err := set(0); err != nil {
			return fmt.Errorf("set the clock back after %d steps: %w", steps, err)
		}
		return nil
	}}, nil
}
