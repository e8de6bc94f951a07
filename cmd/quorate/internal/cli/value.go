package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/quorate/quorate/structures"
)

// Form is the flags that say what a VALUE is.
type Form struct {
	Text bool `help:"The value is text, also if it parses as JSON." xor:"form"`
	JSON bool `name:"json" help:"The value is JSON, also from stdin and with numbers that print differently." xor:"form"`
}

// Read turns a VALUE argument into what is stored. JSON whose numbers print as they are
// written is that value, all else is text. "-" is what stdin holds, byte for byte:
// text, or bytes if it is not UTF-8.
func (f Form) Read(a *App, arg string) (any, error) {
	stdin := arg == "-"
	if stdin {
		b, err := io.ReadAll(a.Stdin)
		if err != nil {
			return nil, fmt.Errorf("read stdin: %w", err)
		}
		arg = string(b)
		if !f.JSON && !utf8.ValidString(arg) {
			return b, nil
		}
	}
	if f.Text || stdin && !f.JSON {
		return arg, nil
	}
	v, exact, err := parseJSON(arg)
	switch {
	case f.JSON && err != nil:
		return nil, &ExitError{Code: ExitUsage, Err: fmt.Errorf("--json: %w", err)}
	case f.JSON || err == nil && exact:
		return v, nil
	default:
		return arg, nil
	}
}

// ParseValue returns the value of a JSON text.
func ParseValue(s string) (any, error) {
	v, _, err := parseJSON(s)
	return v, err
}

// parseJSON returns the value of a JSON text with integers as int64, as a handle
// for any returns them, and whether it prints all of its numbers and letters as
// they are in the text.
func parseJSON(s string) (v any, exact bool, err error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		return nil, false, fmt.Errorf("not JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false, errors.New("not JSON: there is more than one value")
	}
	// What is not UTF-8, and half a surrogate pair, the decoder replaces.
	const replaced = "\ufffd"
	exact = utf8.ValidString(s)
	if b, _ := json.Marshal(v); bytes.Contains(b, []byte(replaced)) && !strings.Contains(s, replaced) && !strings.Contains(strings.ToLower(s), `\ufffd`) {
		exact = false
	}
	v, err = numbers(v, &exact)
	return v, exact, err
}

// numbers replaces each json.Number by an int64, a uint64 or a float64. It clears
// exact where one would print differently.
func numbers(v any, exact *bool) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		n, err := number(string(v))
		if b, _ := json.Marshal(n); string(b) != string(v) {
			*exact = false
		}
		return n, err
	case []any:
		for i := range v {
			if v[i], err = numbers(v[i], exact); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = numbers(v[k], exact); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

func number(s string) (any, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, nil
	}
	if !strings.ContainsAny(s, ".eE") {
		return nil, fmt.Errorf("the integer %s has more than 64 bits", s)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("the number %s is out of range", s)
	}
	return f, nil
}

// Shown is a value as it is printed.
type Shown struct {
	Text string // as it is for text, JSON for what JSON has, else CBOR's notation
	Line string // the same if it breaks no line or column and cannot be taken for something else
	JSON any
	raw  []byte // of text and bytes what they are, of the rest the text
	Err  error  // it cannot be read: what is shown is its bytes
}

// marks of what JSON has no form for: an object with one of these.
const (
	markBytes = "$base64"
	markCBOR  = "$cbor" // diagnostic notation, RFC 8949
)

func base64Of(b []byte) any { return Object{markBytes: base64.StdEncoding.EncodeToString(b)} }

// Show returns how a value is printed.
func Show(e structures.Encoded) Shown {
	v, err := e.Value()
	if err == nil {
		if s, ok := showDecoded(v); ok {
			return s
		}
	}
	// CBOR that no JSON is like: keys that are no text, tags.
	if s, diagnosed := e.Diagnose(); diagnosed == nil {
		return Shown{Text: s, Line: s, JSON: Object{markCBOR: s}, raw: []byte(s)}
	}
	notation := fmt.Sprintf("h'%x'", e.Bytes())
	return Shown{Text: notation, Line: notation, JSON: base64Of(e.Bytes()), raw: e.Bytes(), Err: err}
}

