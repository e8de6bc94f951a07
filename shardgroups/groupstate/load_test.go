package groupstate_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// quiet plays a script whose answers nobody keeps.
func quiet(t *testing.T, play func(*script)) *script {
	s := &script{t: t, golden: golden{state: groupstate.New(goldenKinds())}, sequences: map[slot]uint64{}}
	play(s)
	return s
}

// lost plays a group of which a survivor keeps a snapshot: data, a deadline,
// permits that are held and waited for, an element that is reserved.
func (s *script) lost() {
	s.begin()
	s.entry("data", 20, func() {
		s.call(slot{ann, home, 0}, counters, hits, 3, ints(5))
		s.call(slot{ann, other, 0}, maps, users, 3, items(key("ada"), text("a1"), 0))
		s.call(slot{ann, other, 0}, maps, users, 2, items(key("soon"), text("x"), 60_000))
		s.call(slot{ann, third, 0}, semaphores, writers, 1, ints(2))
		s.waiting(slot{ann, third, 0}, semaphores, writers, 2, ints(2, 0))
		s.waiting(slot{bob, third, 0}, semaphores, writers, 2, ints(1, 0))
		s.waiting(slot{cyd, elsewhere, 0}, queues, jobs, 3, ints(0))
		s.call(slot{ann, elsewhere, 0}, queues, jobs, 2, items(text("j1")))
		s.call(slot{ann, elsewhere, 0}, queues, jobs, 2, items(text("j2")))
	})
	s.entry("a hundred milliseconds pass", 120, func() {})
}

// owned is what a group that takes the place of another is told.
func owned(loading bool) groupstate.Ownership {
	return groupstate.Ownership{
		Partitions: 8, Owned: []protocol.PartitionID{home, other, third, elsewhere}, Limits: protocol.DefaultLimits(),
		Generation: 1, HoldOff: 10 * time.Second, Ends: 7, Loading: loading,
	}
}

// playLoad writes the golden log of a group that takes over a state.
func (s *script) playLoad() {
	var snapshot bytes.Buffer
	old := quiet(s.t, (*script).lost)
	if err := old.state.Prepare().WriteTo(&snapshot, nil); err != nil {
		s.t.Fatal(err)
	}
	b := snapshot.Bytes()
	s.entry("a new group is told to load a state, and a leader takes the clock", 0, func() {
		s.b.Own(owned(true))
		s.b.Claim(77)
	})
	s.epoch = 1
	s.entry("until it is there every request is refused", 10, func() {
		s.b.Attach(dan, 7)
		s.call(slot{dan, home, 0}, counters, hits, 3, ints(1))
	})
	sum := uint64(0)
	for at := 0; at < len(b); at += 97 {
		chunk := b[at:min(at+97, len(b))]
		sum = groupstate.LoadSum(sum, chunk)
		s.entry("a chunk", int64(20+at), func() {
			s.b.Load(uint64(at), chunk)
			s.b.Load(uint64(at), chunk)
		})
	}
	s.entry("another length: the load begins anew", 5000, func() { s.b.Loaded(uint64(len(b)+1), sum) })
	s.entry("the whole, and its sum", 5001, func() {
		s.b.Load(0, b)
		s.b.Loaded(uint64(len(b)), sum)
	})
	s.entry("its data is served, permits are held back", 5002, func() {
		s.b.Attach(dan, 7)
		s.call(slot{dan, home, 0}, counters, hits, 3, ints(1))
		s.waiting(slot{dan, third, 0}, semaphores, writers, 2, ints(1, 0))
		s.call(slot{ann, home, 0}, counters, hits, 3, ints(1))
		s.waiting(slot{dan, elsewhere, 0}, queues, jobs, 3, ints(0))
	})
	s.entry("the hold-off is over", 16_000, func() {
		s.waiting(slot{dan, third, 0}, semaphores, writers, 2, ints(1, 0))
		s.b.Ends(7, []protocol.SessionID{50})
	})
}

