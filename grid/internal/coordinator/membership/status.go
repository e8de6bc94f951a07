package membership

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
)

// FatalError is why a member will never serve as it was started.
type FatalError struct{ Err error }

func (e *FatalError) Error() string { return e.Err.Error() }

// Unwrap returns the error without the mark that it is fatal.
func (e *FatalError) Unwrap() error { return e.Err }

// Fatalf returns a FatalError.
func Fatalf(format string, args ...any) error { return &FatalError{fmt.Errorf(format, args...)} }

// Status says whether a member serves, what it waits for before, and why it never
// will. It is safe for concurrent use.
type Status struct {
	log    *slog.Logger
	ready  atomic.Pointer[chan struct{}] // closed when the member serves; another one after its cluster was lost
	failed chan struct{}                 // closed when it never will

	mu      sync.Mutex // guards what follows
	waiting string
	err     error // why the member never will serve
}

func newStatus(log *slog.Logger) *Status {
	s := &Status{log: log, failed: make(chan struct{}), waiting: "the first look around"}
	s.SetNotReady()
	return s
}

// ReadyC returns a channel that is closed when the member serves.
func (s *Status) ReadyC() <-chan struct{} { return *s.ready.Load() }

// FailedC returns a channel that is closed when the member never will serve.
func (s *Status) FailedC() <-chan struct{} { return s.failed }

// IsReady reports whether the member serves.
func (s *Status) IsReady() bool {
	select {
	case <-s.ReadyC():
		return true
	default:
		return false
	}
}

// SetReady says that the member serves from now on.
func (s *Status) SetReady() {
	if !s.IsReady() {
		close(*s.ready.Load())
	}
}

// SetNotReady says that the member has to become ready anew.
func (s *Status) SetNotReady() {
	ready := make(chan struct{})
	s.ready.Store(&ready)
}

// Failed returns why the member never will serve as it was started, nil if it may.
func (s *Status) Failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Fail says that the member never will serve as it was started. Only the first error
// counts.
func (s *Status) Fail(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
	}
	s.mu.Unlock()
	if first {
		s.log.Error("the member cannot serve", "err", err)
		close(s.failed)
	}
}

// Waiting says what the member waits for before it serves.
func (s *Status) Waiting() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

// SetWaiting says what the member waits for. It is logged when it changes before the
// member serves.
func (s *Status) SetWaiting(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	s.mu.Lock()
	changed := s.waiting != what
	s.waiting = what
	s.mu.Unlock()
	if changed && !s.IsReady() {
		s.log.Info("waiting", "for", what)
	}
}
