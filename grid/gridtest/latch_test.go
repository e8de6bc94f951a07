package gridtest_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures/dlatch"
)

// TestLatch_KilledLeader: those who wait for a latch, and what is held of it, outlive the
// leader; a worker whose process has ended is not waited for.
func TestLatch_KilledLeader(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	cl, dying := c.Client(t), c.Client(t, client.WithSessionTTL(2*time.Second))
	l := dlatch.New(cl, "loaded")
	round, err := l.Set(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dlatch.New(dying, "loaded").Hold(ctx, dlatch.Note("dies")); err != nil {
		t.Fatal(err)
	}
	held, err := l.Hold(ctx)
	if err != nil {
		t.Fatal(err)
	}
	const waiting = 5
	done := make(chan dlatch.Round, waiting)
	for range waiting {
		go func() {
			r, err := l.Await(ctx)
			if err != nil {
				t.Errorf("Await: %v", err)
			}
			done <- r
		}()
	}
	c.Eventually("all to wait", func() bool {
		i, err := l.Inspect(ctx)
		return err == nil && i.Waiting == waiting
	})
	c.Kill(c.Leader(cl, "loaded", nil))
	if n, err := l.CountDown(ctx, dlatch.In(round)); n != 2 || err != nil {
		t.Errorf("CountDown = %d, %v", n, err)
	}
	if err := held.Release(ctx); err != nil {
		t.Errorf("Release: %v", err)
	}
	if err := dying.Close(); err != nil {
		t.Error(err)
	}
	for range waiting {
		if r := <-done; r != round {
			t.Errorf("Await = %d, want %d", r, round)
		}
	}
	if n, _, err := l.Count(ctx); n != 0 || err != nil {
		t.Errorf("Count = %d, %v", n, err)
	}
}
