package groupstate_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// driver applies entries to a state of many partitions, and counts what they
// say.
type driver struct {
	t         testing.TB
	state     *groupstate.State
	b         groupstate.Builder
	elapsed   time.Duration
	ended     uint64
	sequences map[slot]uint64

	replies map[protocol.Code]int // of the last entry
	version protocol.Version      // of the last reply
	grants  int                   // of the last entry
	codes   map[protocol.Code]int // of all grants
}

const driverPartitions = 90

func newDriver(t testing.TB) *driver { return newDriverOf(t, goldenKinds()) }

func newDriverOf(t testing.TB, kinds []structures.Kind) *driver {
	d := &driver{
		t: t, state: groupstate.New(kinds), sequences: map[slot]uint64{},
		codes: map[protocol.Code]int{},
	}
	d.elapsed = time.Second // of the clock that is claimed
	owned := make([]protocol.PartitionID, driverPartitions)
	for i := range owned {
		owned[i] = protocol.PartitionID(i)
	}
	d.entry(0, func() {
		d.b.Own(groupstate.Ownership{Partitions: driverPartitions, Owned: owned, Limits: protocol.DefaultLimits()})
		d.b.Claim(1)
	})
	return d
}

// entry applies an entry after some time.
func (d *driver) entry(after time.Duration, fill func()) {
	d.t.Helper()
	d.elapsed += after
	d.b.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: int64(d.elapsed)}, 1<<16)
	fill()
	d.replies, d.grants = map[protocol.Code]int{}, 0
	if err := d.state.Apply(d.b.Bytes(), d); err != nil {
		d.t.Fatal(err)
	}
}

func (d *driver) Replied(_ int, _ *protocol.Request, r structures.Result, v protocol.Version) {
	d.version = v
	d.replies[r.Code]++
}

func (d *driver) Granted(_ protocol.PartitionID, _ protocol.Caller, r structures.Result, _ protocol.Version) {
	d.grants++
	d.codes[r.Code]++
}

func (d *driver) attach(from, to protocol.SessionID) {
	d.entry(0, func() {
		for id := from; id < to; id++ {
			d.b.Attach(id, d.ended)
		}
	})
}

func (d *driver) ends(ids ...protocol.SessionID) {
	d.b.Ends(d.ended, ids)
	d.ended += uint64(len(ids))
}

// call adds a request in the next sequence of a slot.
func (d *driver) call(in slot, flags protocol.Flags, kind protocol.KindID, name string, op protocol.Op, body []byte) {
	d.t.Helper()
	d.sequences[in]++
	q := protocol.Request{
		Partition: in.partition, Flags: flags, Kind: kind, Op: op, Name: name, Body: body, Highest: groupstate.MaxSlots - 1,
		Caller: protocol.Caller{Session: in.session, Slot: in.slot, Sequence: d.sequences[in]},
	}
	gate := d.state.Gate()
	if r := gate.Check(&q); r.Code != protocol.CodeOK {
		d.t.Fatalf("a leader would refuse it: code %d %q", r.Code, r.Body)
	}
	d.b.Request(q.Append(nil))
}

// settle applies empty entries until nothing is unfinished, and returns how
// many.
func (d *driver) settle(most int) int {
	d.t.Helper()
	n := 0
	for ; d.state.Unfinished(); n++ {
		if n == most {
			d.t.Fatalf("not finished after %d entries", most)
		}
		d.entry(0, func() {})
	}
	return n
}

// line fills a semaphore without free permits with waiting calls of n sessions,
// each calls of them, in turn.
func (d *driver) line(holder protocol.SessionID, sessions, calls int, timeout int64) {
	d.entry(0, func() {
		d.call(slot{holder, 1, 0}, 0, semaphores, writers, semaphoreInit, ints(1))
		d.call(slot{holder, 1, 1}, 0, semaphores, writers, semaphoreTryAcquire, asking(1))
	})
	for c := 0; c < calls; c += 100 {
		d.entry(0, func() {
			for i := c; i < min(c+100, calls); i++ {
				for s := range sessions {
					d.call(slot{holder + 1 + protocol.SessionID(s), 1, uint16(i)}, protocol.FlagWait, semaphores, writers, semaphoreAcquire, asking(1, timeout))
				}
			}
		})
	}
}

// BenchmarkWithdraw ends ten sessions with a thousand waiting calls each on one
// semaphore; it reports the longest entry.
func BenchmarkWithdraw(b *testing.B) {
	var longest time.Duration
	for b.Loop() {
		b.StopTimer()
		d := newDriver(b)
		d.attach(1, 12)
		d.line(1, 10, 999, 0)
		b.StartTimer()
		began := time.Now()
		d.entry(0, func() { d.ends(2, 3, 4, 5, 6, 7, 8, 9, 10, 11) })
		longest = max(longest, time.Since(began))
		for d.state.Unfinished() {
			began := time.Now()
			d.entry(0, func() {})
			longest = max(longest, time.Since(began))
		}
	}
	b.ReportMetric(float64(longest)/1e6, "longest-ms")
}

