package dmap

import (
	"fmt"
	"math"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Option changes a handle.
type Option func(*options)

type options struct{ codec structures.Codec }

// Codec sets how values are encoded; without it structures.CBOR. Every handle
// of a map must have the same.
func Codec(c structures.Codec) Option { return func(o *options) { o.codec = c } }

// ReadOption changes how a read is done.
type ReadOption func(*protocol.Flags)

// Stale lets any replica answer from what it has: an older state, sooner, and
// also where the key's group has lost its majority.
func Stale() ReadOption {
	return func(flags *protocol.Flags) { *flags |= protocol.FlagStale }
}

func readFlags(opts []ReadOption) protocol.Flags {
	if len(opts) == 0 {
		return protocol.FlagRead // without the allocation that options cost
	}
	flags := protocol.FlagRead
	for _, opt := range opts {
		opt(&flags)
	}
	return flags
}

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
type Setting func(*putOptions)

// DefaultTTL is the TTL of entries that are written without a TTL option. Less
// than 100 ms is ErrInvalid.
func DefaultTTL(d time.Duration) Setting {
	return func(o *putOptions) {
		o.ttl, o.err = wireTTL(d), checkTTL(d)
		if o.ttl == ttlNever {
			o.ttl = ttlDefault
		}
	}
}
