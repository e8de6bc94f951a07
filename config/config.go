package config

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

var (
	// ErrConflict is the error of [Value.Publish] if the base is not the version in the
	// grid.
	ErrConflict = errors.New("conflict")
	// ErrRejected is what the error of a value that was not taken Is: see [RejectedError].
	ErrRejected = errors.New("rejected")
	// ErrNoValue is the error of [Follow] if there is no value in the grid, and neither a
	// file nor a default.
	ErrNoValue = errors.New("no value")
)

// RejectedError is the error of a value that cannot be decoded, or that [Validate] refuses.
// It Is [ErrRejected], and what Err Is.
type RejectedError struct {
	Version Version
	Err     error
}

// Error implements error.
func (e *RejectedError) Error() string {
	if e.Version == 0 {
		return fmt.Sprintf("the value is %v: %v", ErrRejected, e.Err)
	}
	return fmt.Sprintf("the value of version %d is %v: %v", uint64(e.Version), ErrRejected, e.Err)
}

// Unwrap returns ErrRejected and the cause.
func (e *RejectedError) Unwrap() []error { return []error{ErrRejected, e.Err} }

// From says where a value is from.
type From uint8

// Where values are from.
const (
	FromDefault From = iota
	FromFile
	FromGrid
)

// String names it: "default", "file", "grid".
func (f From) String() string { return [...]string{"default", "file", "grid"}[min(f, FromGrid)] }

// State says what is known of a value.
type State struct {
	// Version is that of the value that Load returns; 0 of the default, and of a [Prefix] in
	// several partitions.
	Version Version
	From    From
	// Gone says that the grid has no value now: it was never set, deleted, or destroyed.
	Gone bool
	// Confirmed is a moment after which, as far as the grid has said, there was no newer
	// value than those that have come; zero: it has said nothing yet. It moves about every
	// second while the grid answers.
	Confirmed time.Time
	// Rejected is why the newest value was not taken, a [*RejectedError]; nil: it was.
	Rejected error
	// Rejections counts the values that were not taken.
	Rejections uint64
	// File is why the file could not be read or written, the last time; nil: it could.
	File error
	// Err is why nothing is followed at the moment, or any more; nil: it is, or it was until
	// Close, or the end of the context of Follow.
	Err error
}

// Value is a value that is followed. It is safe for concurrent use.
type Value[T any] struct {
	source   Source[T]
	options  options
	initial  *T
	validate func(T) error
	cancel   context.CancelFunc
	done     chan struct{} // closed when nothing is followed any more
	first    chan struct{} // closed with the first word of the grid

	value atomic.Pointer[T]

	mu      sync.Mutex // guards what follows
	state   State
	last    seen[T]       // that was taken or refused, or the file's
	heard   bool          // the grid has said something
	ended   bool          // it never can be followed
	taken   uint64        // counts values
	changed chan struct{} // closed when a value is taken or rejected
}

