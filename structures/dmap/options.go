package dmap

import (
	"fmt"
	"math"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
)

// Version is a state of an entry, or of the partition that it lives in.
type Version = structures.Version

// Option changes what New returns.
type Option = structures.HandleOption

// Codec is structures.WithCodec: how values become bytes.
func Codec(c structures.Codec) Option { return structures.WithCodec(c) }

// ReadOption changes how a read is done.
type ReadOption = structures.ReadOption

// Stale is structures.Stale: any replica may answer, from an older state.
func Stale() ReadOption { return structures.Stale() }

// Seen is structures.Seen: v gets the version of the state that was read, which is
// that of the key's partition; Entry.Version is that of the entry.
func Seen(v *Version) ReadOption { return structures.Seen(v) }

// Never is the TTL of an entry that has no end, whatever the map's default. A
// TTL over a hundred years is Never.
const Never time.Duration = math.MaxInt64

// PutOption changes how a value is stored. Without one the entry has the map's
// default TTL, also where it had another.
type PutOption func(*putOptions)

type putOptions struct {
	ttl int64
	err error
}

// TTL ends the entry after d, which is rounded up to a millisecond. Less than
// 100 ms is ErrInvalid.
func TTL(d time.Duration) PutOption {
	return func(o *putOptions) { o.ttl, o.err = wireTTL(d), checkTTL(d) }
}

// KeepTTL leaves the end of an entry that exists as it is.
func KeepTTL() PutOption {
	return func(o *putOptions) { o.ttl, o.err = ttlKeep, nil }
}

func putTTL(opts []PutOption) (int64, error) {
	if len(opts) == 0 {
		return ttlDefault, nil // without the allocation that options cost
	}
	var o putOptions
	for _, opt := range opts {
		opt(&o)
	}
	return o.ttl, o.err
}

func checkTTL(d time.Duration) error {
	if d < minTTL {
		return fmt.Errorf("%w: a TTL of %v, at least %v", quorate.ErrInvalid, d, minTTL)
	}
	return nil
}

// Setting is one of the settings of a map, which Configure agrees.
type Setting = structures.Setting

// DefaultTTL is the TTL of entries that are written without a TTL option. Less
// than 100 ms is ErrInvalid, but for 0: they do not end, as without the setting.
func DefaultTTL(d time.Duration) Setting {
	ms := wireTTL(d)
	if ms == ttlNever {
		ms = ttlDefault
	}
	return Setting{Name: ttlSetting.Name, Value: structures.SettingValue{Int: ms}}
}