func showDecoded(v any) (Shown, bool) {
	form, ok := jsonForm(v)
	if !ok {
		return Shown{}, false
	}
	s := Shown{JSON: form}
	switch v := v.(type) {
	case string:
		s.Text, s.Line, s.raw = v, LineOf(v), []byte(v)
	case []byte:
		s.Text, s.raw = fmt.Sprintf("h'%x'", v), v
		s.Line = s.Text
	default:
		var b bytes.Buffer
		if err := JsonEncoder(&b).Encode(form); err != nil {
			return Shown{}, false
		}
		s.Text = strings.TrimSuffix(b.String(), "\n")
		s.Line, s.raw = s.Text, []byte(s.Text)
	}
	return s, true
}

// jsonForm returns what of JSON is a decoded value, with marks where there is
// nothing. It reports false for what has no such form at all.
func jsonForm(v any) (any, bool) {
	switch v := v.(type) {
	case nil, bool, int64, uint64, json.Number, *big.Int, time.Time:
		return v, true
	case big.Int:
		return &v, true
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return Object{markCBOR: strings.TrimPrefix(strings.Replace(fmt.Sprint(v), "Inf", "Infinity", 1), "+")}, true
		}
		return v, true
	case string:
		if !utf8.ValidString(v) {
			return base64Of([]byte(v)), true
		}
		return v, true
	case []byte:
		return base64Of(v), true
	case []any:
		all := make([]any, len(v))
		for i, e := range v {
			f, ok := jsonForm(e)
			if !ok {
				return nil, false
			}
			all[i] = f
		}
		return all, true
	case map[string]any:
		all := make(map[string]any, len(v))
		for k, e := range v {
			f, ok := jsonForm(e)
			if !ok || !utf8.ValidString(k) {
				return nil, false
			}
			all[k] = f
		}
		return all, true
	}
	return nil, false
}

// LineOf returns text as it is if it is plain and could not be taken for JSON or for
// bytes, else as JSON, or as bytes.
func LineOf(s string) string {
	if !utf8.ValidString(s) {
		return fmt.Sprintf("h'%x'", s)
	}
	if _, _, err := parseJSON(s); err != nil && !strings.HasPrefix(s, "h'") && !strings.ContainsAny(s, "\t\n\r\x00\x1b") {
		return s
	}
	var b bytes.Buffer
	_ = JsonEncoder(&b).Encode(s)
	return strings.TrimSuffix(b.String(), "\n")
}

// Unreadable is the error of values that were shown as their bytes.
func Unreadable(err error) error {
	if err == nil {
		return nil
	}
	return &ExitError{Code: exitUnreadable, Err: err}
}

// PrintValue prints a value: raw without anything beside it, else as a line.
func (a *App) PrintValue(s Shown, raw bool, o Object) error {
	if raw {
		if _, err := a.Stdout.Write(s.raw); err != nil {
			return fmt.Errorf("write to stdout: %w", err)
		}
		return nil
	}
	return a.PrintLine(s.Text, o)
}

// ShowKey returns how a key is printed: its text, its form in JSON, and what it
// is, if it is not text.
func ShowKey(k structures.EncodedKey) (text string, form any, kind string) {
	switch v, _ := k.Value(); v := v.(type) {
	case string:
		f, _ := jsonForm(v)
		return LineOf(v), f, ""
	case int64:
		return strconv.FormatInt(v, 10), v, "integer"
	case uint64:
		return strconv.FormatUint(v, 10), v, "unsigned"
	case []byte:
		return fmt.Sprintf("h'%x'", v), base64Of(v), "bytes"
	}
	return k.Diagnose(), Object{markCBOR: k.Diagnose()}, "struct"
}
