package dlatch

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

var (
	// ErrNotZero is the error of a [Latch.Set] while the count is above 0.
	ErrNotZero = errors.New("not zero")
	// ErrNotSet is the error of an operation before the first [Latch.Set], or after the
	// latch was destroyed or lost.
	ErrNotSet = errors.New("not set")
	// ErrRound is the error of an operation with the option [In] if that is not the present
	// round of the latch.
	ErrRound = errors.New("another round")
	// ErrDone is the error of a [Latch.Hold] if the count is 0.
	ErrDone = errors.New("done")
)

// Round is the number of a round of a latch: the version of the [Latch.Set] that began it.
// A later round has a larger one.
type Round = protocol.Version

// Latch is a handle of one latch. Making one costs nothing. It is safe for concurrent use.
type Latch struct{ handle structures.Handle }

// New returns the handle of the latch with the given name. A bad name is the error of every
// call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for more than 255 bytes.
func New(inv structures.Invoker, name string) *Latch {
	return &Latch{structures.NewHandle(inv, &kind, name, nil)}
}

// Set begins a round with the count n, 1 to [MaxCount], and returns its number. Errors:
// [ErrNotZero] if the count of the round before is above 0; [quorate.ErrInvalid] for n out
// of range; those of the option [IfHeld].
func (l *Latch) Set(ctx context.Context, n int64, opts ...WriteOption) (Round, error) {
	call, err := l.setCall(n)
	if err != nil {
		return 0, err
	}
	var guard structures.Guard
	for _, o := range opts {
		guard = guard.With(o.option)
	}
	reply, err := l.handle.InvokeIf(ctx, guard, call)
	if err != nil {
		return 0, err
	}
	return l.round(call.Verb, reply)
}

func (l *Latch) setCall(n int64) (structures.Call, error) {
	const verb = "set"
	if n < 1 || n > MaxCount {
		return structures.Call{}, l.invalid(verb, n)
	}
	return l.call(verb, opSet, 0, protocol.AppendInts(nil, n)), nil
}

// CountDown takes one off the count, or as many as the option [By] says, and returns what is
// left. A count that is 0 stays 0, and so does one that would fall below it. With the option
// [In] it changes nothing if another round is the present one.
//
// Errors: [ErrNotSet]; [ErrRound], with In; [quorate.ErrInvalid] for By out of range; those
// of the option [IfHeld].
func (l *Latch) CountDown(ctx context.Context, opts ...DownOption) (int64, error) {
	call, guard, err := l.downCall(opts)
	if err != nil {
		return 0, err
	}
	reply, err := l.handle.InvokeIf(ctx, guard, call)
	if err != nil {
		return 0, err
	}
	return l.number(call.Verb, reply)
}

func (l *Latch) downCall(opts []DownOption) (structures.Call, structures.Guard, error) {
	const verb = "count down"
	d := downing{by: 1}
	for _, o := range opts {
		if o != nil {
			o.down(&d)
		}
	}
	if d.by < 1 || d.by > MaxCount {
		return structures.Call{}, d.guard, l.invalid(verb, d.by)
	}
	return l.call(verb, opDown, 0, protocol.AppendInts(nil, d.by, wireRound(d.round))), d.guard, nil
}

// Count returns the count and the present round. The count has what is held in it. The error
// can be [ErrNotSet].
func (l *Latch) Count(ctx context.Context, opts ...ReadOption) (int64, Round, error) {
	reading := structures.ReadWith(opts)
	s, reply, err := l.state(ctx, "get the count of", reading.Flags)
	if err == nil {
		reading.Saw(reply)
	}
	return s.n, Round(s.round), err
}

// Await waits until the present round, or the one of the option [In], has ended, and returns
// its number; at once if it has. It waits until ctx ends, or for the time of the option
// [Wait]; with Wait(0) it never waits. A round of In that is over, because the latch has
// been set again, is one that has ended.
//
// Errors: [quorate.ErrNotInTime] if the time of Wait is over; [ErrNotSet]; [ErrRound] if the
// latch has had no such round since it was first set; [quorate.ErrOverloaded] if too many
// calls wait; [quorate.ErrDestroyed] and [quorate.ErrSessionLost] end the wait.
func (l *Latch) Await(ctx context.Context, opts ...AwaitOption) (Round, error) {
	const verb = "await"
	var a awaiting
	wait := structures.WaitWith(nil)
	for _, o := range opts {
		if o != nil {
			o.await(&a)
		}
	}
	if a.bounded {
		wait = structures.WaitWith([]structures.WaitOption{a.wait})
	}
	if wait.Never() {
		return l.tryAwait(ctx, verb, a.round)
	}
	call := l.call(verb, opAwait, protocol.FlagWait, protocol.AppendInts(nil, structures.WaitMilliseconds(wait.Time()), wireRound(a.round)))
	call.Wait = wait.Time()
	reply, err := l.handle.Invoke(ctx, call)
	if err != nil {
		return 0, err
	}
	return l.round(verb, reply)
}