// BenchmarkTimeouts lets 9,990 waiting calls of one semaphore time out.
func BenchmarkTimeouts(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		d := newDriver(b)
		d.attach(1, 12)
		d.line(1, 10, 999, 1000)
		b.StartTimer()
		d.entry(time.Minute, func() {})
		for d.codes[protocol.CodeTimedOut] < 9990 {
			d.entry(0, func() {})
		}
	}
}

// BenchmarkExpire puts 100,000 entries of a map and lets them expire.
func BenchmarkExpire(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		d := newDriver(b)
		d.attach(1, 2)
		d.backlog(100, 1000, 100)
		b.StartTimer()
		d.entry(time.Minute, func() {})
		for d.state.Totals().Rows > driverPartitions {
			d.entry(0, func() {})
		}
	}
}

// backlog puts entries of a map with a time to live, each its own key.
func (d *driver) backlog(entries, puts, ttl int) {
	for range entries {
		d.entry(time.Millisecond, func() { d.puts(puts, ttl) })
	}
}

// puts adds puts to the entry.
func (d *driver) puts(n, ttl int) {
	for range n {
		d.sequences[slot{}]++
		i := d.sequences[slot{}]
		d.call(slot{1, protocol.PartitionID(i % driverPartitions), uint16(i / driverPartitions % 64)}, 0, maps, users, mapPut,
			items(key(fmt.Sprint("k", i)), small(1), ttl))
	}
}

// BenchmarkLen asks for the length of a map while 100,000 of its entries are
// due.
func BenchmarkLen(b *testing.B) {
	d := newDriver(b)
	d.attach(1, 2)
	d.backlog(100, 1000, 100)
	d.entry(time.Minute, func() {})
	var r groupstate.Reader
	q := protocol.Request{Partition: 1, Flags: protocol.FlagRead, Kind: maps, Op: structures.OpLength, Name: users, Body: ints()}
	for b.Loop() {
		r.Read(d.state, &q)
	}
}

// BenchmarkTrim applies adds to a counter by a session that has used 1,023 slots
// while one large reply is kept.
func BenchmarkTrim(b *testing.B) {
	d := newDriver(b)
	d.attach(1, 2)
	value := make([]byte, 1000)
	value[0] = 3
	d.entry(0, func() {
		d.call(slot{1, 1, 0}, 0, maps, users, mapSwap, items(key("a"), value, 0))
		d.call(slot{1, 1, 0}, 0, maps, users, mapSwap, items(key("a"), value, 0))
		for s := range uint16(groupstate.MaxSlots - 1) {
			d.call(slot{1, 1, s + 1}, 0, counters, hits, counterAdd, ints(1))
		}
	})
	for n := uint64(1); b.Loop(); n++ {
		q := protocol.Request{Partition: 1, Kind: counters, Op: counterAdd, Name: hits, Body: ints(1), Highest: 2, Caller: protocol.Caller{Session: 1, Slot: 1, Sequence: n + 1}}
		d.entry(0, func() { d.b.Request(q.Append(nil)) })
	}
}

// BenchmarkRelease ends a thousand sessions that have called once, in one
// partition of ninety.
func BenchmarkRelease(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		d := newDriver(b)
		d.attach(1, 1001)
		ids := make([]protocol.SessionID, 1000)
		d.entry(0, func() {
			for i := range ids {
				ids[i] = protocol.SessionID(i + 1)
				d.call(slot{ids[i], protocol.PartitionID(i % driverPartitions), 0}, 0, counters, hits, counterAdd, ints(1))
			}
		})
		b.StartTimer()
		d.entry(0, func() { d.ends(ids...) })
		d.settle(1000)
	}
}

// BenchmarkQueueCycle puts one element into an empty queue and takes it.
func BenchmarkQueueCycle(b *testing.B) {
	d := newDriver(b)
	d.attach(1, 2)
	b.ReportAllocs()
	for b.Loop() {
		d.entry(0, func() {
			for range 50 {
				d.call(slot{1, 1, 0}, 0, queues, jobs, queueOffer, items(small(1)))
				d.call(slot{1, 1, 0}, 0, queues, jobs, queuePoll, ints(0))
			}
		})
		if d.replies[protocol.CodeOK] != 100 {
			b.Fatal(d.replies)
		}
	}
}

// BenchmarkDrains applies 500 drains of 1,000 elements.
func BenchmarkDrains(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		d := newDriver(b)
		d.attach(1, 2)
		for q := range 500 {
			d.entry(0, func() {
				for range 1000 {
					d.call(slot{1, protocol.PartitionID(q % driverPartitions), 0}, 0, queues, fmt.Sprint(jobs, q), queueOffer, items(small(1)))
				}
			})
		}
		b.StartTimer()
		d.entry(0, func() {
			for q := range 500 {
				d.call(slot{1, protocol.PartitionID(q % driverPartitions), uint16(q / driverPartitions)}, 0, queues, fmt.Sprint(jobs, q), queueDrain, ints(1000, 0))
			}
		})
	}
}
