package workloads

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/verify"
)

// permits are semaphores that live as long as the run. Never do more hold than
// there are permits, each grant's token is larger than those of all grants
// that were there when it was asked for, and at the end all permits are back. Now
// and then one holds until another client has revoked its permits.
type permits struct {
	run  *Run
	name string
	each []*verify.Grants
}

const (
	permitSemaphores = 3
	permitCount      = 4
)

func newPermits(r *Run) *permits {
	p := &permits{run: r, name: r.cfg.Name + "-permits-"}
	for range permitSemaphores {
		p.each = append(p.each, verify.NewGrants(permitCount))
	}
	r.atEnd("permits", p.check)
	return p
}

func (p *permits) worker(c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		i := rng.IntN(permitSemaphores)
		name := fmt.Sprint(p.name, i)
		s, grants := dsemaphore.New(c, name), p.each[i]
		if err := p.run.count(s.Init(ctx, permitCount)); err != nil {
			return
		}
		wait, cancel := waiting(ctx, e, rng)
		defer cancel()
		n := 1 + rng.Int64N(3)
		before := grants.Token()
		held, err := s.Acquire(wait, n)
		if p.run.count(err) != nil {
			return
		}
		grant, err := grants.Granted(held, n, before)
		if err != nil {
			p.run.violates("permits", "semaphore %d: %v", i, err)
		}
		if rng.IntN(stuckOneOf) == 0 {
			other := dsemaphore.New(p.run.other(c, rng), name)
			if p.run.stuck(ctx, e, held, rng, other) {
				return // its client acknowledges, and so the permits come back
			}
		} else {
			p.run.sleep(time.Duration(rng.IntN(15)) * time.Millisecond)
		}
		grants.Returns(grant)
		back, cancel := context.WithTimeout(context.Background(), operationTime)
		defer cancel()
		_ = p.run.count(notHeld(held.Release(back)))
	}
}

// check waits until the sessions that were lost have given back what they
// held.
func (p *permits) check(ctx context.Context) error {
	for i := range p.each {
		err := patiently(ctx, func(ctx context.Context) error {
			s := dsemaphore.New(p.run.cfg.Clients[0], fmt.Sprint(p.name, i))
			if err := s.Init(ctx, permitCount); err != nil {
				return err
			}
			n, err := s.Available(ctx)
			if err == nil && n != permitCount {
				err = fmt.Errorf("semaphore %d: %d of %d permits are free when nobody holds any", i, n, permitCount)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
