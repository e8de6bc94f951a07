package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/anishathalye/porcupine"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dlatch"
)

// Latch records what a latch's handle does.
type Latch struct {
	recorder
	latch *dlatch.Latch
}

// NewLatch returns a recorder of a latch for one client.
func NewLatch(h *History, client int, name string, l *dlatch.Latch) *Latch {
	return &Latch{recorder{h, client, object{kind: latches, name: name}}, l}
}

type latchOp uint8

const (
	latchSet latchOp = iota + 1
	latchDown
	latchCount
	latchAwait
	latchHold
	latchRelease
	latchDestroy
)

type latchInput struct {
	op    latchOp
	n     int64        // of set and down
	in    dlatch.Round // of down; 0: the present one
	grant int          // of hold and release: which grant
}

type latchOutput struct {
	n     int64        // of down and count
	round dlatch.Round // of set, count and await; of hold the token
	err   error        // a condition of the latch's own
}

// Set records dlatch.Latch.Set.
func (l *Latch) Set(ctx context.Context, n int64) (dlatch.Round, error) {
	call := l.history.now()
	round, err := l.latch.Set(ctx, n)
	l.conditional(call, latchInput{op: latchSet, n: n}, latchOutput{round: round}, err)
	return round, err
}

// CountDown records dlatch.Latch.CountDown, by n and in a round; 0: in the present one.
func (l *Latch) CountDown(ctx context.Context, n int64, in dlatch.Round) (int64, error) {
	call := l.history.now()
	left, err := l.latch.CountDown(ctx, dlatch.By(n), dlatch.In(in))
	l.conditional(call, latchInput{op: latchDown, n: n, in: in}, latchOutput{n: left}, err)
	return left, err
}

// Count records dlatch.Latch.Count.
func (l *Latch) Count(ctx context.Context) (int64, dlatch.Round, error) {
	call := l.history.now()
	n, round, err := l.latch.Count(ctx)
	if !unknown(err) {
		l.conditional(call, latchInput{op: latchCount}, latchOutput{n: n, round: round}, err)
	}
	return n, round, err
}

// Await records dlatch.Latch.Await of the present round.
func (l *Latch) Await(ctx context.Context, opts ...dlatch.AwaitOption) (dlatch.Round, error) {
	call := l.history.now()
	round, err := l.latch.Await(ctx, opts...)
	if !unknown(err) {
		l.conditional(call, latchInput{op: latchAwait}, latchOutput{round: round}, err)
	}
	return round, err
}

// Destroy records dlatch.Latch.Destroy.
func (l *Latch) Destroy(ctx context.Context) error {
	call := l.history.now()
	err := l.latch.Destroy(ctx)
	l.conditional(call, latchInput{op: latchDestroy}, latchOutput{}, err)
	return err
}

// LatchHeld records what becomes of a hold of a latch.
type LatchHeld struct {
	*structures.Held
	latch *Latch
	call  int64 // of the hold
	in    latchInput

	once sync.Once
	err  error
}

// Hold records dlatch.Latch.Hold. What it returns must be released before the history is
// checked, although the session may have ended.
func (l *Latch) Hold(ctx context.Context, opts ...dlatch.HoldOption) (*LatchHeld, error) {
	call := l.history.now()
	in := latchInput{op: latchHold, grant: l.history.number()}
	held, err := l.latch.Hold(ctx, opts...)
	switch {
	case err == nil:
		l.record(call, in, latchOutput{round: dlatch.Round(held.Token())}, nil)
		return &LatchHeld{Held: held, latch: l, call: call, in: in}, nil
	case unknown(err), errors.Is(err, quorate.ErrSessionLost), errors.Is(err, quorate.ErrClosed):
		// It may hold until its session has ended, unseen.
		l.pending(call, in)
		in.op = latchRelease
		l.pending(call, in)
	default:
		l.conditional(call, in, latchOutput{}, err)
	}
	return nil, err
}