// taken is a state that has taken a snapshot over in chunks of random sizes.
func taken(t *testing.T, snapshot []byte, r *rand.Rand, reborn int) *script {
	s := quiet(t, func(*script) {})
	s.entry("own", 0, func() {
		s.b.Own(owned(true))
		s.b.Claim(77)
	})
	s.epoch = 1
	sum := uint64(0)
	for at, n := 0, 0; at < len(snapshot); n++ {
		if n == reborn {
			s.state = restored(t, s.snapshot(t)).state
		}
		chunk := snapshot[at:min(at+1+r.IntN(200), len(snapshot))]
		sum = groupstate.LoadSum(sum, chunk)
		s.entry("chunk", int64(at), func() { s.b.Load(uint64(at), chunk) })
		at += len(chunk)
	}
	s.entry("end", int64(len(snapshot)), func() { s.b.Loaded(uint64(len(snapshot)), sum) })
	return s
}

// TestLoad takes a state over in chunks, and shows what is left of the old one.
func TestLoad(t *testing.T) {
	old := quiet(t, (*script).lost)
	snapshot := old.snapshot(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	first := taken(t, snapshot, rand.New(rand.NewPCG(seed, 0)), -1)
	if _, _, loading := first.state.Loading(); loading {
		t.Fatal("the load does not end")
	}
	for reborn := range 12 {
		s := taken(t, snapshot, rand.New(rand.NewPCG(seed, 0)), reborn)
		if s.hash() != first.hash() {
			t.Errorf("a replica that got a snapshot before chunk %d differs", reborn)
		}
	}
	for first.state.Unfinished() {
		first.entry("clean up", int64(len(snapshot)), func() {})
	}
	totals := first.state.Totals()
	if totals.Sessions != 0 || totals.Records != 0 || totals.Events != 0 {
		t.Errorf("%+v: sessions, records and events of the old group are left", totals)
	}
	if was := old.state.Totals(); totals.Structures != was.Structures {
		t.Errorf("%d structures, the old group had %d", totals.Structures, was.Structures)
	}
	if got, want := first.state.Clock().Now, old.state.Clock().Now; got < want {
		t.Errorf("time is %d, the old group's was %d", got, want)
	}
	lengths := map[string]int64{}
	for _, s := range first.state.Structures() {
		lengths[s.Name] = s.Len
	}
	if lengths[users] != 2 || lengths[jobs] != 2 {
		t.Errorf("lengths %v: the map had 2 entries, the queue 2 elements, one of them reserved", lengths)
	}
}

// TestLoad_Damaged shows that a damaged snapshot leaves nothing behind, and
// that it can be loaded again.
func TestLoad_Damaged(t *testing.T) {
	snapshot := quiet(t, (*script).lost).snapshot(t)
	for at := 0; at < len(snapshot); at += 7 {
		bad := bytes.Clone(snapshot)
		bad[at] ^= 0x41
		s := quiet(t, func(*script) {})
		s.entry("own", 0, func() { s.b.Own(owned(true)) })
		s.entry("load", 0, func() {
			s.b.Load(0, bad)
			s.b.Loaded(uint64(len(snapshot)), groupstate.LoadSum(0, snapshot))
		})
		if offset, failures, loading := s.state.Loading(); offset != 0 || failures == 0 || !loading {
			t.Fatalf("byte %d flipped: at %d after %d failures, loading %t", at, offset, failures, loading)
		}
		if totals := s.state.Totals(); totals.Rows != 0 || totals.Sessions != 0 || totals.Structures != 0 {
			t.Fatalf("byte %d flipped: %+v is left", at, totals)
		}
		s.entry("again", 0, func() {
			s.b.Load(0, snapshot)
			s.b.Loaded(uint64(len(snapshot)), groupstate.LoadSum(0, snapshot))
		})
		if _, _, loading := s.state.Loading(); loading {
			t.Fatal("the second load does not end")
		}
	}
}

// token acquires a permit in a new group and returns its token, and false
// where the group holds back.
func token(t *testing.T, s *script, session protocol.SessionID, at int64) (int64, bool) {
	t.Helper()
	var reply protocol.Code
	var tok int64
	s.entry("acquire", at, func() {
		s.b.Attach(session, s.state.Ends())
		s.call(slot{session, third, 0}, semaphores, writers, 1, ints(1))
		s.waiting(slot{session, third, 1}, semaphores, writers, 2, ints(1, 0))
	})
	lines := bytes.Split(bytes.TrimSpace(s.log.Bytes()), []byte("\n"))
	var i, revision int
	var body []byte
	if _, err := fmt.Sscanf(string(lines[len(lines)-1]), "  %d: code %d revision %d body %x", &i, &reply, &revision, &body); err != nil {
		t.Fatalf("%s: %v", lines[len(lines)-1], err)
	}
	if reply == protocol.CodeOK {
		if err := protocol.ReadInts(body, &tok); err != nil {
			t.Fatal(err)
		}
	}
	return tok, reply == protocol.CodeOK
}

// TestHoldOff shows that nothing is granted before a hold-off is over, that it
// is a deadline the group wakes up for, and that tokens grow over generations.
func TestHoldOff(t *testing.T) {
	var last int64
	for generation := range uint16(3) {
		s := quiet(t, func(*script) {})
		o := owned(false)
		o.Generation = generation
		s.entry("own", 0, func() {
			s.b.Own(o)
			s.b.Claim(1)
		})
		s.epoch = 1
		for _, at := range []int64{0, 5000, 9999} {
			if tok, ok := token(t, s, ann, at); ok {
				t.Fatalf("generation %d: a permit with token %d after %d ms", generation, tok, at)
			}
			if due, ok := s.state.NextDue(); !ok || time.Duration(due) != 10*time.Second {
				t.Fatalf("the next deadline is at %d, %t; the hold-off ends at 10 s", due, ok)
			}
		}
		tok, ok := token(t, s, ann, 10_000)
		if !ok || tok <= last {
			t.Fatalf("generation %d: token %d (%t) after %d", generation, tok, ok, last)
		}
		if _, ok := s.state.NextDue(); ok {
			t.Error("a deadline is left")
		}
		last = tok
	}
}

// TestFirstRevision shows that tokens can begin above those of an earlier grid.
func TestFirstRevision(t *testing.T) {
	s := quiet(t, func(*script) {})
	o := owned(false)
	o.HoldOff, o.Revision = 0, 5<<40
	s.entry("own", 0, func() { s.b.Own(o) })
	if tok, ok := token(t, s, ann, 0); !ok || tok <= 1<<48+5<<40 {
		t.Errorf("token %x, %t", tok, ok)
	}
}

// FuzzLoad shows that a snapshot of any bytes, in chunks of any size, is taken
// or refused, and that replicas agree on it.
func FuzzLoad(f *testing.F) {
	var snapshot bytes.Buffer
	s := fuzzedState()
	if err := s.Apply(seedEntry(), deaf{}); err != nil {
		f.Fatal(err)
	}
	if err := s.Prepare().WriteTo(&snapshot, nil); err != nil {
		f.Fatal(err)
	}
	f.Add(snapshot.Bytes(), uint16(10))
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		one, two := fuzzedState(), fuzzedState()
		apply := func(fill func(*groupstate.Builder)) {
			var e groupstate.Builder
			e.Reset(groupstate.Header{}, 0)
			fill(&e)
			if err := one.Apply(e.Bytes(), deaf{}); err != nil {
				t.Fatal(err)
			}
			if err := two.Apply(e.Bytes(), deaf{}); err != nil {
				t.Fatal(err)
			}
		}
		apply(func(e *groupstate.Builder) {
			e.Own(groupstate.Ownership{Partitions: 8, Owned: []protocol.PartitionID{0, 1}, Limits: protocol.DefaultLimits(), Loading: true})
		})
		n := int(size)%512 + 1
		for at := 0; at < len(b); at += n {
			apply(func(e *groupstate.Builder) { e.Load(uint64(at), b[at:min(at+n, len(b))]) })
			if at == 0 {
				var middle bytes.Buffer
				if err := two.Prepare().WriteTo(&middle, nil); err != nil {
					t.Fatal(err)
				}
				if two = fuzzedState(); two.Restore(&middle, nil) != nil {
					t.Fatal("a load in the middle cannot be restored")
				}
			}
		}
		apply(func(e *groupstate.Builder) { e.Loaded(uint64(len(b)), groupstate.LoadSum(0, b)) })
		if one.Prepare().Hash() != two.Prepare().Hash() {
			t.Fatal("replicas differ")
		}
	})
}
