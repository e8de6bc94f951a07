package config

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dref"
)

// Version numbers values.
type Version = structures.Version

// Source is where values come from: [Ref], [Key] or [Prefix].
type Source[T any] struct {
	name    string
	open    func(ctx context.Context, progress time.Duration) (structures.WatchStream, fold[T], error)
	publish func(ctx context.Context, base Version, next T) (Version, error)
}

// fold makes states of the events of a watch.
type fold[T any] interface {
	// take takes an event, and reports whether there is another state. The base is what
	// fields that are not there have.
	take(e *structures.WatchEvent, stream structures.WatchStream, base *T) (seen[T], bool)
}

// seen is a state of the source.
type seen[T any] struct {
	cluster protocol.UUID
	at      positions // of the state that was read
	version Version
	gone    bool
	value   *T    // nil if it is gone, or cannot be decoded
	err     error // why it cannot be
}

// positions are versions of partitions.
type positions map[protocol.PartitionID]Version

// before reports whether a state is older than another in some partition. What is known of
// one of them alone does not compare: a file may be that of another source.
func (p positions) before(o positions) bool {
	for id, v := range o {
		if at, both := p[id]; both && at < v {
			return true
		}
	}
	return false
}

// Ref takes values from a reference. [Value.Publish] replaces its value by version, with the
// history that dref.Keep gives; dref.Ref.Rollback goes back, by a new version.
func Ref[T any](r *dref.Ref[T]) Source[T] {
	return Source[T]{
		name: "ref " + r.Name(),
		open: func(ctx context.Context, progress time.Duration) (structures.WatchStream, fold[T], error) {
			s, err := r.Stream(ctx, progress)
			return s, &row[T]{codec: r.Codec()}, err
		},
		publish: func(ctx context.Context, base Version, next T) (Version, error) {
			v, err := r.Replace(ctx, base, next)
			if errors.Is(err, dref.ErrConflict) {
				err = fmt.Errorf("%w: %w", ErrConflict, err)
			}
			return v, err
		},
	}
}

// Key takes values from a key of a map. [Value.Publish] keeps the entry's time to live.
func Key[K comparable, T any](m *dmap.Map[K, T], k K) Source[T] {
	return Source[T]{
		name: fmt.Sprintf("the key %v of a map", k),
		open: func(ctx context.Context, progress time.Duration) (structures.WatchStream, fold[T], error) {
			s, codec, err := dmap.Stream(ctx, m, dmap.Key(k), dmap.Newest(), dmap.ProgressEvery(progress))
			return s, &row[T]{codec: codec}, err
		},
		publish: func(ctx context.Context, base Version, next T) (Version, error) {
			if base == 0 {
				v, err := dmap.Create(ctx, m, k, next)
				if errors.Is(err, dmap.ErrConflict) {
					err = fmt.Errorf("%w: there is a value", ErrConflict)
				}
				return v, err
			}
			v, err := m.Replace(ctx, k, base, next, dmap.KeepTTL())
			if errors.Is(err, dmap.ErrConflict) {
				err = fmt.Errorf("%w: %w", ErrConflict, err)
			}
			return v, err
		},
	}
}

// row is the state of one row.
type row[T any] struct{ codec structures.Codec }

func (r *row[T]) take(e *structures.WatchEvent, _ structures.WatchStream, _ *T) (seen[T], bool) {
	s := seen[T]{cluster: e.Cluster, at: positions{e.Partition: e.State}, version: e.Version}
	switch e.Type {
	case structures.EventPut:
		var v T
		if s.err = structures.DecodeValue(r.codec, e.Value, &v); s.err == nil {
			s.value = &v
		}
	case structures.EventRemoved:
		s.gone = true
	default:
		return s, false
	}
	return s, true
}

var errPrefix = fmt.Errorf("%w: the fields are keys of their own: write them with a transaction", quorate.ErrUnsupported)
