package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// processFaults end members, with and without warning.
func processFaults() []Fault {
	short := [2]time.Duration{300 * time.Millisecond, 5 * time.Second}
	kill := func(choose func(context.Context, *Target) []*Member) func(context.Context, *Target) (Injected, error) {
		return func(ctx context.Context, t *Target) (Injected, error) {
			return killed(t.Grid, choose(ctx, t)), nil
		}
	}
	return []Fault{
		{
			Name: "kill-leader", Family: familyProcess, About: "SIGKILL of a leader", Loses: LosesRAM, Lasts: short,
			Inject: kill(func(ctx context.Context, t *Target) []*Member { return []*Member{t.Grid.leader(ctx, t.Rand)} }),
		}, {
			Name: "kill-follower", Family: familyProcess, About: "SIGKILL of the member that leads least", Loses: LosesRAM, Lasts: short,
			Inject: kill(func(ctx context.Context, t *Target) []*Member { return []*Member{t.Grid.follower(ctx, t.Rand)} }),
		}, {
			Name: "kill-two", Family: familyProcess, About: "SIGKILL of two members at once", Loses: LosesMajority, Lasts: short, Needs: needsThree,
			Inject: kill(func(_ context.Context, t *Target) []*Member { return shuffled(t.Grid.members, t.Rand)[:2] }),
		}, {
			Name: "kill-all", Family: familyProcess, About: "SIGKILL of all members at once", Loses: LosesMajority, Lasts: short,
			Inject: kill(func(_ context.Context, t *Target) []*Member { return shuffled(t.Grid.members, t.Rand) }),
		}, {
			Name: "term", Family: familyProcess, About: "SIGTERM of a leader, and its start", Loses: LosesRAM, Lasts: [2]time.Duration{0, 2 * time.Second},
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				m := t.Grid.leader(ctx, t.Rand)
				return Injected{m.Name, func(context.Context) error { return t.Grid.StartAll() }}, t.Grid.Terminate(m)
			},
		}, {
			Name: "restart-storm", Family: familyProcess, About: "a member killed five times while it starts", Loses: LosesRAM,
			Inject: restartStorm,
		}, {
			Name: "rolling-restart", Family: familyProcess, About: "SIGTERM and start of one member after the other, leaders churn", Loses: LosesRAM,
			Inject: rollingRestart,
		},
	}
}

func needsThree(g *Grid) error {
	if len(g.members) < 3 {
		return errors.New("needs three members")
	}
	return nil
}

// killed kills members, and has them started again by its heal, in the order
// they were killed.
func killed(g *Grid, victims []*Member) Injected {
	for _, m := range victims {
		g.Kill(m)
	}
	return Injected{namesOf(victims), func(ctx context.Context) error {
		for _, m := range victims {
			if err := g.Start(m); err != nil {
				return err
			}
		}
		return nil
	}}
}

func restartStorm(ctx context.Context, t *Target) (Injected, error) {
	m := t.Grid.leader(ctx, t.Rand)
	heal := func(context.Context) error { return t.Grid.StartAll() }
	for range 5 {
		t.Grid.Kill(m)
		if err := t.Grid.Start(m); err != nil {
			return Injected{m.Name, heal}, err
		}
		if err := pauseFor(ctx, between(t.Rand, 20*time.Millisecond, 900*time.Millisecond)); err != nil {
			return Injected{m.Name, heal}, err
		}
	}
	return Injected{m.Name, heal}, nil
}

func rollingRestart(ctx context.Context, t *Target) (Injected, error) {
	all := Injected{fmt.Sprint(len(t.Grid.members), " members"), func(context.Context) error { return t.Grid.StartAll() }}
	for _, m := range shuffled(t.Grid.members, t.Rand) {
		if err := t.Grid.Terminate(m); err != nil {
			return all, err
		}
		if err := t.Grid.Start(m); err != nil {
			return all, err
		}
		if err := t.Grid.AwaitFull(ctx); err != nil {
			return all, err
		}
	}
	return all, nil
}
