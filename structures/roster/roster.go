package roster

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Roster is the handle of a set of registrations. It is safe for concurrent use.
type Roster struct{ handle structures.Handle }

// New returns the handle of the roster with a kind and a name; every call returns bad, if
// it is not nil.
func New(inv structures.Invoker, kind *structures.Kind, name string, bad error) *Roster {
	return &Roster{structures.NewHandle(inv, kind, name, bad)}
}

// Handle returns the handle of the structure, for what all structures have.
func (r *Roster) Handle() *structures.Handle { return &r.handle }

// Partition returns where the roster lies.
func (r *Roster) partition() protocol.PartitionID { return r.handle.Partition(nil) }

func (r *Roster) call(verb string, op protocol.Op, q *request) structures.Call {
	return r.handle.Call(verb, op, 0, r.partition(), q.append(nil, op))
}

// Drain sets or takes off that an ID is drained, and why, and reports whether that has
// changed anything. Nothing need be registered under the ID.
func (r *Roster) Drain(ctx context.Context, id string, on bool, reason string) (bool, error) {
	verb := "drain an instance of"
	if !on {
		verb = "take the drain off an instance of"
	}
	return r.truth(ctx, verb, opDrain, &request{id: id, on: on, note: reason})
}

// Remove removes what is registered under an ID, and reports whether there was anything.
// Its process is told, and does not register again.
func (r *Roster) Remove(ctx context.Context, id string) (bool, error) {
	return r.truth(ctx, "remove an entry of", opRemove, &request{id: id})
}

func (r *Roster) truth(ctx context.Context, verb string, op protocol.Op, q *request) (bool, error) {
	if err := q.check(); err != nil {
		return false, r.handle.Fail(verb, err, "")
	}
	reply, err := r.handle.Invoke(ctx, r.call(verb, op, q))
	if err != nil {
		return false, err
	}
	b := protocol.NewReader(reply.Body)
	b.Array(1)
	yes := b.Bool()
	if b.Done() != nil {
		return false, r.handle.Garbled(verb, reply)
	}
	return yes, nil
}

// page is an answer of opList.
type page struct {
	entries []Entry
	changed structures.Version // of the last change of the roster
	version structures.Version // of the state
	next    string
}

const listVerb = "list"

func (r *Roster) page(ctx context.Context, from string, flags protocol.Flags) (p page, err error) {
	limits := r.handle.Limits()
	body := protocol.AppendString(protocol.AppendArray(nil, 2), from)
	body = protocol.AppendUint(body, uint64(limits.PageBytes))
	reply, err := r.handle.Invoke(ctx, r.handle.Call(listVerb, opList, flags, r.partition(), body))
	if err != nil {
		return p, err
	}
	b := protocol.NewReader(reply.Body)
	n := b.ArrayLen()
	if n < 3 || (n-3)%4 != 0 {
		b.Fail()
	}
	p.version, p.changed = reply.Version, structures.Version(b.Uint())
	now := protocol.LogTime(b.Uint())
	p.next = strings.Clone(b.String())
	for range (n - 3) / 4 {
		id, session := strings.Clone(b.String()), protocol.SessionID(b.Uint())
		version := structures.Version(b.Uint())
		value := b.Bytes()
		if b.Err() != nil {
			break
		}
		e, since, err := entryOf(id, version, value)
		if err != nil {
			b.Fail()
			break
		}
		e.Session, e.For = session, max(now.Sub(since), 0)
		p.entries = append(p.entries, e)
	}
	if b.Done() != nil {
		return p, r.handle.Garbled(listVerb, reply)
	}
	return p, nil
}

// listTries is how often a list is begun anew because it has changed between its pages,
// before the changes are followed instead.
const listTries = 3

// List returns all entries by ID, as they were in one state of the partition, and the
// version of that state: the view. Two lists of one view are equal, and a larger view is a
// later one (ROSTER-6).
func (r *Roster) List(ctx context.Context, flags protocol.Flags) ([]Entry, structures.Version, error) {
	for range listTries {
		all, view, torn, err := r.listOnce(ctx, flags)
		if err != nil || !torn {
			return all, view, err
		}
	}
	return r.listFollowing(ctx)
}

// listOnce reads the pages of a list. It is torn if the roster has changed in between.
func (r *Roster) listOnce(ctx context.Context, flags protocol.Flags) (all []Entry, view structures.Version, torn bool, err error) {
	first, from := structures.Version(0), ""
	for n := 0; ; n++ {
		p, err := r.page(ctx, from, flags)
		if err != nil {
			return nil, 0, false, err
		}
		if n == 0 {
			first = p.changed
		}
		if p.changed != first {
			return nil, 0, true, nil
		}
		all, view = append(all, p.entries...), max(view, p.version)
		if from = p.next; from == "" {
			return all, view, false, nil
		}
	}
}

// listFollowing lists a roster that changes faster than it can be listed in pages: a watch
// gives all that is there, and what changes meanwhile, until it is complete.
func (r *Roster) listFollowing(ctx context.Context) ([]Entry, structures.Version, error) {
	var m Mirror
	for c, err := range r.Watch(ctx, Watching{Verb: listVerb, Current: true}) {
		if err != nil {
			return nil, 0, err
		}
		if m.Apply(&c); m.Complete() {
			break
		}
	}
	return m.Entries(), m.View(), contexts.Err(ctx)
}

// Mirror is what a watcher knows of a roster: it takes the changes of a watch in. The zero
// Mirror is that of an empty roster. It is for one goroutine at a time.
type Mirror struct {
	entries  map[string]Entry
	view     structures.Version
	complete bool
}

// Apply takes a change in.
func (m *Mirror) Apply(c *Change) {
	m.view = max(m.view, c.View)
	switch c.Type {
	case structures.EventSynced:
		m.complete = true
	case structures.EventGap:
		clear(m.entries)
		m.view, m.complete = 0, false
	case structures.EventDestroyed:
		clear(m.entries)
	case structures.EventPut, structures.EventCurrent:
		if m.entries == nil {
			m.entries = map[string]Entry{}
		}
		m.entries[c.Entry.ID] = c.Entry
	case structures.EventProgress:
	default:
		delete(m.entries, c.Entry.ID)
	}
}

// Complete reports whether the watcher has seen all of the roster.
func (m *Mirror) Complete() bool { return m.complete }

// View is the version up to which nothing is missing, once the mirror is complete.
func (m *Mirror) View() structures.Version { return m.view }

// Len returns how many entries there are.
func (m *Mirror) Len() int { return len(m.entries) }

// Entries returns all entries by ID.
func (m *Mirror) Entries() []Entry {
	list := make([]Entry, 0, len(m.entries))
	for _, e := range m.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	return list
}

// newNonce returns a number that names a registration.
func newNonce() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return max(binary.BigEndian.Uint64(b[:]), 1)
}

// NewID returns a random ID, of 16 hexadecimal digits.
func NewID() string {
	const digits = "0123456789abcdef"
	var b [16]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = digits[b[i]%16]
	}
	return string(b[:])
}

// pauseAfter is how long to wait before the next attempt.
func pauseAfter(try int) time.Duration {
	return min(20*time.Millisecond<<min(try, 10), 2*time.Second)
}
