// Package otherversion writes messages as an earlier or a later version of their
// types would, for tests: arrays with fewer elements, or with more. It shares no
// code with the encoders and decoders that are tested with it.
package otherversion

import (
	"encoding/binary"
	"fmt"
	"reflect"
)

// Shape says how another version writes a struct that has n elements today: how
// many of the last it leaves out, and what items it has after the others.
type Shape func(n int) (without int, more [][]byte)

// Earlier is the Shape of a version whose structs lack the last elements, but for
// the first.
func Earlier(without int) Shape {
	return func(n int) (int, [][]byte) { return min(without, max(n-1, 0)), nil }
}

// Later is the Shape of a version whose structs have more elements.
func Later(more ...[]byte) Shape {
	return func(int) (int, [][]byte) { return 0, more }
}

// Items are what a later version may append: one of every sort of CBOR, also of
// those that this protocol does not write.
func Items() [][]byte {
	return [][]byte{
		{0x00},       // 0
		{0x18, 0x01}, // 1, not in its shortest form
		{0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, // -2^64
		{0x43, 0xff, 0x00, 0xff},                               // bytes
		{0x61, 0xff},                                           // text that is not UTF-8
		{0x82, 0x81, 0x80, 0x01},                               // [[[]], 1]
		{0xa2, 0x01, 0x80, 0x61, 'a', 0xa0},                    // {1: [], "a": {}}
		{0xc1, 0x1a, 0x00, 0x00, 0x00, 0x01},                   // a tag
		{0xf5},
		{0xf6},
		{0xf7},                               // true, null, undefined
		{0xf8, 0xff},                         // a simple value
		{0xf9, 0x3c, 0x00},                   // half a float
		{0xfb, 0x7f, 0xf8, 0, 0, 0, 0, 0, 0}, // NaN
		{0x5f, 0x41, 0x00, 0x40, 0xff},       // bytes, a text, an array and a map whose length comes last
		{0x7f, 0x61, 'a', 0xff},
		{0x9f, 0x9f, 0xff, 0x01, 0xff},
		{0xbf, 0x01, 0xbf, 0xff, 0xff},
	}
}

// Encode encodes what v points to, as another version would. What that leaves out
// becomes zero in v, so that v is what a reader of this version must make of it. A
// struct is an array of its fields after the first, which marks it as one.
func Encode(v any, shape Shape) []byte {
	return appendValue(nil, reflect.ValueOf(v).Elem(), shape)
}

func appendValue(dst []byte, v reflect.Value, shape Shape) []byte {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return append(dst, 0xf5)
		}
		return append(dst, 0xf4)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return appendHead(dst, 0, v.Uint())
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		if n := v.Int(); n < 0 {
			return appendHead(dst, 1, uint64(-1-n))
		}
		return appendHead(dst, 0, uint64(v.Int()))
	case reflect.String:
		return append(appendHead(dst, 3, uint64(v.Len())), v.String()...)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return append(appendHead(dst, 2, uint64(v.Len())), v.Bytes()...)
		}
		dst = appendHead(dst, 4, uint64(v.Len()))
		for i := range v.Len() {
			dst = appendValue(dst, v.Index(i), shape)
		}
		return dst
	case reflect.Struct:
		n := v.NumField() - 1
		without, more := shape(n)
		dst = appendHead(dst, 4, uint64(n-without+len(more)))
		for i := range n {
			if f := v.Field(i + 1); i < n-without {
				dst = appendValue(dst, f, shape)
			} else {
				f.SetZero()
			}
		}
		for _, item := range more {
			dst = append(dst, item...)
		}
		return dst
	}
	panic(fmt.Sprintf("otherversion: a %v", v.Type()))
}

func appendHead(dst []byte, major byte, n uint64) []byte {
	major <<= 5
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}

// Fill sets everything that v points to to something that is not zero, with two
// items in each slice.
func Fill(v any) { fill(reflect.ValueOf(v).Elem(), 1) }

func fill(v reflect.Value, n int) int {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(n))
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		v.SetInt(int64(-n))
	case reflect.String:
		v.SetString(fmt.Sprint("text ", n))
	case reflect.Array:
		for i := range v.Len() {
			n = fill(v.Index(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			n = fill(v.Index(i), n)
		}
	case reflect.Struct:
		for i := range v.NumField() - 1 {
			n = fill(v.Field(i+1), n)
		}
	default:
		panic(fmt.Sprintf("otherversion: a %v", v.Type()))
	}
	return n + 1
}
