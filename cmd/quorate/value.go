package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// negativeMark stands before an argument like -5 while flags are parsed, so
// that it is not taken for one. No argument of a process can hold a NUL.
const negativeMark = "\x00"

// hideNegative marks negative numbers up to "--".
func hideNegative(args []string) []string {
	out := make([]string, len(args))
	for i, arg := range args {
		if arg == "--" {
			copy(out[i:], args[i:])
			return out
		}
		out[i] = arg
		if len(arg) > 1 && arg[0] == '-' && arg[1] >= '0' && arg[1] <= '9' {
			out[i] = negativeMark + arg
		}
	}
	return out
}

// unhide takes the marks out of a message that quotes an argument.
func unhide(s string) string { return strings.ReplaceAll(s, `\x00-`, "-") }

// word is an argument that may be a negative number.
type word string

// UnmarshalText reads an argument.
func (w *word) UnmarshalText(b []byte) error {
	*w = word(strings.TrimPrefix(string(b), negativeMark))
	return nil
}

// integer is an argument that is one, perhaps negative.
type integer int64

// UnmarshalText reads an argument.
func (n *integer) UnmarshalText(b []byte) error {
	s := strings.TrimPrefix(string(b), negativeMark)
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return fmt.Errorf("%q is not an integer of 64 bits", s)
	}
	*n = integer(v)
	return nil
}

// readValue turns a VALUE argument into what is stored: "-" is what stdin
// holds, what parses as JSON is that value, all else (and, if asText, all) is
// text.
func (a *app) readValue(arg word, asText bool) (any, error) {
	s := string(arg)
	if s == "-" {
		b, err := io.ReadAll(a.stdin)
		if err != nil {
			return nil, fmt.Errorf("read stdin: %w", err)
		}
		s = string(b)
	}
	if asText {
		return s, nil
	}
	v, err := parseJSON(s)
	if errors.Is(err, errNotJSON) {
		return s, nil
	}
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return v, nil
}

var errNotJSON = errors.New("not JSON")

// parseJSON returns the value of a JSON text with integers as int64, as a
// handle for any returns them.
func parseJSON(s string) (any, error) {
	d := json.NewDecoder(strings.NewReader(s))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, errNotJSON
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errNotJSON
	}
	return numbers(v)
}

// numbers replaces each json.Number by an int64, a uint64 or a float64.
func numbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		return number(string(v))
	case []any:
		for i := range v {
			if v[i], err = numbers(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = numbers(v[k]); err != nil {
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
		return nil, fmt.Errorf("the integer %s has more than 64 bits; --text stores it as text", s)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("the number %s is out of range; --text stores it as text", s)
	}
	return f, nil
}

// showValue prints a value: text as it is, the rest as JSON.
func showValue(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	var b bytes.Buffer
	if err := jsonEncoder(&b).Encode(jsonable(v)); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// showInLine prints a value so that it does not break a line or a column:
// text as it is only where it is plain and could not be taken for JSON.
func showInLine(v any) string {
	s, ok := v.(string)
	if !ok {
		return showValue(v)
	}
	_, err := parseJSON(s)
	if !errors.Is(err, errNotJSON) || !utf8.ValidString(s) || strings.ContainsAny(s, "\t\n\r\x00\x1b") {
		var b bytes.Buffer
		_ = jsonEncoder(&b).Encode(s)
		return strings.TrimSuffix(b.String(), "\n")
	}
	return s
}

// jsonable replaces what JSON has no form for: numbers that are not finite.
func jsonable(v any) any {
	switch v := v.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Sprint(v)
		}
	case []any:
		for i := range v {
			v[i] = jsonable(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = jsonable(v[k])
		}
	}
	return v
}
