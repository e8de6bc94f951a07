package dservice

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/roster"
)

// Limits of a service.
const (
	MaxInstances = roster.MaxEntries
	MaxInstance  = roster.MaxData // bytes of an encoded instance, with its tags and metadata
	MaxNote      = roster.MaxNote // bytes; a longer note is cut
)

var (
	// ErrReplaced is the error of a registration whose ID was registered again, by another
	// process or by this one. The last one stays.
	ErrReplaced = roster.ErrReplaced
	// ErrWarning is what the error of a [Check] Is that makes an instance warning, not
	// critical.
	ErrWarning = errors.New("warning")
	// ErrNoInstance is the error of [Provider.Pick] if no instance can be used.
	ErrNoInstance = errors.New("no instance")
)

// Health is what an instance says of itself.
type Health = roster.Health

// The states of health. Whether an instance is drained is apart from its health.
const (
	Passing  = roster.Passing
	Warning  = roster.Warning
	Critical = roster.Critical
)

// Instance is where a service can be reached.
type Instance struct {
	ID      string            `cbor:"-" json:"id"` // 1 to 255 bytes; empty: Register makes a random one
	Address string            `cbor:"address,omitempty" json:"address"`
	Port    int               `cbor:"port,omitempty" json:"port"`
	Tags    []string          `cbor:"tags,omitempty" json:"tags,omitempty"`
	Meta    map[string]string `cbor:"meta,omitempty" json:"meta,omitempty"`
}

// HostPort returns the address and port as one: "10.0.0.5:8080", or the address alone if
// there is no port.
func (i *Instance) HostPort() string {
	if i.Port == 0 {
		return i.Address
	}
	return net.JoinHostPort(i.Address, strconv.Itoa(i.Port))
}

func (i *Instance) clone() Instance {
	c := *i
	c.Tags, c.Meta = slices.Clone(i.Tags), maps.Clone(i.Meta)
	return c
}

// Entry is an instance as it is registered.
type Entry struct {
	Instance
	Health    Health
	Note      string // of the health
	Drained   bool
	Reason    string // of the drain
	Permanent bool   // it is bound to no session
	TTL       time.Duration
	// Version is that of the mutation that wrote the entry.
	Version Version
	// Session is that of the process, 0 if the entry is permanent. For is how long it has
	// had its health. Both are 0 in changes.
	Session protocol.SessionID
	For     time.Duration
}

// Usable reports whether an instance is for use: passing or warning, and not drained.
func (e *Entry) Usable() bool { return e.Health != Critical && !e.Drained }

// Service is a handle of one service. Making one costs nothing. It is safe for concurrent
// use.
type Service struct{ roster *roster.Roster }

// New returns the handle of the service with the given name. A bad name is the error of
// every call: [quorate.ErrInvalid], or [quorate.ErrTooLarge] for more than 255 bytes.
func New(inv structures.Invoker, name string) *Service {
	return &Service{roster.New(inv, &kind, name, nil)}
}

// Name returns the name of the service.
func (s *Service) Name() string { return s.roster.Handle().Name() }

// encode returns an instance as it is stored.
func (s *Service) encode(verb string, i *Instance) ([]byte, error) {
	var b []byte
	var err error
	if i.Port < 0 || i.Port > 65535 {
		err = fmt.Errorf("%w: port %d", quorate.ErrInvalid, i.Port)
	}
	if err == nil {
		b, err = structures.AppendValue(nil, structures.CBOR, *i)
	}
	if err == nil && len(b) > MaxInstance {
		err = fmt.Errorf("%w: the instance has %d bytes, at most %d", quorate.ErrTooLarge, len(b), MaxInstance)
	}
	if err != nil {
		return nil, s.roster.Handle().Fail(verb, err, "")
	}
	return b, nil
}

// entry decodes an entry. Beside an error it returns what is not of the instance itself.
func (s *Service) entry(e *roster.Entry) (Entry, error) {
	got := Entry{
		Instance: Instance{ID: e.ID}, Health: e.Health, Note: e.Note, Drained: e.Drained, Reason: e.Reason, Permanent: e.Permanent, TTL: e.TTL,
		Version: e.Version, Session: e.Session, For: e.For,
	}
	if len(e.Data) > 0 {
		var i Instance
		if err := structures.DecodeValue(structures.CBOR, e.Data, &i); err != nil {
			return got, err
		}
		got.Instance, got.ID = i, e.ID
	}
	return got, nil
}

