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
	"github.com/quorate/quorate/structures/dbarrier"
	"github.com/quorate/quorate/verify"
)

// meetings are barriers, cyclic and double, whose parties now and then give up, leave
// without waiting, or lose their session inside.
type meetings struct {
	run   *Run
	name  string
	start time.Time

	mu      sync.Mutex // guards what follows
	met     map[string][]verify.Meeting
	unknown map[string]int
}

const (
	meetingBarriers = 2 // of each form
	meetingParties  = 3
)

func newMeetings(r *Run) *meetings {
	m := &meetings{run: r, name: r.cfg.Name + "-barrier-", start: time.Now(), met: map[string][]verify.Meeting{}, unknown: map[string]int{}}
	r.atEnd("barriers", m.check)
	return m
}

func (m *meetings) now() int64 { return int64(time.Since(m.start)) + 1 }

func (m *meetings) worker(c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		i := rng.IntN(meetingBarriers)
		wait, cancel := waiting(ctx, e, rng)
		defer cancel()
		if rng.IntN(2) == 0 {
			m.cyclic(wait, c, fmt.Sprint(m.name, "cyclic-", i))
		} else {
			m.double(ctx, wait, c, fmt.Sprint(m.name, "double-", i), rng)
		}
	}
}

// done notes what became of a party.
func (m *meetings) done(name string, meeting verify.Meeting, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case err == nil:
		m.met[name] = append(m.met[name], meeting)
	case unknown(err), errors.Is(err, quorate.ErrSessionLost), errors.Is(err, quorate.ErrClosed):
		m.unknown[name]++
	}
}

func (m *meetings) cyclic(ctx context.Context, c *client.Client, name string) {
	meeting := verify.Meeting{Call: m.now()}
	arrival, err := dbarrier.New(c, name, meetingParties).Await(ctx)
	meeting.Return, meeting.Round, meeting.Index = m.now(), arrival.Round, arrival.Index
	_ = m.run.count(err)
	m.done(name, meeting, err)
}

func (m *meetings) double(ctx, wait context.Context, c *client.Client, name string, rng *rand.Rand) {
	meeting := verify.Meeting{Call: m.now()}
	inside, err := dbarrier.NewDouble(c, name, meetingParties).Enter(wait)
	meeting.Return = m.now()
	if m.run.count(err) != nil {
		m.done(name, meeting, err)
		return
	}
	meeting.Round = inside.Round()
	m.run.sleep(time.Duration(rng.IntN(15)) * time.Millisecond)
	at := m.now()
	if inside.Context().Err() == nil { // its session lives, so it was inside until now
		meeting.Leaves = at
	}
	if rng.IntN(4) == 0 {
		_ = m.run.count(notHeld(inside.Release(ctx)))
	} else if err := inside.Leave(ctx); m.run.count(notHeld(err)) == nil && err == nil {
		meeting.Left = m.now()
	}
	m.done(name, meeting, nil)
}

func (m *meetings) check(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for i := range meetingBarriers {
		for _, double := range []bool{false, true} {
			name := fmt.Sprint(m.name, "cyclic-", i)
			if double {
				name = fmt.Sprint(m.name, "double-", i)
			}
			if err := verify.CheckMeetings(m.met[name], meetingParties, m.unknown[name], double); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		}
	}
	return errors.Join(errs...)
}
