package peers

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/quorate/quorate/internal/otherversion"
	"github.com/quorate/quorate/protocol"
)

// messages are all that members tell each other, with something in each field.
func messages() []any {
	all := []any{
		new(Self), new(StateReply), new(Settings), new(Enlistment), new(Release), new(Start), new(Join), new(Transfer),
		new(Applied), new(Change), new(Size), new(SizeQuery), new(HeadroomQuery), new(LeadersQuery), new(LeadersReply),
		new(LeaderOf), new(Without), new(Leave), new(ProgressQuery), new(ReplicaOf), new(ProgressReply), new(RunQuery),
		new(ConditionQuery), new(ConditionReply), new(SessionsQuery), new(Opening), new(SessionsReply),
	}
	for _, v := range all {
		otherversion.Fill(v)
	}
	return all
}

// TestMessagesAreComplete: every struct of this package that is encoded as an array
// is one of messages.
func TestMessagesAreComplete(t *testing.T) {
	known := map[string]bool{}
	for _, v := range messages() {
		known[reflect.TypeOf(v).Elem().Name()] = true
	}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			s, ok := spec.Type.(*ast.StructType)
			if !ok || len(s.Fields.List) == 0 || s.Fields.List[0].Tag == nil || !strings.Contains(s.Fields.List[0].Tag.Value, "toarray") {
				return true
			}
			if found++; !known[spec.Name.Name] {
				t.Errorf("%s is not in messages", spec.Name.Name)
			}
			return true
		})
	}
	if found != len(known) {
		t.Errorf("%d structs are encoded as arrays, %d in messages", found, len(known))
	}
}

// read decodes b into a value of v's type, which must be as v.
func read(t *testing.T, what string, b []byte, v any) {
	t.Helper()
	got := reflect.New(reflect.TypeOf(v).Elem()).Interface()
	if err := protocol.Decode(b, got); err != nil {
		t.Fatalf("%T, %s: %v: %x", v, what, err, b)
	}
	if want, got := protocol.Encode(v), protocol.Encode(got); !bytes.Equal(want, got) {
		t.Fatalf("%T, %s: read as\n%x, want\n%x", v, what, got, want)
	}
}

// TestMessagesOfOtherVersions: of a later version's messages the elements that are
// not known are skipped, and those that an earlier version's lack are zero.
func TestMessagesOfOtherVersions(t *testing.T) {
	for i, v := range messages() {
		items := otherversion.Items()
		read(t, "today", protocol.Encode(v), v)
		read(t, "later", otherversion.Encode(v, otherversion.Later(items...)), v)
		for _, item := range items {
			read(t, "later", otherversion.Encode(v, otherversion.Later(item)), v)
		}
		for without := 1; without < reflect.TypeOf(v).Elem().NumField(); without++ {
			v := messages()[i]
			read(t, fmt.Sprint("without ", without), otherversion.Encode(v, otherversion.Earlier(without)), v)
		}
	}
}

// FuzzMessages has old bytes for new readers, and new bytes for old ones.
func FuzzMessages(f *testing.F) {
	all := messages()
	for i, v := range all {
		for j, item := range otherversion.Items() {
			f.Add(byte(i), protocol.Encode(v), item, byte(j))
		}
	}
	f.Fuzz(func(t *testing.T, which byte, b, item []byte, without byte) {
		v := reflect.New(reflect.TypeOf(all[int(which)%len(all)]).Elem()).Interface()
		if protocol.Decode(b, v) != nil {
			return
		}
		r := protocol.NewReader(item)
		if r.Skip(); r.Done() == nil {
			read(t, "later", otherversion.Encode(v, otherversion.Later(item)), v)
		}
		read(t, "later", otherversion.Encode(v, otherversion.Later(otherversion.Items()...)), v)
		read(t, "earlier", otherversion.Encode(v, otherversion.Earlier(int(without))), v)
	})
}
