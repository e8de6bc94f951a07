package dservice

import (
	"context"
	"slices"
	"time"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/roster"
)

// Version numbers the states of the partition of the service: a view.
type Version = structures.Version

// RegisterOption changes how [Service.Register] registers. The zero RegisterOption changes
// nothing.
type RegisterOption struct{ set func(*registering) }

// registering is what the options of a registration ask for together.
type registering struct {
	what  roster.Registering
	check func(context.Context) error
	every time.Duration
}

// TTL makes an instance critical that has not reported its health for d, 1 s or more. With
// a [Check] the reports come by themselves.
func TTL(d time.Duration) RegisterOption {
	return RegisterOption{func(r *registering) { r.what.TTL = d }}
}

// RemoveCritical removes an instance that was critical for d, 1 s or more. Its process is
// told, and does not register again.
func RemoveCritical(d time.Duration) RegisterOption {
	return RegisterOption{func(r *registering) { r.what.Remove = d }}
}

// Permanent lets an instance stay when its process ends, until it is deregistered or
// removed. With [TTL] it becomes critical then. If its group loses its data the process, if
// it lives, registers it again.
func Permanent() RegisterOption {
	return RegisterOption{func(r *registering) { r.what.Permanent = true }}
}

// Check runs f every d, 100 ms or more, in this process, and once before the instance is
// registered. Nil is passing, an error that Is [ErrWarning] is warning, any other is
// critical; the text of the error is the note. The context of f ends after d, or 1 s if that
// is more. A health that stays the same is not reported again, except that with [TTL] a
// report comes each half of it.
func Check(f func(context.Context) error, d time.Duration) RegisterOption {
	return RegisterOption{func(r *registering) { r.check, r.every = f, d }}
}

// Initially sets the health of an instance until it reports another; the default is
// passing, or what [Check] says.
func Initially(h Health, note string) RegisterOption {
	return RegisterOption{func(r *registering) { r.what.Health, r.what.Note = h, note }}
}

// ListOption changes what [Service.List] lists. The zero ListOption changes nothing.
type ListOption struct {
	tag      string
	any      bool
	reading  structures.ReadOption
	isReader bool
}

// Tag lists only instances that have the tag; with several of them, all of the tags.
func Tag(tag string) ListOption { return ListOption{tag: tag} }

// AnyHealth lists instances that are critical or drained, too.
func AnyHealth() ListOption { return ListOption{any: true} }

// Stale is [structures.Stale]: any replica may answer, from an older state.
func Stale() ListOption { return ListOption{reading: structures.Stale(), isReader: true} }

// filter is what the options of a list ask for together.
type filter struct {
	tags []string
	any  bool
}

func filterWith(opts []ListOption) (f filter, reading structures.Reading) {
	var reads []structures.ReadOption
	for _, o := range opts {
		if o.tag != "" {
			f.tags = append(f.tags, o.tag)
		}
		if o.isReader {
			reads = append(reads, o.reading)
		}
		f.any = f.any || o.any
	}
	return f, structures.ReadWith(reads)
}

func (f *filter) takes(e *Entry) bool {
	return !slices.ContainsFunc(f.tags, func(tag string) bool { return !slices.Contains(e.Tags, tag) })
}

// WatchOption changes where [Service.Watch] begins. The zero WatchOption changes nothing.
type WatchOption = roster.WatchOption

// WithCurrent begins with the instances that are there, as Current, then Synced, then what
// changes.
func WithCurrent() WatchOption { return roster.WithCurrent() }

// After begins behind a view, which [Service.List] returns: there is neither a gap nor a
// duplicate between the two.
func After(view Version) WatchOption { return roster.After(view) }

// DrainOption changes [Service.Drain]. The zero DrainOption changes nothing.
type DrainOption struct{ reason string }

// Reason says why, human-readable: at most 255 bytes.
func Reason(text string) DrainOption { return DrainOption{text} }

func reasonOf(opts []DrainOption) (reason string) {
	for _, o := range opts {
		if o.reason != "" {
			reason = o.reason
		}
	}
	return reason
}
