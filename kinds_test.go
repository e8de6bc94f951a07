package quorate_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"unicode"

	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// TestKindsAreDescribed: what members, commands, metrics and the documentation take
// from a kind's description is there for every kind.
func TestKindsAreDescribed(t *testing.T) {
	ids := map[protocol.KindID]string{protocol.KindControl: "control"}
	names := map[string]bool{"control": true}
	for _, k := range kinds.All() {
		for _, lack := range lacks(k) {
			t.Errorf("%s: %s", k.Name, lack)
		}
		if ids[k.ID] != "" || names[k.Name] {
			t.Errorf("%s: its number %d or its name is that of %q, too", k.Name, k.ID, ids[k.ID])
		}
		ids[k.ID], names[k.Name] = k.Name, true
		source, err := os.ReadFile(filepath.Join("structures", "d"+k.Name, "ops.go"))
		if err != nil {
			t.Fatal(err)
		}
		if shared := "roster"; bytes.Contains(source, []byte(shared+".Kind(")) { // its Machine and operations are those of several kinds
			if source, err = os.ReadFile(filepath.Join("structures", shared, "ops.go")); err != nil {
				t.Fatal(err)
			}
		}
		numbered := map[protocol.Op]bool{}
		for _, m := range opNumber.FindAllSubmatch(source, -1) {
			n, _ := strconv.Atoi(string(m[1]))
			numbered[protocol.Op(n)] = true
		}
		for op := range 256 {
			op := protocol.Op(op)
			if described := slices.ContainsFunc(k.Ops, func(o structures.OpInfo) bool { return o.Op == op }); numbered[op] != described {
				t.Errorf("%s, operation %d: numbered in ops.go %v, described %v", k.Name, op, numbered[op], described)
			}
		}
	}
}

var opNumber = regexp.MustCompile(`(?m)^\top\w+ +protocol\.Op = (\d+)`)

// TestKindsAreDescribed_Seen: the test above sees what is missing.
func TestKindsAreDescribed_Seen(t *testing.T) {
	whole, _ := kinds.Named("map")
	if l := lacks(whole); l != nil {
		t.Fatal(l)
	}
	for what, spoil := range map[string]func(k *structures.Kind){
		"a doc":                 func(k *structures.Kind) { k.Doc = "" },
		"a unit":                func(k *structures.Kind) { k.Unit = "" },
		"operations":            func(k *structures.Kind) { k.Ops = nil },
		"a machine":             func(k *structures.Kind) { k.Machine = nil },
		"a level":               func(k *structures.Kind) { k.Level = 0 },
		"the order of numbers":  func(k *structures.Kind) { k.Ops[1].Op = 1 },
		"a name":                func(k *structures.Kind) { k.Ops[1].Name = "" },
		"another name":          func(k *structures.Kind) { k.Ops[1].Name = k.Ops[0].Name },
		"a body":                func(k *structures.Kind) { k.Ops[1].Body = "" },
		"a body that is closed": func(k *structures.Kind) { k.Ops[1].Body = "[key" },
		"a result":              func(k *structures.Kind) { k.Ops[1].Result = "" },
		"a right":               func(k *structures.Kind) { k.Ops[1].Right = 0 },
		"a read that is one":    func(k *structures.Kind) { k.Ops[0].Grows = true },
		"a code that is known":  func(k *structures.Kind) { k.Ops[1].Codes = []protocol.Code{protocol.CodeKindBase + 99} },
		"the name of a code":    func(k *structures.Kind) { k.Codes[0].Name = "" },
		"a sentinel":            func(k *structures.Kind) { k.Codes[0].Err = nil },
		"the help of a code":    func(k *structures.Kind) { k.Codes[0].Help = "" },
		"a code of its own":     func(k *structures.Kind) { k.Codes[0].Code = 7 },
		"the help of a setting": func(k *structures.Kind) { k.Settings[0].Help = "" },
		"a type":                func(k *structures.Kind) { k.Settings[0].Type = 0 },
		"a rule":                func(k *structures.Kind) { k.Rules = k.Rules[1:] },
		"a rule that is used":   func(k *structures.Kind) { k.Ops = k.Ops[:9] },
		"the help of a rule":    func(k *structures.Kind) { k.Rules = append([]structures.Rule{{Name: "a", Type: "int"}}, k.Rules...) },
	} {
		k := whole
		k.Ops, k.Codes, k.Settings = slices.Clone(k.Ops), slices.Clone(k.Codes), slices.Clone(k.Settings)
		if spoil(&k); lacks(k) == nil {
			t.Errorf("a kind without %s passes", what)
		}
	}
}

