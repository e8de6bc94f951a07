package groupstate_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/dservice"
)

const (
	services  protocol.KindID = 13
	presences protocol.KindID = 14

	rosterRegister   protocol.Op = 1
	rosterReport     protocol.Op = 2
	rosterDeregister protocol.Op = 4
	rosterDrain      protocol.Op = 5
	rosterRemove     protocol.Op = 6
)

func rosterKinds() []structures.Kind {
	return append(goldenKinds(), dservice.Kind(), dpresence.Kind())
}

// counted is what the instances of services and presences are to add up to.
type counted struct{ services, presences [4]int64 }

// expect compares what is counted, also after a snapshot, which counts anew.
func (c counted) expect(d *driver, what string) {
	d.t.Helper()
	want := map[protocol.KindID][]int64{services: c.services[:], presences: c.presences[:]}
	for _, state := range []string{"", ", after a snapshot"} {
		if diff := cmp.Diff(want, d.state.Totals().States); diff != "" {
			d.t.Errorf("%s%s: %s", what, state, diff)
		}
		d.restore(rosterKinds())
	}
}

// register adds a registration that is critical after so many milliseconds, and removed
// after as many again; 0: neither.
func (d *driver) register(session protocol.SessionID, p protocol.PartitionID, kind protocol.KindID, name, id string, ms int) {
	d.call(slot{session, p, 0}, 0, kind, name, rosterRegister, items(word(id), int(session), text("data"), ms, ms, 0, 0, word("")))
}

// TestInstancesAreCounted: each way in which a registration comes, changes and goes is
// counted, in any number of partitions and structures.
func TestInstancesAreCounted(t *testing.T) {
	d := newDriverOf(t, rosterKinds())
	d.attach(1, 6)
	counted{}.expect(d, "nothing")
	d.entry(0, func() {
		d.register(1, 1, services, "web", "a", 0)
		d.register(2, 1, services, "web", "b", 2000)
		d.register(3, 2, services, "mail", "a", 0)
		d.register(3, 1, presences, "web", "a", 0)
		d.register(4, 3, presences, "workers", "x", 0)
		d.register(5, 3, presences, "workers", "y", 0)
	})
	counted{[4]int64{3, 0, 0, 0}, [4]int64{3, 0, 0, 0}}.expect(d, "registered")
	d.entry(0, func() {
		d.call(slot{1, 1, 0}, 0, services, "web", rosterReport, items(word("a"), 1, 1, word("slow")))
		d.call(slot{1, 1, 0}, 0, services, "web", rosterDrain, items(word("a"), true, word("maintenance")))
		d.call(slot{1, 2, 0}, 0, services, "mail", rosterDrain, items(word("nobody"), true, word("")))
		d.register(1, 3, presences, "workers", "y", 0) // takes it over
	})
	counted{[4]int64{2, 1, 0, 2}, [4]int64{3, 0, 0, 0}}.expect(d, "one warning, one replaced, two IDs drained")
	d.entry(3*time.Second, func() {})
	d.settle(10)
	counted{[4]int64{1, 1, 1, 2}, [4]int64{3, 0, 0, 0}}.expect(d, "one without a report")
	d.entry(3*time.Second, func() {})
	d.settle(10)
	counted{[4]int64{1, 1, 0, 2}, [4]int64{3, 0, 0, 0}}.expect(d, "removed since")
	d.entry(0, func() { d.ends(1, 5) })
	d.settle(10)
	counted{[4]int64{1, 0, 0, 2}, [4]int64{2, 0, 0, 0}}.expect(d, "sessions 1 and 5 have ended")
	d.entry(0, func() {
		d.call(slot{2, 1, 0}, 0, services, "web", rosterDrain, items(word("a"), false, word("")))
		d.call(slot{2, 3, 0}, 0, presences, "workers", rosterRemove, items(word("x")))
		d.call(slot{3, 1, 0}, 0, presences, "web", rosterDeregister, items(word("a"), 3))
	})
	counted{[4]int64{1, 0, 0, 1}, [4]int64{}}.expect(d, "no presences are left")
	d.entry(0, func() {
		d.call(slot{2, 2, 0}, 0, services, "mail", structures.OpDestroy, items())
		d.register(2, 2, services, "mail", "b", 0)
		d.register(2, 2, services, "mail", "c", 0)
	})
	counted{[4]int64{2, 0, 0, 0}, [4]int64{}}.expect(d, "destroyed, and begun anew")
	d.settle(10)
	counted{[4]int64{2, 0, 0, 0}, [4]int64{}}.expect(d, "what was destroyed is cleared")
}

