package dbarrier

import (
	"context"
	"math"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Round is the number of a round: the version of the mutation that let its parties go, or
// in. A later round of a barrier has a larger one.
type Round = protocol.Version

// Barrier is a handle of a cyclic barrier. Making one costs nothing. It is safe for
// concurrent use: each [Barrier.Await] is one party.
type Barrier struct {
	handle  structures.Handle
	parties int64
}

// New returns the handle of the cyclic barrier with the given name, at which so many
// parties meet: 2 to [MaxParties]. A bad name or number is the error of every call:
// [quorate.ErrInvalid], or [quorate.ErrTooLarge] for a name of more than 255 bytes.
func New(inv structures.Invoker, name string, parties int) *Barrier {
	return &Barrier{structures.NewHandle(inv, &kind, name, checkParties(int64(parties))), int64(parties)}
}

// Arrival is what a party gets that has met the others.
type Arrival struct {
	Round Round
	// Index is the place of the party in the order of arrival, from 0: each party of a
	// round has another one.
	Index int
}

// Await waits until all parties have arrived, this one included, and returns the round in
// which they met. It waits until ctx ends, or for the time of the option [Wait]: then the
// party is not counted, unless the others have met it already; a result wins over a context
// that has ended.
//
// Errors: [quorate.ErrNotInTime] if the time of Wait is over; [quorate.ErrSettings] while
// another number of parties meets at the barrier, or it is used as a double one;
// [quorate.ErrOverloaded] if too many calls wait; [quorate.ErrDestroyed] and
// [quorate.ErrSessionLost] end the wait; [quorate.ErrOutcomeUnknown] if the party may have
// met the others.
func (b *Barrier) Await(ctx context.Context, opts ...WaitOption) (Arrival, error) {
	const verb = "await"
	wait := waitWith(opts)
	call := waiting(&b.handle, verb, opAwait, protocol.AppendInts(nil, b.parties, wireWait(wait)), wait)
	reply, err := b.handle.Invoke(ctx, call)
	if err != nil {
		return Arrival{}, err
	}
	var round, index int64
	if protocol.ReadInts(reply.Body, &round, &index) != nil {
		return Arrival{}, b.handle.Garbled(verb, reply)
	}
	return Arrival{Round(round), int(index)}, nil
}

// Inspect returns the calls that wait: see [structures.Handle.Inspect]. Of a barrier at
// which nobody waits it is empty.
func (b *Barrier) Inspect(ctx context.Context) (structures.Inspection, error) {
	return b.handle.Inspect(ctx)
}

// Destroy ends the calls that wait with [quorate.ErrDestroyed]. The barrier can be used
// again at once.
func (b *Barrier) Destroy(ctx context.Context) error { return b.handle.Destroy(ctx) }

// DoubleBarrier is a handle of a double barrier. Making one costs nothing. It is safe for
// concurrent use: each [DoubleBarrier.Enter] is one party.
type DoubleBarrier struct {
	handle  structures.Handle
	parties int64
}

// NewDouble returns the handle of the double barrier with the given name, which so many
// parties enter and leave together: 2 to [MaxParties]. A bad name or number is the error of
// every call, as that of [New].
func NewDouble(inv structures.Invoker, name string, parties int) *DoubleBarrier {
	return &DoubleBarrier{structures.NewHandle(inv, &kind, name, checkParties(int64(parties))), int64(parties)}
}

// Enter waits until all parties have come and nobody is inside, and enters together with
// them. It waits until ctx ends, or for the time of the option [Wait]; [Note] says who
// enters. Leave with what it returns. Its errors are those of [Barrier.Await], and
// [quorate.ErrTooLarge] or [quorate.ErrInvalid] for a note of more than 255 bytes, or that
// is not UTF-8.
//
// Who has entered and does not return from Enter, because the outcome was unknown or the
// session was lost, leaves as soon as the client knows, and at the latest with the session.
func (d *DoubleBarrier) Enter(ctx context.Context, opts ...EnterOption) (*Inside, error) {
	const verb = "enter"
	var e entering
	for _, o := range opts {
		if o != nil {
			o.enter(&e)
		}
	}
	if err := structures.CheckNote(e.note); err != nil {
		return nil, d.handle.Fail(verb, err, "")
	}
	wait := waitWith(e.wait)
	call := waiting(&d.handle, verb, opEnter, appendEnter(nil, d.parties, wireWait(wait), e.note), wait)
	held, err := d.handle.Acquire(ctx, call, opRelease)
	if err != nil {
		return nil, err
	}
	return &Inside{Held: held, handle: d.handle}, nil
}

// AwaitLeft waits until nobody of a round is inside, as [Inside.Leave] does, whoever asks.
// Errors: [quorate.ErrDestroyed] and [quorate.ErrSessionLost] end the wait.
func (d *DoubleBarrier) AwaitLeft(ctx context.Context, round Round) error {
	return awaitLeft(ctx, &d.handle, round)
}

func awaitLeft(ctx context.Context, h *structures.Handle, round Round) error {
	body := protocol.AppendInts(nil, int64(min(round, math.MaxInt64)), 0)
	_, err := h.Invoke(ctx, waiting(h, "await that all leave", opLeft, body, structures.WaitWith(nil)))
	return err
}

// Inspect returns who is inside, as holders, and the calls that wait: see
// [structures.Handle.Inspect]. The amount of each is the number of parties.
func (d *DoubleBarrier) Inspect(ctx context.Context) (structures.Inspection, error) {
	return d.handle.Inspect(ctx)
}

// Revoke takes a party that is inside out, as [DoubleBarrier.Inspect] lists it, or asks it to
// leave, and reports whether it was there: see [structures.Handle.Revoke], which names the
// errors.
func (d *DoubleBarrier) Revoke(ctx context.Context, hold protocol.HoldID, opts ...structures.RevokeOption) (existed bool, err error) {
	return d.handle.Revoke(ctx, hold, opts...)
}

// Destroy ends the calls that wait with [quorate.ErrDestroyed], and the contexts of who is
// inside with [structures.ErrRevoked]. The barrier can be used again at once.
func (d *DoubleBarrier) Destroy(ctx context.Context) error { return d.handle.Destroy(ctx) }

// Inside is a party inside a double barrier. Its context ends when it leaves, or its session
// is lost: then it is inside no more. Release leaves without waiting for the others. It is
// safe for concurrent use.
type Inside struct {
	*structures.Held
	handle structures.Handle
}

// Round is the round that is inside. It is the token of the hold, which all parties of a
// round share.
func (i *Inside) Round() Round { return Round(i.Token()) }

// Leave leaves, and waits until all parties of the round have left, or are dead. If ctx ends
// first, the party leaves all the same, and only the wait is over. It may be called again,
// to go on waiting.
//
// Errors: those of [structures.Held.Release]; [quorate.ErrDestroyed] ends the wait.
func (i *Inside) Leave(ctx context.Context) error {
	if err := i.Release(ctx); err != nil {
		return err
	}
	return awaitLeft(ctx, &i.handle, i.Round())
}

// waiting returns a call that may wait.
func waiting(h *structures.Handle, verb string, op protocol.Op, body []byte, wait structures.WaitBound) structures.Call {
	call := h.Call(verb, op, protocol.FlagWait, h.Partition(nil), body)
	call.Wait = wait.Time()
	if wait.Never() {
		call.Wait = 1 // at the grid it does not wait, in the client it is not held back
	}
	return call
}

// wireWait returns a wait as on the wire.
func wireWait(wait structures.WaitBound) int64 {
	if wait.Never() {
		return notAtAll
	}
	return structures.WaitMilliseconds(wait.Time())
}