// tryAwait is an Await that does not wait: a read.
func (l *Latch) tryAwait(ctx context.Context, verb string, round Round) (Round, error) {
	s, _, err := l.state(ctx, verb, protocol.FlagRead)
	if err != nil {
		return 0, err
	}
	if round == 0 {
		round = Round(s.round)
	}
	switch {
	case wireRound(round) > s.round || wireRound(round) < s.first:
		return 0, l.handle.Fail(verb, ErrRound, fmt.Sprintf("the present round is %d", s.round))
	case s.ended(int64(round)):
		return round, nil
	}
	return 0, l.handle.Fail(verb, quorate.ErrNotInTime, fmt.Sprintf("the count is %d", s.n))
}

// Hold adds one to the count until it is released, or the session of the client has ended:
// what that takes away is never more than it has added, and only in the same round. Its
// token is larger than the round, and than those of holds before it. The options are [In],
// which holds only in that round, and [Note].
//
// Errors: [ErrNotSet]; [ErrDone] if the count is 0; [ErrRound], with In; [quorate.ErrInvalid]
// for a count above [MaxCount], or a note that is not UTF-8; [quorate.ErrTooLarge] for a
// note of more than 255 bytes.
func (l *Latch) Hold(ctx context.Context, opts ...HoldOption) (*structures.Held, error) {
	const verb = "hold"
	var h holding
	for _, o := range opts {
		if o != nil {
			o.hold(&h)
		}
	}
	if err := structures.CheckNote(h.note); err != nil {
		return nil, l.handle.Fail(verb, err, "")
	}
	call := l.call(verb, opHold, 0, appendHold(nil, wireRound(h.round), h.note))
	return l.handle.Acquire(ctx, call, opRelease)
}

// Inspect returns who holds and the calls that wait: see [structures.Handle.Inspect]. Of a
// latch that does not exist it is empty.
func (l *Latch) Inspect(ctx context.Context) (structures.Inspection, error) {
	return l.handle.Inspect(ctx)
}

// Revoke takes away a hold that [Latch.Inspect] lists, or asks for it, and reports whether
// there was such a hold: see [structures.Handle.Revoke], which names the errors.
func (l *Latch) Revoke(ctx context.Context, hold protocol.HoldID, opts ...structures.RevokeOption) (existed bool, err error) {
	return l.handle.Revoke(ctx, hold, opts...)
}

// Destroy removes the latch. Calls that wait return [quorate.ErrDestroyed], and the contexts
// of what is held end, with [structures.ErrRevoked] as cause. The name can be used again at
// once.
func (l *Latch) Destroy(ctx context.Context) error { return l.handle.Destroy(ctx) }

// state reads the count and its rounds.
func (l *Latch) state(ctx context.Context, verb string, flags protocol.Flags) (count, structures.Reply, error) {
	reply, err := l.handle.Invoke(ctx, l.call(verb, opCount, flags, protocol.AppendInts(nil)))
	if err != nil {
		return count{}, reply, err
	}
	var c count
	if protocol.ReadInts(reply.Body, &c.n, &c.round, &c.first) != nil {
		return count{}, reply, l.handle.Garbled(verb, reply)
	}
	return c, reply, nil
}

// round reads a result that is a round.
func (l *Latch) round(verb string, reply structures.Reply) (Round, error) {
	n, err := l.number(verb, reply)
	return Round(n), err
}

// number reads a result that is a number.
func (l *Latch) number(verb string, reply structures.Reply) (n int64, err error) {
	if protocol.ReadInts(reply.Body, &n) != nil {
		return 0, l.handle.Garbled(verb, reply)
	}
	return n, nil
}

// wireRound returns a round as on the wire. What no round has is the largest, which no
// latch has had.
func wireRound(r Round) int64 { return int64(min(r, math.MaxInt64)) }

func (l *Latch) call(verb string, op protocol.Op, flags protocol.Flags, body []byte) structures.Call {
	return l.handle.Call(verb, op, flags, l.handle.Partition(nil), body)
}

func (l *Latch) invalid(verb string, n int64) error {
	return l.handle.Fail(verb, quorate.ErrInvalid, fmt.Sprintf("a count of %d, not within 1 to %d", n, MaxCount))
}
