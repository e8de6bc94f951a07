package structures

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// Codec turns values into bytes and back. It must be safe for concurrent use.
type Codec interface {
	// ID is the first byte of every value, by which a handle detects the value of
	// another codec. An application's own codecs have 128 and above.
	ID() byte
	// Append appends the encoding of v.
	Append(dst []byte, v any) ([]byte, error)
	// Decode reads into v, a pointer to a zero value. It must not keep b.
	Decode(b []byte, v any) error
}

// Numbers of codecs, never used again.
const (
	codecCBOR    = 1
	codecJSON    = 2
	codecRaw     = 3
	codecPrivate = 128
)

// CBOR encodes any value, deterministically: times with nanoseconds (in UTC if an offset
// has seconds), strings with any bytes. It honours json tags and ignores unknown fields.
// Read into an any, maps are map[string]any and integers int64, or *big.Int beyond that.
var CBOR Codec = cborCodec{}

// JSON encodes values as encoding/json does.
var JSON Codec = jsonCodec{}

// Raw stores []byte and string, and types made of these, as they are.
var Raw Codec = rawCodec{}

// CheckCodec returns [quorate.ErrInvalid] for nil, and for a codec that has the number of
// another one.
func CheckCodec(c Codec) error {
	if c == nil {
		return fmt.Errorf("%w: no codec", quorate.ErrInvalid)
	}
	if c == CBOR || c == JSON || c == Raw || c.ID() >= codecPrivate {
		return nil
	}
	return fmt.Errorf("%w: codec %T has the number %d, own codecs have 128 to 255", quorate.ErrInvalid, c, c.ID())
}

// CheckDeterministic returns [quorate.ErrCodec] for a codec that may encode equal values
// differently, so that its bytes cannot be compared. The codecs of this package do not. One
// of an application says that it does not either by a method Deterministic() bool.
func CheckDeterministic(c Codec) error {
	if c == CBOR || c == JSON || c == Raw {
		return nil
	}
	if d, ok := c.(interface{ Deterministic() bool }); ok && d.Deterministic() {
		return nil
	}
	return fmt.Errorf("%w: codec %s does not say that it encodes equal values alike, by a method Deterministic", quorate.ErrCodec, codecName(c.ID()))
}

// AppendValue appends the codec's number and the encoding of v. A value that the codec
// cannot encode, or could not decode again, is [quorate.ErrInvalid].
func AppendValue(dst []byte, codec Codec, v any) ([]byte, error) {
	if e, ok := v.(Encoded); ok {
		if len(e) == 0 {
			return dst, fmt.Errorf("%w: an empty Encoded", quorate.ErrInvalid)
		}
		return append(dst, e...), nil
	}
	out, err := codec.Append(append(dst, codec.ID()), v)
	if err != nil {
		return dst, fmt.Errorf("%w: encode a %T: %v", quorate.ErrInvalid, v, err)
	}
	return out, nil
}

// DecodeValue reads what [AppendValue] wrote into v, a pointer to a zero value. A value of
// another codec, or of a type that v cannot hold, is [quorate.ErrCodec]. The value does
// not alias b.
func DecodeValue(codec Codec, b []byte, v any) error {
	if len(b) == 0 {
		return fmt.Errorf("%w: the value is empty", quorate.ErrCodec)
	}
	if e, ok := v.(*Encoded); ok {
		*e = bytes.Clone(b)
		return nil
	}
	if b[0] != codec.ID() {
		return fmt.Errorf("%w: the value was written by codec %s, this handle has %s",
			quorate.ErrCodec, codecName(b[0]), codecName(codec.ID()))
	}
	if err := codec.Decode(b[1:], v); err != nil {
		return fmt.Errorf("%w: decode into a %T: %v", quorate.ErrCodec, v, err)
	}
	return nil
}

func codecName(id byte) string {
	switch id {
	case codecCBOR:
		return "CBOR"
	case codecJSON:
		return "JSON"
	case codecRaw:
		return "raw"
	}
	return fmt.Sprintf("number %d", id)
}

type cborCodec struct{}

func (cborCodec) ID() byte { return codecCBOR }

// Append has a short way for the commonest types; the bytes are the same.
func (cborCodec) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case string:
		return protocol.AppendString(dst, v), nil
	case int:
		return protocol.AppendInt(dst, int64(v)), nil
	case int64:
		return protocol.AppendInt(dst, v), nil
	case []byte:
		if v != nil {
			return protocol.AppendBytes(dst, v), nil
		}
	}
	b := bytes.NewBuffer(dst)
	if err := valueEnc.MarshalToBuffer(v, b); err != nil {
		return dst, err
	}
	encoded := b.Bytes()[len(dst):]
	if bytes.IndexByte(encoded, tagTime) >= 0 {
		inUTC, err := checkTimes(v)
		if err == nil && inUTC {
			b = bytes.NewBuffer(dst)
			err = valueEncUTC.MarshalToBuffer(v, b)
		}
		if err != nil {
			return dst, err
		}
		encoded = b.Bytes()[len(dst):]
	}
	// What is nested deeper, or has more elements, is longer.
	if len(encoded) > maxNested {
		if err := valueDec.Wellformed(encoded); err != nil {
			return dst, err
		}
	}
	return b.Bytes(), nil
}

