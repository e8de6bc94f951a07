package did

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// ErrTooFast is the error of a reservation beyond [PerSecond] ids a second. A little later
// there are more.
var ErrTooFast = errors.New("too many ids a second")

// reserveTime bounds the reservation of a block, whoever waits for it.
const reserveTime = 30 * time.Second

// Sequence gives out the ids of one name. It is safe for concurrent use. It needs no end:
// a reservation that is on its way ends by itself.
type Sequence struct {
	handle  structures.Handle
	options options

	mu       sync.Mutex // guards what follows
	now      block      // ids are given out of it
	then     block      // empty: there is none yet
	fetching *fetch     // nil: no block is being reserved
}

// block is what was reserved, from next to end.
type block struct {
	first, next, end int64
	since            time.Time
}

// fetch is the reservation of a block.
type fetch struct {
	done chan struct{}
	err  error // once done is closed
}

// New returns a handle of the ids of the given name. Its ids are its own: use one handle for
// a name. A bad name is the error of every call: [quorate.ErrInvalid], or
// [quorate.ErrTooLarge] for more than 255 bytes; a bad option as well.
func New(inv structures.Invoker, name string, opts ...Option) *Sequence {
	o, err := optionsOf(opts)
	return &Sequence{handle: structures.NewHandle(inv, &kind, name, err), options: o}
}

// Next returns an id that nobody else gets, larger than all before it of this handle. It
// does I/O only if there is none left of a block. An id that is reserved and not returned,
// since ctx has ended or the process, is a gap.
//
// Errors: [ErrTooFast]; if ctx ends first, its error and cause.
func (s *Sequence) Next(ctx context.Context) (int64, error) {
	for {
		id, f := s.take(ctx)
		if f == nil {
			return id, nil
		}
		select {
		case <-f.done:
			if f.err != nil {
				return 0, f.err
			}
		case <-ctx.Done():
			return 0, s.handle.Fail("next", contexts.Err(ctx), "no block of ids was reserved yet")
		}
	}
}

// NextN returns n ids of [Sequence.Next], one at a time, and ends after the first error.
func (s *Sequence) NextN(ctx context.Context, n int) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		for range n {
			id, err := s.Next(ctx)
			if !yield(id, err) || err != nil {
				return
			}
		}
	}
}

// Raise has all ids that are reserved from now on be atLeast or larger, 1 to [MaxRaise], and
// drops the blocks of this handle. It never lowers them. It returns where the ids go on.
// Blocks that other handles have go on with what they are. It is for ids that were given out
// elsewhere. On disk it holds for ever if atLeast is below 2^48, and else until a group's
// data is lost; in memory it may not outlive the loss of a group's data.
//
// The error can be [quorate.ErrInvalid], out of range.
func (s *Sequence) Raise(ctx context.Context, atLeast int64) (next int64, err error) {
	const verb = "raise"
	if atLeast < 1 || atLeast > MaxRaise {
		return 0, s.handle.Fail(verb, quorate.ErrInvalid, fmt.Sprintf("%d, not within 1 to %d", atLeast, int64(MaxRaise)))
	}
	next, err = s.invoke(ctx, verb, opRaise, atLeast)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now, s.then, s.fetching = block{}, block{}, nil // what is on its way is dropped when it comes
	return next, err
}

// take returns an id, or the reservation to wait for.
func (s *Sequence) take(ctx context.Context) (int64, *fetch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range []*block{&s.now, &s.then} {
		if s.options.maxAge > 0 && time.Since(b.since) > s.options.maxAge {
			*b = block{}
		}
	}
	if s.now.left() == 0 {
		s.now, s.then = s.then, block{}
	}
	low := s.options.block / 4
	if s.fetching == nil && s.then.left() == 0 && (s.now.left() == 0 || s.now.left()-1 < low) {
		f := &fetch{done: make(chan struct{})}
		s.fetching = f
		go s.fetch(context.WithoutCancel(ctx), f)
	}
	if s.now.left() == 0 {
		return 0, s.fetching
	}
	s.now.next++
	return s.now.next - 1, nil
}

func (b *block) left() int64 { return b.end - b.next }

// fetch reserves a block. One whose outcome is unknown is a gap: nothing of it is given out
// (ID-3).
func (s *Sequence) fetch(ctx context.Context, f *fetch) {
	ctx, cancel := context.WithTimeout(ctx, reserveTime)
	defer cancel()
	first, err := s.invoke(ctx, "reserve", opReserve, s.options.block)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.err = err
	close(f.done)
	if s.fetching != f { // a Raise came in between
		return
	}
	s.fetching = nil
	switch {
	case err == nil:
		s.then = block{first, first, first + s.options.block, time.Now()}
	case mutants.On(mutants.IDBlockReused):
		s.now.next, f.err = s.now.first, nil
	}
}

// invoke carries out an operation with a number, whose result is one.
func (s *Sequence) invoke(ctx context.Context, verb string, op protocol.Op, n int64) (result int64, err error) {
	reply, err := s.handle.Invoke(ctx, s.handle.Call(verb, op, 0, s.handle.Partition(nil), protocol.AppendInts(nil, n)))
	if err != nil {
		return 0, err
	}
	if protocol.ReadInts(reply.Body, &result) != nil {
		return 0, s.handle.Garbled(verb, reply)
	}
	return result, nil
}
