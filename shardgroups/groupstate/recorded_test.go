package groupstate_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

// TestRecorded: a repeat is answered from the record where Apply would do it, and
// only there. Session 1 holds the permit of a semaphore, session 2 waits in line.
func TestRecorded(t *testing.T) {
	const calls = 1000
	newLine := func() *driver {
		d := newDriver(t)
		d.attach(1, 3)
		d.line(1, 1, calls, 0)
		return d
	}
	waits := func(slot uint16) protocol.Request {
		return protocol.Request{
			Partition: 1, Flags: protocol.FlagWait | protocol.FlagRepeat, Kind: semaphores, Op: semaphoreAcquire, Name: writers, Body: asking(1, 0),
			Caller: protocol.Caller{Session: 2, Slot: slot, Sequence: 1},
		}
	}
	for _, test := range []struct {
		name   string
		change func(*protocol.Request)
		want   bool
	}{
		{"waits", func(*protocol.Request) {}, true},
		{"another slot", func(q *protocol.Request) { q.Caller.Slot = calls }, false},
		{"a later sequence", func(q *protocol.Request) { q.Caller.Sequence = 2 }, false},
		{"an earlier sequence", func(q *protocol.Request) { q.Caller.Sequence = 0 }, false},
		{"another session", func(q *protocol.Request) { q.Caller.Session = 3 }, false},
		{"a partition that is not owned", func(q *protocol.Request) { q.Partition = driverPartitions }, false},
		{"a cancel", func(q *protocol.Request) { q.Kind, q.Op = protocol.KindControl, protocol.OpCancel }, false},
	} {
		d, q := newLine(), waits(calls-1)
		test.change(&q)
		if r, _, ok := d.state.Recorded(&q); ok != test.want || ok && !r.IsWaiting() {
			t.Errorf("%s: %t, code %d", test.name, ok, r.Code)
		}
	}

	// A session that has ended has more calls than one entry withdraws.
	d := newLine()
	for p := protocol.PartitionID(2); p < 6; p++ {
		for c := uint16(0); c < calls; c += 100 {
			d.entry(0, func() {
				for i := range uint16(100) {
					d.call(slot{2, p, c + i}, protocol.FlagWait, queues, jobs, queueTake, ints(0, 0))
				}
			})
		}
	}
	d.entry(0, func() { d.ends(2) })
	if !d.state.Unfinished() {
		t.Fatal("all calls of the ended session are withdrawn by one entry: let more of them wait")
	}
	for p := protocol.PartitionID(1); p < 6; p++ {
		for c := range uint16(calls) {
			q := waits(c)
			q.Partition = p
			if r, _, ok := d.state.Recorded(&q); ok {
				t.Fatalf("a call of an ended session in partition %d is answered with code %d", p, r.Code)
			}
		}
	}
}

// TestRecorded_GracePeriod: what Apply refuses before it looks at a record, because the
// group's data is lost or being loaded, is not answered from one.
func TestRecorded_GracePeriod(t *testing.T) {
	for _, loading := range []bool{false, true} {
		s := quiet(t, func(*script) {})
		s.entry("own", 0, func() {
			s.b.Own(owned(loading))
			s.b.Claim(1)
			s.b.Attach(ann, 7)
		})
		s.epoch = 1
		cancel := protocol.Request{Partition: third, Kind: protocol.KindControl, Op: protocol.OpCancel, Caller: protocol.Caller{Session: ann, Sequence: 1}}
		s.entry("a cancel leaves a record", 1, func() { s.b.Request(cancel.Append(nil)) })
		again := protocol.Request{
			Partition: third, Flags: protocol.FlagWait, Kind: semaphores, Op: semaphoreAcquire, Name: writers, Body: asking(1, 0), Caller: cancel.Caller,
		}
		if r, _, ok := s.state.Recorded(&again); ok {
			t.Errorf("loading %t: code %d", loading, r.Code)
		}
		if loading {
			continue
		}
		s.entry("the grace period is over", (11 * time.Second).Milliseconds(), func() {})
		if r, _, ok := s.state.Recorded(&again); !ok || r.Code != protocol.CodeCancelled {
			t.Errorf("afterwards: %t, code %d", ok, r.Code)
		}
	}
}
