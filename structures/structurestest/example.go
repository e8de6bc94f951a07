package structurestest

import (
	"fmt"
	"testing"

	"github.com/quorate/quorate/structures"
)

// Example returns a client of a grid that serves structures of the given kinds, for an
// Example function, which has no testing.TB: if the grid fails it panics. Client.Local
// has further clients, and lets time pass.
func Example(kinds ...structures.Kind) *Client { return NewLocal(panics{}, kinds...).Client() }

// panics is what a Local needs of a test.
type panics struct{ testing.TB }

func (panics) Helper() {}

func (panics) Cleanup(func()) {} // an example ends with its process

func (panics) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (panics) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
