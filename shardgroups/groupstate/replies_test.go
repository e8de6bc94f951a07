package groupstate_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures/dmap"
)

// TestReplies_SharedBySession: clients that keep more replies than fit lose their
// own, and not those of one that keeps few; a state restored from a snapshot drops
// the same ones. What a holding operation was answered is never dropped.
func TestReplies_SharedBySession(t *testing.T) {
	holds := dmap.Kind()
	holds.ID, holds.Name, holds.Ops = 9, "holding map", slices.Clone(holds.Ops)
	holds.Op(3).Holds = true
	kinds := append(goldenKinds(), holds)
	g := &golden{state: groupstate.New(kinds)}
	var b groupstate.Builder
	begin := func() { b.Reset(groupstate.Header{}, 0) }
	begin()
	b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
	for session := range 4 {
		b.Attach(protocol.SessionID(session+1), 0)
	}
	// A swap of a value is answered with the one before.
	swap := func(kind protocol.KindID, session protocol.SessionID, slot uint16, size int) protocol.Request {
		q := asked(kind, 3, 0, "m", items(key("k"), append([]byte{1}, make([]byte, size)...), 0))
		q.Caller = protocol.Caller{Session: session, Slot: slot, Sequence: 1}
		q.Highest = groupstate.MaxSlots - 1
		return q
	}
	apply := func(all ...protocol.Request) string {
		t.Helper()
		for _, q := range all {
			b.Request(q.Append(nil))
		}
		g.log.Reset()
		if err := g.state.Apply(b.Bytes(), g); err != nil {
			t.Fatal(err)
		}
		begin()
		return g.log.String()
	}
	const kmap = protocol.KindID(1)
	for _, kind := range []protocol.KindID{kmap, holds.ID} {
		first := swap(kind, 1, 1000, 1<<20-100)
		first.Caller.Slot = 1000 + uint16(kind)
		apply(first)
	}
	held := swap(holds.ID, 4, 0, 10)
	apply(held)
	var idle []protocol.Request
	for slot := range uint16(4) { // an idle client has four replies of 1 MiB
		idle = append(idle, swap(kmap, 1, slot, 1<<20-100))
	}
	for _, q := range idle {
		apply(q)
	}
	var large []protocol.Request
	for slot := range uint16(60) { // another burst of swaps of 100 kB
		large = append(large, swap(kmap, 2, slot, 100_000))
		apply(large[slot])
	}
	few := swap(kmap, 3, 0, 100)
	apply(few)
	for slot := range uint16(60) {
		apply(swap(kmap, 2, 100+slot, 100_000))
	}
	var snapshot bytes.Buffer
	if err := g.state.Prepare().WriteTo(&snapshot, nil); err != nil {
		t.Fatal(err)
	}
	repeats := func() (kept string) {
		for _, q := range append(append([]protocol.Request{few, held}, idle...), large...) {
			code := "dropped"
			if strings.Contains(apply(q), "code 0 ") {
				code = "kept"
			}
			kept += fmt.Sprint(q.Caller.Session, " ", q.Caller.Slot, " ", code, "\n")
		}
		return kept
	}
	said := repeats()
	for _, want := range []string{"3 0 kept", "4 0 kept", "1 0 dropped"} {
		if !strings.Contains(said, want+"\n") {
			t.Errorf("want %q in\n%s", want, said)
		}
	}
	if n := strings.Count(said, "2 "); n == 0 {
		t.Fatal(said)
	}
	g = &golden{state: groupstate.New(kinds)}
	if err := g.state.Restore(bytes.NewReader(snapshot.Bytes()), nil); err != nil {
		t.Fatal(err)
	}
	begin()
	if again := repeats(); again != said {
		t.Errorf("after a snapshot:\n%s\nbefore:\n%s", again, said)
	}
	next := swap(kmap, 3, 1, 100)
	apply(next)
	if !strings.Contains(apply(next), "code 0 ") {
		t.Error("a client that keeps few replies loses its own")
	}
}