// Release records structures.Held.Release. The first call counts. If the hold has ended by
// itself no client can tell when, since it began.
func (h *LatchHeld) Release(ctx context.Context) error {
	h.once.Do(func() {
		call, in := h.latch.history.now(), h.in
		in.op = latchRelease
		if h.err = h.Held.Release(ctx); h.err != nil {
			h.latch.pending(h.call, in)
			return
		}
		h.latch.record(call, in, latchOutput{}, nil)
	})
	return h.err
}

// pending notes an operation that may take effect at any time since call.
func (l *Latch) pending(call int64, in latchInput) {
	l.history.add(Operation{Client: l.client, Object: l.object, Call: call, Return: Pending, Input: in})
}

// conditional records an operation that a condition of the latch may have answered.
func (l *Latch) conditional(call int64, in latchInput, out latchOutput, err error) {
	if condition := is(err, dlatch.ErrNotSet, dlatch.ErrNotZero, dlatch.ErrRound, dlatch.ErrDone); condition != nil {
		l.record(call, in, latchOutput{err: condition}, nil)
		return
	}
	l.answer(call, in, out, err)
}

var latchChecker = checker{name: "latch", model: latchModel}

// latched is the state of a latch.
type latched struct {
	set   bool
	round dlatch.Round // the present one; 0: not known yet, but later than last
	last  dlatch.Round // the latest that is known
	n     int64
	held  map[int]bool // grants that count in the present round
}

// latchModel is a count with its round, and what counts by being held. An Await returns
// inside a moment in which its round is the present one and the count is 0.
var latchModel = porcupine.Model{
	Init: func() any { return latched{} },
	Step: func(state, input, output any) (bool, any) {
		in := input.(latchInput)
		out, known := output.(latchOutput)
		next, err := state.(latched).step(in, out, known)
		return !known || errors.Is(err, out.err), next
	},
	Equal: func(a, b any) bool {
		p, q := a.(latched), b.(latched)
		return p.set == q.set && p.round == q.round && p.last == q.last && p.n == q.n && maps.Equal(p.held, q.held)
	},
	DescribeOperation: func(input, output any) string {
		in := input.(latchInput)
		names := []string{"", "set", "count down", "count", "await", "hold", "release", "destroy"}
		return fmt.Sprintf("%s(%d) in %d, grant %d -> %+v", names[in.op], in.n, in.in, in.grant, output)
	},
}

// is reports whether the present round can have a number, and notes it.
func (s *latched) is(round dlatch.Round) bool {
	if s.round == 0 && round > s.last {
		s.round, s.last = round, round
	}
	return s.round == round
}

// step returns the state after an operation, and its condition: nil if it was carried out,
// or did what out says.
func (s latched) step(in latchInput, out latchOutput, known bool) (latched, error) {
	possible := func(ok bool) error {
		if known && out.err == nil && !ok {
			return errImpossible
		}
		return nil
	}
	switch in.op {
	case latchDestroy:
		return latched{last: s.last}, nil
	case latchSet:
		if s.n > 0 {
			return s, dlatch.ErrNotZero
		}
		next := latched{set: true, last: s.last, n: in.n}
		if known {
			return next, possible(next.is(out.round))
		}
		return next, nil
	case latchRelease:
		if s.held[in.grant] {
			s.held = maps.Clone(s.held)
			delete(s.held, in.grant)
			s.n = max(s.n-1, 0)
		}
		return s, nil
	}
	if !s.set {
		return s, dlatch.ErrNotSet
	}
	switch in.op {
	case latchDown:
		// Who names a round has learned of it from an answer, so its number is known.
		if in.in != 0 && in.in != s.round {
			return s, dlatch.ErrRound
		}
		s.n = max(s.n-in.n, 0)
		return s, possible(out.n == s.n)
	case latchCount:
		return s, possible(out.n == s.n && s.is(out.round))
	case latchAwait:
		return s, possible(s.n == 0 && s.is(out.round))
	}
	if s.n == 0 {
		return s, dlatch.ErrDone
	}
	s.n++
	s.held = maps.Clone(s.held)
	if s.held == nil {
		s.held = map[int]bool{}
	}
	s.held[in.grant] = true
	return s, possible(out.round > s.round)
}
