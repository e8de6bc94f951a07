package dcounter_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestCounter(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	grid := structurestest.NewLocal(t, dcounter.Kind()).Client()
	c := dcounter.New(grid, "hits")

	want := func(what string, want int64) func(int64, error) {
		return func(got int64, err error) {
			t.Helper()
			if err != nil || got != want {
				t.Errorf("%s = %d, %v, want %d", what, got, err, want)
			}
		}
	}
	want("Get of a new counter", 0)(c.Get(ctx))
	want("Add", 5)(c.Add(ctx, 5))
	want("GetAndAdd", 5)(c.GetAndAdd(ctx, -7))
	want("Get", -2)(c.Get(ctx))
	want("stale Get", -2)(c.Get(ctx, dcounter.Stale()))
	if err := c.Set(ctx, math.MaxInt64); err != nil {
		t.Error(err)
	}
	if _, err := c.Add(ctx, 1); !errors.Is(err, dcounter.ErrOverflow) || !quorate.SafeToRetry(err) {
		t.Errorf("Add over the top: %v", err)
	}
	if _, err := c.GetAndAdd(ctx, 1); !errors.Is(err, dcounter.ErrOverflow) {
		t.Errorf("GetAndAdd over the top: %v", err)
	}
	want("Get after an overflow", math.MaxInt64)(c.Get(ctx))
	want("Add to the bottom", -1)(c.Add(ctx, math.MinInt64))
	for _, try := range []struct {
		old, n int64
		set    bool
	}{{0, 1, false}, {-1, 3, true}, {3, 3, true}, {-1, 4, false}} {
		if set, err := c.CompareAndSet(ctx, try.old, try.n); set != try.set || err != nil {
			t.Errorf("CompareAndSet(%d, %d) = %t, %v", try.old, try.n, set, err)
		}
	}
	want("Get", 3)(c.Get(ctx))
	if err := c.Destroy(ctx); err != nil {
		t.Error(err)
	}
	want("Get after Destroy", 0)(c.Get(ctx))
	if err := c.Destroy(ctx); err != nil {
		t.Errorf("Destroy again: %v", err)
	}
}

func TestCounterErrors(t *testing.T) {
	ctx := t.Context()
	grid := structurestest.NewLocal(t, dcounter.Kind()).Client()
	for _, name := range []string{"", "a\x00b", "\xff"} {
		c := dcounter.New(grid, name)
		_, get := c.Get(ctx)
		_, add := c.Add(ctx, 1)
		_, set := c.CompareAndSet(ctx, 0, 1)
		for _, err := range []error{get, add, set, c.Set(ctx, 1), c.Destroy(ctx)} {
			if !errors.Is(err, quorate.ErrInvalid) || !quorate.SafeToRetry(err) {
				t.Errorf("name %q: %v", name, err)
			}
		}
	}
	_, err := dcounter.New(grid, string(make([]byte, 256))).Get(ctx)
	if !errors.Is(err, quorate.ErrTooLarge) {
		t.Errorf("a long name: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := dcounter.New(grid, "c").Add(ended, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
}

func BenchmarkAdd(b *testing.B) {
	c := dcounter.New(structurestest.NewLocal(b, dcounter.Kind()).Client(), "c")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Add(b.Context(), 1); err != nil {
			b.Fatal(err)
		}
	}
}

// TestSeen: Get tells the version of what it saw, a stale one too.
func TestSeen(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c := dcounter.New(structurestest.NewLocal(t, dcounter.Kind()).Client(), "hits")
	var last dcounter.Version
	for i := range int64(3) {
		if _, err := c.Add(ctx, 1); err != nil {
			t.Fatal(err)
		}
		var seen, stale dcounter.Version
		if n, err := c.Get(ctx, dcounter.Seen(&seen)); n != i+1 || err != nil || seen <= last {
			t.Errorf("Get = %d at %d, after %d: %v", n, seen, last, err)
		}
		if n, err := c.Get(ctx, dcounter.Stale(), dcounter.Seen(&stale)); n != i+1 || err != nil || stale != seen {
			t.Errorf("stale Get = %d at %d, want %d: %v", n, stale, seen, err)
		}
		last = seen
	}
}
