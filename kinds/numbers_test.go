package kinds

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/protocol"
)

// TestNumbersAreListed: what package protocol has numbers for is in the lists of
// docs/protocol.json, by the names of its constants.
func TestNumbersAreListed(t *testing.T) {
	declared := constantsOf(t, "../protocol")
	names := func(list []number) (names []string) {
		for _, n := range list {
			names = append(names, n.Name)
		}
		return names
	}
	var types []string
	for _, m := range messages {
		types = append(types, strings.ReplaceAll(m.Name, "-", ""))
		if odd := m.Type%2 == 1; odd != m.Client && m.Type != protocol.TypePeer {
			t.Errorf("%s: the types that a client sends are odd, %d is not", m.Name, m.Type)
		}
	}
	for what, list := range map[string]struct {
		prefix string
		names  []string
	}{
		"MessageType":   {"Type", types},
		"HelloFlags":    {"Hello", names(helloFlags)},
		"Flags":         {"Flag", names(requestFlags)},
		"Features":      {"Feature", names(features)},
		"SessionAction": {"Session", names(sessionActions)},
		"byte":          {"Key", names(keyTags)},
	} {
		var want []string
		for _, name := range declared[what] {
			if rest, ok := strings.CutPrefix(name, list.prefix); ok {
				want = append(want, strings.ToLower(rest))
			}
		}
		got := make([]string, len(list.names))
		for i, name := range list.names {
			got[i] = strings.ReplaceAll(name, "_", "")
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: docs/protocol.json has %q, package protocol %q", what, got, want)
		}
	}
}

// TestLimitsAreListed: in the order and with the names and values of those in a
// welcome.
func TestLimitsAreListed(t *testing.T) {
	defaults := reflect.ValueOf(protocol.DefaultLimits())
	list := limits()
	if len(list) != defaults.NumField()-1 {
		t.Fatalf("%d limits, a welcome has %d", len(list), defaults.NumField()-1)
	}
	for i, l := range list {
		field := defaults.Type().Field(i + 1).Name
		if strings.ReplaceAll(l.Name, "-", "") != strings.ToLower(field) || uint64(l.Default) != defaults.Field(i+1).Uint() {
			t.Errorf("limit %d is %s, %d: not %s, %d", i, l.Name, l.Default, field, defaults.Field(i+1).Uint())
		}
	}
}

// constantsOf returns the names of a package's constants, by the names of their types.
func constantsOf(t *testing.T, dir string) map[string][]string {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	found := map[string][]string{}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if v, ok := n.(*ast.ValueSpec); ok {
				if typ, ok := v.Type.(*ast.Ident); ok {
					found[typ.Name] = append(found[typ.Name], v.Names[0].Name)
				}
			}
			return true
		})
	}
	return found
}
