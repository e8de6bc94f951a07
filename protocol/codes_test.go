package protocol

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"

	"github.com/quorate/quorate"
)

// codes is what every code means. A code that is in codes.go and not here, or
// here with another number, fails.
var codes = []struct {
	name  string
	code  Code
	class Class
	err   error
}{
	{"CodeOK", 0, ClassDone, nil},
	{"CodeNotLeader", 1, ClassNotEntered, quorate.ErrUnavailable},
	{"CodeNotOwner", 2, ClassNotEntered, quorate.ErrUnavailable},
	{"CodeFrozen", 3, ClassNotEntered, quorate.ErrUnavailable},
	{"CodeBusy", 4, ClassNotEntered, quorate.ErrOverloaded},
	{"CodeSessionUnknown", 5, ClassNotEntered, quorate.ErrSessionLost},
	{"CodeSessionEnded", 6, ClassNotEntered, quorate.ErrSessionLost},
	{"CodeExpired", 7, ClassNotEntered, quorate.ErrUnavailable},
	{"CodeMemoryFull", 8, ClassNotEntered, quorate.ErrMemoryFull},
	{"CodeReadOnly", 9, ClassNotEntered, quorate.ErrReadOnly},
	{"CodeShutdown", 10, ClassNotEntered, quorate.ErrUnavailable},
	{"CodeNoLeader", 11, ClassNotEntered, quorate.ErrUnavailable},
	{"CodeUnknown", 20, ClassUnknown, quorate.ErrOutcomeUnknown},
	{"CodeReplyDropped", 21, ClassUnknown, quorate.ErrOutcomeUnknown},
	{"CodeInvalid", 40, ClassRefused, quorate.ErrInvalid},
	{"CodeTooLarge", 41, ClassRefused, quorate.ErrTooLarge},
	{"CodeUnsupported", 42, ClassRefused, quorate.ErrUnsupported},
	{"CodeStale", 43, ClassRefused, quorate.ErrInvalid},
	{"CodeCancelled", 44, ClassRefused, quorate.ErrInvalid},
	{"CodeTimedOut", 45, ClassRefused, nil},
	{"CodeDestroyed", 46, ClassRefused, quorate.ErrDestroyed},
	{"CodeSettings", 47, ClassRefused, quorate.ErrSettings},
	{"CodeWaiters", 48, ClassRefused, quorate.ErrOverloaded},
	{"CodePanic", 49, ClassRefused, quorate.ErrInvalid},
	{"CodeWrongGrid", 50, ClassRefused, quorate.ErrInvalid},
	{"CodeVersion", 51, ClassRefused, quorate.ErrUnsupported},
	{"CodeNotKept", 55, ClassRefused, quorate.ErrInvalid},
	{"CodeReserved", 60, ClassDone, nil},
	{"CodeKindBase", 1000, ClassRefused, nil},
}

func TestCodes(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok && len(v.Values) == 1 {
			if id, ok := v.Type.(*ast.Ident); ok && id.Name == "Code" {
				declared[v.Names[0].Name] = v.Values[0].(*ast.BasicLit).Value
			}
		}
		return true
	})
	for _, c := range codes {
		if got := declared[c.name]; got != strconv.Itoa(int(c.code)) {
			t.Errorf("%s is %s, want %d: numbers are for ever", c.name, got, c.code)
		}
		delete(declared, c.name)
		if got := c.code.Class(); got != c.class {
			t.Errorf("%s has class %d, want %d", c.name, got, c.class)
		}
		if got := c.code.Err(); got != c.err {
			t.Errorf("%s is the error %v, want %v", c.name, got, c.err)
		}
	}
	for name := range declared {
		t.Errorf("%s is not tested", name)
	}
	described := Codes()
	for i, c := range codes[:len(codes)-1] { // all but CodeKindBase
		if i == len(described) || described[i].Code != c.code {
			t.Fatalf("%s is not described, or not in its place", c.name)
		}
		if d := described[i]; d.Name == "" || d.Name != c.code.Name() || d.Meaning == "" {
			t.Errorf("%s is described as %+v", c.name, d)
		}
	}
	if n := len(codes) - 1; len(described) != n {
		t.Errorf("%d codes are described, there are %d", len(described), n)
	}
}

// TestUnknownCodes looks at codes that a later version may send.
func TestUnknownCodes(t *testing.T) {
	for code, class := range map[Code]Class{12: ClassNotEntered, 19: ClassNotEntered, 22: ClassUnknown, 39: ClassUnknown, 52: ClassRefused, 999: ClassRefused, 65535: ClassRefused} {
		if got := code.Class(); got != class {
			t.Errorf("code %d has class %d, want %d", code, got, class)
		}
	}
	if err := Code(999).Err(); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("code 999 is %v", err)
	}
}
