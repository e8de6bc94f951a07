package coordinator

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/coordinator/rejoin"
)

const (
	stepSoon = 100 * time.Millisecond // between two steps while there is something to do
	stepIdle = time.Second            // while there is nothing
	// burst is how long a loop that is woken waits: changes come in bursts.
	burst = 10 * time.Millisecond
	// stepTimeout bounds one step.
	stepTimeout = 10 * time.Second
)

// loop repeats the steps of one controller. A slow question of one holds up no other.
type loop struct {
	name string
	poke chan struct{} // of capacity 1: there is something to do
	step func(ctx context.Context) (again bool, err error)
}

func newLoop(name string, step func(context.Context) (bool, error)) *loop {
	return &loop{name: name, poke: make(chan struct{}, 1), step: step}
}

func (l *loop) wake() {
	select {
	case l.poke <- struct{}{}:
	default:
	}
}

// repeat repeats the steps of a loop until ctx ends, one of them returns a fatal error,
// or done reports that there is nothing more to do.
func (c *Coordinator) repeat(ctx context.Context, l *loop, done func() bool) {
	var stuck stuckLog
	for ctx.Err() == nil {
		step, cancel := context.WithTimeout(ctx, stepTimeout)
		again, err := l.step(step)
		cancel()
		if fatal := (*membership.FatalError)(nil); errors.As(err, &fatal) {
			c.Status.Fail(fatal.Err)
			return
		}
		if done() {
			return
		}
		if err != nil && ctx.Err() == nil {
			c.Log.Debug("step not done", "controller", l.name, "err", err)
			if !errors.Is(err, rejoin.ErrNotAdmitted) { // of which Waiting says more
				stuck.note(c.Log, l.name, err)
			}
		} else {
			stuck = stuckLog{}
		}
		wait := stepIdle
		if again || err != nil || !c.IsReady() {
			wait = stepSoon
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		case <-l.poke:
			select {
			case <-ctx.Done():
			case <-time.After(burst):
			}
		}
	}
}

// run takes the member into a cluster, and works for that cluster until it is lost, over
// and over.
func (c *Coordinator) run() {
	for c.ctx.Err() == nil && c.Failed() == nil {
		c.repeat(c.ctx, c.forming, func() bool { return c.Member().Formed })
		if c.ctx.Err() != nil || c.Failed() != nil {
			return
		}
		if c.serve() {
			if err := c.Formation.BecomeBlank(); err != nil {
				c.Status.Fail(err)
			}
		}
	}
}

// serve runs the loops of a formed cluster. It reports whether the cluster is lost.
func (c *Coordinator) serve() (lost bool) {
	ctx, cancel := context.WithCancel(c.ctx)
	defer cancel()
	watching := &loop{name: c.forming.name, poke: c.forming.poke, step: func(ctx context.Context) (bool, error) {
		var err error
		lost, err = c.watch(ctx)
		return false, err
	}}
	// A member of a lost cluster that was recovered without it starts no replica: it
	// looks once before anything else runs.
	c.repeat(ctx, watching, func() bool { return true })
	if c.Failed() != nil || lost {
		return lost
	}
	var all sync.WaitGroup
	for _, l := range []*loop{c.rejoining, c.placing, c.leading} {
		all.Go(func() {
			c.repeat(ctx, l, func() bool { return false })
			if c.Failed() != nil {
				cancel()
			}
		})
	}
	c.repeat(ctx, watching, func() bool { return lost })
	cancel()
	all.Wait()
	return lost
}

// form is the step of a member whose cluster is not formed.
func (c *Coordinator) form(ctx context.Context) (again bool, err error) {
	m := c.Member()
	if err := c.label(); err != nil || m.Formed {
		return true, err
	}
	return true, c.Formation.Step(ctx, &m)
}

// watch looks whether the cluster is still there.
func (c *Coordinator) watch(ctx context.Context) (lost bool, err error) {
	if err := c.label(); err != nil {
		return false, err
	}
	m := c.Member()
	return c.Formation.Watch(ctx, &m, !c.Rejoin.Refused())
}

// label has the member take part in the gossip of its cluster.
func (c *Coordinator) label() error {
	m := c.Member()
	if label := c.Formation.Label(&m); label != c.Label() {
		return c.StartGossip(label)
	}
	return nil
}

func (c *Coordinator) rejoin(ctx context.Context) (again bool, err error) {
	m := c.Member()
	again, err = c.Rejoin.Step(ctx, &m)
	if v := c.View(); err == nil && v != nil && c.Self() != 0 {
		c.checkReady(v)
	}
	return again, err
}

func (c *Coordinator) place(ctx context.Context) (again bool, err error) {
	e, v, me := c.Engine(), c.View(), c.Self()
	if v == nil || me == 0 {
		return true, nil
	}
	return c.Placement.Step(ctx, e, v, me)
}

func (c *Coordinator) lead(ctx context.Context) (again bool, err error) {
	e, v := c.Engine(), c.View()
	if v == nil || c.Self() == 0 {
		return true, nil
	}
	return false, c.Leadership.Step(ctx, e, v)
}

// stuckAfter is how often a step must have failed with the same error before
// that is worth a warning.
const stuckAfter = 50

// stuckLog warns of a controller that makes no progress.
type stuckLog struct {
	why   string
	times int
}

func (s *stuckLog) note(log *slog.Logger, controller string, err error) {
	if why := err.Error(); why != s.why {
		*s = stuckLog{why: why}
	}
	if s.times++; s.times == stuckAfter {
		log.Warn("the member makes no progress", "controller", controller, "err", err, "attempts", s.times)
	}
}
