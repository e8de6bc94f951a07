package gridtest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/drate"
	"github.com/quorate/quorate/verify"
)

// TestRate_KilledLeaders: clients share a rate while its leaders are killed. From any moment to
// any later one they are never granted more than the burst and what the rate gives in between,
// and they go on being granted it.
func TestRate_KilledLeaders(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	const (
		name    = "mails"
		clients = 6
		rate    = 50
		burst   = 10
	)
	cl := c.Client(t)
	if err := drate.New(cl, name).Configure(ctx, drate.Rate(rate, time.Second), drate.Burst(burst)); err != nil {
		t.Fatal(err)
	}
	var (
		mu     sync.Mutex // guards grants
		grants []verify.RateGrant
		start  = time.Now()
		all    sync.WaitGroup
	)
	now := func() int64 { return int64(time.Since(start)) }
	spending, stop := context.WithCancel(ctx)
	defer func() { stop(); all.Wait() }()
	for client := range int64(clients) {
		l := drate.New(c.Client(t), name)
		all.Go(func() {
			for i := int64(0); spending.Err() == nil; i++ {
				grant := verify.RateGrant{Call: now(), N: 1 + (client+i)%3}
				ok, err := true, error(nil)
				if i%4 == 0 {
					err = l.Wait(spending, grant.N)
				} else {
					ok, err = l.Allow(spending, grant.N)
				}
				grant.Return = now()
				switch {
				case err != nil && spending.Err() == nil:
					t.Errorf("client %d: %v", client, err)
					return
				case ok && err == nil:
					mu.Lock()
					grants = append(grants, grant)
					mu.Unlock()
				}
			}
		})
	}
	more := func() {
		t.Helper()
		mu.Lock()
		from := len(grants)
		mu.Unlock()
		c.Eventually("tokens to be granted", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(grants) > from+2*burst
		})
	}
	for range 3 {
		more()
		killed := c.Leader(cl, name, nil)
		c.Kill(killed)
		more()
		c.Restart(killed)
		c.WaitReady()
	}
	stop()
	all.Wait()
	if err := verify.CheckRate(grants, rate, time.Second, burst); err != nil {
		t.Error(err)
	}
}

// TestRate_CancelledWait: a Wait whose context is cancelled returns, while it sleeps and while
// nobody answers. One that has slept has spent its tokens, also at the next leader.
func TestRate_CancelledWait(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	cl := c.Client(t)
	l := drate.New(cl, "mails")
	if err := l.Configure(ctx, drate.Rate(1, time.Hour)); err != nil {
		t.Fatal(err)
	}
	if ok, err := l.Allow(ctx, 1); !ok || err != nil {
		t.Fatalf("the first: %t, %v", ok, err)
	}
	var before drate.Version
	if n, err := l.Left(ctx, drate.Seen(&before)); n != 0 || err != nil {
		t.Fatalf("%d are left, %v", n, err)
	}
	wait := func() (context.CancelFunc, <-chan error) {
		waiting, cancel := context.WithCancel(t.Context()) // without a deadline, which a Wait looks at
		done := make(chan error, 1)
		go func() { done <- l.Wait(waiting, 1) }()
		return cancel, done
	}
	cancel, done := wait()
	c.Eventually("the tokens to be spent", func() bool {
		var now drate.Version
		_, err := l.Left(ctx, drate.Seen(&now))
		return err == nil && now > before
	})
	first := c.Leader(cl, "mails", nil)
	c.Kill(first)
	cancel()
	if err := returned(ctx, t, done); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that was cancelled: %v", err)
	}
	// The next token is there in two hours, less what this test has taken.
	near, end := context.WithTimeout(t.Context(), 90*time.Minute)
	defer end()
	if err := l.Wait(near, 1); !errors.Is(err, quorate.ErrNotInTime) {
		t.Errorf("a wait for what is spent: %v", err)
	}

	second := c.Leader(cl, "mails", nil)
	c.Kill(second)
	cancel, done = wait()
	if _, err := l.Left(ctx, drate.Stale()); err != nil {
		t.Errorf("a stale read without a majority: %v", err)
	}
	cancel()
	if err := returned(ctx, t, done); !errors.Is(err, context.Canceled) && !errors.Is(err, quorate.ErrOutcomeUnknown) {
		t.Errorf("a wait that was cancelled while nobody answers: %v", err)
	}
}

// returned returns what a call in the background returns.
func returned(ctx context.Context, t *testing.T, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		t.Fatal("the call does not return")
		return nil
	}
}
