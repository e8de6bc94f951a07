package groupstate_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/levels"
)

// nextLevel is that of a version that is made up, with more in each command and item.
const nextLevel = groupstate.MaxLevel + 1

// nextVersion returns a state of the next version, whose level has risen or not.
func nextVersion(t testing.TB, raised bool) *groupstate.State {
	s := fuzzedState()
	s.SetMaxLevel(nextLevel)
	if raised {
		raise(t, s)
	}
	return s
}

func raise(t testing.TB, s *groupstate.State) {
	t.Helper()
	var b groupstate.Builder
	b.Reset(groupstate.Header{}, 0)
	b.Level(nextLevel)
	if err := s.Apply(b.Bytes(), deaf{}); err != nil {
		t.Fatal(err)
	}
}

func isRefused(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || !strings.HasSuffix(err.Error(), "has level 2, this version knows levels up to 1: install a newer version") {
		t.Fatalf("%s: %v", what, err)
	}
}

// shapedEntry is seedEntry in the shape of a level.
func shapedEntry(level uint32) []byte {
	var b groupstate.Builder
	b.Reset(groupstate.Header{Proposer: 1, Number: 1, Level: level}, 256)
	b.Own(groupstate.Ownership{Partitions: 8, Owned: []protocol.PartitionID{0, 1}, Limits: protocol.DefaultLimits()})
	b.Claim(7)
	b.Attach(1, 0)
	b.Ends(0, []protocol.SessionID{2})
	b.PassOver(3, 4)
	b.Ended(groupstate.Checked{IDs: []protocol.SessionID{1}})
	q := protocol.Request{Kind: counters, Op: counterAdd, Name: "hits", Caller: protocol.Caller{Session: 1, Sequence: 1}, Body: []byte{0x81, 1}}
	b.Request(q.Append(nil))
	return b.Bytes()
}

// FuzzEntryOfOtherVersions has entries of any bytes at this version's level and at the
// next one: the first both versions apply alike, or refuse; the second this version
// refuses, and says what to do, and replicas of the next one agree on it.
func FuzzEntryOfOtherVersions(f *testing.F) {
	for level := uint32(0); level <= nextLevel+1; level++ {
		f.Add(shapedEntry(max(level, 1)), level)
	}
	f.Fuzz(func(t *testing.T, entry []byte, level uint32) {
		if len(entry) < 5 {
			return
		}
		binary.BigEndian.PutUint32(entry[1:], level)
		now, next := fuzzedState(), nextVersion(t, false)
		err, nextErr := now.Apply(entry, deaf{}), next.Apply(entry, deaf{})
		_, _, unreadable := groupstate.ReadHeader(entry)
		switch {
		case level == 1 && err == nil && (nextErr != nil || now.Prepare().Hash() != next.Prepare().Hash()):
			t.Fatalf("the versions differ: %v", nextErr)
		case level == 0 && (err == nil || nextErr == nil):
			t.Fatalf("an entry without a level is applied: %v, %v", err, nextErr)
		case level == nextLevel && unreadable == nil:
			isRefused(t, "an entry of the next version", err)
		case level > nextLevel && unreadable == nil && !strings.Contains(nextErr.Error(), levels.TooNew("", level, nextLevel).Error()):
			t.Fatalf("the next version, of an entry of level %d: %v", level, nextErr)
		}
		one, two := nextVersion(t, true), nextVersion(t, true)
		err, nextErr = one.Apply(entry, deaf{}), two.Apply(entry, deaf{})
		if (err == nil) != (nextErr == nil) || err == nil && one.Prepare().Hash() != two.Prepare().Hash() {
			t.Fatalf("replicas of the next version differ: %v, %v", err, nextErr)
		}
	})
}

// FuzzSnapshotOfOtherVersions has snapshots of any bytes: what this version restores
// the next one does, too, and writes it as this one before the level rises; after that
// this one refuses it, and says what to do.
func FuzzSnapshotOfOtherVersions(f *testing.F) {
	seed := fuzzedState()
	if err := seed.Apply(shapedEntry(1), deaf{}); err != nil {
		f.Fatal(err)
	}
	f.Add(written(f, seed))
	seed = nextVersion(f, true)
	if err := seed.Apply(shapedEntry(nextLevel), deaf{}); err != nil {
		f.Fatal(err)
	}
	f.Add(written(f, seed))
	f.Fuzz(func(t *testing.T, b []byte) {
		now, next := fuzzedState(), nextVersion(t, false)
		err, nextErr := now.Restore(bytes.NewReader(b), nil), next.Restore(bytes.NewReader(b), nil)
		if err == nil && (nextErr != nil || !bytes.Equal(written(t, now), written(t, next))) {
			t.Fatalf("the versions differ: %v", nextErr)
		}
		if nextErr != nil {
			return
		}
		if err != nil {
			isRefused(t, "a snapshot of the next version", err)
		}
		raised := nextVersion(t, false)
		if err := raised.Restore(bytes.NewReader(b), nil); err != nil {
			t.Fatal(err)
		}
		var e groupstate.Builder
		e.Reset(groupstate.Header{}, 0)
		e.Level(nextLevel)
		if err := raised.Apply(e.Bytes(), deaf{}); err != nil {
			return // what cannot go on, after a snapshot that no version has written
		}
		high := written(t, raised)
		isRefused(t, "a snapshot after the level has risen", fuzzedState().Restore(bytes.NewReader(high), nil))
		again := nextVersion(t, false)
		if err := again.Restore(bytes.NewReader(high), nil); err != nil || !bytes.Equal(written(t, again), high) {
			t.Fatalf("the next version does not read what it has written: %v", err)
		}
	})
}

// written returns the snapshot of a state.
func written(t testing.TB, s *groupstate.State) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := s.Prepare().WriteTo(&b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
