package delection

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

var (
	// ErrNoCandidate is the error of a [Election.Transfer] to a candidate that does not
	// wait, or waits no more.
	ErrNoCandidate = errors.New("no such candidate")
	// ErrLeading is the error of a campaign with a context that carries the leadership: it
	// would wait for itself.
	ErrLeading = errors.New("the context has the leadership already")
)

// Election is a handle of one election, whose leaders publish values of type T. Making one
// costs nothing. It is safe for concurrent use.
type Election[T any] struct {
	handle structures.Handle
	codec  structures.Codec
}

// New returns the handle of the election with the given name. Without the option [Codec]
// values are encoded with [structures.CBOR]. A bad name or codec is the error of every
// call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for a name of more than 255 bytes.
func New[T any](inv structures.Invoker, name string, opts ...Option) *Election[T] {
	codec, bad := structures.CodecWith(opts)
	return &Election[T]{handle: structures.NewHandle(inv, &kind, name, bad), codec: codec}
}

// Leadership is that of one leader, from its election on. It is safe for concurrent use.
type Leadership[T any] struct {
	*structures.Held
	election *Election[T]
}

// Campaign waits until the caller leads: until ctx ends, or for the time of the option
// [Wait]. Others see v, the value of the leader, from then on. Resign, which is Release,
// ends the leadership.
//
// Errors: [quorate.ErrNotInTime] if the time of Wait is over; [ErrLeading] if ctx carries
// the leadership; [quorate.ErrTooLarge] for a value of more than [MaxValue] bytes, encoded,
// and for a long note; [quorate.ErrInvalid] for a value that the codec cannot encode and a
// priority out of range; [quorate.ErrOverloaded] if [MaxCandidates] wait;
// [quorate.ErrDestroyed] and [quorate.ErrSessionLost] end the wait.
func (e *Election[T]) Campaign(ctx context.Context, v T, opts ...CampaignOption) (*Leadership[T], error) {
	const verb = "campaign in"
	c, wait := campaignWith(opts)
	value, err := structures.AppendValue(nil, e.codec, v)
	if c.value = value; err == nil {
		err = c.check()
	}
	if err != nil {
		return nil, e.handle.Fail(verb, err, "")
	}
	if e.handle.HeldIn(ctx) != nil {
		return nil, e.handle.Fail(verb, ErrLeading, "")
	}
	c.wait = wait.Time()
	call := e.call(verb, opCampaign, protocol.FlagWait, c.append(nil, opCampaign))
	if wait.Never() {
		call = e.call(verb, opTry, 0, c.append(nil, opTry))
	}
	call.Wait = wait.Time()
	held, err := e.handle.Acquire(ctx, call, opResign)
	if err != nil {
		return nil, err
	}
	return &Leadership[T]{held, e}, nil
}

// Proclaim changes the value of the leader. Errors: [structures.ErrNotHeld] if the
// leadership has ended, which changes nothing, [quorate.ErrSessionLost] if it has ended
// with its session; [quorate.ErrTooLarge] and [quorate.ErrInvalid] as for
// [Election.Campaign].
func (l *Leadership[T]) Proclaim(ctx context.Context, v T) error {
	call, err := l.election.proclaim(l, v)
	if err == nil {
		_, err = l.election.handle.Invoke(ctx, call)
	}
	return err
}

func (e *Election[T]) proclaim(l *Leadership[T], v T) (structures.Call, error) {
	const verb = "proclaim in"
	if l == nil {
		return structures.Call{}, e.handle.Fail(verb, quorate.ErrInvalid, "no leadership was given")
	}
	value, err := structures.AppendValue(nil, e.codec, v)
	if err == nil {
		err = checkValue(value)
	}
	if err != nil {
		return structures.Call{}, e.handle.Fail(verb, err, "")
	}
	p := proclamation{hold: l.ID(), value: value}
	return l.Call(verb, opProclaim, p.append(nil)), nil
}

// Resign ends the leadership, so that the next candidate leads. It is
// [structures.Held.Release], which names the errors.
func (l *Leadership[T]) Resign(ctx context.Context) error { return l.Release(ctx) }

// Leader is who leads.
type Leader[T any] struct {
	Value   T
	Hold    protocol.HoldID // which Transfer and ForceResign name
	Token   protocol.Token  // of the leadership
	Session protocol.SessionID
	// Client is the name of the session's client (client.WithName); empty if it has none,
	// or nobody says in time. [Election.Observe] leaves it out, since it would have to ask
	// for each leader, as does [Txn.Leader].
	Client string
	Note   string
	// For is since when it leads, in the partition's log time. [Election.Observe] leaves
	// it out.
	For time.Duration
	// None says that nobody leads. It is set by [Election.Observe] only.
	None bool
	// Version is that of the state that was read; what [Election.Observe] yields has that
	// of the mutation that elected or proclaimed.
	Version Version
}

// Leader returns who leads, and whether anybody does. A value that another codec wrote is
// [quorate.ErrCodec]. The name of a leader's client is asked for at the system group, once
// for each session: the first call after an election takes a round trip more.
func (e *Election[T]) Leader(ctx context.Context, opts ...ReadOption) (Leader[T], bool, error) {
	reading := structures.ReadWith(opts)
	const verb = "get the leader of"
	reply, err := e.handle.Invoke(ctx, e.call(verb, opLeader, reading.Flags, protocol.AppendInts(nil)))
	none := errors.Is(err, errNone)
	if err != nil && !none {
		return Leader[T]{}, false, err
	}
	reading.Saw(reply)
	if none {
		return Leader[T]{None: true, Version: reply.Version}, false, nil
	}
	l, err := e.leader(verb, reply)
	if err == nil {
		l.Client = e.handle.SessionNames(ctx, l.Session)[l.Session]
	}
	return l, err == nil, err
}

