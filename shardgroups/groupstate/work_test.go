package groupstate_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// one is the most that a single piece of clean-up costs in these tests: it may
// be begun with a budget of one.
const one = 64

// bounded checks that the last entry cost no more than it may. written is how
// many rows it wrote for each class of clean-up, at most.
func (d *driver) bounded(declared, written int) {
	d.t.Helper()
	w := d.state.Worked()
	budget := groupstate.CleanupCost + groupstate.ItemCost*written + one
	if most := declared + groupstate.MaxGrants*groupstate.GrantCost; w.Requests > most {
		d.t.Fatalf("the requests cost %d, at most %d: %+v", w.Requests, most, w)
	}
	if w.Release > budget || w.Timeouts > budget || w.Expiry > budget || w.Garbage > budget {
		d.t.Fatalf("clean-up costs more than %d: %+v", budget, w)
	}
}

// TestExpiryBesideReleases writes more entries of a map, with a short time to
// live, than are cleaned up without more ado, while sessions end that hold
// permits and calls time out. All of it must come to pass within a bounded
// number of entries of bounded cost, and the backlog must not grow. A replica
// that is restored now and then stays the same.
func TestExpiryBesideReleases(t *testing.T) {
	d := newDriver(t)
	const (
		holders = 200
		calls   = 20
		puts    = 2000
	)
	d.attach(1, holders+2)
	d.entry(0, func() {
		d.call(slot{1, 1, 0}, 0, semaphores, writers, semaphoreInit, ints(holders))
		for h := range protocol.SessionID(holders) {
			d.call(slot{h + 2, 1, 0}, 0, semaphores, writers, semaphoreTryAcquire, asking(1))
			for c := range uint16(calls) {
				d.call(slot{h + 2, protocol.PartitionID(h % driverPartitions), c + 1}, protocol.FlagWait, queues, jobs, queueTake, ints(500, 0))
			}
		}
	})
	var snapshot bytes.Buffer
	if err := d.state.Prepare().WriteTo(&snapshot, nil); err != nil {
		t.Fatal(err)
	}
	other := restored(t, snapshot.Bytes())

	read := protocol.Request{Partition: 1, Flags: protocol.FlagRead, Kind: semaphores, Op: semaphoreAvailable, Name: writers, Body: ints()}
	var reader groupstate.Reader
	most, released, timedOut := 0, 0, 0
	for n := 1; n <= 80; n++ {
		d.entry(10*time.Millisecond, func() {
			d.puts(puts, 100)
			if n == 30 { // there is a backlog by now
				var ids []protocol.SessionID
				for h := range protocol.SessionID(holders / 2) {
					ids = append(ids, h+2)
				}
				d.ends(ids...)
			}
		})
		d.bounded(puts*16, puts)
		if err := other.apply(d.b.Bytes()); err != nil {
			t.Fatal(err)
		}
		if n%20 == 0 {
			if d.state.Derived() != other.state.Derived() {
				t.Fatalf("entry %d: what is derived differs:\n%s\n%s", n, d.state.Derived(), other.state.Derived())
			}
			if d.state.Prepare().Hash() != other.hash() {
				t.Fatalf("entry %d: a restored replica differs", n)
			}
			other = restored(t, other.snapshot(t))
		}
		most = max(most, d.state.Totals().Rows)
		if r, _ := reader.Read(d.state, &read); released == 0 && n >= 30 && bytes.Equal(r.Body, ints(holders/2)) {
			released = n
		}
		if timedOut == 0 && d.codes[protocol.CodeTimedOut] == holders/2*calls {
			timedOut = n
		}
	}
	if released == 0 || released > 33 {
		t.Errorf("what the ended sessions held is free after entry %d, they ended with 30", released)
	}
	if timedOut == 0 || timedOut > 56 {
		t.Errorf("the calls have timed out after entry %d, their time was over with 51; timed out %d", timedOut, d.codes[protocol.CodeTimedOut])
	}
	// Entries live for ten entries.
	if limit := 14*puts + holders*(calls+2); most > limit {
		t.Errorf("%d rows, more than %d", most, limit)
	}
	d.entry(time.Minute, func() {})
	for n := 0; d.state.Unfinished(); n++ {
		if d.bounded(0, 0); n > 40 {
			t.Fatalf("%d rows are left", d.state.Totals().Rows)
		}
		d.entry(0, func() {})
	}
}

