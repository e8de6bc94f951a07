package quorate_test

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"

	"github.com/quorate/quorate"
)

func TestError(t *testing.T) {
	tests := []struct {
		name    string
		err     error
		text    string
		is      []error
		unknown bool
		safe    bool
	}{
		{
			name: "nothing was sent",
			err:  &quorate.Error{Op: "put", Object: "map users", Cause: quorate.ErrTooLarge, Detail: "the value has 2 bytes, at most 1"},
			text: "put map users: too large: the value has 2 bytes, at most 1",
			is:   []error{quorate.ErrTooLarge},
			safe: true,
		},
		{
			name:    "the context ended on the way",
			err:     &quorate.Error{Op: "put", Object: "map users", Cause: context.DeadlineExceeded, Unknown: true},
			text:    "put map users: outcome unknown: context deadline exceeded",
			is:      []error{context.DeadlineExceeded},
			unknown: true,
		},
		{
			name:    "the outcome is the cause",
			err:     &quorate.Error{Op: "put", Object: "map users", Cause: quorate.ErrOutcomeUnknown, Unknown: true},
			text:    "put map users: outcome unknown",
			unknown: true,
		},
		{
			name:    "the cause is unknown although nobody said so",
			err:     &quorate.Error{Op: "put", Object: "map users", Cause: fmt.Errorf("member 1: %w", quorate.ErrOutcomeUnknown)},
			text:    "put map users: member 1: outcome unknown",
			unknown: true,
		},
		{
			name: "wrapped",
			err:  fmt.Errorf("save: %w", &quorate.Error{Op: "dial", Cause: quorate.ErrUnavailable}),
			text: "save: dial: unavailable",
			is:   []error{quorate.ErrUnavailable},
			safe: true,
		},
		{
			name: "of another origin",
			err:  quorate.ErrUnavailable,
			text: "unavailable",
			is:   []error{quorate.ErrUnavailable},
		},
		{
			name:    "one of several is unknown",
			err:     errors.Join(&quorate.Error{Op: "put", Cause: quorate.ErrClosed}, &quorate.Error{Op: "put", Cause: context.Canceled, Unknown: true}),
			text:    "put: closed\nput: outcome unknown: context canceled",
			is:      []error{quorate.ErrClosed, context.Canceled},
			unknown: true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.text {
				t.Errorf("text %q, want %q", got, tt.text)
			}
			for _, want := range tt.is {
				if !errors.Is(tt.err, want) {
					t.Errorf("it is not %v", want)
				}
			}
			if got := errors.Is(tt.err, quorate.ErrOutcomeUnknown); got != tt.unknown {
				t.Errorf("outcome unknown: %v, want %v", got, tt.unknown)
			}
			if got := quorate.SafeToRetry(tt.err); got != tt.safe {
				t.Errorf("safe to retry: %v, want %v", got, tt.safe)
			}
		})
	}
	if quorate.SafeToRetry(nil) {
		t.Error("nil is safe to retry")
	}
}

// TestErrorsAreDocumented wants a row in the package's table for each sentinel,
// and a sentinel for each row.
func TestErrorsAreDocumented(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "errors.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := map[string]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if v, ok := n.(*ast.ValueSpec); ok {
			for _, name := range v.Names {
				declared[name.Name] = true
			}
		}
		return true
	})
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(doc)) {
		if name, ok := strings.CutPrefix(line, "//	Err"); ok {
			name = "Err" + strings.Fields(name)[0]
			if !declared[name] {
				t.Errorf("doc.go has %s, errors.go has not, or doc.go has it twice", name)
			}
			delete(declared, name)
		}
	}
	for name := range declared {
		if strings.HasPrefix(name, "Err") {
			t.Errorf("%s is not in the table in doc.go", name)
		}
	}
}
