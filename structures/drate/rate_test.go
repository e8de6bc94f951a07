package drate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures/structurestest"
)

// limit returns a limit of a rate a second, and a burst.
func limit(t *testing.T, rate, burst int64) (*structurestest.Local, *Limit) {
	t.Helper()
	grid := structurestest.NewLocal(t, Kind())
	l := New(grid.Client(), "mails")
	if err := l.Configure(t.Context(), Rate(rate, time.Second), Burst(burst)); err != nil {
		t.Fatal(err)
	}
	return grid, l
}

func allows(t *testing.T, l *Limit, n int64, want bool) {
	t.Helper()
	if ok, err := l.Allow(t.Context(), n); ok != want || err != nil {
		t.Errorf("Allow(%d) = %v, %v, want %v", n, ok, err, want)
	}
}

func TestAllow(t *testing.T) {
	grid, l := limit(t, 3, 4)
	allows(t, l, 4, true)
	allows(t, l, 1, false)
	grid.Advance(333 * time.Millisecond)
	allows(t, l, 1, false) // 333.3 ms
	grid.Advance(time.Millisecond)
	allows(t, l, 1, true)
	grid.Advance(time.Hour)
	if n, err := l.Left(t.Context()); n != 4 || err != nil {
		t.Errorf("Left = %d, %v", n, err)
	}
	allows(t, l, 4, true)
	allows(t, l, 1, false)
}

// TestNothingIsRounded: many takes spend exactly what one would (RATE-1). A token comes in
// 10/7 ns here.
func TestNothingIsRounded(t *testing.T) {
	grid := structurestest.NewLocal(t, Kind())
	l := New(grid.Client(), "mails")
	if err := l.Configure(t.Context(), Rate(700_000, time.Millisecond), Burst(1000)); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		allows(t, l, 1, true)
	}
	for _, want := range []int64{0, 7, 14, 700} {
		if n, err := l.Left(t.Context()); n != want || err != nil {
			t.Errorf("Left = %d, %v, want %d", n, err, want)
		}
		d := 10 * time.Nanosecond
		if want == 14 {
			d = 980 * time.Nanosecond
		}
		grid.Advance(d)
	}
}

// TestOnlyLogTime: while log time stands nothing comes, whatever clocks say (RATE-2).
func TestOnlyLogTime(t *testing.T) {
	grid, l := limit(t, 1000, 5)
	allows(t, l, 5, true)
	time.Sleep(30 * time.Millisecond)
	allows(t, l, 1, false)
	grid.Advance(time.Millisecond)
	allows(t, l, 1, true)
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := limit(t, 10, 1)
		start := time.Now()
		for range 4 { // log time stands, so each is another 100 ms behind
			if err := l.Wait(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took != 600*time.Millisecond {
			t.Errorf("took %v", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if err := l.Wait(ctx, 1); !errors.Is(err, quorate.ErrNotInTime) || ctx.Err() != nil {
			t.Errorf("Wait with too near a deadline: %v", err)
		}
	})
}

// TestWait_Cancelled has spent its tokens.
func TestWait_Cancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid, l := limit(t, 1, 1)
		allows(t, l, 1, true)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		if err := l.Wait(ctx, 1); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		grid.Advance(time.Second)
		allows(t, l, 1, false)
		grid.Advance(time.Second)
		allows(t, l, 1, true)
	})
}

func TestErrors(t *testing.T) {
	ctx := t.Context()
	l := New(structurestest.NewLocal(t, Kind()).Client(), "mails")
	_, err := l.Allow(ctx, 1)
	_, left := l.Left(ctx)
	for _, err := range []error{err, left, l.Wait(ctx, 1)} {
		if !errors.Is(err, ErrNotConfigured) {
			t.Errorf("not configured: %v", err)
		}
	}
	for _, bad := range [][]Setting{
		{Rate(0, time.Second)},
		{Rate(MaxTokens+1, time.Second)},
		{Rate(1, time.Microsecond)},
		{Rate(1, MaxPer+time.Millisecond)},
		{Rate(1, time.Second), Burst(-1)},
		{Rate(1, time.Second), Burst(MaxTokens + 1)},
		{Rate(1, MaxPer), Burst(1000)},
		{Rate(1, MaxPer), Burst(MaxTokens)},
	} {
		if err := l.Configure(ctx, bad...); !errors.Is(err, quorate.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if err := l.Configure(ctx, Rate(2, time.Second)); err != nil {
		t.Fatal(err)
	}
	if err := l.Configure(ctx, Rate(3, time.Second)); !errors.Is(err, quorate.ErrSettings) {
		t.Error(err)
	}
	for _, n := range []int64{0, 3, MaxTokens + 1} {
		if _, err := l.Allow(ctx, n); !errors.Is(err, quorate.ErrInvalid) {
			t.Errorf("%d tokens of a burst of 2: %v", n, err)
		}
	}
	if err := l.Destroy(ctx); err != nil {
		t.Error(err)
	}
	if err := l.Configure(ctx, Rate(3, time.Second)); err != nil {
		t.Errorf("after Destroy: %v", err)
	}
	allows(t, l, 3, true)
}

// TestWait_Ended: the error of a Wait whose context ends while it sleeps Is that of the
// context and its cause, and does not say that it is safe to call again: the tokens are spent.
func TestWait_Ended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := limit(t, 1, 1)
		allows(t, l, 1, true)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("the user has left")
		time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
		err := l.Wait(ctx, 1)
		if !errors.Is(err, context.Canceled) || !errors.Is(err, why) {
			t.Errorf("%v", err)
		}
		if quorate.SafeToRetry(err) {
			t.Errorf("safe to retry: %v", err)
		}
	})
}