// TestPartitionsTakeTurns lets one partition have a backlog that is never gone:
// the others' due rows are cleaned up in bounded time.
func TestPartitionsTakeTurns(t *testing.T) {
	d := newDriver(t)
	d.attach(1, 2)
	for e := range 40 {
		d.entry(time.Millisecond, func() {
			for i := range 1000 {
				n := e*1000 + i
				d.call(slot{1, 0, uint16(n % 64)}, 0, maps, users, mapPut, items(key(fmt.Sprint("k", n)), small(1), 100))
			}
		})
	}
	d.entry(50*time.Millisecond, func() {
		for p := protocol.PartitionID(1); p < driverPartitions; p++ {
			d.call(slot{1, p, 0}, 0, maps, users, mapPut, items(key("one"), small(1), 100))
		}
	})
	d.entry(time.Minute, func() {})
	left := func() int { return d.state.Totals().Structures - 1 } // of the others: an empty part vanishes
	n := 1
	for ; left() > 0 && n < 20; n++ {
		d.entry(0, func() {})
	}
	if d.state.Totals().Rows < 10_000 {
		t.Fatal("the backlog is gone before: this shows nothing")
	}
	if left() > 0 {
		t.Errorf("after %d entries rows of %d other partitions are still due", n, left())
	}
}

// withdrawals counts how often a Machine is told that calls have left.
type withdrawals struct {
	structures.Machine
	n *int
}

func (m withdrawals) Withdrawn(env structures.Env) {
	*m.n++
	m.Machine.Withdrawn(env)
}

// TestWithdrawalIsLinear ends sessions with 9,990 waiting calls of one
// semaphore. The semaphore is told now and then, not for each call, and a look
// at the line passes over those that are out of sight once only.
func TestWithdrawalIsLinear(t *testing.T) {
	d := newDriver(t)
	told := 0
	kinds := goldenKinds()
	for i := range kinds {
		if kinds[i].ID == semaphores {
			kinds[i].Machine = withdrawals{kinds[i].Machine, &told}
		}
	}
	d.restore(kinds)
	d.attach(1, 13)
	d.line(1, 10, 999, 0)
	d.entry(0, func() {
		d.call(slot{12, 1, 0}, protocol.FlagWait, semaphores, writers, semaphoreAcquire, asking(1, 0))
		d.ends(2, 3, 4, 5, 6, 7, 8, 9, 10, 11)
	})
	entries := 1
	d.bounded(16, 1)
	if first, second := d.state.PassedOver(1, semaphores, writers), d.state.PassedOver(1, semaphores, writers); first+second > 10_000 || second != 0 {
		t.Errorf("a look at the line passes over %d calls, the next over %d", first, second)
	}
	for d.state.Unfinished() {
		entries++
		d.entry(0, func() {})
		d.bounded(0, 0)
	}
	if n := d.codes[protocol.CodeSessionEnded]; n != 9990 {
		t.Errorf("%d calls were told of their session's end", n)
	}
	if told > 9990/32 {
		t.Errorf("the semaphore was told %d times", told)
	}
	if entries > 12 {
		t.Errorf("it took %d entries", entries)
	}
	d.entry(0, func() { d.call(slot{1, 1, 1}, 0, semaphores, writers, structures.OpDestroy, items()) })
	if d.codes[protocol.CodeDestroyed] != 1 {
		t.Error("the call that is left was not granted its end")
	}
}

// restore makes the state anew from its own snapshot, with other Machines.
func (d *driver) restore(kinds []structures.Kind) {
	d.t.Helper()
	var b bytes.Buffer
	if err := d.state.Prepare().WriteTo(&b, nil); err != nil {
		d.t.Fatal(err)
	}
	d.state = groupstate.New(kinds)
	if err := d.state.Restore(&b, nil); err != nil {
		d.t.Fatal(err)
	}
}

