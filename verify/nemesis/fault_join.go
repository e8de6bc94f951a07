package nemesis

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/verify/network"
)

// joinFaults are those of members that come: again and again, late, at the wrong
// place, or while the grid is formed.
func joinFaults() []Fault {
	return []Fault{
		{
			Name: "late-join", Family: familyJoin, About: "a member without its data paused and killed while it joins, by a new life each time, its questions and their answers late",
			Loses: LosesRAM, Slow: true, Needs: func(g *Grid) error { return errors.Join(needsThree(g), needsSignals(g)) }, Inject: lateJoin,
		}, {
			Name: "stranger", Family: familyJoin, About: "a member of another cluster at the address of one that is down",
			Loses: LosesRAM, Slow: true, Lasts: [2]time.Duration{3 * time.Second, 10 * time.Second}, Inject: stranger,
		}, {
			Name: "founder-restart", Family: familyJoin, About: "SIGKILL of all members, and again of the one that founds, or another, while they start",
			Loses: LosesMajority, Slow: true, Inject: founderRestart,
		},
	}
}

// lateJoin has several lives of one member ask to be admitted, each killed while
// its question is on the way, or waits at a member that stands still, and lets
// the next one live. Where it can it has the question arrive when that has been
// admitted.
func lateJoin(ctx context.Context, t *Target) (Injected, error) {
	g := t.Grid
	order := shuffled(g.members, t.Rand)
	j := &joiner{grid: g, m: order[0], others: order[1:]}
	lives := 1 + t.Rand.IntN(2)
	in := Injected{Detail: fmt.Sprintf("%s, %d lives", j.m.Name, 2*lives)}
	in.Heal = func(context.Context) error {
		errs := []error{j.goOn()}
		for _, o := range g.members {
			errs = append(errs, o.Resume())
		}
		return errors.Join(append(errs, g.StartAll())...)
	}
	for range lives {
		var err error
		if g.hosts.Network != nil && needsNetwork(g) == nil && t.Rand.IntN(3) > 0 {
			err = j.questionOnTheWay(ctx, t.Rand)
		} else {
			err = j.questionThatWaits(ctx, t.Rand)
		}
		// The next one is admitted as fast as it can be.
		if err := errors.Join(err, j.begin(), j.admitted(ctx)); err != nil {
			return in, err
		}
	}
	return in, nil
}

// joiner is a member that joins in several lives.
type joiner struct {
	grid   *Grid
	m      *Member
	others []*Member
	paused *Member // who was asked; nil: nobody
}

// begin begins another life, without data.
func (j *joiner) begin() error {
	j.grid.Kill(j.m)
	if j.grid.Durability() != "memory" {
		if err := os.RemoveAll(j.m.Dir); err != nil {
			return err
		}
	}
	return j.grid.Start(j.m)
}