// leader reads the answer to opLeader.
func (e *Election[T]) leader(verb string, reply structures.Reply) (Leader[T], error) {
	var row leader
	if row.read(reply.Body, true) != nil {
		return Leader[T]{}, e.handle.Garbled(verb, reply)
	}
	return e.shown(verb, &row, reply.Version)
}

// shown is a leader as users see it.
func (e *Election[T]) shown(verb string, l *leader, version Version) (Leader[T], error) {
	shown := Leader[T]{Hold: l.hold, Token: l.token, Session: l.session, Note: l.note, For: l.since, Version: version}
	if err := structures.DecodeValue(e.codec, l.value, &shown.Value); err != nil {
		return Leader[T]{}, e.handle.Fail(verb, err, "")
	}
	return shown, nil
}

// Candidate is who waits to be elected.
type Candidate[T any] struct {
	Value    T
	Hold     protocol.HoldID // that it will have, and which Transfer names
	Session  protocol.SessionID
	Client   string // as that of a [Leader]
	Priority int
	Note     string
	For      time.Duration // since it waits
	Left     time.Duration // how long it still waits; 0: without end
	Named    bool          // a Transfer has named it
}

// candidatesMost is how many candidates are read at a time.
const candidatesMost = 1000

// Candidates returns who waits to be elected, in the order in which they would be. More
// than a page of them, a MiB of values by default, are not of one moment. A value that
// another codec wrote is [quorate.ErrCodec].
func (e *Election[T]) Candidates(ctx context.Context) ([]Candidate[T], error) {
	const verb = "list the candidates of"
	var all []Candidate[T]
	for q := (structures.InspectRequest{Most: candidatesMost}); ; {
		reply, err := e.handle.Invoke(ctx, e.call(verb, opCandidates, protocol.FlagRead, q.Append(nil)))
		if err != nil {
			return nil, err
		}
		var p page
		if p.read(reply.Body) != nil || p.next != 0 && p.next <= q.From {
			return nil, e.handle.Garbled(verb, reply)
		}
		for i := range p.list {
			c := &p.list[i]
			shown := Candidate[T]{
				Hold: c.hold, Session: c.session, Priority: int(c.priority), Note: c.note,
				For: c.waits, Left: c.left, Named: c.hold == p.named,
			}
			if err := structures.DecodeValue(e.codec, c.value, &shown.Value); err != nil {
				return nil, e.handle.Fail(verb, err, fmt.Sprintf("of candidate %d", c.hold))
			}
			all = append(all, shown)
		}
		if q.From = p.next; q.From == 0 {
			break
		}
	}
	ids := make([]protocol.SessionID, len(all))
	for i := range all {
		ids[i] = all[i].Session
	}
	names := e.handle.SessionNames(ctx, ids...)
	for i := range all {
		all[i].Client = names[all[i].Session]
	}
	slices.SortStableFunc(all, func(a, b Candidate[T]) int {
		switch {
		case a.Named != b.Named:
			if a.Named {
				return -1
			}
			return 1
		case a.Priority != b.Priority:
			return b.Priority - a.Priority
		}
		return 0
	})
	return all, nil
}

// Transfer has a candidate, which [Election.Candidates] lists, succeed a leader, which
// [Election.Leader] returns. It takes the leadership from that one, as
// [Election.ForceResign] does; with the option [AskOnly] it asks for it. If the candidate
// waits no more when the leadership ends, another succeeds. Transfer reports false, and
// does nothing, if that one does not lead any more.
//
// The options are [Grace], [AskOnly] and [Reason]; the default grace is
// [structures.DefaultGrace]. Errors: [ErrNoCandidate], and those of
// [structures.Handle.Revoke].
func (e *Election[T]) Transfer(ctx context.Context, from, to protocol.HoldID, opts ...RevokeOption) (existed bool, err error) {
	const verb = "transfer the leadership of"
	t := transfer{Revocation: structures.RevocationWith(from, opts), candidate: to}
	if err := t.check(); err != nil {
		return false, e.handle.Fail(verb, err, "")
	}
	return e.handle.Existed(ctx, e.call(verb, opTransfer, 0, t.append(nil)))
}

// ForceResign takes the leadership from a leader, which [Election.Leader] returns, or asks
// for it, and reports whether that one led. It never affects a later leader. The leader's
// context ends, with [structures.ErrRevoked] as cause; the next is elected when it has
// stopped, and the grace is over. The options are [Grace], [AskOnly] and [Reason].
// [structures.Handle.Revoke] says what is promised, and names the errors.
func (e *Election[T]) ForceResign(ctx context.Context, hold protocol.HoldID, opts ...RevokeOption) (existed bool, err error) {
	return e.handle.Revoke(ctx, hold, opts...)
}

// Destroy removes the election. The leader's context ends, with [structures.ErrRevoked] as
// cause, and campaigns that wait return [quorate.ErrDestroyed]. The name can be used again
// at once.
func (e *Election[T]) Destroy(ctx context.Context) error { return e.handle.Destroy(ctx) }

// Inspect returns the leader as a holder, and the campaigns that wait: see
// [structures.Handle.Inspect].
func (e *Election[T]) Inspect(ctx context.Context) (structures.Inspection, error) {
	return e.handle.Inspect(ctx)
}

func (e *Election[T]) call(verb string, op protocol.Op, flags protocol.Flags, body []byte) structures.Call {
	return e.handle.Call(verb, op, flags, e.handle.Partition(nil), body)
}