// tagTime is the byte that every time begins with: tag 0.
const tagTime = 0xc0

func (cborCodec) Decode(b []byte, v any) error {
	r := protocol.NewReader(b)
	switch v := v.(type) {
	case *string:
		if s := r.String(); r.Done() == nil {
			*v = string([]byte(s))
			return nil
		}
	case *[]byte:
		if s := r.Bytes(); r.Done() == nil {
			*v = append(make([]byte, 0, len(s)), s...)
			return nil
		}
	case *int64:
		if i := r.Int(); r.Done() == nil {
			*v = i
			return nil
		}
	}
	return valueDec.Unmarshal(b, v)
}

type jsonCodec struct{}

func (jsonCodec) ID() byte { return codecJSON }

func (jsonCodec) Append(dst []byte, v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return dst, err
	}
	if bytes.IndexByte(b, 'T') >= 0 {
		if inUTC, err := checkTimes(v); err != nil || inUTC {
			return dst, cmp.Or(err, errOffset)
		}
	}
	if len(b) > maxNestedJSON && !json.Valid(b) {
		return dst, errNested
	}
	return append(dst, b...), nil
}

// maxNestedJSON is how deep encoding/json reads.
const maxNestedJSON = 10_000

var (
	errOffset = errors.New("the offset of a time has seconds, for which JSON has no form: convert it to UTC")
	errNested = fmt.Errorf("nested deeper than %d levels", maxNestedJSON)
)

func (jsonCodec) Decode(b []byte, v any) error { return json.Unmarshal(b, v) }

type rawCodec struct{}

func (rawCodec) ID() byte { return codecRaw }

func (rawCodec) Append(dst []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case []byte:
		return append(dst, v...), nil
	case string:
		return append(dst, v...), nil
	}
	switch r := reflect.ValueOf(v); {
	case !r.IsValid():
	case r.Kind() == reflect.String:
		return append(dst, r.String()...), nil
	case r.Kind() == reflect.Slice && r.Type().Elem().Kind() == reflect.Uint8:
		return append(dst, r.Bytes()...), nil
	}
	return dst, errNotRaw
}

func (rawCodec) Decode(b []byte, v any) error {
	switch v := v.(type) {
	case *[]byte:
		*v = append(make([]byte, 0, len(b)), b...)
		return nil
	case *string:
		*v = string(b)
		return nil
	}
	r := reflect.ValueOf(v)
	if r.Kind() != reflect.Pointer || r.IsNil() {
		return errNotRaw
	}
	switch r = r.Elem(); {
	case r.Kind() == reflect.String:
		r.SetString(string(b))
		return nil
	case r.Kind() == reflect.Slice && r.Type().Elem().Kind() == reflect.Uint8:
		r.SetBytes(append(make([]byte, 0, len(b)), b...))
		return nil
	}
	return errNotRaw
}

var errNotRaw = fmt.Errorf("the raw codec takes []byte and string")

var valueEnc, valueEncUTC, valueDec = valueModes()

// maxNested is how deep a value of CBOR may be nested.
const maxNested = 1000

// valueOptions are the choices that docs/protocol.md describes. The bounds on
// reading are only there because the library wants some: what a value may be is
// limited by its bytes.
func valueOptions() (cbor.EncOptions, cbor.DecOptions) {
	e := cbor.CoreDetEncOptions()
	e.Time, e.TimeTag = cbor.TimeRFC3339Nano, cbor.EncTagRequired
	e.OmitEmpty = cbor.OmitEmptyGoValue
	e.TextMarshaler = cbor.TextMarshalerTextString
	return e, cbor.DecOptions{
		UTF8:             cbor.UTF8DecodeInvalid,
		DefaultMapType:   reflect.TypeFor[map[string]any](),
		IntDec:           cbor.IntDecConvertSignedOrBigInt,
		BigIntDec:        cbor.BigIntDecodePointer,
		TextUnmarshaler:  cbor.TextUnmarshalerTextString,
		MaxNestedLevels:  maxNested,
		MaxArrayElements: 1 << 24,
		MaxMapPairs:      1 << 24,
	}
}

func valueModes() (enc, encUTC cbor.UserBufferEncMode, dec cbor.DecMode) {
	e, d := valueOptions()
	enc, err := e.UserBufferEncMode()
	e.Time = cbor.TimeRFC3339NanoUTC
	encUTC, errUTC := e.UserBufferEncMode()
	dec, errDec := d.DecMode()
	if err := errors.Join(err, errUTC, errDec); err != nil {
		panic("structures: bug: " + err.Error())
	}
	return enc, encUTC, dec
}
