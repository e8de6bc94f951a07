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

// PutOption changes how a value is stored: [TTL], [KeepTTL], [Ephemeral] or [IfHeld]. Without one the
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

// EphemeralOption says that an entry ends with the caller's session. The zero
// EphemeralOption changes nothing.
type EphemeralOption struct{ set bool }

func (EphemeralOption) putOption() {}

// Ephemeral stores an entry that ends with the session of this client, unless somebody
// else has written it meanwhile: when the client is closed, or dies and its TTL has run.
// Watches see that as [Ended]. [Entry].Owner is the session. When the client has lost its
// session it has to store the entry again ([client.OnSession]).
//
// Put, Swap and PutAll without the option make an ephemeral entry ordinary. Replace,
// Update, Add and SetTTL keep its owner; Replace with the option takes the entry over, if
// it still has the version that was read.
//
// Operations with the option are bound to a session that is held (EPHEMERAL-3). If the
// outcome is unknown, an entry that was stored ends with the session at the latest.
// After a group has lost its majority's data, operations with the option wait until no
// former owner can believe any more that its entry is there. The option cannot be combined
// with [IfHeld].
//
// [client.OnSession]: https://pkg.go.dev/github.com/quorate/quorate/client#OnSession
func Ephemeral() EphemeralOption { return EphemeralOption{set: true} }

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

// putWith returns the TTL that options ask for, as on the wire, what must be held, and
// whether the entry is to be ephemeral.
func putWith(opts []PutOption) (ttl int64, guard structures.Guard, ephemeral bool, err error) {
	last := TTLOption{ttl: ttlDefault}
	for _, opt := range opts {
		switch o := opt.(type) {
		case TTLOption:
			if o.set {
				last = o
			}
		case WriteOption:
			guard = guard.With(o.option)
		case EphemeralOption:
			ephemeral = ephemeral || o.set
		}
	}
	if last.err == nil && ephemeral && guard.Asks() {
		last.err = fmt.Errorf("%w: Ephemeral and IfHeld", quorate.ErrInvalid)
	}
	return last.ttl, guard, ephemeral, last.err
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
