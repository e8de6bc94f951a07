package grid

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/internal/contexts"
)

// TestLane: one at a time, with as much time between two as the first has taken.
func TestLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLane()
		began := time.Now()
		for _, want := range []time.Duration{0, 2 * time.Second, 4 * time.Second} {
			leave, err := l.enter(t.Context())
			if at := time.Since(began); err != nil || at != want {
				t.Fatalf("%v after %v, want %v", err, at, want)
			}
			time.Sleep(time.Second)
			leave()
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		if _, err := l.enter(ctx); !errors.Is(err, contexts.Err(ctx)) {
			t.Errorf("entered, with %v", err)
		}
	})
}
