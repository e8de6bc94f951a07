package protocol

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
)

const (
	// maxItems bounds an array of a control message, so that a few bytes of it do
	// not become a lot of memory.
	maxItems = 65536
	// firstItems is how many items memory is taken for before they are read.
	firstItems = 1024
)

// Decode reads a message, or its part, that Encode wrote in this version or
// another: into v, a pointer to a struct that is encoded as an array, or to a
// slice of them. Elements that are missing at the end of an array are zero, those
// that are not known are skipped. What is known has one form only. It is for
// what travels: DecodeExact is for what is kept.
func Decode(b []byte, v any) error {
	d := decoder{NewReader(b)}
	d.value(reflect.ValueOf(v).Elem())
	return d.Done()
}

// decoder reads by the type of what it reads into.
type decoder struct{ Reader }

func (d *decoder) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(d.Bool())
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n := d.Uint()
		if v.OverflowUint(n) {
			d.fail()
			return
		}
		v.SetUint(n)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Int:
		n := d.Int()
		if v.OverflowInt(n) {
			d.fail()
			return
		}
		v.SetInt(n)
	case reflect.String:
		v.SetString(strings.Clone(d.String()))
	case reflect.Array: // of bytes: a UUID
		b := d.Bytes()
		if len(b) != v.Len() {
			d.fail()
			return
		}
		copy(v.Slice(0, len(b)).Bytes(), b)
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(bytes.Clone(d.Bytes()))
			return
		}
		d.items(v)
	case reflect.Struct:
		d.fields(v)
	default:
		panic(fmt.Sprintf("protocol: bug: no message has a %v", v.Type()))
	}
}

func (d *decoder) items(v reflect.Value) {
	n := d.ArrayLen()
	if n > maxItems {
		d.fail()
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, min(n, firstItems)))
	for i := 0; i < n && d.err == nil; i++ {
		if i == v.Cap() {
			v.Grow(1)
		}
		v.SetLen(i + 1)
		d.value(v.Index(i))
	}
}

// fields reads a struct whose first field marks it as an array.
func (d *decoder) fields(v reflect.Value) {
	known := v.NumField() - 1
	n := d.ArrayLen()
	for i := range known {
		if f := v.Field(i + 1); i < n {
			d.value(f)
		} else {
			f.SetZero()
		}
	}
	d.skipItems(n - known)
}
