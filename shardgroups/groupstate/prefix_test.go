package groupstate_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/quorate/quorate/shardgroups/groupstate"
)

// goldenEntries returns the entries of the golden log of level 1, which has
// every operation in it and everything that moves by itself.
func goldenEntries(t *testing.T) [][]byte {
	t.Helper()
	log, err := os.ReadFile("testdata/level1.log")
	if err != nil {
		t.Fatal(err)
	}
	var entries [][]byte
	for line := range strings.Lines(string(log)) {
		text, ok := strings.CutPrefix(strings.TrimSpace(line), "entry ")
		if !ok {
			continue
		}
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, b)
	}
	return entries
}

// TestSnapshotsAtEveryEntry takes a snapshot before every entry of a log. A
// state restored from it must go on exactly as the one it was taken of: the same
// answers, the same hash after every further entry. And a snapshot that is
// written only when everything else has been applied must be the one of its
// time.
func TestSnapshotsAtEveryEntry(t *testing.T) {
	entries := goldenEntries(t)
	one := &golden{state: groupstate.New(goldenKinds())}
	var (
		kept   []*groupstate.Snapshot
		bodies [][]byte
		said   []string // until then
		hashes []uint64
	)
	for _, entry := range entries {
		kept, bodies = append(kept, one.state.Prepare()), append(bodies, one.snapshot(t))
		said, hashes = append(said, one.log.String()), append(hashes, one.hash())
		if err := one.apply(entry); err != nil {
			t.Fatal(err)
		}
	}
	end := one.hash()
	for i := range entries {
		var late bytes.Buffer
		if err := kept[i].WriteTo(&late, nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(late.Bytes(), bodies[i]) {
			t.Fatalf("the snapshot before entry %d has changed since", i)
		}
		other := restored(t, bodies[i])
		for j := i; j < len(entries); j++ {
			if other.hash() != hashes[j] {
				t.Fatalf("restored before entry %d, the state before entry %d is another", i, j)
			}
			if err := other.apply(entries[j]); err != nil {
				t.Fatal(err)
			}
		}
		if other.hash() != end || other.log.String() != strings.TrimPrefix(one.log.String(), said[i]) {
			t.Fatalf("restored before entry %d, the log ends otherwise", i)
		}
	}
}
