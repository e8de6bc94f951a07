package structures

import (
	"cmp"
	"fmt"
	"reflect"
	"time"
)

// odd reports whether RFC 3339 has no form for the offset of a time: one with seconds,
// as local times had before there were time zones, or of a day and more.
func odd(t time.Time) bool {
	_, offset := t.Zone()
	return offset%60 != 0 || offset <= -24*3600 || offset >= 24*3600
}

// checkTimes looks at the times in a value. It reports whether one has to be
// written in UTC, and refuses those of years that RFC 3339 has no form for.
func checkTimes(v any) (inUTC bool, err error) {
	var asIs, utc error // of the years, either way
	eachTime(reflect.ValueOf(v), func(t time.Time) {
		inUTC = inUTC || odd(t)
		asIs, utc = cmp.Or(asIs, checkYear(t)), cmp.Or(utc, checkYear(t.UTC()))
	})
	if inUTC {
		return true, utc
	}
	return false, asIs
}

func checkYear(t time.Time) error {
	if y := t.Year(); y < 0 || y > 9999 {
		return fmt.Errorf("a time in the year %d, want 0 to 9999", y)
	}
	return nil
}

var timeType = reflect.TypeFor[time.Time]()

// eachTime calls f with every time in a value.
func eachTime(v reflect.Value, f func(time.Time)) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			eachTime(v.Elem(), f)
		}
	case reflect.Struct:
		if v.Type() == timeType {
			if v.CanInterface() {
				f(v.Interface().(time.Time))
			}
			return
		}
		for _, field := range v.Fields() {
			eachTime(field, f)
		}
	case reflect.Slice, reflect.Array:
		if !mayHoldTimes(v.Type().Elem()) {
			return
		}
		for i := range v.Len() {
			eachTime(v.Index(i), f)
		}
	case reflect.Map:
		keys, values := mayHoldTimes(v.Type().Key()), mayHoldTimes(v.Type().Elem())
		if !keys && !values {
			return
		}
		for it := v.MapRange(); it.Next(); {
			if keys {
				eachTime(it.Key(), f)
			}
			if values {
				eachTime(it.Value(), f)
			}
		}
	}
}

func mayHoldTimes(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Interface, reflect.Struct, reflect.Slice, reflect.Array, reflect.Map:
		return true
	}
	return false
}
