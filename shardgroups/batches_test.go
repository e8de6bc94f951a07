package shardgroups

import (
	"encoding/hex"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/hub"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// machineAlone is a group's state machine without an engine.
func machineAlone() *groupMachine {
	h := &Host{nonce: 1, mono: newMonotime(nil), cfg: Config{Logger: slog.New(slog.DiscardHandler)}}
	h.system = newSystem(h)
	g := &Group{
		host: h, id: protocol.SystemGroup + 1, waiting: map[waitKey][]*Request{},
		state: groupstate.New([]structures.Kind{dmap.Kind(), dcounter.Kind(), dsemaphore.Kind(), dqueue.Kind()}),
	}
	g.proposer.group, g.proposer.host = g, h
	g.hub = hub.New(watchSource{g})
	g.proposer.inFlight, g.proposer.wake = map[uint64]*entry{}, make(chan struct{}, 1)
	g.leader.Store(&Leader{})
	return &groupMachine{g}
}

// TestUpdate_BatchesDoNotMatter applies one log in batches as random as the
// engine's: the state is the same at every index where batches end.
func TestUpdate_BatchesDoNotMatter(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	log, err := os.ReadFile("groupstate/testdata/level1.log")
	if err != nil {
		t.Fatal(err)
	}
	var entries []sm.Entry
	for line := range strings.Lines(string(log)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "entry "); ok {
			b, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			entries = append(entries, sm.Entry{Index: uint64(len(entries) + 1), Cmd: b})
		}
	}
	var one []uint64 // hashes, one entry at a time
	m := machineAlone()
	for i := range entries {
		if _, err := m.Update(entries[i : i+1 : i+1]); err != nil {
			t.Fatal(err)
		}
		one = append(one, m.g.state.Prepare().Hash())
	}
	for range 20 {
		m := machineAlone()
		for at := 0; at < len(entries); {
			next := min(len(entries), at+1+rng.IntN(8))
			if _, err := m.Update(append([]sm.Entry(nil), entries[at:next]...)); err != nil {
				t.Fatal(err)
			}
			if at = next; m.g.state.Prepare().Hash() != one[at-1] {
				t.Fatalf("the state at index %d depends on how entries were batched", at)
			}
		}
	}
}
