package dpresence

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/roster"
)

// Limits of a group.
const (
	MaxMembers = roster.MaxEntries
	MaxPayload = roster.MaxData // bytes of an encoded payload
)

// ErrReplaced is the error of a member whose ID has joined again, from another process or
// from this one. The last one stays.
var ErrReplaced = roster.ErrReplaced

// Group is a handle of one group of members with payloads of type T. Making one costs
// nothing. It is safe for concurrent use.
type Group[T any] struct {
	roster *roster.Roster
	codec  structures.Codec
}

// New returns the handle of the group with the given name. A bad name is the error of every
// call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for more than 255 bytes.
func New[T any](inv structures.Invoker, name string, opts ...HandleOption) *Group[T] {
	codec, err := structures.CodecWith(opts)
	return &Group[T]{roster.New(inv, &kind, name, err), codec}
}

// Join makes this process a member, until it leaves. After a lost session it joins again by
// itself. If another process has the ID, it is replaced.
//
// Errors: [quorate.ErrInvalid] for an ID that is none; [quorate.ErrTooLarge] for a payload
// of more than [MaxPayload] bytes; [quorate.ErrCodec]; [quorate.ErrOverloaded] if the group
// has [MaxMembers] members. After an error this process is no member, or stops being one as
// soon as that is known.
func (g *Group[T]) Join(ctx context.Context, payload T, opts ...JoinOption) (*Member[T], error) {
	what := roster.Registering{}
	for _, o := range opts {
		if o.id != "" {
			what.ID = o.id
		}
		what.Permanent = what.Permanent || o.permanent
	}
	if what.ID == "" {
		what.ID = roster.NewID()
	}
	var err error
	if what.Data, err = g.encode("join", payload); err != nil {
		return nil, err
	}
	r, err := g.roster.Register(ctx, what)
	if err != nil {
		return nil, err
	}
	return &Member[T]{g, r}, nil
}

func (g *Group[T]) encode(verb string, payload T) ([]byte, error) {
	b, err := structures.AppendValue(nil, g.codec, payload)
	if err == nil && len(b) > MaxPayload {
		err = fmt.Errorf("%w: the payload has %d bytes, at most %d", quorate.ErrTooLarge, len(b), MaxPayload)
	}
	if err != nil {
		return nil, g.roster.Handle().Fail(verb, err, "")
	}
	return b, nil
}

// Member is this process as a member of a group. It is safe for concurrent use.
type Member[T any] struct {
	group *Group[T]
	reg   *roster.Registration
}

// ID returns the ID of the member.
func (m *Member[T]) ID() string { return m.reg.ID() }

// Set replaces the payload. Errors: [ErrReplaced], [structures.ErrRevoked] and
// [quorate.ErrClosed], with which the membership has ended; [quorate.ErrSessionLost] if the
// session is lost: then the payload comes when the process joins again, by itself;
// [quorate.ErrTooLarge] and [quorate.ErrCodec].
func (m *Member[T]) Set(ctx context.Context, payload T) error {
	b, err := m.group.encode("set the payload in", payload)
	if err != nil {
		return err
	}
	if err := m.reg.Set(b); err != nil {
		return err
	}
	return m.reg.Send(ctx)
}

// Leave ends the membership. It works after ctx has ended: ctx bounds only the wait for the
// answer. Errors: [ErrReplaced] if another process has the ID: it stays a member;
// [quorate.ErrClosed]; [quorate.ErrOutcomeUnknown] if ctx ends first.
func (m *Member[T]) Leave(ctx context.Context) error { return m.reg.Deregister(ctx) }

// Bound returns the context of the session that the member is bound to: it ends when that is
// lost. Until then the others see the member, unless its membership has ended. After a lost
// session the member joins again, and is bound to another one.
func (m *Member[T]) Bound() context.Context { return m.reg.Bound() }

