package workloads

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/drate"
	"github.com/quorate/quorate/verify"
)

// spent are the tokens of a rate limit that all clients ask for. It is configured whenever
// it is lost, and then grants a burst more.
type spent struct {
	run   *Run
	name  string
	start time.Time

	mu          sync.Mutex // guards what follows
	grants      []verify.RateGrant
	bursts      int64
	configuring bool
	configured  int64 // when the last Configure was acknowledged
}

const (
	spentRate  = 20
	spentPer   = time.Second
	spentBurst = 10
)

func newSpent(r *Run) *spent {
	s := &spent{run: r, name: r.cfg.Name + "-rate", start: time.Now()}
	r.atEnd("rates", s.check)
	return s
}

func (s *spent) now() int64 { return int64(time.Since(s.start)) + 1 }

func (s *spent) worker(c *client.Client) worker {
	l := drate.New(c, s.name)
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		s.run.sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		grant := verify.RateGrant{Call: s.now(), N: 1 + rng.Int64N(3)}
		var ok bool
		var err error
		if rng.IntN(8) == 0 {
			wait, cancel := context.WithTimeout(ctx, time.Second)
			err = l.Wait(wait, grant.N)
			cancel()
			ok, err = err == nil, inTime(err)
		} else {
			ok, err = l.Allow(ctx, grant.N)
		}
		grant.Return = s.now()
		if errors.Is(err, drate.ErrNotConfigured) {
			s.configure(ctx, l, grant.Call)
			return
		}
		_ = s.run.count(err)
		if ok {
			s.mu.Lock()
			s.grants = append(s.grants, grant)
			s.mu.Unlock()
		}
	}
}

// configure configures the limit for a call that has not found it configured, if that was
// not done since.
func (s *spent) configure(ctx context.Context, l *drate.Limit, call int64) {
	s.mu.Lock()
	if s.configuring || s.bursts > 0 && call < s.configured {
		s.mu.Unlock()
		return
	}
	s.configuring = true
	s.bursts++
	s.mu.Unlock()
	err := s.run.count(l.Configure(ctx, drate.Rate(spentRate, spentPer), drate.Burst(spentBurst)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configuring = false
	if err == nil {
		s.configured = s.now()
	}
}

func (s *spent) check(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return verify.CheckRate(s.grants, spentRate, spentPer, s.bursts*spentBurst)
}
