package structures_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
)

func TestHeldReleaseEndsContextFirst(t *testing.T) {
	var h *structures.Held
	h = structures.NewHeld(t.Context(), "semaphore s", 7, func(context.Context) error {
		if h.Context().Err() == nil {
			t.Error("the context is alive while the grid is told")
		}
		return nil
	})
	if h.Token() != 7 || h.Context().Err() != nil {
		t.Fatalf("token %d, context %v", h.Token(), h.Context().Err())
	}
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestHeldReleaseOnce(t *testing.T) {
	var calls atomic.Int32
	want := errors.New("refused")
	h := structures.NewHeld(t.Context(), "semaphore s", 1, func(context.Context) error {
		calls.Add(1)
		return want
	})
	errs := make(chan error)
	for range 8 {
		go func() { errs <- h.Release(t.Context()) }()
	}
	for range 8 {
		if err := <-errs; err != want {
			t.Errorf("Release = %v, want %v", err, want)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("released %d times", calls.Load())
	}
}

func TestHeldReleaseOutlivesItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := structures.NewHeld(t.Context(), "semaphore s", 1, func(ctx context.Context) error {
			select {
			case <-time.After(time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		err := h.Release(ended)
		if !errors.Is(err, quorate.ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) {
			t.Fatalf("Release with an ended context = %v", err)
		}
		if err := h.Release(t.Context()); err != nil {
			t.Fatalf("the release itself: %v", err)
		}
	})
}

func TestHeldEndsWithLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lease, end := context.WithCancel(t.Context())
		h := structures.NewHeld(lease, "semaphore s", 1, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		go func() {
			time.Sleep(time.Second)
			end()
		}()
		err := h.Release(context.Background())
		if !errors.Is(err, quorate.ErrSessionLost) || errors.Is(err, quorate.ErrOutcomeUnknown) {
			t.Fatalf("Release = %v, want session lost", err)
		}
		if h.Context().Err() == nil {
			t.Error("the context outlives the lease")
		}
	})
}
