package workloads

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// Sessions are clients that each hold a permit for as long as they can, and write
// to every group meanwhile. A session that is lost although the writes of its
// client were acknowledged all the time was lost for no reason.
type Sessions struct {
	cfg     SessionsConfig
	over    context.Context
	stop    context.CancelFunc
	workers sync.WaitGroup

	holders  []*holder
	lost     atomic.Int64 // sessions, whatever the reason
	came     atomic.Int64 // newcomers that were served
	acquires atomic.Int64
}

// SessionsConfig says how many holders there are, and for how long they hold.
type SessionsConfig struct {
	Name string
	// Dial makes a client whose sessions have the given time to live.
	Dial func(ctx context.Context, ttl time.Duration) (*client.Client, error)
	// Lost is called with each session that was lost, and Late with each newcomer that
	// was not served in time, from many goroutines.
	Lost func(LostSession)
	Late func(from, to time.Time, err error)
}

// LostSession is a session that was lost.
type LostSession struct {
	Session protocol.SessionID
	TTL     time.Duration
	// From and To are the time to live before it was given up: what happened then
	// may be the reason.
	From, To time.Time
	// Silence is the longest time without an acknowledgement between From and To of
	// the group that the client heard least of.
	Silence time.Duration
	Why     error
}

// Served reports whether writes were acknowledged so regularly that heartbeats
// must have been, too: they are sent every fifth of the time to live.
func (l LostSession) Served() bool { return l.Silence < l.TTL/4 }

const (
	sessionHolders  = 8
	writeEvery      = 250 * time.Millisecond // of a holder, to each group
	newcomerEvery   = 3 * time.Second
	newcomerTime    = 30 * time.Second // to be served
	longHolder      = 10 * time.Second // TTL
	shortHolder     = 5 * time.Second  // TTL: ten times the longest round trip of a slow link, with slow disks at both ends
	sessionsSeconds = 30               // that are remembered of what was acknowledged
)

// holder is one client that holds.
type holder struct {
	s      *Sessions
	client *client.Client
	ttl    time.Duration

	mu    sync.Mutex // guards what follows
	acked map[protocol.GroupID][]time.Time
}

// StartSessions starts the clients.
func StartSessions(ctx context.Context, cfg SessionsConfig) (*Sessions, error) {
	s := &Sessions{cfg: cfg}
	s.over, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	for i := range sessionHolders {
		h := &holder{s: s, ttl: longHolder, acked: map[protocol.GroupID][]time.Time{}}
		if i%2 == 1 {
			h.ttl = shortHolder
		}
		var err error
		if h.client, err = cfg.Dial(ctx, h.ttl); err != nil {
			s.Stop()
			return nil, err
		}
		s.holders = append(s.holders, h)
		name := fmt.Sprint(cfg.Name, "-held-", i)
		s.workers.Go(func() { h.hold(name) })
		for _, g := range Groups(h.client) {
			counter := dcounter.New(h.client, CounterOf(h.client, name+"-", g))
			s.workers.Go(func() { h.write(counter, g) })
		}
	}
	s.workers.Go(s.newcomers)
	return s, nil
}

// Stop ends them.
func (s *Sessions) Stop() {
	s.stop()
	s.workers.Wait()
	for _, h := range s.holders {
		_ = h.client.Close()
	}
}

// Lost returns how many sessions were lost, for whatever reason, and Came how
// many clients came meanwhile and were served.
func (s *Sessions) Lost() int64 { return s.lost.Load() }

// Came returns how many clients came and were served.
func (s *Sessions) Came() int64 { return s.came.Load() }

// Holders returns how many clients hold.
func (s *Sessions) Holders() int { return len(s.holders) }

func (s *Sessions) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.over.Done():
	}
}

// hold acquires a permit and waits until it is lost, over and over.
func (h *holder) hold(name string) {
	sem := dsemaphore.New(h.client, name)
	for h.s.over.Err() == nil {
		held, err := h.acquire(sem)
		if err != nil {
			h.s.sleep(100 * time.Millisecond)
			continue
		}
		h.s.acquires.Add(1)
		select {
		case <-held.Context().Done():
			h.lose(held)
		case <-h.s.over.Done():
			ctx, cancel := context.WithTimeout(context.Background(), operationTime)
			_ = held.Release(ctx)
			cancel()
		}
	}
}

func (h *holder) acquire(sem *dsemaphore.Semaphore) (*structures.Held, error) {
	ctx, cancel := context.WithTimeout(h.s.over, operationTime)
	defer cancel()
	if err := sem.Init(ctx, 1); err != nil {
		return nil, err
	}
	return sem.Acquire(ctx, 1)
}

func (h *holder) lose(held *structures.Held) {
	why := context.Cause(held.Context())
	if errors.Is(why, quorate.ErrGridLost) || h.s.over.Err() != nil {
		return
	}
	h.s.lost.Add(1)
	to := time.Now()
	l := LostSession{TTL: h.ttl, From: to.Add(-h.ttl), To: to, Why: why}
	l.Silence = h.silence(l.From, l.To)
	h.s.cfg.Lost(l)
}

// silence returns the longest time between two acknowledgements of the group
// that was heard least.
func (h *holder) silence(from, to time.Time) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	longest := time.Duration(0)
	for _, all := range h.acked {
		last := from
		for _, t := range all {
			if t.After(last) {
				longest = max(longest, t.Sub(last))
				last = t
			}
		}
		longest = max(longest, to.Sub(last))
	}
	return longest
}

// write adds to a counter of a group, one at a time.
func (h *holder) write(counter *dcounter.Counter, g protocol.GroupID) {
	h.note(g)
	for h.s.over.Err() == nil {
		ctx, cancel := context.WithTimeout(h.s.over, operationTime)
		_, err := counter.Add(ctx, 1)
		cancel()
		if err == nil {
			h.note(g)
		}
		h.s.sleep(writeEvery)
	}
}

func (h *holder) note(g protocol.GroupID) {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	all := append(h.acked[g], now)
	for len(all) > 2 && now.Sub(all[1]) > sessionsSeconds*time.Second {
		all = all[1:]
	}
	h.acked[g] = all
}

// newcomers are clients that come, are to be granted a permit, and go.
func (s *Sessions) newcomers() {
	for n := 0; s.over.Err() == nil; n++ {
		from := time.Now()
		err := s.newcomer(fmt.Sprint(s.cfg.Name, "-newcomer-", n%10))
		switch {
		case err == nil:
			s.came.Add(1)
		case s.over.Err() == nil:
			s.cfg.Late(from, time.Now(), err)
		}
		s.sleep(newcomerEvery)
	}
}

func (s *Sessions) newcomer(name string) error {
	ctx, cancel := context.WithTimeout(s.over, newcomerTime)
	defer cancel()
	c, err := s.cfg.Dial(ctx, longHolder)
	for err != nil && ctx.Err() == nil {
		pauseIn(ctx, 100*time.Millisecond)
		var again error
		if c, again = s.cfg.Dial(ctx, longHolder); again == nil || ctx.Err() == nil {
			err = again // else what was wrong while there was time says more
		}
	}
	if err != nil {
		return err
	}
	defer c.Close()
	sem := dsemaphore.New(c, name)
	if err := sem.Init(ctx, 2); err != nil {
		return err
	}
	held, err := sem.Acquire(ctx, 1)
	if err != nil {
		return err
	}
	return held.Release(ctx)
}
