package config

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
)

// Prefix takes the fields of a struct from the keys of a map that begin with a prefix: the
// key is the prefix and the name of the field, that of its json tag if it has one. A field
// whose key is not there has the value of [Default], or the zero value; keys without a field
// are passed over. Whatever type the map has, each value is decoded into its field.
//
// A struct is built at the end of a mutation or a transaction. Keys that share a {tag}, in
// the name of the map or in the prefix, and are changed by one transaction, are therefore
// seen together. Keys without a common tag are in several partitions, and are not: then a
// struct may have the new value of one and the old value of another, for a moment.
//
// [Value.Publish] is [quorate.ErrUnsupported]: write the keys.
func Prefix[T, V any](m *dmap.Map[string, V], prefix string) Source[T] {
	return Source[T]{
		name: fmt.Sprintf("the keys %s* of a map", prefix),
		open: func(ctx context.Context, progress time.Duration) (structures.WatchStream, fold[T], error) {
			if t := reflect.TypeFor[T](); t.Kind() != reflect.Struct {
				return nil, nil, fmt.Errorf("%w: Prefix makes a struct, not a %v", quorate.ErrInvalid, t)
			}
			s, codec, err := dmap.Stream(ctx, m, dmap.Prefix(prefix), dmap.WithCurrent(), dmap.Relist(), dmap.ProgressEvery(progress))
			return s, &tree[T]{codec: codec, prefix: prefix, keys: map[string]leaf{}, listing: true}, err
		},
		publish: func(context.Context, Version, T) (Version, error) { return 0, errPrefix },
	}
}

// tree is the keys of a prefix.
type tree[T any] struct {
	codec   structures.Codec
	prefix  string
	keys    map[string]leaf
	listing bool // from the start, or a gap, to Synced: it is not whole
}

// leaf is a value, encoded.
type leaf struct {
	value     []byte
	partition protocol.PartitionID
}

func (t *tree[T]) take(e *structures.WatchEvent, stream structures.WatchStream, base *T) (seen[T], bool) {
	switch e.Type {
	case structures.EventProgress:
		return seen[T]{}, false
	case structures.EventPut, structures.EventCurrent:
		t.keys[string(e.Key)] = leaf{e.Value, e.Partition}
	case structures.EventGap, structures.EventDestroyed:
		for key, l := range t.keys {
			if l.partition == e.Partition {
				delete(t.keys, key)
			}
		}
		t.listing = t.listing || e.Type == structures.EventGap
	case structures.EventSynced:
		t.listing = false
	default:
		delete(t.keys, string(e.Key))
	}
	// Half of a change is nobody's (CONFIG-4).
	if (t.listing || e.More) && !mutants.On(mutants.ConfigTorn) {
		return seen[T]{}, false
	}
	return t.build(stream.Cursor(), base), true
}

// build makes the struct of what there is.
func (t *tree[T]) build(c structures.WatchCursor, base *T) seen[T] {
	s := seen[T]{cluster: c.Cluster, at: positions{}, gone: len(t.keys) == 0}
	for _, p := range c.Parts {
		s.at[p.Partition] = p.Version
		if s.version = p.Version; len(c.Parts) > 1 {
			s.version = 0 // those of several partitions do not compare
		}
	}
	if s.gone {
		return s
	}
	v := new(T)
	if base != nil {
		*v = *base
	}
	into := reflect.ValueOf(v).Elem()
	for i := range into.NumField() {
		field := into.Type().Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name == "" {
			name = field.Name
		}
		if !field.IsExported() || name == "-" {
			continue
		}
		key, err := structures.AppendKey(nil, t.prefix+name)
		l, ok := t.keys[string(key)]
		if err != nil || !ok {
			continue
		}
		decoded := reflect.New(field.Type) // never into the default's maps and slices
		if err := structures.DecodeValue(t.codec, l.value, decoded.Interface()); err != nil {
			s.err = fmt.Errorf("key %s%s: %w", t.prefix, name, err)
			return s
		}
		into.Field(i).Set(decoded.Elem())
	}
	s.value = v
	return s
}
