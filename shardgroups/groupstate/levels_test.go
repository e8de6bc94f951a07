package groupstate_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/shardgroups/groupstate"
)

// later is a script of a version that knows one level more, which the group's state
// has from the beginning or not.
func later(t *testing.T, raised bool) *script {
	s := &script{t: t, golden: golden{state: groupstate.New(goldenKinds())}, sequences: map[slot]uint64{}}
	s.state.SetMaxLevel(groupstate.MaxLevel + 1)
	if raised {
		s.entry("the level rises", 0, func() { s.b.Level(groupstate.MaxLevel + 1) })
	}
	return s
}

// said is what a script was answered.
func (s *script) said() string {
	var b strings.Builder
	for line := range strings.Lines(s.log.String()) {
		if strings.HasPrefix(line, "  ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// TestLevels: a later version, whose entries and snapshots have more in every command
// and item, writes what this one does before the level rises, reads both, and does
// the same with both; this one refuses what has the higher level, and says what to do.
func TestLevels(t *testing.T) {
	for _, g := range goldens {
		old := &script{t: t, golden: golden{state: groupstate.New(goldenKinds())}, sequences: map[slot]uint64{}}
		before, after := later(t, false), later(t, true)
		g.play(old)
		g.play(before)
		if before.log.String() != old.log.String() || before.hash() != old.hash() {
			t.Errorf("%s: a later version writes something else before the level rises", g.name)
		}
		g.play(after)
		if diff := cmp.Diff(old.said(), after.said()); diff != "" {
			t.Errorf("%s: answers of a later version (-before +after):\n%s", g.name, diff)
		}
		if diff := cmp.Diff(old.state.Rows(), after.state.Rows()); diff != "" {
			t.Errorf("%s: rows of a later version (-before +after):\n%s", g.name, diff)
		}
		small, large := old.snapshot(t), after.snapshot(t)
		if rows := after.state.Totals().Rows; len(large) < len(small)+rows {
			t.Errorf("%s: a snapshot of the higher level has %d bytes, one of the lower %d: nothing is new in %d rows", g.name, len(large), len(small), rows)
		}
		for name, snapshot := range map[string][]byte{"lower": small, "higher": large} {
			s := groupstate.New(goldenKinds())
			s.SetMaxLevel(groupstate.MaxLevel + 1)
			if err := s.Restore(bytes.NewReader(snapshot), nil); err != nil {
				t.Fatalf("%s: a later version restores a snapshot of the %s level: %v", g.name, name, err)
			}
			var again bytes.Buffer
			if err := s.Prepare().WriteTo(&again, nil); err != nil || !bytes.Equal(again.Bytes(), snapshot) {
				t.Errorf("%s: a snapshot of the %s level, restored, is written differently: %v", g.name, name, err)
			}
		}
		const refusal = "has level 2, this version knows levels up to 1: install a newer version"
		if err := groupstate.New(goldenKinds()).Restore(bytes.NewReader(large), nil); err == nil || !strings.Contains(err.Error(), refusal) {
			t.Errorf("%s: a snapshot of a later version: %v", g.name, err)
		}
		var b groupstate.Builder
		b.Reset(groupstate.Header{Level: groupstate.MaxLevel + 1}, 0)
		if err := groupstate.New(goldenKinds()).Apply(b.Bytes(), deaf{}); err == nil || !strings.Contains(err.Error(), refusal) {
			t.Errorf("%s: an entry of a later version: %v", g.name, err)
		}
	}
}