// lacks returns what is missing in the description of a kind, or wrong.
func lacks(k structures.Kind) (list []string) {
	want := func(ok bool, format string, args ...any) {
		if !ok {
			list = append(list, fmt.Sprintf(format, args...))
		}
	}
	sentence := func(s string) bool { return len(s) > 9 && s[len(s)-1] != '.' }
	want(name(k.Name, '-') && k.ID != 0 && k.Level > 0 && k.Machine != nil, "a number, a name, a level and a Machine")
	want(sentence(k.Doc) && unicode.IsUpper(rune(k.Doc[0])), "Doc is not a sentence without a full stop: %q", k.Doc)
	want(name(k.Unit, ' ') && k.Unit[len(k.Unit)-1] == 's', "Unit is not a plural: %q", k.Unit)
	want(len(k.Ops) > 0, "it has no operations")
	used := map[string]bool{}
	known := func(rule string) bool {
		return slices.ContainsFunc(append(structures.CommonRules(), k.Rules...), func(r structures.Rule) bool { return r.Name == rule })
	}
	names := map[string]bool{}
	last := protocol.Op(0)
	for _, o := range k.Ops {
		want(o.Op > last, "operation %d comes behind %d", o.Op, last)
		last = o.Op
		want(name(o.Name, '_') && !names[o.Name], "operation %d is called %q", o.Op, o.Name)
		names[o.Name] = true
		want(array(o.Body) && array(o.Result), "operation %s: %q -> %q are not CDDL", o.Name, o.Body, o.Result)
		want(o.Right != 0, "operation %s needs no right", o.Name)
		for _, n := range untyped(o.Body + o.Result) {
			if used[n] = true; !known(n) {
				want(false, "operation %s: %s has no type, and there is no rule %s", o.Name, n, n)
			}
		}
		want(!o.Read || !(o.Waits || o.Grows || o.Holds || o.Admin) && o.Right == structures.RightRead, "operation %s is a read and more", o.Name)
		for _, c := range o.Codes {
			own := slices.ContainsFunc(k.Codes, func(i structures.CodeInfo) bool { return i.Code == c })
			want(own || c < protocol.CodeKindBase && c.Class() == protocol.ClassRefused, "operation %s: code %d", o.Name, c)
		}
	}
	for _, o := range slices.Concat(k.Generic(), structures.Control().Ops) {
		for _, n := range untyped(o.Body + o.Result) {
			want(known(n), "operation %s: %s has no type, and there is no rule %s", o.Name, n, n)
		}
	}
	rule := ""
	for _, r := range k.Rules {
		want(r.Name > rule && used[r.Name], "rule %q comes behind %q, or is not used", r.Name, rule)
		rule = r.Name
		want(r.Type != "" && len(r.Help) > 5, "rule %s: type %q, help %q", r.Name, r.Type, r.Help)
	}
	code := protocol.CodeKindBase - 1
	for _, c := range k.Codes {
		want(c.Code > code, "code %d comes behind %d", c.Code, code)
		code = c.Code
		want(name(c.Name, '_') && c.Err != nil && sentence(c.Help), "code %d: name %q, sentinel %v, help %q", c.Code, c.Name, c.Err, c.Help)
		used := slices.ContainsFunc(k.Ops, func(o structures.OpInfo) bool { return slices.Contains(o.Codes, c.Code) })
		want(used, "code %s is that of no operation", c.Name)
	}
	setting := ""
	for _, s := range k.Settings {
		want(s.Name > setting && name(s.Name, '-'), "setting %q comes behind %q", s.Name, setting)
		setting = s.Name
		want(s.Type.String() != "unknown" && sentence(s.Help), "setting %s: type %v, help %q", s.Name, s.Type, s.Help)
	}
	return list
}

// untyped returns the names in CDDL that must be those of rules: that are no keys of
// others, and not of CDDL itself.
func untyped(cddl string) (names []string) {
	for _, m := range cddlName.FindAllStringSubmatch(cddl, -1) {
		if m[2] == "" && !slices.Contains([]string{"int", "uint", "bool", "bstr", "tstr", "u8"}, m[1]) {
			names = append(names, m[1])
		}
	}
	return names
}

var cddlName = regexp.MustCompile(`([a-z][a-z0-9-]*)(:?)`)

// name reports whether s is lower case, with a separator between words.
func name(s string, separator rune) bool {
	for _, r := range s {
		if r != separator && !unicode.IsLower(r) && !unicode.IsDigit(r) {
			return false
		}
	}
	return s != ""
}

// array reports whether s looks like one array in CDDL, or several to choose from.
func array(s string) bool {
	open, last := 0, ' '
	for _, r := range s {
		switch r {
		case '[', '(':
			open++
		case ']', ')':
			open--
		}
		if open < 0 || open == 0 && r != ']' && r != ' ' && r != '/' {
			return false
		}
		last = r
	}
	return open == 0 && last == ']'
}
