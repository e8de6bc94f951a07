package groupstate_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// observed is what can be seen of a script: all answers, and after each entry what
// is due when, reads at the leader, indexes and rows. If seed is not 0, states that
// are restored from snapshots go on here and there.
func (s *script) observed(play func(*script), seed uint64) string {
	var seen strings.Builder
	r := rand.New(rand.NewPCG(seed, 1))
	s.note = func() {
		if seed != 0 && r.IntN(4) == 0 {
			log := s.log
			s.golden = *restored(s.t, s.snapshot(s.t))
			s.log = log
		}
		now := s.state.Clock().Now
		due, has := s.state.NextDue()
		if has {
			due -= now
		}
		fmt.Fprintln(&seen, s.state.Structures())
		fmt.Fprintf(&seen, "%d: due in %d (%t), unfinished %t, worked %+v\n%s", s.number, due, has, s.state.Unfinished(), s.state.Worked(), s.state.Derived())
		for _, wait := range []time.Duration{0, 30 * time.Millisecond, time.Minute} {
			for _, q := range []protocol.Request{
				{Partition: other, Kind: maps, Op: mapGet, Name: users, Body: items(key("ada"))},
				{Partition: other, Kind: maps, Op: mapGet, Name: users, Body: items(key("k3"))},
				{Partition: other, Kind: maps, Op: mapScan, Name: users, Body: items([]byte(nil), []byte(nil), 10_000)},
				{Partition: third, Kind: semaphores, Op: semaphoreAvailable, Name: writers, Body: ints()},
			} {
				q.Flags = protocol.FlagRead
				reader := groupstate.Reader{}
				if wait > 0 {
					reader.Time = now.Add(wait)
				}
				res, rev := reader.Read(s.state, &q)
				fmt.Fprintf(&seen, "read: code %d revision %d body %x\n", res.Code, rev, res.Body)
			}
		}
	}
	play(s)
	for line := range strings.Lines(s.log.String()) {
		if !strings.HasPrefix(line, "entry ") {
			seen.WriteString(line)
		}
	}
	seen.WriteString(s.state.Rows())
	return seen.String()
}

// random plays what has to do with time: times to live, waits with an end, sweeps,
// sessions that end, leaders that take the clock.
func random(seed uint64) func(*script) {
	return func(s *script) {
		r := rand.New(rand.NewPCG(seed, 0))
		s.begin()
		s.entry("semaphores", 6, func() { s.call(slot{ann, third, 0}, semaphores, writers, semaphoreInit, ints(2)) })
		at, ends := int64(10), uint64(0)
		live := []protocol.SessionID{ann, bob, cyd, dan}
		for n := range 150 {
			at += r.Int64N(200)
			s.entry("entry", at, func() {
				for range r.IntN(5) {
					in := slot{session: live[r.IntN(len(live))], slot: uint16(r.IntN(4))}
					k := key(fmt.Sprint("k", r.IntN(9)))
					switch r.IntN(8) {
					case 0, 1:
						in.partition = other
						s.call(in, maps, users, mapPut, items(k, small(byte(n%24)), []int{0, -1, 100, 300, 60_000}[r.IntN(5)]))
					case 2:
						in.partition = other
						s.call(in, maps, users, mapSetTTL, items(k, 100+r.IntN(500)))
					case 3:
						in.partition = third
						s.waiting(in, semaphores, writers, semaphoreAcquire, asking(1+r.Int64N(2), r.Int64N(400)))
					case 4:
						in.partition = third
						s.call(in, semaphores, writers, semaphoreAddPermits, ints(1))
					case 5:
						in.partition = elsewhere
						s.waiting(in, queues, jobs, queueTake, ints(r.Int64N(400), 0))
					case 6:
						in.partition = elsewhere
						s.call(in, queues, jobs, queueOffer, items(text("j")))
					case 7:
						in.partition = elsewhere
						c := protocol.Caller{Session: in.session, Slot: in.slot, Sequence: max(s.sequences[in], 1)}
						s.sequences[in] = c.Sequence
						s.control(elsewhere, c, protocol.Op(1+r.IntN(2)))
					}
				}
				switch {
				case r.IntN(50) == 0 && len(live) > 1:
					s.b.Ends(ends, live[:1])
					live = live[1:]
					ends++
				case n == 100:
					s.b.Claim(79)
				}
			})
			if n == 100 {
				s.epoch, at = 2, 0
			}
		}
	}
}

