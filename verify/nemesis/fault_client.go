package nemesis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/verify/network"
)

// clientFaults do something to clients, or between them and members.
func clientFaults() []Fault {
	return []Fault{
		{
			Name: "client-reset", Family: familyClients, About: "all connections of clients reset, ten times", Lasts: [2]time.Duration{0, time.Second},
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				n := 0
				for range 10 {
					n += t.Clients.Reset("")
					if err := pauseFor(ctx, between(t.Rand, time.Millisecond, 300*time.Millisecond)); err != nil {
						return Injected{"", nothing}, err
					}
				}
				return Injected{fmt.Sprint(n, " connections"), nothing}, nil
			},
		}, {
			Name: "client-cut", Family: familyClients, About: "a member that no client reaches",
			Lasts: [2]time.Duration{500 * time.Millisecond, 6 * time.Second},
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				address := t.Seeds[t.Rand.IntN(len(t.Seeds))]
				name := address
				if t.Grid != nil {
					m := t.Grid.leader(ctx, t.Rand)
					if needsClients(t.Grid) == nil {
						return t.Grid.between(m, network.Way{Cut: true}, network.Way{Cut: true}, m.Name), nil
					}
					name, address = m.Name, m.Address
				}
				t.Clients.Set(address, true)
				return Injected{name, func(context.Context) error {
					t.Clients.Set(address, false)
					return nil
				}}, nil
			},
		}, {
			Name: "client-one-way", Family: familyClients, About: "a leader does not hear its clients, or they do not hear it",
			Lasts: [2]time.Duration{500 * time.Millisecond, 6 * time.Second}, Needs: needsClients,
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				m := t.Grid.leader(ctx, t.Rand)
				if t.Rand.IntN(2) == 0 {
					return t.Grid.between(m, network.Way{Cut: true}, network.Way{}, m.Name+" does not hear them"), nil
				}
				return t.Grid.between(m, network.Way{}, network.Way{Cut: true}, m.Name+" is not heard"), nil
			},
		}, {
			Name: "client-loss", Family: familyClients, About: "packets between clients and members lost, delayed, doubled and reordered",
			Lasts: [2]time.Duration{3 * time.Second, 8 * time.Second}, Needs: needsClients,
			Inject: func(_ context.Context, t *Target) (Injected, error) {
				w := network.Way{Lose: 0.02 + 0.2*t.Rand.Float64(), Duplicate: 0.2, Delay: between(t.Rand, time.Millisecond, 50*time.Millisecond)}
				for _, m := range t.Grid.members {
					t.Grid.between(m, w, w, "")
				}
				return t.Grid.between(t.Grid.members[0], w, w, fmt.Sprintf("%.0f %% lost", 100*w.Lose)), nil
			},
		}, {
			Name: "client-kill", Family: familyClients, About: "SIGKILL of a client process that holds a permit and waits",
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				if t.Client == nil {
					return Injected{"", nothing}, errors.New("there is no client process")
				}
				h, err := t.Client(ctx)
				if err != nil {
					return Injected{"", nothing}, err
				}
				h.Kill()
				return Injected{"", h.Check}, nil
			},
		}, {
			Name: LoadPause, Family: familyClients, About: "SIGSTOP of a client process that holds a lock, until the next holds it, and back: it writes on",
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				if !canPause {
					return Injected{"", nothing}, needsSignals(nil)
				}
				return started(ctx, t, LoadPause)
			},
		},
	}
}

// between puts in force what happens to what clients send a member, and to what
// it answers.
func (g *Grid) between(m *Member, there, back network.Way, detail string) Injected {
	g.hosts.Network.Set(network.Outside, m.Index, there)
	g.hosts.Network.Set(m.Index, network.Outside, back)
	return Injected{detail, func(context.Context) error {
		g.hosts.Network.Heal()
		return nil
	}}
}