// TestWorkOfAnEntryIsBounded makes room in a hundred full queues at once, where
// a hundred calls wait to put: one entry must not let all of them in, the next
// ones must.
func TestWorkOfAnEntryIsBounded(t *testing.T) {
	d := newDriver(t)
	d.attach(1, 202)
	const full, waiting, capacity = 100, 100, 100
	for q := range protocol.SessionID(full) {
		d.entry(0, func() {
			in := slot{1, protocol.PartitionID(q % driverPartitions), 0}
			d.call(in, 0, queues, fmt.Sprint(jobs, q), structures.OpConfigure, items(word("capacity"), capacity))
			for range capacity {
				d.call(in, 0, queues, fmt.Sprint(jobs, q), queueOffer, items(small(1)))
			}
			for c := range uint16(waiting) {
				d.call(slot{q + 2, in.partition, c}, protocol.FlagWait, queues, fmt.Sprint(jobs, q), queuePut, items(small(2), 0))
			}
		})
	}
	drain := func(op protocol.Op, most int64) {
		d.entry(0, func() {
			for q := range protocol.SessionID(full) {
				d.call(slot{1, protocol.PartitionID(q % driverPartitions), uint16(q / driverPartitions)}, 0, queues, fmt.Sprint(jobs, q), op, ints(most, 0))
			}
		})
	}
	drain(6, 1000)
	if n := d.replies[protocol.CodeOK]; n != full {
		t.Fatalf("%d drains were carried out", n)
	}
	d.bounded(full*(16+3*capacity), 0)
	entries, grants := 1, d.grants
	for d.state.Unfinished() {
		d.entry(0, func() {})
		d.bounded(0, 0)
		entries++
		grants = max(grants, d.grants)
	}
	if n := d.codes[protocol.CodeOK]; n != full*waiting {
		t.Errorf("%d of %d were let in", n, full*waiting)
	}
	if grants > 4000 || entries < 3 {
		t.Errorf("up to %d grants an entry, in %d entries", grants, entries)
	}
}

// TestRequestsBeyondTheCostAreRefused applies an entry that no leader of this
// version would make: 500 drains of 1,000 elements. Those that it has no room
// for have not entered.
func TestRequestsBeyondTheCostAreRefused(t *testing.T) {
	d := newDriver(t)
	d.attach(1, 2)
	const drains, elements = 100, 1000
	name := func(q int) string { return fmt.Sprint(jobs, q) }
	for q := range drains {
		d.entry(0, func() {
			for range elements {
				d.call(slot{1, protocol.PartitionID(q % driverPartitions), uint16(q / driverPartitions)}, 0, queues, name(q), queueOffer, items(small(1)))
			}
		})
	}
	done, entries := 0, 0
	for ; done < drains; entries++ {
		first := done
		if entries == drains {
			t.Fatal("some are always refused")
		}
		d.entry(0, func() {
			for q := first; q < drains; q++ {
				in := slot{1, protocol.PartitionID(q % driverPartitions), uint16(q / driverPartitions)}
				d.call(in, 0, queues, name(q), queueDrain, ints(elements, 0))
				d.sequences[in]-- // the same call again, if it is refused
			}
		})
		if w := d.state.Worked(); w.Requests > groupstate.MaxSpent+4*elements {
			t.Fatalf("an entry costs %+v", w)
		}
		done += d.replies[protocol.CodeOK]
		for q := first; q < done; q++ {
			d.sequences[slot{1, protocol.PartitionID(q % driverPartitions), uint16(q / driverPartitions)}]++
		}
		if d.replies[protocol.CodeOK]+d.replies[protocol.CodeBusy] != drains-first {
			t.Fatalf("the drains are answered %v", d.replies)
		}
	}
	if entries < 2 {
		t.Error("one entry had room for all: this shows nothing")
	}
}

// TestLenBesideABacklog compares the length of a map with its entries, while
// more are due than an entry cleans up, and while due ones are written again.
func TestLenBesideABacklog(t *testing.T) {
	d := newDriver(t)
	d.attach(1, 2)
	put := func(n, ttl int) {
		d.call(slot{1, 0, uint16(n % 64)}, 0, maps, users, mapPut, items(key(fmt.Sprint("k", n)), small(1), ttl))
		d.call(slot{1, 0, uint16(n % 64)}, 0, maps, scores, mapPut, items(key(fmt.Sprint("k", n)), small(1), ttl))
	}
	for e := range 10 {
		d.entry(time.Millisecond, func() {
			for i := range 1000 {
				put(e*1000+i, 100+i%500)
			}
		})
	}
	check := func() {
		t.Helper()
		for _, name := range []string{users, scores} {
			if got, want := d.length(0, name), d.entries(0, name); got != want {
				t.Fatalf("%s has length %d and %d entries", name, got, want)
			}
		}
	}
	check()
	for n := range 40 {
		d.entry(20*time.Millisecond, func() {
			for i := range 20 {
				put((n*20+i)*7%10_000, 100+n%3*100)
			}
		})
		check()
		if n == 10 {
			d.restore(goldenKinds())
			check()
		}
	}
	d.entry(time.Minute, func() {})
	for d.state.Unfinished() {
		check()
		d.entry(0, func() {})
	}
	if check(); d.length(0, users) != 0 || d.state.Totals().Structures != 0 {
		t.Errorf("%d entries of %d maps are left", d.length(0, users), d.state.Totals().Structures)
	}
}