// await waits for a state of the joining member, and then for no longer than it
// may take.
func (j *joiner) await(ctx context.Context, limit time.Duration, is func(*protocol.Status) bool) error {
	for until := time.Now().Add(limit); time.Now().Before(until); {
		if s, err := j.grid.ask(ctx, j.m); err == nil && is(s) {
			return nil
		}
		if err := pauseFor(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// admitted waits until the last life is a member, and lets what was late come
// then.
func (j *joiner) admitted(ctx context.Context) error {
	err := j.await(ctx, 10*time.Second, func(s *protocol.Status) bool { return s.Member != 0 })
	return errors.Join(err, j.goOn())
}

func (j *joiner) goOn() error {
	if j.grid.hosts.Network != nil {
		j.grid.hosts.Network.Heal()
	}
	if j.paused == nil {
		return nil
	}
	paused := j.paused
	j.paused = nil
	return paused.Resume()
}

// questionOnTheWay kills a life when what it has asked is on its way. What the
// next one sends is faster.
func (j *joiner) questionOnTheWay(ctx context.Context, rng *rand.Rand) error {
	way := network.Way{Delay: between(rng, 700*time.Millisecond, 1400*time.Millisecond)}
	for _, o := range j.others {
		j.grid.hosts.Network.Set(j.m.Index, o.Index, way)
	}
	if err := j.begin(); err != nil {
		return err
	}
	// It knows which cluster it is to join, and asks one member after the other:
	// each connection takes a delay to be there, and a question another one.
	if err := j.await(ctx, 15*time.Second, func(s *protocol.Status) bool { return s.Cluster != "" }); err != nil {
		return err
	}
	if err := pauseFor(ctx, way.Delay+between(rng, 0, 3*way.Delay)); err != nil {
		return err
	}
	j.grid.Kill(j.m)
	j.grid.hosts.Network.Heal()
	return nil
}

// questionThatWaits kills a life while a member that it asks stands still.
func (j *joiner) questionThatWaits(ctx context.Context, rng *rand.Rand) error {
	if err := j.goOn(); err != nil {
		return err
	}
	if err := j.begin(); err != nil {
		return err
	}
	if rng.IntN(2) == 0 {
		if err := j.await(ctx, 5*time.Second, func(s *protocol.Status) bool { return s.Cluster != "" }); err != nil {
			return err
		}
	}
	j.paused = j.others[rng.IntN(len(j.others))]
	if err := j.paused.Pause(); err != nil {
		return err
	}
	if err := pauseFor(ctx, between(rng, 0, 4*time.Second)); err != nil {
		return err
	}
	if err := j.m.Pause(); err != nil {
		return err
	}
	return pauseFor(ctx, between(rng, 0, time.Second))
}

// strangerName is a member of no grid of ours.
const strangerName = "stranger"

// stranger starts a member of another cluster at the address of one that is down. The
// grid and it hear of each other, and have nothing to do with each other: it joins
// nothing that is not in its --join, and nobody ends.
func stranger(ctx context.Context, t *Target) (Injected, error) {
	g := t.Grid
	m := shuffled(g.members, t.Rand)[0]
	g.Kill(m)
	dir, cluster := filepath.Join(g.cfg.Dir, strangerName), "strangers"
	if t.Rand.IntN(2) == 0 {
		cluster = clusterName // and another cluster all the same: it does not know our addresses
	}
	flags := procgrid.Flags{Name: strangerName, Dir: dir, Cluster: cluster}
	what := "a cluster of its own"
	if t.Rand.IntN(2) == 0 {
		what = "blank"
		flags.Join, flags.Expect = []string{"127.0.0.1:9"}, 3 // nobody is there
	}
	in := Injected{fmt.Sprint(what, " called ", cluster, ", at the address of ", m.Name), func(context.Context) error { return g.StartAll() }}
	log, err := os.OpenFile(dir+".log", os.O_CREATE|os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return in, err
	}
	defer log.Close()
	p, err := g.launch(m, flags, log)
	if err != nil {
		return in, fmt.Errorf("start a stranger: %w", err)
	}
	in.Heal = func(ctx context.Context) error {
		err := g.strangerApart(ctx, m, p)
		p.Kill()
		return errors.Join(err, os.RemoveAll(dir), g.StartAll())
	}
	return in, nil
}

// strangerApart sees that neither side took the other for its own.
func (g *Grid) strangerApart(ctx context.Context, m *Member, p *procgrid.Process) error {
	if !p.Running() {
		return Violated("the stranger has ended by itself: %v\n%s", p.Err(), procgrid.Tail(filepath.Join(g.cfg.Dir, strangerName+".log")))
	}
	its, err := g.ask(ctx, m)
	if err != nil {
		return nil // it has not come so far, or is busy: it is no member of ours, by what those say
	}
	for _, s := range g.Status(ctx) {
		switch {
		case s == nil:
		case s.Cluster != "" && s.Cluster == its.Cluster:
			return Violated("a stranger that was told of another cluster is of cluster %s, as member %s", its.Cluster, s.Name)
		default:
			for _, o := range s.Members {
				if o.Name == strangerName {
					return Violated("member %s lists a stranger, which was told of another cluster", s.Name)
				}
			}
		}
	}
	return nil
}

// founderRestart forms a grid in memory anew, and has it interrupted; a grid on
// disk is formed already and only starts.
func founderRestart(ctx context.Context, t *Target) (Injected, error) {
	g := t.Grid
	in := Injected{"", func(context.Context) error { return g.StartAll() }}
	for _, m := range g.members {
		g.Kill(m)
	}
	first := slices.MinFunc(g.members, func(a, b *Member) int { return strings.Compare(a.Address, b.Address) })
	if err := g.StartAll(); err != nil {
		return in, err
	}
	for range 1 + t.Rand.IntN(4) {
		m := first
		if t.Rand.IntN(3) == 0 {
			m = g.members[t.Rand.IntN(len(g.members))]
		}
		after := between(t.Rand, 20*time.Millisecond, 900*time.Millisecond)
		in.Detail += fmt.Sprintf("%s after %v ", m.Name, after.Round(time.Millisecond))
		if err := pauseFor(ctx, after); err != nil {
			return in, err
		}
		g.Kill(m)
		if err := g.Start(m); err != nil {
			return in, err
		}
	}
	return in, nil
}
