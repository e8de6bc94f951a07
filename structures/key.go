package structures

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"reflect"
	"sync"

	"github.com/fxamacker/cbor/v2"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// AppendKey appends the encoding of a key: one tag byte, then bytes that keep
// the order of the keys of that tag.
//
//	strings            KeyText, the raw bytes
//	signed integers    KeyInt, 8 bytes big-endian with the sign flipped
//	unsigned integers  KeyUint, 8 bytes big-endian
//	byte arrays        KeyBytes, the raw bytes
//	structs, arrays    KeyCBOR, deterministic CBOR (no order that means anything)
//
// Named types of these are encoded alike; bool is KeyCBOR. Structs and arrays
// may hold what a key may be. Every other type, and a struct that does not survive its
// encoding (unexported fields, for example), is [quorate.ErrInvalid].
func AppendKey[K comparable](dst []byte, key K) ([]byte, error) {
	// The pointer does not escape, so the common types cost no allocation. Its type is
	// that of K, even if K is an interface.
	switch k := any(&key).(type) {
	case *string:
		return append(append(dst, protocol.KeyText), *k...), nil
	case *int:
		return appendIntKey(dst, int64(*k)), nil
	case *int64:
		return appendIntKey(dst, *k), nil
	case *int32:
		return appendIntKey(dst, int64(*k)), nil
	case *uint:
		return appendUintKey(dst, uint64(*k)), nil
	case *uint64:
		return appendUintKey(dst, *k), nil
	case *uint32:
		return appendUintKey(dst, uint64(*k)), nil
	case *[16]byte:
		return append(append(dst, protocol.KeyBytes), k[:]...), nil
	case *EncodedKey:
		return k.append(dst)
	}
	return appendKey(dst, key)
}

// DecodeKey reads what [AppendKey] wrote for the same type. Bytes of another type are
// [quorate.ErrCodec]. The key does not alias b.
func DecodeKey[K comparable](b []byte) (K, error) {
	var key K
	if len(b) > 0 && b[0] == protocol.KeyText {
		if s, ok := any(&key).(*string); ok {
			*s = string(b[1:])
			return key, nil
		}
	}
	return decodeKey[K](b)
}

func appendIntKey(dst []byte, k int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, protocol.KeyInt), uint64(k)^1<<63)
}

func appendUintKey(dst []byte, k uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, protocol.KeyUint), k)
}

func appendKey[K comparable](dst []byte, key K) ([]byte, error) {
	if err := CheckKeyType[K](); err != nil {
		return dst, err
	}
	v := reflect.ValueOf(key)
	switch keyTag(v.Type()) {
	case protocol.KeyText:
		return append(append(dst, protocol.KeyText), v.String()...), nil
	case protocol.KeyInt:
		return appendIntKey(dst, v.Int()), nil
	case protocol.KeyUint:
		return appendUintKey(dst, v.Uint()), nil
	case protocol.KeyBytes:
		dst = append(dst, protocol.KeyBytes)
		for i := range v.Len() {
			dst = append(dst, byte(v.Index(i).Uint()))
		}
		return dst, nil
	}
	b, err := keyEnc.Marshal(key)
	if err != nil {
		return dst, fmt.Errorf("%w: a %T cannot be a key: %v", quorate.ErrInvalid, key, err)
	}
	// Two keys must never share an encoding, so the encoding must hold all that
	// == looks at: fields that CBOR leaves out would lose it.
	var back K
	if err := keyDec.Unmarshal(b, &back); err != nil || back != key {
		return dst, fmt.Errorf("%w: a %T cannot be a key: part of it is not encoded (an unexported or hidden field?)",
			quorate.ErrInvalid, key)
	}
	return append(append(dst, protocol.KeyCBOR), b...), nil
}

