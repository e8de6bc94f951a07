package systemstate

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/levels"
)

// nextLevel is that of a version that is made up, with more in each struct.
const nextLevel = MaxLevel + 1

// nextVersion returns the state before the first entry of the next version.
func nextVersion() *State {
	s := New()
	s.SetMaxLevel(nextLevel)
	return s
}

// refusal is what this version says of what the next one has written at its level.
const refusal = "has level 2, this version knows levels up to 1: install a newer version"

func isRefused(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || !strings.HasSuffix(err.Error(), refusal) {
		t.Fatalf("%s: %v", what, err)
	}
}

// reshaped returns an entry in the shape of a level, if some version reads it.
func reshaped(entry []byte, level uint32) ([]byte, bool) {
	h, c, err := decode(entry, nextLevel)
	if err != nil {
		return nil, false
	}
	h.Level = level
	return Encode(h, c), true
}

// FuzzEntryOfOtherVersions has entries of any bytes at this version's level and at the
// next one: both versions read the first alike, and the second is refused by this
// version, and means the same to the next one.
func FuzzEntryOfOtherVersions(f *testing.F) {
	for _, step := range golden() {
		for level := uint32(1); level <= nextLevel; level++ {
			f.Add(Encode(groupstate.Header{Elapsed: int64(step.at), Level: level}, step.c), level)
		}
	}
	f.Fuzz(func(t *testing.T, entry []byte, level uint32) {
		if len(entry) < 5 {
			return
		}
		binary.BigEndian.PutUint32(entry[1:], level)
		now, next := New(), nextVersion()
		answer, _, err := now.Apply(bytes.Clone(entry))
		same, _, nextErr := next.Apply(bytes.Clone(entry))
		_, _, unreadable := groupstate.ReadHeader(entry)
		switch {
		case level == 0 && (err == nil || nextErr == nil):
			t.Fatalf("an entry without a level is applied: %v, %v", err, nextErr)
		case level > nextLevel && unreadable == nil && !strings.Contains(nextErr.Error(), levels.TooNew("", level, nextLevel).Error()):
			t.Fatalf("the next version, of an entry of level %d: %v", level, nextErr)
		case level == 1 && err == nil && (nextErr != nil || !bytes.Equal(answer, same) || !bytes.Equal(now.Snapshot(), next.Snapshot())):
			t.Fatalf("the versions differ: %v, answers %x and %x", nextErr, answer, same)
		case level == nextLevel && unreadable == nil:
			isRefused(t, "an entry of the next version", err)
		}
		low, ok := reshaped(entry, 1)
		if !ok {
			return
		}
		high, _ := reshaped(low, nextLevel)
		if level == 1 && !bytes.Equal(low, entry) || level == nextLevel && !bytes.Equal(high, entry) {
			t.Fatalf("it is written differently: %x", entry)
		}
		one, two := nextVersion(), nextVersion()
		answer, _, err = one.Apply(low)
		same, _, nextErr = two.Apply(high)
		if (err == nil) != (nextErr == nil) || !bytes.Equal(answer, same) || !bytes.Equal(one.Snapshot(), two.Snapshot()) {
			t.Fatalf("the shapes differ: %v, %v, answers %x and %x", err, nextErr, answer, same)
		}
	})
}

// FuzzSnapshotOfOtherVersions has snapshots of any bytes, sessions and members among
// them: what this version restores the next one does, too, and writes it as this one
// before the level rises; after that this one refuses it.
func FuzzSnapshotOfOtherVersions(f *testing.F) {
	s := New()
	for _, step := range golden() {
		if _, _, err := s.Apply(Encode(groupstate.Header{ClockEpoch: s.clock.Epoch, Elapsed: int64(step.at)}, step.c)); err != nil {
			f.Fatal(err)
		}
		f.Add(s.Snapshot())
	}
	f.Add(raised(f, s).Snapshot())
	f.Fuzz(func(t *testing.T, b []byte) {
		now, next := New(), nextVersion()
		err, nextErr := now.Restore(bytes.NewReader(b)), next.Restore(bytes.NewReader(b))
		if err == nil && (nextErr != nil || !bytes.Equal(now.Snapshot(), next.Snapshot())) {
			t.Fatalf("the versions differ: %v", nextErr)
		}
		if nextErr != nil {
			return
		}
		if err != nil {
			isRefused(t, "a snapshot of the next version", err)
		}
		high := raised(t, next).Snapshot()
		isRefused(t, "a snapshot after the level has risen", New().Restore(bytes.NewReader(high)))
		again := nextVersion()
		if err := again.Restore(bytes.NewReader(high)); err != nil || !bytes.Equal(again.Snapshot(), high) {
			t.Fatalf("the next version does not read what it has written: %v", err)
		}
		again.cluster.Level = next.cluster.Level
		if !bytes.Equal(again.Snapshot(), next.Snapshot()) {
			t.Fatal("something is lost when the level rises")
		}
	})
}

// raised returns a copy of a state whose level has risen to that of the next version.
func raised(t testing.TB, s *State) *State {
	t.Helper()
	n := nextVersion()
	if err := n.Restore(bytes.NewReader(s.Snapshot())); err != nil {
		t.Fatal(err)
	}
	a := n.cluster.clone()
	a.Level = nextLevel
	n.cluster = a
	return n
}

// TestSessionsOfOtherVersions: a session that this version has opened goes on under
// the next one, also after the level has risen.
func TestSessionsOfOtherVersions(t *testing.T) {
	s := founded(t)
	open := Command{Kind: KeepSessions, Opens: []Opening{{Client: protocol.UUID{7}, TTL: time.Minute, Source: "10.0.0.1"}}}
	id := apply(t, s, 0, open).Opened[0].Session
	s = raised(t, s)
	keep := Command{Kind: KeepSessions, Keeps: []protocol.SessionID{id}, Opens: open.Opens}
	b, _, err := s.Apply(Encode(groupstate.Header{ClockEpoch: s.clock.Epoch, Elapsed: int64(50 * time.Second), Level: nextLevel}, keep))
	if err != nil {
		t.Fatal(err)
	}
	var a Answer
	if err := protocol.DecodeLarge(b, &a); err != nil || len(a.Gone) != 0 || len(a.Opened) != 1 || a.Opened[0].Session != id {
		t.Errorf("%+v, %v, want session %d", a, err, id)
	}
}
