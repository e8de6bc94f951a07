package nemesis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
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
		},
	}
}

// StartHolder starts a client process and returns it with the line it prints
// once it holds what it is to hold.
//
// It runs where the clients of a grid are; the grid is nil where its processes
// are those of others.
func StartHolder(ctx context.Context, g *Grid, limit time.Duration, endpoints []string, command ...string) (*Holder, string, error) {
	l, done, err := g.holderLauncher()
	if err != nil {
		return nil, "", err
	}
	out, in, err := os.Pipe()
	if err != nil {
		done()
		return nil, "", err
	}
	defer out.Close()
	p, err := l.Process(in, in, append(command, "--endpoints", strings.Join(endpoints, ","))...)
	if err := errors.Join(err, in.Close()); err != nil {
		done()
		return nil, "", err
	}
	kill := func() {
		p.Kill()
		done()
	}
	stop := context.AfterFunc(ctx, func() { _ = p.Signal((*os.Process).Kill) })
	late := time.AfterFunc(limit, func() { _ = p.Signal((*os.Process).Kill) })
	line, err := bufio.NewReader(out).ReadString('\n')
	late.Stop()
	stop()
	if err != nil {
		kill()
		return nil, "", fmt.Errorf("client process: it ended before it held anything: %s", line)
	}
	return &Holder{Kill: kill}, strings.TrimSpace(line), nil
}

// holderLauncher returns what starts a client process, and what is to be called
// when that has ended.
func (g *Grid) holderLauncher() (l *network.Launcher, done func(), err error) {
	switch {
	case g == nil:
		l, err = network.NewLauncher(func() error { return nil })
		return l, l.Close, err
	case g.hosts.Clients != nil:
		return g.hosts.Clients.Launcher, func() {}, nil
	}
	return g.hosts.Local, func() {}, nil
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