// List returns the instances for use by ID: those that are passing or warning, and not
// drained, unless options ask for others. It returns the view besides: the version of the
// state in which they were so.
//
// An instance that cannot be decoded, such as one of a later version, is left out. Then the
// error Is [quorate.ErrCodec] and names the instance, and the others and the view are
// returned beside it.
func (s *Service) List(ctx context.Context, opts ...ListOption) ([]Entry, Version, error) {
	filter, reading := filterWith(opts)
	all, view, err := s.roster.List(ctx, reading.Flags)
	if err != nil {
		return nil, 0, err
	}
	all = slices.DeleteFunc(all, func(e roster.Entry) bool { return !filter.any && (e.Health == Critical || e.Drained) })
	list, err := roster.Decode(s.roster, "instance", all, s.entry)
	return slices.DeleteFunc(list, func(e Entry) bool { return !filter.takes(&e) }), view, err
}

// EventType says what a change is.
type EventType = structures.EventType

// The types of changes.
const (
	Put       = structures.EventPut          // it was registered, or has changed: its health, too
	Removed   = structures.EventRemoved      // it was deregistered or removed
	Expired   = structures.EventExpired      // it was critical for too long
	Ended     = structures.EventSessionEnded // its session has ended
	Destroyed = structures.EventDestroyed    // all have gone with the service
	Current   = structures.EventCurrent      // it is there: with WithCurrent, or after a Gap
	Synced    = structures.EventSynced       // all that was there has come
	Gap       = structures.EventGap          // changes are missing: all instances come anew as Current, then Synced
)

// Change is an event of a watch. Of an instance that has gone Entry has the ID alone.
type Change struct {
	Type  EventType
	Entry Entry
	View  Version // of the change
}

// Watch iterates over the changes of all instances from now on, whatever their health, or
// from where the option says: in order, each once, until the loop is left, ctx ends or there
// is an error, which is the last thing that comes. It goes on by itself over changes of
// leaders, failures and lost connections. Where changes are missing because too many came
// while the watch was away, it gives a Gap and then all instances anew.
//
// Errors: [quorate.ErrOverloaded] for too many watches; [quorate.ErrClosed].
func (s *Service) Watch(ctx context.Context, opts ...WatchOption) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		for c, err := range s.roster.Watch(ctx, roster.WatchWith(opts)) {
			change := Change{Type: c.Type, View: c.View}
			if err == nil {
				if change.Entry, err = s.entry(&c.Entry); err != nil {
					err = s.roster.Handle().Fail("watch", fmt.Errorf("instance %s: %w", c.Entry.ID, err), "")
				}
			}
			if !yield(change, err) || err != nil {
				return
			}
		}
	}
}

// Drain takes an ID out of use, and reports whether that has changed anything. Nothing need
// be registered under it: the drain outlives registrations, until [Service.Undrain].
func (s *Service) Drain(ctx context.Context, id string, opts ...DrainOption) (bool, error) {
	return s.roster.Drain(ctx, id, true, reasonOf(opts))
}

// Undrain takes the drain off an ID, and reports whether there was one.
func (s *Service) Undrain(ctx context.Context, id string) (bool, error) {
	return s.roster.Drain(ctx, id, false, "")
}

// Remove removes an instance, whosever it is, and reports whether there was one. Its process
// is told, and does not register again.
func (s *Service) Remove(ctx context.Context, id string) (bool, error) {
	return s.roster.Remove(ctx, id)
}

// Destroy removes all instances and drains. The processes are told, and do not register
// again.
func (s *Service) Destroy(ctx context.Context) error { return s.roster.Handle().Destroy(ctx) }

// Names returns the names of all services that have instances or drained IDs, ascending, as
// they are at some moment of the call.
func Names(ctx context.Context, inv structures.Invoker) ([]string, error) {
	calls := make([]structures.Call, inv.Partitions())
	for p := range calls {
		calls[p] = structures.ListCall(&kind, protocol.PartitionID(p), "", namesMost)
	}
	var names []string
	for len(calls) > 0 {
		var more []structures.Call
		replies, errs := inv.InvokeAll(ctx, calls)
		for i := range replies {
			if errs[i] != nil {
				return nil, errs[i]
			}
			list, next, err := structures.ReadListed(replies[i].Body)
			if err != nil {
				return nil, &quorate.Error{Op: "list", Object: "services", Cause: err}
			}
			for _, l := range list {
				names = append(names, l.Name)
			}
			if next != "" {
				more = append(more, structures.ListCall(&kind, calls[i].Partition, next, namesMost))
			}
		}
		calls = more
	}
	slices.Sort(names)
	return names, nil
}

// namesMost is how many names are asked for at a time, of each partition.
const namesMost = 1000
