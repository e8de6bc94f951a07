package peers

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// asked are all questions of members, with their arguments and answers; nil:
// none, an empty array.
var asked = map[string][2]any{
	AskState:     {Self{}, StateReply{}},
	AskEnlist:    {Enlistment{}, nil},
	AskRelease:   {Release{}, nil},
	AskStart:     {Start{}, nil},
	AskJoin:      {Join{}, nil},
	AskAddress:   {Join{}, nil},
	AskTransfer:  {Transfer{}, nil},
	AskCaughtUp:  {Transfer{}, nil},
	AskApplied:   {Applied{}, nil},
	AskLeaders:   {LeadersQuery{}, LeadersReply{}},
	AskWithout:   {Without{}, nil},
	AskObserved:  {ProgressQuery{}, ProgressReply{}},
	AskLeave:     {Leave{}, nil},
	AskChange:    {Change{}, nil},
	AskSize:      {SizeQuery{}, Size{}},
	AskHeadroom:  {HeadroomQuery{}, nil},
	AskCondition: {ConditionQuery{}, ConditionReply{}},
	AskRun:       {RunQuery{}, nil},
	AskSessions:  {SessionsQuery{}, SessionsReply{}},
}

// named are the arrays that docs/members.md has a name for.
var named = map[string]any{
	"self": Self{}, "settings": Settings{}, "replica-of": ReplicaOf{}, "leader-of": LeaderOf{},
	"observed": shardgroups.ObservedProgress{}, "opening": Opening{}, "opened": systemstate.Opened{}, "size": Size{},
}

// TestMembersPage holds docs/members.md to the questions that there are, to the
// number and the kind of the elements of what is asked and answered, and to the flags.
func TestMembersPage(t *testing.T) {
	b, err := os.ReadFile("../../../docs/members.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for _, m := range regexp.MustCompile(`(?m)^    ([a-z-]+) = (\[ [^\]]*\])`).FindAllStringSubmatch(page, -1) {
		if of, ok := named[m[1]]; ok {
			compare(t, m[1], m[2], of)
		} else if !slices.Contains([]string{"peer", "reply", "announced"}, m[1]) {
			t.Errorf("the page names %s, which the test does not know", m[1])
		}
	}
	for name := range named {
		if !strings.Contains(page, "\n    "+name+" = [ ") {
			t.Errorf("the page does not say what %s is", name)
		}
	}
	found := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z]+)` \\| (.*?) \\| (.*) \\|$").FindAllStringSubmatch(page, -1) {
		q, ok := asked[m[1]]
		if !ok {
			t.Errorf("the page has the question %q, which there is not", m[1])
			continue
		}
		found[m[1]] = true
		if ref, ok0 := strings.CutPrefix(m[2], "as "); ok0 {
			other := asked[strings.Trim(ref, "`")]
			if reflect.TypeOf(other[0]) != reflect.TypeOf(q[0]) {
				t.Errorf("%s is not asked as %s is", m[1], ref)
			}
		} else {
			compare(t, m[1], m[2], q[0])
		}
		compare(t, "answer to "+m[1], m[3], q[1])
	}
	for name := range asked {
		if !found[name] {
			t.Errorf("the page lacks the question %q", name)
		}
	}
	f, err := parser.ParseFile(token.NewFileSet(), "messages.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(v.Names[0].Name, "Ask") && len(v.Values) == 1 {
			if l, ok := v.Values[0].(*ast.BasicLit); ok && l.Kind == token.STRING {
				name, err := strconv.Unquote(l.Value)
				if err != nil {
					t.Fatal(err)
				}
				declared[name] = true
			}
		}
		return true
	})
	if a, b := slices.Sorted(maps.Keys(declared)), slices.Sorted(maps.Keys(asked)); !slices.Equal(a, b) {
		t.Errorf("messages.go has the questions %q, the test %q", a, b)
	}
	flags := uint64(0)
	for _, m := range regexp.MustCompile(`(?m)^\| ([0-9]+) \| `).FindAllStringSubmatch(page, -1) {
		n, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		flags |= n
	}
	if known := gossip.StateOf(^uint64(0)).Flags(); flags != known {
		t.Errorf("the page has the flags %b, there are %b", flags, known)
	}
}

// compare wants the array at the beginning of what the page says to have the elements
// of a struct that is encoded as an array.
func compare(t *testing.T, what, says string, of any) {
	t.Helper()
	for name, v := range named {
		if says == name || strings.HasPrefix(says, name+":") {
			if reflect.TypeOf(v) != reflect.TypeOf(of) {
				t.Errorf("%s is not a %s", what, name)
			}
			return
		}
	}
	elements, ok := array(says)
	if !ok {
		t.Errorf("%s: no array at the beginning of %q", what, says)
		return
	}
	var want []string
	if of != nil {
		for f := range reflect.TypeOf(of).Fields() {
			if f.Name != "_" {
				want = append(want, cddlOf(f.Type))
			}
		}
	}
	if len(elements) != len(want) {
		t.Errorf("%s has %d elements, the page says %q", what, len(want), elements)
		return
	}
	for i, e := range elements {
		if got := kindOf(e); got != want[i] {
			t.Errorf("%s: element %d is a %s, the page says %q", what, i, want[i], e)
		}
	}
}

// array returns the elements of the array at the beginning of s.
func array(s string) (elements []string, ok bool) {
	if !strings.HasPrefix(s, "[") {
		return nil, false
	}
	depth, begin := 0, 1
	for i, c := range s {
		switch {
		case c == '[':
			depth++
		case c == ']':
			depth--
		}
		if depth == 1 && c == ',' || depth == 0 {
			if e := strings.TrimSpace(s[begin:i]); e != "" {
				elements = append(elements, e)
			}
			begin = i + 1
		}
		if depth == 0 {
			return elements, true
		}
	}
	return nil, false
}

// kindOf returns what an element is: its type is behind a colon, or its name says it.
func kindOf(e string) string {
	if _, after, ok := strings.Cut(e, ": "); ok {
		e = after
	}
	switch {
	case strings.HasPrefix(e, "["):
		return "list"
	case named[e] != nil:
		return "array"
	case e == "group", e == "member", e == "u64", e == "u32", e == "1..3":
		return "uint"
	}
	return e
}

func cddlOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "bool"
	case reflect.String:
		return "tstr"
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		return "uint"
	case reflect.Int64:
		return "int"
	case reflect.Array:
		return "uuid"
	case reflect.Slice:
		return "list"
	case reflect.Struct:
		return "array"
	}
	return t.String()
}