// backlog plays more that is due than an entry clears, and some that will be.
func backlog(s *script) {
	s.begin()
	for part := range 15 {
		s.entry("much that is due at once", 10, func() {
			all := []any{[]int{100, 400}[part%2]}
			for i := range 400 {
				all = append(all, key(fmt.Sprintf("k%02d%03d", part, i)), small(1))
			}
			s.call(slot{ann, other, 0}, maps, users, mapPutAll, items(all...))
		})
	}
	for n := range int64(20) {
		s.entry("it is cleared in pieces", 120+20*n, func() {})
	}
}

// TestPartitionClock: whatever a partition is ahead of its group's log time, or
// behind it, nobody can tell: where its own time is the same, all else is.
func TestPartitionClock(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	const ahead = 1000 * time.Hour // what the partitions' time begins with
	for name, play := range map[string]func(*script){"golden": (*script).play, "random": random(seed), "backlog": backlog} {
		observe := func(offset time.Duration, seed uint64) string {
			s := &script{t: t, golden: golden{state: groupstate.New(goldenKinds())}, sequences: map[slot]uint64{}}
			s.shift, s.offset = ahead-offset, offset
			return s.observed(play, seed)
		}
		for _, seed := range []uint64{0, seed} {
			want := observe(0, seed)
			for _, offset := range []time.Duration{1, ahead, time.Duration(r.Int64N(int64(ahead))), -time.Hour, -50 * ahead} {
				if diff := cmp.Diff(want, observe(offset, seed)); diff != "" {
					t.Fatalf("%s: ahead by %v (-want +got):\n%.4000s", name, offset, diff)
				}
			}
		}
	}
}

// TestPartitionClock_Never: what is never due is not due for being ahead.
func TestPartitionClock_Never(t *testing.T) {
	for _, offset := range []time.Duration{0, math.MaxInt64 / 4, -time.Hour} {
		s := &script{t: t, golden: golden{state: groupstate.New(goldenKinds())}, sequences: map[slot]uint64{}}
		s.shift, s.offset = 2*time.Hour, offset
		s.begin()
		for range 2 {
			if due, has := s.state.NextDue(); has {
				t.Errorf("ahead by %v: something is due at %d", offset, due)
			}
			if s.state.Unfinished() {
				t.Errorf("ahead by %v: something is left to do", offset)
			}
			s.golden = *restored(t, s.snapshot(t))
		}
	}
}

// TestLoad_TimeGoesOn: the time left to what a state that is taken over has is what
// it was when the state was saved, wherever the log time of the group stands that
// takes it over, and however long that takes; also where the saved state had been
// taken over itself.
func TestLoad_TimeGoesOn(t *testing.T) {
	left := func(s *script) int64 {
		t.Helper()
		var reader groupstate.Reader
		q := protocol.Request{Partition: other, Flags: protocol.FlagRead, Kind: maps, Op: mapGet, Name: users, Body: items(key("soon"))}
		res, _ := reader.Read(s.state, &q)
		r := protocol.NewReader(res.Body)
		if r.ArrayLen() == 0 {
			return 0
		}
		r.Skip()
		r.Skip()
		return r.Int()
	}
	old := quiet(t, (*script).lost)
	want := left(old)
	if want < 1000 || want >= 60_000 {
		t.Fatalf("%d ms are left in the state that is saved", want)
	}
	_, frames := archived(t, old.state)
	for _, began := range []int64{0, 1, 90, 3_600_000, 36_000_000} {
		s := quiet(t, func(*script) {})
		s.entry("own", 0, func() {
			s.b.Own(owned(true))
			s.b.Claim(77)
		})
		s.epoch = 1
		half := len(frames) / 2
		s.entry("the first half", began, func() {
			for n, f := range frames[:half] {
				s.b.Load(uint64(n), f)
			}
		})
		s.golden = *restored(t, s.snapshot(t))
		began += 100_000
		s.entry("the second half, later", began, func() {
			for n, f := range frames[half:] {
				s.b.Load(uint64(half+n), f)
			}
		})
		if got := left(s); got != want {
			t.Fatalf("loaded at %d ms: %d ms are left, %d were", began, got, want)
		}
		if due, has := s.state.NextDue(); !has || due.Sub(s.state.Clock().Now) > 10*time.Second {
			t.Errorf("loaded at %d ms: nothing is due before the grace period is over", began)
		}
		s.entry("all but a millisecond", began+want-1, func() {})
		if got := left(s); got != 1 {
			t.Errorf("loaded at %d ms: %d ms are left, not 1", began, got)
		}
		_, frames = archived(t, s.state) // the next takes over what was taken over
		s.entry("it is over", began+want, func() {})
		if got := left(s); got != 0 || strings.Contains(s.state.Rows(), fmt.Sprintf("%x", "soon")) {
			t.Errorf("loaded at %d ms: %d ms are left when it is over, or its row is", began, got)
		}
		want = 1
	}
}
