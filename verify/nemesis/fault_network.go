package nemesis

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/verify/network"
)

// networkFaults do something to what members send each other. Clients reach
// every member meanwhile, so that an old leader is asked, too.
func networkFaults() []Fault { return append(partitionFaults(), linkFaults()...) }

// partitionFaults cut members off from each other.
func partitionFaults() []Fault {
	usual := [2]time.Duration{500 * time.Millisecond, 8 * time.Second}
	long := [2]time.Duration{3 * time.Second, 8 * time.Second}
	return []Fault{
		networkFault("partition-halves", "a minority cut off from the majority", usual, func(_ context.Context, t *Target) string {
			all := shuffled(t.Grid.members, t.Rand)
			return t.Grid.isolate(all[:max(1, (len(all)-1)/2)])
		}),
		networkFault("partition-leader", "a leader alone", usual, func(ctx context.Context, t *Target) string {
			return t.Grid.isolate([]*Member{t.Grid.leader(ctx, t.Rand)})
		}),
		networkFault("partition-ring", "each member hears of its neighbours only; of three, two do not hear each other", usual, func(_ context.Context, t *Target) string {
			ring := shuffled(t.Grid.members, t.Rand)
			for i, a := range ring {
				for j, b := range ring {
					apart := (j - i + len(ring)) % len(ring)
					if len(ring) == 3 && i == 0 && j == 1 || apart > 1 && apart < len(ring)-1 {
						t.Grid.hosts.Network.Cut(a.Index, b.Index)
					}
				}
			}
			return ring[0].Name + " " + ring[1].Name
		}),
		networkFault("partition-one-way", "what a leader sends is lost, what others send arrives, or the other way round", usual, func(ctx context.Context, t *Target) string {
			m, deaf := t.Grid.leader(ctx, t.Rand), t.Rand.IntN(2) == 0
			t.Grid.oneWay(m, deaf)
			if deaf {
				return m.Name + " hears nothing"
			}
			return m.Name + " is not heard"
		}),
		networkFault("flapping", "a leader cut off and back every 200 ms", long, nil).flapping(),
	}
}

// linkFaults worsen what arrives: late, lost, doubled or damaged.
func linkFaults() []Fault {
	long := [2]time.Duration{3 * time.Second, 8 * time.Second}
	return []Fault{
		networkFault("delay", "5 to 300 ms each way between all", long, func(_ context.Context, t *Target) string {
			d := between(t.Rand, 5*time.Millisecond, 300*time.Millisecond).Round(time.Millisecond)
			t.Grid.hosts.Network.SetAll(network.Way{Delay: d})
			return d.String()
		}).keepsSessions(),
		networkFault("delay-leader", "50 to 500 ms to and from a leader", long, func(ctx context.Context, t *Target) string {
			m, d := t.Grid.leader(ctx, t.Rand), between(t.Rand, 50*time.Millisecond, 500*time.Millisecond).Round(time.Millisecond)
			for _, o := range t.Grid.members {
				t.Grid.hosts.Network.Set(m.Index, o.Index, network.Way{Delay: d})
				t.Grid.hosts.Network.Set(o.Index, m.Index, network.Way{Delay: d})
			}
			return fmt.Sprint(m.Name, " ", d)
		}),
		networkFault("slow-link", "100 to 600 ms there and back between clients and members, or 100 to 300 ms between members or everywhere, for longer than sessions live",
			[2]time.Duration{15 * time.Second, 40 * time.Second}, func(_ context.Context, t *Target) string {
				which, most := t.Rand.IntN(3), 300*time.Millisecond
				if needsClients(t.Grid) != nil {
					which = 0
				}
				if which != 1 {
					most /= 2 // an election, two round trips, has to be over within its timeout
				}
				w := network.Way{Delay: between(t.Rand, 50*time.Millisecond, most).Round(time.Millisecond)}
				detail := fmt.Sprint("members ", 2*w.Delay)
				if which > 0 {
					detail = fmt.Sprint("clients ", 2*w.Delay)
					for _, m := range t.Grid.members {
						t.Grid.between(m, w, w, "")
					}
				}
				if which != 1 {
					t.Grid.hosts.Network.SetAll(w)
				}
				if which == 2 {
					detail = fmt.Sprint("members and clients ", 2*w.Delay)
				}
				return detail
			}).slow().keepsSessions(),
		networkFault("loss", "up to a third of the packets lost; through a proxy, of gossip only", long, func(_ context.Context, t *Target) string {
			share := 0.02 + 0.3*t.Rand.Float64()
			t.Grid.hosts.Network.SetAll(network.Way{Lose: share})
			return fmt.Sprintf("%.0f %%", 100*share)
		}),
		networkFault("duplicate", "half of the packets doubled, all reordered; through a proxy, of gossip only", long, func(_ context.Context, t *Target) string {
			t.Grid.hosts.Network.SetAll(network.Way{Duplicate: 0.5, Delay: 10 * time.Millisecond})
			return ""
		}).keepsSessions(),
		networkFault("corrupt", "bits flipped in what members send each other", long, func(_ context.Context, t *Target) string {
			share := 0.001 + 0.05*t.Rand.Float64()
			t.Grid.hosts.Network.SetAll(network.Way{Corrupt: share})
			return fmt.Sprintf("%.1f %% of chunks", 100*share)
		}),
	}
}

// networkFault is a fault that is over when the network is healed.
func networkFault(name, about string, lasts [2]time.Duration, set func(context.Context, *Target) string) Fault {
	return Fault{
		Name: name, Family: familyNetwork, About: about, Lasts: lasts, Needs: needsNetwork,
		Inject: func(ctx context.Context, t *Target) (Injected, error) {
			return Injected{set(ctx, t), func(context.Context) error {
				t.Grid.hosts.Network.Heal()
				return nil
			}}, nil
		},
	}
}

// slow makes the fault one that a run has seldom.
func (f Fault) slow() Fault {
	f.Slow = true
	return f
}

// keepsSessions makes the fault one under which no session may be lost.
func (f Fault) keepsSessions() Fault {
	f.KeepsSessions = true
	return f
}

// isolate cuts some members off from the others.
func (g *Grid) isolate(minority []*Member) string {
	alone := map[int]bool{}
	for _, m := range minority {
		alone[m.Index] = true
	}
	for i := range g.members {
		for j := range g.members {
			if alone[i] && !alone[j] {
				g.hosts.Network.Cut(i, j)
			}
		}
	}
	return namesOf(minority)
}

// oneWay makes a member deaf, or mute.
func (g *Grid) oneWay(m *Member, deaf bool) {
	for _, o := range g.members {
		switch {
		case o == m:
		case deaf:
			g.hosts.Network.Set(o.Index, m.Index, network.Way{Cut: true})
		default:
			g.hosts.Network.Set(m.Index, o.Index, network.Way{Cut: true})
		}
	}
}

// flapping makes the fault one that comes and goes.
func (f Fault) flapping() Fault {
	f.Inject = func(ctx context.Context, t *Target) (Injected, error) {
		m := t.Grid.leader(ctx, t.Rand)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for cut := true; ; cut = !cut {
				if cut {
					t.Grid.isolate([]*Member{m})
				} else {
					t.Grid.hosts.Network.Heal()
				}
				select {
				case <-stop:
					t.Grid.hosts.Network.Heal()
					return
				case <-time.After(200 * time.Millisecond):
				}
			}
		}()
		return Injected{m.Name, func(context.Context) error {
			close(stop)
			<-stopped
			return nil
		}}, nil
	}
	return f
}