// TestInstancesAreCounted_Load: a group that loads an archive counts what it has loaded,
// and then what is released because its session has ended.
func TestInstancesAreCounted_Load(t *testing.T) {
	old := newDriverOf(t, rosterKinds())
	old.attach(1, 3)
	old.entry(0, func() {
		old.register(1, 0, services, "web", "a", 0)
		old.call(slot{1, 0, 0}, 0, services, "web", rosterDrain, items(word("b"), true, word("")))
		old.register(1, 1, presences, "workers", "a", 0)
	})
	_, frames := archived(t, old.state)
	s := groupstate.New(rosterKinds())
	d := &driver{t: t, state: s, sequences: map[slot]uint64{}, codes: map[protocol.Code]int{}, elapsed: time.Second}
	everything := make([]protocol.PartitionID, driverPartitions)
	for i := range everything {
		everything[i] = protocol.PartitionID(i)
	}
	d.entry(0, func() {
		d.b.Own(groupstate.Ownership{Partitions: driverPartitions, Owned: everything, Limits: protocol.DefaultLimits(), Generation: 1, Loading: true})
		d.b.Claim(1)
	})
	d.entry(time.Second, func() {}) // the footer comes in an entry that moves time
	for range 2 {                   // the first time it fails, and begins anew
		for i, f := range frames[:len(frames)-1] {
			s.Take(uint64(i), f)
		}
		counted{[4]int64{1, 0, 0, 1}, [4]int64{1, 0, 0, 0}}.loaded(d, "loaded")
		if l, _ := s.Loading(); l.Failures == 0 {
			s.Take(uint64(len(frames)-1), frames[0])
			counted{}.loaded(d, "begun anew")
		}
	}
	s.Take(uint64(len(frames)-1), frames[len(frames)-1])
	if _, loading := s.Loading(); loading {
		t.Fatal("the load does not end")
	}
	d.settle(10)
	counted{[4]int64{0, 0, 0, 1}, [4]int64{}}.expect(d, "released")
}

// loaded compares what is counted.
func (c counted) loaded(d *driver, what string) {
	d.t.Helper()
	want := map[protocol.KindID][]int64{services: c.services[:], presences: c.presences[:]}
	if diff := cmp.Diff(want, d.state.Totals().States); diff != "" {
		d.t.Errorf("%s: %s", what, diff)
	}
}

// ledger counts in one state, and can be part of a transaction: operation 1 adds n, 2
// destroys, 3 is refused.
type ledger struct{ structures.Base }

var ledgerKey = []byte("n")

func (ledger) Check(protocol.Op, []byte) error { return nil }

func (ledger) Read(structures.View, protocol.Op, []byte) structures.Result {
	return structures.Result{}
}

func (ledger) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	switch op {
	case 1:
		var n, was int64
		_ = protocol.ReadInts(body, &n)
		row, _ := env.Get(ledgerKey)
		_ = protocol.ReadInts(row.Value, &was)
		env.Put(ledgerKey, structures.Row{Value: protocol.AppendInts(nil, was+n)})
	case 2:
		env.Destroy()
	case 3:
		return structures.Refuse(protocol.CodeInvalid, "refused")
	}
	return structures.OK(protocol.AppendArray(nil, 0))
}

func ledgerKind() structures.Kind {
	k := structures.Kind{
		ID: 200, Name: "ledger", Level: 1, Machine: ledger{}, Unit: "entries",
		Counted: &structures.Counted{Key: ledgerKey, States: []string{"open"}},
	}
	for op, name := range []string{1: "add", 2: "end", 3: "refuse"} {
		if name != "" {
			k.Ops = append(k.Ops, structures.OpInfo{Op: protocol.Op(op), Name: name, Txn: true})
		}
	}
	return k
}

// TestCountedInTransactions: what a refused transaction has done does not count.
func TestCountedInTransactions(t *testing.T) {
	d := newDriverOf(t, []structures.Kind{ledgerKind()})
	d.attach(1, 2)
	in := slot{1, 1, 0}
	commit := func(ops ...structures.TxnItem) {
		t.Helper()
		d.entry(0, func() {
			d.call(in, 0, protocol.KindTxn, "{t}", structures.OpCommit, (&structures.TxnBody{Then: ops}).Append(nil))
		})
	}
	expect := func(what string, want int64) {
		t.Helper()
		if got := d.state.Totals().States[200]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v are counted, want %d", what, got, want)
		}
	}
	add := func(n int64) structures.TxnItem { return of(200, "a{t}", 1, protocol.AppendInts(nil, n)) }
	end, refused := of(200, "a{t}", 2, items()), of(200, "a{t}", 3, items())
	commit(add(3), refused)
	expect("the structure was not there", 0)
	commit(add(3), add(4))
	expect("added", 7)
	commit(add(1), refused)
	expect("a refused addition", 7)
	commit(end, refused)
	expect("a refused end", 7)
	commit(add(1), end, add(5), refused)
	expect("a refused end, and a beginning", 7)
	commit(add(1), end, add(5))
	expect("ended, and begun anew", 5)
	d.settle(10)
	expect("cleared", 5)
}
