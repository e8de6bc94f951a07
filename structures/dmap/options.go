package dmap

import (
	"fmt"
	"math"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
)

// Version numbers the states of an entry, or of its partition.
type Version = structures.Version

// Option changes what [New] returns: [Codec] or [NearCache]. The zero Option changes
// nothing.
type Option struct {
	handle structures.HandleOption
	near   *nearOptions
}

// options are what the options of a handle ask for together.
type options struct {
	handle []structures.HandleOption
	near   *nearOptions
}

func optionsOf(opts []Option) (all options) {
	for _, o := range opts {
		if o.near != nil {
			all.near = o.near
			continue
		}
		all.handle = append(all.handle, o.handle)
	}
	return all
}

// Codec is [structures.WithCodec]: how values become bytes; the default is
// [structures.CBOR].
func Codec(c structures.Codec) Option { return Option{handle: structures.WithCodec(c)} }

// ReadOption changes how a read is done.
type ReadOption = structures.ReadOption

// Stale is [structures.Stale]: any replica may answer, from an older state.
func Stale() ReadOption { return structures.Stale() }

// Fresh has the grid answer, though the map has a [NearCache]: the read is linearizable.
func Fresh() ReadOption { return structures.Fresh() }

// Seen is [structures.Seen]: v gets the version of the state that was read, which is that
// of the key's partition. The version of the entry is [Entry].Version.
func Seen(v *Version) ReadOption { return structures.Seen(v) }

// Never is the TTL of an entry that has no end, whatever the map's [DefaultTTL]. A TTL
// over a hundred years is Never.
const Never time.Duration = math.MaxInt64

// PutOption changes how a value is stored: [TTL], [KeepTTL] or [IfHeld]. Without one the
// entry gets the map's [DefaultTTL], even if it had another. Of several of a kind the last
// one counts, and nil changes nothing.
type PutOption interface{ putOption() }

// TTLOption says when an entry that is stored ends. The zero TTLOption changes nothing.
type TTLOption struct {
	ttl int64 // as on the wire
	err error
	set bool
}

func (TTLOption) putOption() {}

// TTL ends the entry after d, which is rounded up to a millisecond; [Never] gives it no
// end. Less than 100 ms is [quorate.ErrInvalid].
func TTL(d time.Duration) TTLOption { return TTLOption{ttl: wireTTL(d), err: checkTTL(d), set: true} }

// KeepTTL leaves the end of an existing entry as it is. A new entry gets the map's
// [DefaultTTL].
func KeepTTL() TTLOption { return TTLOption{ttl: ttlKeep, set: true} }

// WriteOption changes how the map is written. The zero WriteOption changes nothing.
type WriteOption struct{ option structures.WriteOption }

func (WriteOption) putOption() {}

// IfHeld is [structures.IfHeld]: the map is written only if h is held. Operations on many
// keys do not take it.
func IfHeld(h *structures.Held) WriteOption { return WriteOption{structures.IfHeld(h)} }

// ttlWith returns the TTL that options ask for, as on the wire.
func ttlWith(opts []TTLOption) (int64, error) {
	last := TTLOption{ttl: ttlDefault}
	for _, o := range opts {
		if o.set {
			last = o
		}
	}
	return last.ttl, last.err
}

// putWith returns the TTL that options ask for, as on the wire, and what must be held.
func putWith(opts []PutOption) (ttl int64, guard structures.Guard, err error) {
	last := TTLOption{ttl: ttlDefault}
	for _, opt := range opts {
		switch o := opt.(type) {
		case TTLOption:
			if o.set {
				last = o
			}
		case WriteOption:
			guard = guard.With(o.option)
		}
	}
	return last.ttl, guard, last.err
}

// writesOf returns those of the options that are for all mutations.
func writesOf(opts []PutOption) (writes []WriteOption) {
	for _, opt := range opts {
		if o, ok := opt.(WriteOption); ok {
			writes = append(writes, o)
		}
	}
	return writes
}

// writeWith returns what must be held.
func writeWith(opts []WriteOption) (guard structures.Guard) {
	for _, o := range opts {
		guard = guard.With(o.option)
	}
	return guard
}

func checkTTL(d time.Duration) error {
	if d < minTTL {
		return fmt.Errorf("%w: a TTL of %v, at least %v", quorate.ErrInvalid, d, minTTL)
	}
	return nil
}

// Setting is one of the settings of a map: see [Map.Configure].
type Setting = structures.Setting

// KeepOld keeps the value before in the history of the map, for watches with [OldValues],
// up to 1 MiB a mutation. They take room that older changes would have.
func KeepOld() Setting {
	return Setting{Name: oldSetting.Name, Value: structures.SettingValue{Int: 1}}
}

// DefaultTTL is the TTL of entries that are written without a TTL option. The default,
// 0, gives them no end. Anything else below 100 ms is [quorate.ErrInvalid].
func DefaultTTL(d time.Duration) Setting {
	ms := wireTTL(d)
	if ms == ttlNever {
		ms = ttlDefault
	}
	return Setting{Name: ttlSetting.Name, Value: structures.SettingValue{Int: ms}}
}