func decodeKey[K comparable](b []byte) (K, error) {
	var key K
	if k, ok := any(&key).(*EncodedKey); ok && len(b) > 0 {
		k.encoded = string(b)
		return key, nil
	}
	if err := CheckKeyType[K](); err != nil {
		return key, err
	}
	v := reflect.ValueOf(&key).Elem()
	tag := keyTag(v.Type())
	if len(b) == 0 || b[0] != tag {
		return key, notKey(b, key)
	}
	body := b[1:]
	switch tag {
	case protocol.KeyText:
		v.SetString(string(body))
	case protocol.KeyInt:
		if len(body) != 8 {
			return key, notKey(b, key)
		}
		i := int64(binary.BigEndian.Uint64(body) ^ 1<<63)
		if v.OverflowInt(i) {
			return key, notKey(b, key)
		}
		v.SetInt(i)
	case protocol.KeyUint:
		if len(body) != 8 {
			return key, notKey(b, key)
		}
		u := binary.BigEndian.Uint64(body)
		if v.OverflowUint(u) {
			return key, notKey(b, key)
		}
		v.SetUint(u)
	case protocol.KeyBytes:
		if len(body) != v.Len() {
			return key, notKey(b, key)
		}
		for i, c := range body {
			v.Index(i).SetUint(uint64(c))
		}
	default:
		// Only the one encoding that AppendKey makes is this key: with another,
		// or with fields this K does not have, a look-up would miss the entry.
		if err := keyDec.Unmarshal(body, &key); err != nil {
			return *new(K), notKey(b, key)
		}
		if again, err := keyEnc.Marshal(key); err != nil || !bytes.Equal(again, body) {
			return *new(K), notKey(b, key)
		}
	}
	return key, nil
}

func notKey(b []byte, key any) error {
	if len(b) > 16 {
		b = b[:16]
	}
	return fmt.Errorf("%w: the key %x... is not a %T", quorate.ErrCodec, b, key)
}

// keyTag returns the tag under which keys of a checked type are encoded.
func keyTag(t reflect.Type) byte {
	switch t.Kind() {
	case reflect.String:
		return protocol.KeyText
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return protocol.KeyInt
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return protocol.KeyUint
	case reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return protocol.KeyBytes
		}
	}
	return protocol.KeyCBOR
}

// keyTypes remembers the verdicts of checkKeyType: reflect.Type -> error or nil.
var keyTypes sync.Map

// CheckKeyType returns ErrInvalid where K cannot be a key at all. That a struct
// loses fields in its encoding shows with the first key only.
func CheckKeyType[K comparable]() error {
	t := reflect.TypeFor[K]()
	verdict, ok := keyTypes.Load(t)
	if !ok {
		verdict = checkKeyType(t, t)
		if verdict == nil {
			verdict = true
		}
		keyTypes.Store(t, verdict)
	}
	err, _ := verdict.(error)
	return err
}

func checkKeyType(t, part reflect.Type) any {
	refused := func(why string) any {
		return fmt.Errorf("%w: a %v cannot be a key: %v %s", quorate.ErrInvalid, t, part, why)
	}
	if part.Implements(marshaler) || reflect.PointerTo(part).Implements(marshaler) {
		return refused("has an encoding of its own")
	}
	switch part.Kind() {
	case reflect.Bool, reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return nil
	case reflect.Array:
		return checkKeyType(t, part.Elem())
	case reflect.Struct:
		for field := range part.Fields() {
			if verdict := checkKeyType(t, field.Type); verdict != nil {
				return verdict
			}
		}
		return nil
	}
	return refused("is a " + part.Kind().String())
}

var (
	marshaler      = reflect.TypeFor[cbor.Marshaler]()
	keyEnc, keyDec = keyModes()
)

// keyModes are those of values, but types cannot bring an encoding of their own:
// it need not be deterministic.
func keyModes() (cbor.EncMode, cbor.DecMode) {
	e, d := valueOptions()
	e.BinaryMarshaler, e.TextMarshaler = cbor.BinaryMarshalerNone, cbor.TextMarshalerNone
	d.BinaryUnmarshaler, d.TextUnmarshaler = cbor.BinaryUnmarshalerNone, cbor.TextUnmarshalerNone
	d.DupMapKey = cbor.DupMapKeyEnforcedAPF
	d.IndefLength = cbor.IndefLengthForbidden
	d.TagsMd = cbor.TagsForbidden
	e.TagsMd, e.TimeTag = cbor.TagsForbidden, cbor.EncTagNone
	enc, err := e.EncMode()
	if err != nil {
		panic("structures: bug: " + err.Error())
	}
	dec, err := d.DecMode()
	if err != nil {
		panic("structures: bug: " + err.Error())
	}
	return enc, dec
}