// Follow begins to follow a source, until ctx ends or [Value.Close] is called. It returns
// with the grid's value. If there is none by the end of [Wait], or the grid's is rejected or
// not there, it begins with that of the [File], or else with the [Default]. If there is
// neither, it returns why, and follows nothing: [ErrNoValue], a [*RejectedError], or
// [quorate.ErrUnavailable]. A Default or Validate of another type is [quorate.ErrInvalid].
func Follow[T any](ctx context.Context, source Source[T], opts ...Option) (*Value[T], error) {
	v := &Value[T]{
		source: source, options: options{wait: defaultWait},
		done: make(chan struct{}), first: make(chan struct{}), changed: make(chan struct{}),
	}
	for _, o := range opts {
		if o.set != nil {
			o.set(&v.options)
		}
	}
	if err := v.prepare(); err != nil {
		return nil, err
	}
	kept, fileErr := v.kept()
	v.state.File = fileErr
	ctx, v.cancel = context.WithCancel(ctx)
	go v.follow(ctx)
	timer := time.NewTimer(v.options.wait)
	defer timer.Stop()
	select {
	case <-v.first:
	case <-v.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := v.begin(ctx, kept); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// prepare reads the options whose type is that of the values.
func (v *Value[T]) prepare() error {
	if o := v.options.initial; o != nil {
		initial, ok := o.(T)
		if !ok {
			return fmt.Errorf("%w: the default is a %T, the values of %s are %T", quorate.ErrInvalid, o, v.source.name, *new(T))
		}
		v.initial = &initial
	}
	if o := v.options.validate; o != nil {
		f, ok := o.(func(T) error)
		if !ok {
			return fmt.Errorf("%w: Validate takes a %T, the values of %s are %T", quorate.ErrInvalid, o, v.source.name, *new(T))
		}
		v.validate = f
	}
	if v.source.open == nil {
		return fmt.Errorf("%w: no source", quorate.ErrInvalid)
	}
	return nil
}

// kept returns the value of the file, if it is good.
func (v *Value[T]) kept() (*seen[T], error) {
	if v.options.file == "" {
		return nil, nil
	}
	s, err := load[T](v.options.file)
	if err == nil && s != nil {
		if err = v.check(*s.value); err == nil {
			// What the grid says must not be older (CONFIG-3).
			v.last = seen[T]{cluster: s.cluster, at: s.at}
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// begin sets the first value if the grid has given none (CONFIG-2).
func (v *Value[T]) begin(ctx context.Context, kept *seen[T]) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.ended:
		return v.state.Err
	case v.value.Load() != nil:
		return nil
	case kept != nil && !(v.state.Gone && v.options.toDefault && v.initial != nil):
		v.value.Store(kept.value)
		v.state.Version, v.state.From = kept.version, FromFile
	case v.initial != nil:
		v.value.Store(v.initial)
	default:
		return v.nothing(ctx)
	}
	v.taken++
	return nil
}

// nothing returns why there is no value. mu is held.
func (v *Value[T]) nothing(ctx context.Context) error {
	switch {
	case v.state.Rejected != nil:
		return fmt.Errorf("%s: %w", v.source.name, v.state.Rejected)
	case v.state.Gone:
		return fmt.Errorf("%s: %w", v.source.name, ErrNoValue)
	case v.state.Err != nil:
		return v.state.Err
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", v.source.name, contexts.Err(ctx))
	}
	return fmt.Errorf("%w: %s: no value within %v", quorate.ErrUnavailable, v.source.name, v.options.wait)
}

// Load returns the last good value, without I/O. It is never nil, and never changed: neither
// must the caller change it, or what it points to.
func (v *Value[T]) Load() *T { return v.value.Load() }

// State says what is known of the value.
func (v *Value[T]) State() State {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state
}

// Changes iterates over the values: that of now, and then the newest whenever another was
// taken, so a slow loop may miss some. A value that was rejected comes as a [*RejectedError]
// beside the last good one, once. The loop ends with ctx, and, after its error, if nothing is
// followed any more.
func (v *Value[T]) Changes(ctx context.Context) iter.Seq2[*T, error] {
	return func(yield func(*T, error) bool) {
		var taken, rejected uint64
		for over := false; ; {
			v.mu.Lock()
			now, state, changed, n := v.value.Load(), v.state, v.changed, v.taken
			v.mu.Unlock()
			if n != taken {
				if taken = n; !yield(now, nil) {
					return
				}
			}
			if state.Rejections != rejected {
				if rejected = state.Rejections; state.Rejected != nil && !yield(now, state.Rejected) {
					return
				}
			}
			if over {
				if state.Err != nil && ctx.Err() == nil {
					yield(now, state.Err)
				}
				return
			}
			select {
			case <-changed:
			case <-v.done:
				over = true
			case <-ctx.Done():
				return
			}
		}
	}
}

// Publish validates a value and writes it to the grid if the version there is base, 0 for
// none, and returns its version. [Value.Load] has it once it has come back.
//
// Errors: [*RejectedError]; [ErrConflict]; [quorate.ErrUnsupported] for a [Prefix]; and those
// of dref.Ref.Replace or dmap.Map.Replace.
func (v *Value[T]) Publish(ctx context.Context, base Version, next T) (Version, error) {
	if err := v.check(next); err != nil {
		return 0, &RejectedError{Err: err}
	}
	return v.source.publish(ctx, base, next)
}

// Close ends the following and waits for that. The last value stays. It may be called twice.
func (v *Value[T]) Close() {
	v.cancel()
	<-v.done
}

func (v *Value[T]) check(value T) error {
	if v.validate == nil {
		return nil
	}
	return v.validate(value)
}

const (
	progressEvery = structures.MinProgress
	retryPause    = time.Second // after a watch has failed
)

// follow follows the source until ctx ends, or an error says that it never can be.
func (v *Value[T]) follow(ctx context.Context) {
	defer close(v.done)
	for {
		err := v.watch(ctx)
		if ctx.Err() != nil {
			return
		}
		over := errors.Is(err, quorate.ErrInvalid) || errors.Is(err, quorate.ErrTooLarge) || errors.Is(err, quorate.ErrClosed)
		v.mu.Lock()
		v.state.Err, v.ended = err, over
		v.mu.Unlock()
		if over {
			return
		}
		if !contexts.Pause(ctx, retryPause) {
			return
		}
	}
}

// watch takes in what one watch of the source tells.
func (v *Value[T]) watch(ctx context.Context) error {
	begun := time.Now() // what comes first is no older
	stream, states, err := v.source.open(ctx, progressEvery)
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		e, err := stream.Next(ctx)
		if err != nil {
			return err
		}
		s, is := states.take(&e, stream, v.initial)
		if is && v.take(&s, begun) && v.options.file != "" {
			err := save(v.options.file, &s)
			v.mu.Lock()
			v.state.File = err
			v.mu.Unlock()
		}
		if e.Type == structures.EventProgress {
			v.mu.Lock()
			v.confirm(e.AsOf)
			v.mu.Unlock()
		}
	}
}

// confirm moves the time on, which is that of a probe, or of the watch (CONFIG-6). mu is
// held.
func (v *Value[T]) confirm(at time.Time) {
	if at.After(v.state.Confirmed) {
		v.state.Confirmed = at
	}
}

// take takes in a state of the source, and reports whether its value is a new one to keep.
func (v *Value[T]) take(s *seen[T], begun time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.state.Err = nil
	if s.cluster == v.last.cluster && s.cluster != (protocol.UUID{}) {
		switch older := s.at.before(v.last.at); {
		case older && !mutants.On(mutants.ConfigGoesBack):
			return false // an older state of the same grid (CONFIG-3)
		case v.heard && !older && !v.last.at.before(s.at):
			return false // the same state, read anew
		}
	}
	v.last = seen[T]{cluster: s.cluster, at: s.at}
	v.confirm(begun)
	if !v.heard {
		v.heard = true
		defer close(v.first)
	}
	if v.state.Gone = s.gone; s.gone { // what was deleted stays (CONFIG-5)
		if v.options.toDefault && v.initial != nil && v.value.Load() != v.initial {
			v.state.Version, v.state.From, v.state.Rejected = 0, FromDefault, nil
			v.store(v.initial)
		}
		return false
	}
	err := s.err
	if err == nil {
		err = v.check(*s.value)
	}
	if err != nil && (s.value == nil || !mutants.On(mutants.ConfigInvalidTaken)) { // it never replaces a good one (CONFIG-1)
		v.state.Rejected = &RejectedError{Version: s.version, Err: err}
		v.state.Rejections++
		v.told()
		return false
	}
	v.state.Version, v.state.From, v.state.Rejected = s.version, FromGrid, nil
	v.store(s.value)
	return true
}

// store takes a value. mu is held.
func (v *Value[T]) store(value *T) {
	v.value.Store(value)
	v.taken++
	v.told()
}

// told wakes who waits for a change. mu is held.
func (v *Value[T]) told() {
	close(v.changed)
	v.changed = make(chan struct{})
}