// length returns the length of a part of a map.
func (d *driver) length(p protocol.PartitionID, name string) int {
	d.t.Helper()
	var r groupstate.Reader
	q := protocol.Request{Partition: p, Flags: protocol.FlagRead, Kind: maps, Op: structures.OpLength, Name: name, Body: ints()}
	res, _ := r.Read(d.state, &q)
	b := protocol.NewReader(res.Body)
	b.Array(1)
	return int(b.Uint())
}

// entries counts the entries of a part of a map by going through it. No page
// looks at more rows than it may.
func (d *driver) entries(p protocol.PartitionID, name string) int {
	d.t.Helper()
	n := 0
	for from := []byte{}; ; {
		body := protocol.AppendUint(protocol.AppendBytes(protocol.AppendBytes(protocol.AppendArray(nil, 3), from), nil), 1<<20)
		q := protocol.Request{Partition: p, Flags: protocol.FlagRead, Kind: maps, Op: mapScanKeys, Name: name, Body: body}
		var r groupstate.Reader
		res, _ := r.Read(d.state, &q)
		if r.Cost() > 2*1000+2 {
			d.t.Fatalf("a page of a scan looks at %d rows", r.Cost())
		}
		b := protocol.NewReader(res.Body)
		n += b.ArrayLen() - 1
		next := bytes.Clone(b.Bytes())
		if len(next) == 0 {
			return n
		}
		if bytes.Compare(next, from) <= 0 {
			d.t.Fatal("a scan does not go on")
		}
		from = next
	}
}

// TestEmptyStructuresVanish makes structures of which nothing is left: they do
// not stay for ever. What is left of others keeps them.
func TestEmptyStructuresVanish(t *testing.T) {
	d := newDriver(t)
	d.attach(1, 4)
	expect := func(what string, structures int) {
		t.Helper()
		if n := d.state.Totals().Structures; n != structures {
			t.Errorf("%s: %d structures, want %d", what, n, structures)
		}
		var b bytes.Buffer
		if err := d.state.Prepare().WriteTo(&b, nil); err != nil {
			t.Fatal(err)
		}
		if r := restored(t, b.Bytes()); r.hash() != d.state.Prepare().Hash() {
			t.Errorf("%s: a restored replica differs", what)
		}
	}
	in := slot{1, 1, 0}
	d.entry(0, func() {
		for n := range 100 {
			d.call(in, 0, maps, fmt.Sprint(users, n), mapPut, items(key("a"), small(1), 0))
			d.call(in, 0, maps, fmt.Sprint(users, n), mapDelete, items(key("a")))
			d.call(in, 0, maps, fmt.Sprint(scores, n), mapPut, items(key("a"), small(1), 100))
			d.call(in, 0, queues, fmt.Sprint(jobs, n), queueOffer, items(small(1)))
			d.call(in, 0, queues, fmt.Sprint(jobs, n), queuePoll, ints(0))
		}
	})
	expect("maps with entries that expire", 100)
	d.entry(time.Second, func() {})
	expect("after the entries have expired", 0)
	d.entry(0, func() {
		d.call(in, 0, counters, hits, counterSet, ints(0))
		d.call(in, 0, queues, narrow, structures.OpConfigure, items(word("capacity"), 5))
		d.call(in, 0, semaphores, writers, semaphoreInit, ints(1))
		d.call(in, 0, maps, users, structures.OpConfigure, items(word("ttl"), 1000))
	})
	expect("a counter that was set, and structures with settings", 4)

	var gone protocol.Caller
	d.entry(0, func() {
		d.call(slot{2, 1, 0}, protocol.FlagWait, queues, jobs, queueTake, ints(0, 0))
		d.call(slot{3, 1, 0}, protocol.FlagWait, queues, jobs, queueTake, ints(0, 0))
		gone = protocol.Caller{Session: 2, Slot: 0, Sequence: 1}
	})
	expect("a queue where two calls wait", 5)
	d.entry(0, func() {
		q := protocol.Request{Partition: 1, Op: protocol.OpCancel, Caller: gone, Highest: 3}
		d.b.Request(q.Append(nil))
	})
	expect("a queue where one call waits", 5)
	d.entry(0, func() { d.call(in, 0, queues, jobs, queueOffer, items(small(1))) })
	if d.codes[protocol.CodeReserved] != 1 {
		t.Errorf("the call that waits was not given the element: %v", d.codes)
	}
	d.entry(0, func() {
		q := protocol.Request{Partition: 1, Op: protocol.OpConfirm, Caller: protocol.Caller{Session: 3, Slot: 0, Sequence: 1}, Highest: 3}
		d.b.Request(q.Append(nil))
	})
	expect("after the element was taken", 4)
	if n := d.codes[protocol.CodeDestroyed]; n != 0 {
		t.Errorf("%d calls were told that their structure was destroyed", n)
	}
}

