package roster

import (
	"context"
	"iter"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Watching says how a roster is watched.
type Watching struct {
	Verb     string // for errors; "" is "watch"
	Current  bool   // begin with the entries that are there
	Behind   bool   // begin behind the view After, which may be 0
	After    structures.Version
	Progress time.Duration // how often an EventProgress comes; 0: never
}

// WatchOption changes where the Watch of a structure that is a roster begins. The zero
// WatchOption changes nothing.
type WatchOption struct {
	current, behind bool
	after           structures.Version
}

// WithCurrent begins with the entries that are there, as EventCurrent, then EventSynced, then
// what changes.
func WithCurrent() WatchOption { return WatchOption{current: true} }

// After begins behind a view, which a list returns: there is neither a gap nor a duplicate
// between the two.
func After(view structures.Version) WatchOption { return WatchOption{behind: true, after: view} }

// WatchWith returns what options ask for together.
func WatchWith(opts []WatchOption) (w Watching) {
	for _, o := range opts {
		w.Current = w.Current || o.current
		w.Behind, w.After = w.Behind || o.behind, max(w.After, o.after)
	}
	return w
}

// Change is an event of a watch.
type Change struct {
	Type structures.EventType
	// Entry is that of EventPut and EventCurrent. Of one that has gone it has the ID alone.
	Entry Entry
	// View is the version of the change; of EventCurrent that of the entry; of EventSynced
	// and EventProgress that of a state up to which all changes have come.
	View structures.Version
	// Previous is the version that the entry had before; 0: there was none.
	Previous structures.Version
	// Reason is, of EventGap, why changes are missing.
	Reason structures.GapReason
}

// Watch iterates over the changes of the roster, in order, each once, until the loop is
// left, ctx ends or there is an error, which is the last thing that comes. Where changes
// are missing it goes on by itself: with an EventGap, all entries that are there as
// EventCurrent, and EventSynced.
//
// An EventDestroyed says that everything was removed at once.
func (r *Roster) Watch(ctx context.Context, w Watching) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		verb := w.Verb
		if verb == "" {
			verb = "watch"
		}
		spec := structures.WatchSpec{
			Verb: verb, Partitions: []protocol.PartitionID{r.partition()}, From: firstEntry,
			Current: w.Current, Relist: true, Progress: w.Progress,
		}
		if mutantBehind(w.Behind) {
			spec.AfterVersion, spec.FromVersion = w.After, true
		}
		stream, err := r.handle.Watch(ctx, spec)
		if err != nil {
			yield(Change{}, err)
			return
		}
		defer stream.Close()
		for {
			got, err := stream.Next(ctx)
			if err != nil {
				yield(Change{}, err)
				return
			}
			c, err := changeOf(&got)
			if err != nil {
				yield(Change{}, r.handle.Fail(verb, err, ""))
				return
			}
			if c.Type == structures.EventSynced || c.Type == structures.EventProgress {
				c.View = position(stream)
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}

// position returns the version up to which all changes have come; 0: there is none.
func position(s structures.WatchStream) structures.Version {
	parts := s.Cursor().Parts
	if len(parts) != 1 || !parts[0].Known || parts[0].Listing {
		return 0
	}
	return parts[0].Version
}

// changeOf reads an event.
func changeOf(got *structures.WatchEvent) (c Change, err error) {
	c = Change{Type: got.Type, View: got.Version, Previous: got.Previous, Reason: got.Reason}
	if len(got.Key) < 2 {
		return c, nil
	}
	c.Entry = Entry{ID: string(got.Key[1:]), Version: got.Version}
	if got.Type == structures.EventPut || got.Type == structures.EventCurrent {
		c.Entry, _, err = entryOf(c.Entry.ID, got.Version, got.Value)
	}
	return c, err
}
