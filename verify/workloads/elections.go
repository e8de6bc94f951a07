package workloads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delection"
	"github.com/quorate/quorate/verify"
)

const (
	epochElections = 3
	leaderships    = 2  // elections that live as long as the run
	deposedOneOf   = 25 // leaders is deposed by another client
)

// histories campaigns, with and without waiting, proclaims and resigns, or leads until
// another client has taken the leadership away or transferred it.
func (l *leaders) histories(id int, c *client.Client) worker {
	r := l.run
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		name := fmt.Sprint(e.prefix, "election-", rng.IntN(epochElections))
		n := verify.NewElection(e.history, id, name, delection.New[string](c, name))
		value := func() string { return fmt.Sprint(id, "-", rng.Uint64()) }
		if rng.IntN(4) == 0 {
			_, _, err := n.Leader(ctx)
			_ = r.seen(err)
			return
		}
		opts := []delection.CampaignOption{delection.Priority(rng.IntN(3))}
		if k := rng.IntN(8); k < 3 {
			opts = append(opts, delection.Wait(time.Duration(rng.IntN(500)*min(k, 1))*time.Millisecond))
		}
		wait, cancel := waiting(ctx, e, rng)
		lead, err := n.Campaign(wait, value(), opts...)
		cancel()
		if r.seen(inTime(err)) != nil || lead == nil {
			return
		}
		if rng.IntN(2) == 0 {
			_ = r.seen(notHeld(lead.Proclaim(ctx, value())))
		}
		if rng.IntN(deposedOneOf) == 0 {
			other := r.other(c, rng)
			if l.deposed(ctx, e, lead.Leadership, rng, verify.NewElection(e.history, id, name, delection.New[string](other, name))) && rng.IntN(2) == 0 {
				return
			}
		} else {
			r.sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		}
		_ = r.seen(notHeld(lead.Proclaim(ctx, value())))
		_ = r.seen(notHeld(lead.Resign(ctx)))
	}
}

// deposer is an election as another client has it.
type deposer interface {
	Candidates(ctx context.Context) ([]delection.Candidate[string], error)
	Transfer(ctx context.Context, from, to protocol.HoldID, opts ...delection.RevokeOption) (existed bool, err error)
	ForceResign(ctx context.Context, hold protocol.HoldID, opts ...delection.RevokeOption) (existed bool, err error)
}

// deposed leads until another client has taken the leadership away, or transferred it to a
// candidate, or the epoch is over. It reports whether the leadership was taken away.
func (l *leaders) deposed(ctx context.Context, e *epoch, lead *delection.Leadership[string], rng *rand.Rand, other deposer) bool {
	r := l.run
	list, err := other.Candidates(ctx)
	if r.seen(err) != nil {
		return false
	}
	existed := false
	grace := delection.Grace(mostGrace / time.Duration(1+rng.IntN(8)))
	if len(list) > 0 && rng.IntN(3) > 0 {
		existed, err = other.Transfer(ctx, lead.ID(), list[rng.IntN(len(list))].Hold, grace, delection.Reason("verify"))
		if errors.Is(err, delection.ErrNoCandidate) { // it has gone meanwhile
			err = nil
		}
	} else {
		existed, err = other.ForceResign(ctx, lead.ID(), grace, delection.Reason("verify"))
	}
	switch {
	case r.seen(err) != nil && !unknown(err), err == nil && !existed:
		return false
	case err == nil:
		r.revoked.Add(1)
	}
	select {
	case <-lead.Context().Done():
	case <-ctx.Done():
	case <-e.ctx.Done():
	}
	if !errors.Is(context.Cause(lead.Context()), structures.ErrRevoked) {
		return false
	}
	r.told.Add(1)
	return true
}

// leaders are elections that live as long as the run. Never do the contexts of two leaders
// of one live at a time, and each leader's token is larger than those of all that were
// there when it campaigned. Every client observes: what it sees was said by a leader, with
// that leader's token, in the order of tokens, and ends in who leads.
type leaders struct {
	run  *Run
	name string
	each []*ledElection
}

// ledElection is one of them.
type ledElection struct {
	grants *verify.Grants

	mu        sync.Mutex // guards what follows
	said      map[string]protocol.Token
	observers []*verify.Observed
}

