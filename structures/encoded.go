package structures

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// Encoded is a value as it is stored: the number of its codec, then what the codec
// wrote. A handle with values of type Encoded reads and stores the values of every codec
// as they are.
type Encoded []byte

// Codec names the codec of the value.
func (e Encoded) Codec() string {
	if len(e) == 0 {
		return "none"
	}
	return codecName(e[0])
}

// Bytes returns what the codec wrote.
func (e Encoded) Bytes() []byte { return e[min(1, len(e)):] }

// Value decodes the value of a built-in codec: of [CBOR] as read into an any, of [JSON]
// with numbers as json.Number, of [Raw] as a string if it is UTF-8, else as []byte. The
// error is [quorate.ErrCodec].
func (e Encoded) Value() (v any, err error) {
	switch {
	case len(e) > 0 && e[0] == codecCBOR:
		err = DecodeValue(CBOR, e, &v)
	case len(e) > 0 && e[0] == codecJSON:
		d := json.NewDecoder(bytes.NewReader(e[1:]))
		d.UseNumber()
		if err = d.Decode(&v); err != nil {
			err = fmt.Errorf("%w: %v", quorate.ErrCodec, err)
		}
	case len(e) > 0 && e[0] == codecRaw && utf8.Valid(e[1:]):
		v = string(e[1:])
	case len(e) > 0 && e[0] == codecRaw:
		v = bytes.Clone(e[1:])
	default:
		err = fmt.Errorf("%w: the value was written by codec %s", quorate.ErrCodec, e.Codec())
	}
	return v, err
}

// Diagnose returns a value of [CBOR] in the diagnostic notation of RFC 8949, which has a
// form for all of CBOR. The error is [quorate.ErrCodec].
func (e Encoded) Diagnose() (string, error) {
	if len(e) == 0 || e[0] != codecCBOR {
		return "", fmt.Errorf("%w: the value was written by codec %s", quorate.ErrCodec, e.Codec())
	}
	s, err := cbor.Diagnose(e[1:])
	if err != nil {
		return "", fmt.Errorf("%w: %v", quorate.ErrCodec, err)
	}
	return s, nil
}

// EncodedKey is a key of any type as it is stored: what AppendKey writes. A handle
// whose keys are EncodedKey reads the maps of every type of key.
type EncodedKey struct{ encoded string }

// Bytes returns the key as AppendKey writes it.
func (k EncodedKey) Bytes() []byte { return []byte(k.encoded) }

// Value returns the key as a string, an int64, a uint64, or []byte for an array of
// bytes; false for the types that have no order, which Diagnose shows.
func (k EncodedKey) Value() (any, bool) {
	if k.encoded == "" {
		return nil, false
	}
	switch body := k.encoded[1:]; {
	case k.encoded[0] == protocol.KeyText:
		return body, true
	case k.encoded[0] == protocol.KeyInt && len(body) == 8:
		return int64(binary.BigEndian.Uint64([]byte(body)) ^ 1<<63), true
	case k.encoded[0] == protocol.KeyUint && len(body) == 8:
		return binary.BigEndian.Uint64([]byte(body)), true
	case k.encoded[0] == protocol.KeyBytes:
		return []byte(body), true
	}
	return nil, false
}

// Diagnose returns a key that is a struct, an array or a bool in the diagnostic
// notation of RFC 8949, and one that cannot be read as its bytes in it.
func (k EncodedKey) Diagnose() string {
	if k.encoded != "" && k.encoded[0] == protocol.KeyCBOR {
		if s, err := cbor.Diagnose([]byte(k.encoded[1:])); err == nil {
			return s
		}
	}
	return fmt.Sprintf("h'%x'", k.encoded)
}

func (k EncodedKey) append(dst []byte) ([]byte, error) {
	if k.encoded == "" {
		return dst, fmt.Errorf("%w: an empty EncodedKey", quorate.ErrInvalid)
	}
	return append(dst, k.encoded...), nil
}
