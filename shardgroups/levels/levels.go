package levels

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/quorate/quorate/protocol"
)

// Max is the highest level of state that this version understands.
const Max = 1

// MadeUp returns how many elements more than its fields a struct has at a level:
// one for each level that this version does not know. There are none but in tests,
// which have states that take themselves for a later version's write what such a
// version might.
func MadeUp(level uint32) int { return int(max(level, Max) - Max) }

// TooNew is the error of what is written at a level above the highest that is known.
// What says what it is.
func TooNew(what string, level, known uint32) error {
	return fmt.Errorf("%s has level %d, this version knows levels up to %d: install a newer version", what, level, known)
}

// Append appends a struct, or a pointer to one, in the shape of a level. Its fields
// are booleans, integers, strings, byte strings, UUIDs, structs, slices of those, and
// pointers to structs.
func Append(dst []byte, v any, level uint32) []byte {
	return appendValue(dst, reflect.Indirect(reflect.ValueOf(v)), level)
}

// Decode reads what Append wrote at a level, and nothing else, into v, a pointer to a
// zero struct. It keeps nothing of b.
func Decode(b []byte, v any, level uint32) error {
	r := protocol.NewReader(b)
	decodeValue(&r, reflect.ValueOf(v).Elem(), level)
	return r.Done()
}

var uuidType = reflect.TypeFor[protocol.UUID]()

// fields calls f for the fields that a struct has at a level, and returns how many
// there are. f may be nil.
func fields(v reflect.Value, level uint32, f func(reflect.Value)) int {
	t, n := v.Type(), 0
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Name == "_" {
			continue
		}
		if tag, ok := field.Tag.Lookup("level"); ok {
			if from, err := strconv.ParseUint(tag, 10, 32); err != nil {
				panic(fmt.Sprintf("levels: bug: the level %q of %v.%s", tag, t, field.Name))
			} else if uint32(from) > level {
				continue
			}
		}
		if n++; f != nil {
			f(v.Field(i))
		}
	}
	return n
}

func appendValue(dst []byte, v reflect.Value, level uint32) []byte {
	switch v.Kind() {
	case reflect.Bool:
		return protocol.AppendBool(dst, v.Bool())
	case reflect.Int, reflect.Int64:
		return protocol.AppendInt(dst, v.Int())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return protocol.AppendUint(dst, v.Uint())
	case reflect.String:
		return protocol.AppendString(dst, v.String())
	case reflect.Array:
		if u, ok := v.Interface().(protocol.UUID); ok {
			return protocol.AppendBytes(dst, u[:])
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return protocol.AppendBytes(dst, v.Bytes())
		}
		dst = protocol.AppendArray(dst, v.Len())
		for i := range v.Len() {
			dst = appendValue(dst, v.Index(i), level)
		}
		return dst
	case reflect.Pointer: // an array of none or one
		if v.IsNil() {
			return protocol.AppendArray(dst, 0)
		}
		return appendValue(protocol.AppendArray(dst, 1), v.Elem(), level)
	case reflect.Struct:
		dst = protocol.AppendArray(dst, fields(v, level, nil)+MadeUp(level))
		fields(v, level, func(f reflect.Value) { dst = appendValue(dst, f, level) })
		for range MadeUp(level) {
			dst = protocol.AppendUint(dst, uint64(level))
		}
		return dst
	}
	panic(fmt.Sprintf("levels: bug: a %v has no shape", v.Type()))
}

func decodeValue(r *protocol.Reader, v reflect.Value, level uint32) {
	if r.Err() != nil {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(r.Int())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n := r.Uint()
		if v.OverflowUint(n) {
			r.Fail()
			return
		}
		v.SetUint(n)
	case reflect.String:
		v.SetString(strings.Clone(r.String()))
	case reflect.Array:
		if v.Type() != uuidType {
			panic(fmt.Sprintf("levels: bug: a %v has no shape", v.Type()))
		}
		b := r.Bytes()
		if len(b) != len(protocol.UUID{}) {
			r.Fail()
			return
		}
		reflect.Copy(v, reflect.ValueOf(b))
	case reflect.Slice:
		decodeSlice(r, v, level)
	case reflect.Pointer:
		switch r.ArrayLen() {
		case 0:
		case 1:
			v.Set(reflect.New(v.Type().Elem()))
			decodeValue(r, v.Elem(), level)
		default:
			r.Fail()
		}
	case reflect.Struct:
		r.Array(fields(v, level, nil) + MadeUp(level))
		fields(v, level, func(f reflect.Value) { decodeValue(r, f, level) })
		for range MadeUp(level) {
			if r.Err() == nil && r.Uint() != uint64(level) {
				r.Fail()
			}
		}
	default:
		panic(fmt.Sprintf("levels: bug: a %v has no shape", v.Type()))
	}
}

func decodeSlice(r *protocol.Reader, v reflect.Value, level uint32) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		v.SetBytes(bytes.Clone(r.Bytes()))
		return
	}
	n := r.ArrayLen()
	for i := 0; i < n && r.Err() == nil; i++ {
		// It grows as elements come: an element takes more memory than bytes.
		v.Grow(1)
		v.SetLen(i + 1)
		decodeValue(r, v.Index(i), level)
	}
}

// Known reports whether a level is between 1 and the highest that is known, and if
// not, why what is written at it cannot be read.
func Known(what string, level uint64, known uint32) error {
	switch {
	case level == 0:
		return fmt.Errorf("%s has no level: %w", what, protocol.ErrMalformed)
	case level > uint64(known):
		return TooNew(what, uint32(min(level, math.MaxUint32)), known)
	}
	return nil
}
