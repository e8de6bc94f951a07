package dpresence

import (
	"testing"

	"github.com/quorate/quorate/structures/roster/rostertest"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestConformance(t *testing.T) {
	structurestest.Run(t, Kind(), rostertest.New)
}

func FuzzMachine(f *testing.F) {
	structurestest.Fuzz(f, Kind(), rostertest.Seeds()...)
}
