package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/structures"
)

func encoded(t *testing.T, codec structures.Codec, v any) structures.Encoded {
	t.Helper()
	b, err := structures.AppendValue(nil, codec, v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestValues(t *testing.T) {
	text, forced := Form{Text: true}, Form{JSON: true}
	for _, c := range []struct {
		arg  string
		form Form
		want any
		show string
	}{
		{arg: `hello`, want: "hello", show: "hello"},
		{arg: `"hello"`, want: "hello", show: "hello"},
		{arg: `007`, want: "007", show: "007"},
		{arg: `42`, want: int64(42), show: "42"},
		{arg: `-1.5`, want: -1.5, show: "-1.5"},
		{arg: `true`, want: true, show: "true"},
		{arg: `true`, form: text, want: "true", show: "true"},
		{arg: `null`, want: nil, show: "null"},
		{arg: ``, want: "", show: ""},
		{arg: `{"a":[1,{"b":2.5}]}`, want: map[string]any{"a": []any{int64(1), map[string]any{"b": 2.5}}}, show: `{"a":[1,{"b":2.5}]}`},
		{arg: `{} {}`, want: "{} {}", show: "{} {}"},
		{arg: `"<&>"`, want: "<&>", show: "<&>"},
		// What would print differently is text, unless it is forced.
		{arg: `-1e3`, want: "-1e3", show: "-1e3"},
		{arg: `-1e3`, form: forced, want: -1000.0, show: "-1000"},
		{arg: `1.10`, want: "1.10", show: "1.10"},
		{arg: `[1.0]`, want: "[1.0]", show: "[1.0]"},
		{arg: `-0`, want: "-0", show: "-0"},
		{arg: `123456789012345678901234567890`, want: "123456789012345678901234567890", show: "123456789012345678901234567890"},
		{arg: `0.1234567890123456789`, want: "0.1234567890123456789", show: "0.1234567890123456789"},
		{arg: `"\ud800"`, want: `"\ud800"`, show: `"\ud800"`},
		{arg: "\"a\xff\"", want: "\"a\xff\"", show: "\"a\xff\""},
	} {
		got, err := c.form.Read(&App{}, c.arg)
		if err != nil {
			t.Errorf("%s: %v", c.arg, err)
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s (-want +got):\n%s", c.arg, d)
		}
		if s := Show(encoded(t, structures.CBOR, got)); s.Text != c.show {
			t.Errorf("%s is shown as %s, want %s", c.arg, s.Text, c.show)
		}
	}
	for _, arg := range []string{"hello", "{} {}", "123456789012345678901234567890", "1e999", ""} {
		if v, err := forced.Read(&App{}, arg); exitCode(err) != ExitUsage {
			t.Errorf("--json %s: %v, %v", arg, v, err)
		}
	}
}

// TestStdinIsByteForByte: what - stores is printed raw as it was.
func TestStdinIsByteForByte(t *testing.T) {
	for _, b := range []string{"", "text\n", "42\n", `{"a": 1.0}`, "\xff\x00\n", "\n\n"} {
		v, err := Form{}.Read(&App{Stdin: strings.NewReader(b)}, "-")
		if err != nil {
			t.Fatal(err)
		}
		if s := Show(encoded(t, structures.CBOR, v)); string(s.raw) != b {
			t.Errorf("%q is printed as %q", b, s.raw)
		}
	}
	v, err := Form{JSON: true}.Read(&App{Stdin: strings.NewReader("{\"a\": 1}\n")}, "-")
	if _, ok := v.(map[string]any); !ok || err != nil {
		t.Errorf("--json: %v, %v", v, err)
	}
}

// TestShow: a value is shown as what it is, of every codec, and never breaks a line.
func TestShow(t *testing.T) {
	for _, c := range []struct {
		value            structures.Encoded
		text, line, json string
		unreadable       bool
	}{
		{encoded(t, structures.CBOR, "42"), "42", `"42"`, `"42"`, false},
		{encoded(t, structures.CBOR, "a\tb"), "a\tb", `"a\tb"`, `"a\tb"`, false},
		{encoded(t, structures.CBOR, "h'00'"), "h'00'", `"h'00'"`, `"h'00'"`, false},
		{encoded(t, structures.CBOR, "a\xff"), "a\xff", "h'61ff'", `{"$base64":"Yf8="}`, false},
		{encoded(t, structures.CBOR, []byte{0, 255}), "h'00ff'", "h'00ff'", `{"$base64":"AP8="}`, false},
		{encoded(t, structures.CBOR, map[string]any{"b": []byte{1}}), `{"b":{"$base64":"AQ=="}}`, `{"b":{"$base64":"AQ=="}}`, `{"b":{"$base64":"AQ=="}}`, false},
		{encoded(t, structures.CBOR, map[int]string{1: "x"}), `{1: "x"}`, `{1: "x"}`, `{"$cbor":"{1: \"x\"}"}`, false},
		{encoded(t, structures.CBOR, math.Inf(-1)), `{"$cbor":"-Infinity"}`, `{"$cbor":"-Infinity"}`, `{"$cbor":"-Infinity"}`, false},
		{encoded(t, structures.CBOR, time.Unix(0, 0).UTC()), `"1970-01-01T00:00:00Z"`, `"1970-01-01T00:00:00Z"`, `"1970-01-01T00:00:00Z"`, false},
		{encoded(t, structures.JSON, map[string]any{"n": json.Number("1.10")}), `{"n":1.10}`, `{"n":1.10}`, `{"n":1.10}`, false},
		{encoded(t, structures.Raw, "text"), "text", "text", `"text"`, false},
		{encoded(t, structures.Raw, "\xff"), "h'ff'", "h'ff'", `{"$base64":"/w=="}`, false},
		{structures.Encoded{200, 1, 2}, "h'0102'", "h'0102'", `{"$base64":"AQI="}`, true},
		{structures.Encoded{1, 0xff}, "h'ff'", "h'ff'", `{"$base64":"/w=="}`, true},
	} {
		s := Show(c.value)
		var b bytes.Buffer
		if err := JsonEncoder(&b).Encode(s.JSON); err != nil {
			t.Error(err)
		}
		if s.Text != c.text || s.Line != c.line || strings.TrimSpace(b.String()) != c.json || (s.Err != nil) != c.unreadable {
			t.Errorf("%x: %q, %q, %s, %v", []byte(c.value), s.Text, s.Line, b.String(), s.Err)
		}
	}
}
