package groupstate_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// lender is a kind that hands out what a session holds, with replies of any size.
// Its operations: 1 lends at once, 2 waits, 3 lends to the first that waits.
type lender struct{ structures.Base }

func (lender) Check(protocol.Op, []byte) error { return nil }

func (lender) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	switch op {
	case 1:
		return structures.OK(body)
	case 2:
		return env.Wait(nil, 0)
	}
	var first structures.Waiter
	env.Waiters(func(w structures.Waiter) bool {
		first = w
		return false
	})
	env.Grant(first, structures.OK(body))
	return structures.OK(nil)
}

// Read lists who waits: the operation, and when it began.
func (lender) Read(view structures.View, _ protocol.Op, _ []byte) structures.Result {
	var b []byte
	view.Waiters(func(w structures.Waiter) bool {
		b = fmt.Appendf(b, "%d since %d;", w.Op, w.Since)
		return true
	})
	return structures.OK(b)
}

func (lender) Withdrawn(structures.Env) {}

// TestReplies_HoldsAreNeverDropped: the replies of operations that hold, be they
// given at once or with a later grant, are kept whatever their size: not dropped
// where a partition's replies are too many, nor in slots that the client says it
// does not use. They leave the budget to others. All of it holds after a snapshot.
func TestReplies_HoldsAreNeverDropped(t *testing.T) {
	const (
		lends = protocol.KindID(9)
		each  = 3
		size  = 1 << 20 // of each: together more than is kept of others
	)
	kind := structures.Kind{
		ID: lends, Name: "lender", Level: 1, Machine: lender{},
		Ops: []structures.OpInfo{{Op: 1, Name: "lend", Holds: true}, {Op: 2, Name: "wait", Holds: true, Waits: true}, {Op: 3, Name: "grant"}},
	}
	kinds := append(goldenKinds(), kind)
	g := &golden{state: groupstate.New(kinds)}
	var b groupstate.Builder
	apply := func(fill func()) {
		t.Helper()
		b.Reset(groupstate.Header{}, 0)
		fill()
		if err := g.state.Apply(b.Bytes(), g); err != nil {
			t.Fatal(err)
		}
	}
	body := func(n uint16) []byte { return bytes.Repeat([]byte{byte(n) + 1}, size) }
	call := func(kind protocol.KindID, op protocol.Op, slot, highest uint16, flags protocol.Flags, body []byte) protocol.Request {
		return protocol.Request{
			Kind: kind, Op: op, Flags: flags, Name: "m", Body: body, Highest: highest,
			Caller: protocol.Caller{Session: 1, Slot: slot, Sequence: 1},
		}
	}
	apply(func() {
		b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
		b.Attach(1, 0)
	})
	const all, first, other = groupstate.MaxSlots - 1, 200, 500
	// One reply that may be dropped, of a map, as large as any.
	for _, q := range []protocol.Request{
		call(1, 3, other-1, all, 0, items(key("k"), append([]byte{1}, make([]byte, size-100)...), 0)),
		call(1, 3, other, all, 0, items(key("k"), small(1), 0)),
	} {
		apply(func() { b.Request(q.Append(nil)) })
	}
	var held []protocol.Request
	for n := range uint16(2 * each) {
		q := call(lends, 1, first+n, all, 0, body(n))
		if n >= each {
			q = call(lends, 2, first+n, all, protocol.FlagWait, nil)
		}
		apply(func() { b.Request(q.Append(nil)) })
		held = append(held, q)
	}
	for n := uint16(each); n < 2*each; n++ {
		q := call(lends, 3, 100+n, all, 0, body(n))
		apply(func() { b.Request(q.Append(nil)) })
	}
	check := func(when string) {
		t.Helper()
		for n, q := range held {
			g.log.Reset()
			apply(func() { b.Request(q.Append(nil)) })
			if want := fmt.Sprintf(" body %x\n", body(uint16(n))); !bytes.HasSuffix(g.log.Bytes(), []byte(want)) || !bytes.Contains(g.log.Bytes(), []byte("code 0 ")) {
				t.Errorf("%s: the repeat in slot %d is answered %.60q", when, first+n, g.log.Bytes())
			}
		}
	}
	dropped := func() bool {
		q := call(1, 3, other, all, 0, items(key("k"), small(1), 0))
		r, _, _ := g.state.Recorded(&q)
		return r.Code == protocol.CodeReplyDropped
	}
	check("more than are kept of others")
	if dropped() {
		t.Error("what is held takes the room of other replies")
	}
	apply(func() {
		q := call(1, 3, 0, 0, 0, items(key("k"), small(2), 0))
		b.Request(q.Append(nil))
	})
	check("the client says that it uses no slot above")
	if !dropped() {
		t.Error("a reply that is not held is still there")
	}
	var snapshot bytes.Buffer
	if err := g.state.Prepare().WriteTo(&snapshot, nil); err != nil {
		t.Fatal(err)
	}
	g = &golden{state: groupstate.New(kinds)}
	if err := g.state.Restore(&snapshot, nil); err != nil {
		t.Fatal(err)
	}
	check("after a snapshot")
}

// TestWaitersSince: a waiting call's row says which operation waits, and since when,
// also after a snapshot.
func TestWaitersSince(t *testing.T) {
	kinds := append(goldenKinds(), structures.Kind{
		ID: 9, Name: "lender", Level: 1, Machine: lender{},
		Ops: []structures.OpInfo{{Op: 1, Name: "lend"}, {Op: 2, Name: "wait", Waits: true}, {Op: 3, Name: "grant"}, {Op: 4, Name: "list", Read: true}},
	})
	s := &script{t: t, golden: golden{state: groupstate.New(kinds)}, sequences: map[slot]uint64{}}
	s.begin()
	for n, at := range []int64{100, 250} {
		s.entry("wait", at, func() { s.waiting(slot{ann, home, uint16(n)}, 9, "m", 2, nil) })
	}
	s.entry("time passes", 400, func() {})
	const want = "2 since 100000000;2 since 250000000;"
	list := func(state *groupstate.State) string {
		var r groupstate.Reader
		q := protocol.Request{Partition: home, Flags: protocol.FlagRead, Kind: 9, Op: 4, Name: "m"}
		res, _ := r.Read(state, &q)
		return string(res.Body)
	}
	if got := list(s.state); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	again := groupstate.New(kinds)
	if err := again.Restore(bytes.NewReader(s.snapshot(t)), nil); err != nil {
		t.Fatal(err)
	}
	if got := list(again); got != want {
		t.Errorf("after a snapshot: %q, want %q", got, want)
	}
}