// TestNumbersOfElementsOnlyGrow empties a queue while it is cleared in steps:
// what is put afterwards stays.
func TestNumbersOfElementsOnlyGrow(t *testing.T) {
	d := newDriver(t)
	d.attach(1, 2)
	in := slot{1, 1, 0}
	d.entry(0, func() {
		for range 1500 {
			d.call(in, 0, queues, jobs, queueOffer, items(small(1)))
		}
	})
	var mark []byte
	g := &golden{state: d.state}
	d.b.Reset(groupstate.Header{ClockEpoch: 1}, 64)
	d.call(in, 0, queues, jobs, queueClear, ints(0))
	if err := d.state.Apply(d.b.Bytes(), g); err != nil {
		t.Fatal(err)
	}
	var body string
	if _, err := fmt.Sscanf(g.log.String(), "  0: code 0 version 1501 body %s", &body); err != nil {
		t.Fatal(err, g.log.String())
	}
	if _, err := fmt.Sscanf(body, "%x", &mark); err != nil || len(mark) < 4 {
		t.Fatalf("the mark is %x, %v: there are more elements than a step clears", mark, err)
	}
	d.entry(0, func() {
		d.call(in, 0, queues, jobs, queueDrain, ints(1000, 0))
		d.call(in, 0, queues, jobs, queueOffer, items(small(2)))
		d.call(in, 0, queues, jobs, queueClear, mark)
		d.call(in, 0, queues, jobs, queuePoll, ints(0))
	})
	if n := d.replies[protocol.CodeOK]; n != 4 {
		t.Errorf("an element that was put after the queue was cleared is gone: %v", d.replies)
	}
}

// TestReleaseOfWhatIsNotThere: a replica that notes partitions where an ended
// session has nothing left, as a restored one does not, releases the session in
// the same entry. The records in the first partition cost just one turn.
func TestReleaseOfWhatIsNotThere(t *testing.T) {
	d := newDriver(t)
	d.attach(1, 2)
	const parts = groupstate.CleanupCost / groupstate.MaxSlots
	for p := range protocol.PartitionID(parts) {
		d.entry(0, func() {
			for i := range uint16(groupstate.MaxSlots) {
				d.call(slot{1, p, i}, 0, counters, hits, counterAdd, ints(1))
			}
		})
	}
	restored := *d
	restored.restore(goldenKinds())
	d.state.Touch(1, parts)
	for range 3 {
		for _, d := range []*driver{d, &restored} {
			d.entry(0, func() {
				if d.ended == 0 {
					d.ends(1)
				}
			})
		}
		if got, want := d.state.Prepare().Hash(), restored.state.Prepare().Hash(); got != want {
			t.Fatalf("hash %x, restored %x", got, want)
		}
	}
	if d.state.Unfinished() {
		t.Error("the session is not released")
	}
}

// TestElementsThatComeBackAreCleared gives an element back to a queue that had
// none, and clears it.
func TestElementsThatComeBackAreCleared(t *testing.T) {
	d := newDriver(t)
	d.attach(1, 3)
	d.entry(0, func() {
		d.call(slot{2, 1, 0}, protocol.FlagWait, queues, jobs, queueTake, ints(0, 0))
		d.call(slot{1, 1, 0}, 0, queues, jobs, queueOffer, items(small(1)))
	})
	d.entry(0, func() { d.ends(2) })
	d.entry(0, func() {
		d.call(slot{1, 1, 0}, 0, queues, jobs, queueClear, ints(0))
		d.call(slot{1, 1, 0}, 0, queues, jobs, queuePoll, ints(0))
	})
	if d.codes[protocol.CodeReserved] != 1 || d.replies[protocol.CodeOK] != 1 {
		t.Errorf("the element is still there: %v, %v", d.codes, d.replies)
	}
}