func newLeaders(r *Run) *leaders {
	l := &leaders{run: r, name: r.cfg.Name + "-leaders-"}
	for range leaderships {
		l.each = append(l.each, &ledElection{grants: verify.NewGrants(1), said: map[string]protocol.Token{}})
	}
	r.atEnd("leaders", l.check)
	return l
}

// says notes what a leader is about to say; a token of 0 is not known yet.
func (l *ledElection) says(value string, token protocol.Token) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said[value] = token
}

// worker leads one of them for a while.
func (l *leaders) worker(id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		i := rng.IntN(leaderships)
		name, led := fmt.Sprint(l.name, i), l.each[i]
		n := delection.New[string](c, name)
		value := fmt.Sprint(id, "-", rng.Uint64())
		led.says(value, 0)
		wait, cancel := waiting(ctx, e, rng)
		defer cancel()
		before := led.grants.Token()
		lead, err := n.Campaign(wait, value, delection.Priority(rng.IntN(3)))
		if l.run.count(err) != nil {
			return
		}
		led.says(value, lead.Token())
		grant, err := led.grants.Granted(lead.Held, 1, before)
		if err != nil {
			l.run.violates("leaders", "election %d: %v", i, err)
		}
		value += "-again"
		led.says(value, lead.Token())
		_ = l.run.count(notHeld(lead.Proclaim(ctx, value)))
		if rng.IntN(deposedOneOf) == 0 {
			other := delection.New[string](l.run.other(c, rng), name)
			if l.deposed(ctx, e, lead, rng, other) && rng.IntN(2) == 0 {
				return // its client acknowledges, and so the next is elected
			}
		} else {
			l.run.sleep(time.Duration(rng.IntN(15)) * time.Millisecond)
		}
		led.grants.Returns(grant)
		back, cancel := context.WithTimeout(context.Background(), operationTime)
		defer cancel()
		_ = l.run.count(notHeld(lead.Resign(back)))
	}
}

// observe begins to observe, for the length of the run and its last checks.
func (l *leaders) observe(c *client.Client) {
	for i, led := range l.each {
		o := new(verify.Observed)
		led.observers = append(led.observers, o)
		n := delection.New[string](c, fmt.Sprint(l.name, i))
		go func() {
			for again := true; again; again = contexts.Pause(l.run.watching, 100*time.Millisecond) {
				for seen, err := range n.Observe(l.run.watching) {
					if err != nil {
						break
					}
					if err := o.Take(seen); err != nil {
						l.run.violates("observers", "election %d: %v", i, err)
					}
				}
			}
		}()
	}
}

// check waits until nobody leads, elects one more, and compares what observers have seen.
func (l *leaders) check(ctx context.Context) error {
	defer l.run.unwatch()
	for i, led := range l.each {
		n := delection.New[string](l.run.cfg.Clients[0], fmt.Sprint(l.name, i))
		err := patiently(ctx, func(ctx context.Context) error {
			if _, ok, err := n.Leader(ctx); ok || err != nil {
				return errors.Join(err, fmt.Errorf("election %d: there is a leader when nobody leads", i))
			}
			return nil
		})
		if err != nil {
			return err
		}
		value := fmt.Sprint("last-", i)
		led.says(value, 0)
		lead, err := n.Campaign(ctx, value)
		if err != nil {
			return err
		}
		led.says(value, lead.Token())
		err = errors.Join(l.sawLast(ctx, i, lead), lead.Resign(ctx))
		if err != nil && !errors.Is(err, quorate.ErrSessionLost) {
			return err
		}
	}
	return nil
}

// sawLast waits until all observers of an election have seen its last leader, and looks at
// all that they have seen.
func (l *leaders) sawLast(ctx context.Context, i int, lead *delection.Leadership[string]) error {
	led := l.each[i]
	for k, o := range led.observers {
		err := patiently(ctx, func(context.Context) error {
			last, ok := o.Last()
			if !ok || last.Token != lead.Token() {
				return fmt.Errorf("election %d: observer %d sees %+v, and token %d leads", i, k, last, lead.Token())
			}
			return nil
		})
		if err != nil {
			return err
		}
		led.mu.Lock()
		n, err := o.Check(func(value string) (protocol.Token, bool, bool) {
			token, said := led.said[value]
			return token, token != 0, said
		})
		led.mu.Unlock()
		if err != nil {
			return fmt.Errorf("election %d: observer %d: %w", i, k, err)
		}
		l.run.counted.Add(int64(n))
	}
	return nil
}