// Done returns a channel that is closed when the membership has ended for good. A lost
// session does not end it.
func (m *Member[T]) Done() <-chan struct{} { return m.reg.Done() }

// Err returns why the membership has ended; nil while it has not, and after Leave. It Is
// [ErrReplaced], [structures.ErrRevoked] if the member was removed or the group destroyed,
// or [quorate.ErrClosed].
func (m *Member[T]) Err() error { return m.reg.Err() }

// Entry is a member as the others see it.
type Entry[T any] struct {
	ID      string
	Payload T
	// Version is that of the mutation that wrote the entry.
	Version   Version
	Permanent bool          // it does not end with a session
	For       time.Duration // since it joined; 0 in changes
}

// List returns all members by ID, as they were in one state, and the view: the version of
// that state.
//
// A member whose payload cannot be decoded is left out. Then the error Is [quorate.ErrCodec]
// and names the member, and the others and the view are returned beside it.
func (g *Group[T]) List(ctx context.Context, opts ...ReadOption) ([]Entry[T], Version, error) {
	reading := structures.ReadWith(opts)
	all, view, err := g.roster.List(ctx, reading.Flags)
	if err != nil {
		return nil, 0, err
	}
	list, err := roster.Decode(g.roster, "member", all, g.entry)
	return list, view, err
}

func (g *Group[T]) entry(e *roster.Entry) (Entry[T], error) {
	got := Entry[T]{ID: e.ID, Version: e.Version, Permanent: e.Permanent, For: e.For}
	return got, structures.DecodeValue(g.codec, e.Data, &got.Payload)
}

// EventType says what a change is.
type EventType = structures.EventType

// The types of changes.
const (
	Put       = structures.EventPut          // a member has joined, or set its payload
	Left      = structures.EventRemoved      // it has left, or was removed
	Ended     = structures.EventSessionEnded // its session has ended
	Destroyed = structures.EventDestroyed    // all have gone with the group
	Current   = structures.EventCurrent      // it is there: with WithCurrent, or after a Gap
	Synced    = structures.EventSynced       // all that was there has come
	Gap       = structures.EventGap          // changes are missing: all members come anew as Current, then Synced
)

// Change is an event of a watch. Of a member that has gone Entry has the ID alone.
type Change[T any] struct {
	Type  EventType
	Entry Entry[T]
	View  Version // of the change
}

// Watch iterates over the changes of the group from now on, or from where the option says:
// in order, each once, until the loop is left, ctx ends or there is an error, which is the
// last thing that comes. It goes on by itself over changes of leaders, failures and lost
// connections. Where changes are missing because too many came while the watch was away, it
// gives a Gap and then all members anew.
//
// Errors: [quorate.ErrOverloaded] for too many watches; [quorate.ErrCodec];
// [quorate.ErrClosed].
func (g *Group[T]) Watch(ctx context.Context, opts ...WatchOption) iter.Seq2[Change[T], error] {
	return func(yield func(Change[T], error) bool) {
		for c, err := range g.roster.Watch(ctx, roster.WatchWith(opts)) {
			change := Change[T]{Type: c.Type, View: c.View}
			change.Entry.ID, change.Entry.Version = c.Entry.ID, c.Entry.Version
			if err == nil && len(c.Entry.Data) > 0 {
				if change.Entry, err = g.entry(&c.Entry); err != nil {
					err = g.roster.Handle().Fail("watch", fmt.Errorf("member %s: %w", c.Entry.ID, err), "")
				}
			}
			if !yield(change, err) || err != nil {
				return
			}
		}
	}
}

// Remove removes a member, whoever it is, and reports whether there was one. Its process is
// told, and does not join again.
func (g *Group[T]) Remove(ctx context.Context, id string) (bool, error) {
	return g.roster.Remove(ctx, id)
}

// Destroy removes all members. Their processes are told, and do not join again.
func (g *Group[T]) Destroy(ctx context.Context) error { return g.roster.Handle().Destroy(ctx) }
