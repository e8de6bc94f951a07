package coordinator

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// TestStuckIsTold: a step that keeps failing for one reason is told of once, and
// again where the reason changes.
func TestStuckIsTold(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	var s stuckLog
	told := func() int { return strings.Count(out.String(), "the member makes no progress") }
	for i := range 3 * stuckAfter {
		s.note(log, "placement", errors.New("nobody answers"))
		if want := min(1, (i+1)/stuckAfter); told() != want {
			t.Fatalf("after %d failures it is told %d times", i+1, told())
		}
	}
	for range stuckAfter {
		s.note(log, "placement", errors.New("no leader"))
	}
	if told() != 2 || !strings.Contains(out.String(), "no leader") {
		t.Errorf("of another reason:\n%s", out.String())
	}
}
