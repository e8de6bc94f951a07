package groupstate_test

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// quiet plays a script whose answers nobody keeps.
func quiet(t *testing.T, play func(*script)) *script {
	s := &script{t: t, golden: golden{state: groupstate.New(goldenKinds())}, sequences: map[slot]uint64{}}
	play(s)
	return s
}

// lost plays a group of which a survivor keeps something: data, a deadline,
// permits that are held and waited for, an element that is reserved.
func (s *script) lost() {
	s.begin()
	s.entry("data", 20, func() {
		s.call(slot{ann, home, 0}, counters, hits, counterAdd, ints(5))
		s.call(slot{ann, other, 0}, maps, users, mapSwap, items(key("ada"), text("a1"), 0))
		s.call(slot{ann, other, 0}, maps, users, mapPut, items(key("soon"), text("x"), 60_000))
		s.call(slot{ann, third, 0}, semaphores, writers, semaphoreInit, ints(2))
		s.waiting(slot{ann, third, 0}, semaphores, writers, semaphoreAcquire, asking(2, 0))
		s.waiting(slot{bob, third, 0}, semaphores, writers, semaphoreAcquire, asking(1, 0))
		s.waiting(slot{cyd, elsewhere, 0}, queues, jobs, queueTake, ints(0, 0))
		s.call(slot{ann, elsewhere, 0}, queues, jobs, queueOffer, items(text("j1")))
		s.call(slot{ann, elsewhere, 0}, queues, jobs, queueOffer, items(text("j2")))
	})
	s.entry("a hundred milliseconds pass", 120, func() {})
}

// owned is what a group that takes the place of another is told.
func owned(loading bool) groupstate.Ownership {
	return groupstate.Ownership{
		Partitions: 8, Owned: []protocol.PartitionID{home, other, third, elsewhere}, Limits: protocol.DefaultLimits(),
		Generation: 1, GracePeriod: 10 * time.Second, Ends: 7, Loading: loading,
	}
}

// archived returns the archive of a state, and its frames.
func archived(t testing.TB, s *groupstate.State) ([]byte, []archive.Frame) {
	t.Helper()
	var b bytes.Buffer
	if _, err := s.Prepare().WriteArchive(&b, archive.Header{Name: "prod", Group: 2, Index: 99}, nil); err != nil {
		t.Fatal(err)
	}
	r, err := archive.NewReader(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	var frames []archive.Frame
	for {
		f, err := r.Next()
		if errors.Is(err, io.EOF) {
			return b.Bytes(), frames
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Content = bytes.Clone(f.Content)
		frames = append(frames, f)
	}
}

// playLoad writes the golden log of a group that takes over an archive.
func (s *script) playLoad() {
	_, frames := archived(s.t, quiet(s.t, (*script).lost).state)
	s.entry("a new group is told to load an archive, and a leader takes the clock", 0, func() {
		s.b.Own(owned(true))
		s.b.Claim(77)
	})
	s.epoch = 1
	s.entry("until it is there every request is refused", 10, func() {
		s.b.Attach(dan, 7)
		s.call(slot{dan, home, 0}, counters, hits, counterAdd, ints(1))
	})
	last := len(frames) - 1
	for i, f := range frames[:last] {
		s.entry("a frame, twice", int64(20+i), func() {
			s.b.Load(uint64(i), f)
			s.b.Load(uint64(i), f)
		})
	}
	s.entry("the footer of another archive: the load begins anew", 5000, func() {
		f := frames[last]
		f.Content = bytes.Clone(f.Content)
		f.Content[len(f.Content)-1]++
		s.b.Load(uint64(last), f)
	})
	s.entry("a frame that is not the next", 5000, func() { s.b.Load(1, frames[1]) })
	s.entry("the whole", 5001, func() {
		for i, f := range frames {
			s.b.Load(uint64(i), f)
		}
	})
	s.entry("its data is served, permits are held back", 5002, func() {
		s.b.Attach(dan, 7)
		s.call(slot{dan, home, 0}, counters, hits, counterAdd, ints(1))
		s.waiting(slot{dan, third, 0}, semaphores, writers, semaphoreAcquire, asking(1, 0))
		s.call(slot{ann, home, 0}, counters, hits, counterAdd, ints(1))
		s.waiting(slot{dan, elsewhere, 0}, queues, jobs, queueTake, ints(0, 0))
	})
	s.entry("the grace period is over", 16_000, func() {
		s.waiting(slot{dan, third, 0}, semaphores, writers, semaphoreAcquire, asking(1, 0))
		s.b.Ends(7, []protocol.SessionID{50})
	})
}

// taken is a state that has taken an archive over, a frame an entry. Before one of
// them a state that is restored from a snapshot goes on.
func taken(t *testing.T, frames []archive.Frame, reborn int) *script {
	s := quiet(t, func(*script) {})
	s.entry("own", 0, func() {
		s.b.Own(owned(true))
		s.b.Claim(77)
	})
	s.epoch = 1
	for i, f := range frames {
		if i == reborn {
			s.state = restored(t, s.snapshot(t)).state
		}
		s.entry("frame", int64(i), func() { s.b.Load(uint64(i), f) })
	}
	return s
}

// TestLoad takes an archive over, and shows what is left of the old state.
func TestLoad(t *testing.T) {
	old := quiet(t, (*script).lost)
	_, frames := archived(t, old.state)
	first := taken(t, frames, -1)
	if _, loading := first.state.Loading(); loading {
		t.Fatal("the load does not end")
	}
	for reborn := range frames {
		s := taken(t, frames, reborn)
		if s.hash() != first.hash() {
			t.Errorf("a replica that got a snapshot before frame %d differs", reborn)
		}
	}
	for first.state.Unfinished() {
		first.entry("clean up", int64(len(frames)), func() {})
	}
	totals := first.state.Totals()
	if totals.Sessions != 0 || totals.Records != 0 || totals.Events != 0 {
		t.Errorf("%+v: sessions, records and events of the old group are left", totals)
	}
	if was := old.state.Totals(); totals.Structures != was.Structures {
		t.Errorf("%d structures, the old group had %d", totals.Structures, was.Structures)
	}
	for p := range protocol.PartitionID(8) {
		q := protocol.Request{Partition: p, Kind: counters, Op: counterGet, Name: hits}
		var reader groupstate.Reader
		_, v := reader.Read(first.state, &q)
		if v == 0 {
			continue // not owned
		}
		if _, at, ok := first.state.Changes(p, groupstate.Position{Version: v}, 1); !ok || at.Version != v {
			t.Errorf("partition %d at version %x: no history from there on, %v", p, v, at)
		}
		if _, _, ok := first.state.Changes(p, groupstate.Position{Version: 1 << 48}, 1); ok && v > 1<<48 {
			t.Errorf("partition %d claims to have the events of before it was loaded", p)
		}
	}
	lengths := map[string]int64{}
	for _, s := range first.state.Structures() {
		lengths[s.Name] = s.Len
	}
	if lengths[users] != 2 || lengths[jobs] != 2 {
		t.Errorf("lengths %v: the map had 2 entries, the queue 2 elements, one of them reserved", lengths)
	}
}

// TestLoad_RoundTrip: a state that has taken an archive over is archived the same,
// but for its generation and the group's log time: every structure with its settings, every row with its
// version, deadline and owner.
func TestLoad_RoundTrip(t *testing.T) {
	for name, play := range map[string]func(*script){"everything": (*script).play, "large values": (*script).playLarge} {
		old := quiet(t, play)
		whole, frames := archived(t, old.state)
		again := quiet(t, func(*script) {})
		again.entry("own", 0, func() { again.b.Own(owned(true)) })
		for i, f := range frames {
			again.state.Take(uint64(i), f)
		}
		if _, loading := again.state.Loading(); loading {
			t.Fatalf("%s: the load does not end", name)
		}
		second, _ := archived(t, again.state)
		want, got := listed(t, whole), listed(t, second)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-archived +archived again):\n%s", name, diff)
		}
		if n := len(want); n < 10 {
			t.Errorf("%s: %d items were archived", name, n)
		}
	}
}

// playLarge writes values that no frame has room for.
func (s *script) playLarge() {
	s.begin()
	for i, n := range []int{archive.MaxContent - 100, archive.MaxContent - 5, 10} {
		s.entry("a large value", int64(20+i), func() {
			s.call(slot{ann, other, 0}, maps, users, mapPut, items(key(fmt.Sprint("k", i)), append([]byte{1, 0x5a, 0, byte(n >> 16), byte(n >> 8), byte(n)}, make([]byte, n)...), 0))
		})
	}
	for i := range 5 {
		s.entry("something behind them", 30, func() { s.call(slot{ann, home, 0}, counters, fmt.Sprint("c", i), counterAdd, ints(5)) })
	}
}

// listed returns a line for each item of an archive, without generations and the
// group's log time.
func listed(t *testing.T, b []byte) []string {
	t.Helper()
	var l listing
	if _, err := archive.Read(bytes.NewReader(b), &l); err != nil {
		t.Fatal(err)
	}
	return l
}

type listing []string

func (l *listing) add(format string, args ...any) error {
	*l = append(*l, fmt.Sprintf(format, args...))
	return nil
}

func (l *listing) Structure(s archive.Structure) error { return l.add("%+v", s) }
func (l *listing) Row(r archive.Row) error             { return l.add("%+v", r) }
func (l *listing) Value(b []byte) error                { return l.add("%d bytes, sum %x", len(b), md5.Sum(b)) }
func (l *listing) State([]byte) error                  { return l.add("state") }

func (l *listing) Header(h archive.Header) error {
	h.Time = 0
	return l.add("%+v", h)
}

func (l *listing) Section(s archive.Section) error {
	s.Generation = 0
	return l.add("%+v", s)
}

// TestLoad_Damaged shows that frames which are damaged leave nothing behind, and
// that the archive can be loaded again.
func TestLoad_Damaged(t *testing.T) {
	_, frames := archived(t, quiet(t, (*script).lost).state)
	s := quiet(t, func(*script) {})
	s.entry("own", 0, func() { s.b.Own(owned(true)) })
	failures := uint64(0)
	for i, f := range frames {
		for at := 0; at < len(f.Content); at++ {
			bad := slices.Clone(frames)
			bad[i].Content = bytes.Clone(f.Content)
			bad[i].Content[at] ^= 0x41
			s.entry("load", 0, func() {
				for n, f := range bad {
					s.b.Load(uint64(n), f)
				}
			})
			failures++
			if l, loading := s.state.Loading(); l.Frames != 0 || l.Failures != failures || !loading {
				t.Fatalf("byte %d of frame %d flipped: at %d after %d failures of %d, loading %t", at, i, l.Frames, l.Failures, failures, loading)
			}
			if totals := s.state.Totals(); totals.Rows != 0 || totals.Sessions != 0 || totals.Structures != 0 || totals.Distinct != 0 {
				t.Fatalf("byte %d of frame %d flipped: %+v is left", at, i, totals)
			}
		}
	}
	s.entry("again", 0, func() {
		for n, f := range frames {
			s.b.Load(uint64(n), f)
		}
	})
	if _, loading := s.state.Loading(); loading {
		t.Fatal("a load of the whole does not end")
	}
}

// TestLoad_TimeStands: a load does not end in an entry that does not move time, since
// deadlines would come early by how far time has stood back.
func TestLoad_TimeStands(t *testing.T) {
	_, frames := archived(t, quiet(t, (*script).lost).state)
	s := quiet(t, func(*script) {})
	s.entry("own", 0, func() {
		s.b.Own(owned(true))
		s.b.Claim(77)
	})
	load := func() {
		for n, f := range frames {
			s.b.Load(uint64(n), f)
		}
	}
	s.entry("of a leader that has lost the clock", 10, load)
	if l, loading := s.state.Loading(); !loading || l.Failures != 0 || l.Frames != uint64(len(frames)-1) {
		t.Errorf("%+v, loading %t", l, loading)
	}
	s.epoch = 1
	last := len(frames) - 1
	s.entry("of the leader", 20, func() { s.b.Load(uint64(last), frames[last]) })
	if _, loading := s.state.Loading(); loading {
		t.Error("the load does not end")
	}
}

// TestLoad_Refused: an archive that is whole, but of another group, is refused.
func TestLoad_Refused(t *testing.T) {
	frames := func(h archive.Header, write func(w *archive.Writer)) (all []archive.Frame) {
		var b bytes.Buffer
		w, err := archive.NewWriter(&b, h)
		if err != nil {
			t.Fatal(err)
		}
		write(w)
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := archive.NewReader(&b)
		for err == nil {
			var f archive.Frame
			f, err = r.Next()
			f.Content = bytes.Clone(f.Content)
			all = append(all, f)
		}
		return all[:len(all)-1]
	}
	section := archive.Section{Partition: home, Revision: 100}
	good := archive.Header{Partitions: 8, Group: 2, Level: 1}
	for name, all := range map[string][]archive.Frame{
		"of more partitions":               frames(archive.Header{Partitions: 9, Group: 2, Level: 1}, func(*archive.Writer) {}),
		"of a later level":                 frames(archive.Header{Partitions: 8, Group: 2, Level: groupstate.MaxLevel + 1}, func(*archive.Writer) {}),
		"of the system group":              frames(archive.Header{Partitions: 8, Group: 1, Level: 1}, func(w *archive.Writer) { w.State([]byte("x")) }),
		"of a state":                       frames(good, func(w *archive.Writer) { w.State([]byte("x")) }),
		"of a partition that is not owned": frames(good, func(w *archive.Writer) { w.Section(archive.Section{Partition: nobodysHere}) }),
		"with a name twice": frames(good, func(w *archive.Writer) {
			w.Section(section)
			w.Structure(archive.Structure{Instance: 1, Kind: 1, Name: "a"})
			w.Structure(archive.Structure{Instance: 2, Kind: 1, Name: "a"})
		}),
		"with a row of no structure": frames(good, func(w *archive.Writer) {
			w.Section(section)
			w.Structure(archive.Structure{Instance: 1, Kind: 1, Name: "a"})
			w.Row(archive.Row{Instance: 2, Key: []byte("k")})
		}),
	} {
		s := quiet(t, func(*script) {})
		s.entry("own", 0, func() { s.b.Own(owned(true)) })
		s.entry("load", 0, func() {
			for n, f := range all {
				s.b.Load(uint64(n), f)
			}
		})
		if l, loading := s.state.Loading(); !loading || l.Failures != 1 || l.Frames != 0 {
			t.Errorf("an archive %s: %+v, loading %t", name, l, loading)
		}
	}
}

// TestWriteArchive_Stopped: who archives a large state stops when told.
func TestWriteArchive_Stopped(t *testing.T) {
	s := quiet(t, (*script).play)
	stop := make(chan struct{})
	close(stop)
	if _, err := s.state.Prepare().WriteArchive(io.Discard, archive.Header{}, stop); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	s.state = groupstate.New(goldenKinds())
	s.entry("own", 0, func() { s.b.Own(owned(true)) })
	if _, err := s.state.Prepare().WriteArchive(io.Discard, archive.Header{}, nil); err == nil {
		t.Error("a group that is being restored is archived")
	}
}

// token acquires a permit in a new group and returns its token, and false
// where the group holds back.
func token(t *testing.T, s *script, session protocol.SessionID, at int64) (int64, bool) {
	t.Helper()
	var reply protocol.Code
	var tok int64
	s.entry("acquire", at, func() {
		s.b.Attach(session, s.state.Sessions().Ends())
		s.call(slot{session, third, 0}, semaphores, writers, semaphoreInit, ints(1))
		s.waiting(slot{session, third, 1}, semaphores, writers, semaphoreAcquire, asking(1, 0))
	})
	lines := bytes.Split(bytes.TrimSpace(s.log.Bytes()), []byte("\n"))
	var i, version int
	var body []byte
	if _, err := fmt.Sscanf(string(lines[len(lines)-1]), "  %d: code %d version %d body %x", &i, &reply, &version, &body); err != nil {
		t.Fatalf("%s: %v", lines[len(lines)-1], err)
	}
	if reply == protocol.CodeOK {
		var hold int64
		if err := protocol.ReadInts(body, &hold, &tok); err != nil {
			t.Fatal(err)
		}
	}
	return tok, reply == protocol.CodeOK
}

// TestGracePeriod shows that nothing is granted before a grace period is over, that it
// is a deadline the group wakes up for, and that tokens grow over generations.
func TestGracePeriod(t *testing.T) {
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
				t.Fatalf("the next deadline is at %d, %t; the grace period ends at 10 s", due, ok)
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

// TestGracePeriod_ByOperation: what hands something out is refused in the grace period, not
// entered and without a record; what else changes a semaphore is not, and grants
// nothing.
func TestGracePeriod_ByOperation(t *testing.T) {
	s := quiet(t, func(*script) {})
	s.entry("own", 0, func() {
		s.b.Own(owned(false))
		s.b.Claim(1)
		s.b.Attach(ann, 7)
	})
	s.epoch = 1
	slots := uint16(0)
	// call makes a call of a slot of its own, and returns its code, and whether a
	// record of it is left.
	call := func(op protocol.Op, flags protocol.Flags, body []byte) (protocol.Code, bool) {
		t.Helper()
		q := protocol.Request{
			Partition: third, Flags: flags, Kind: semaphores, Op: op, Name: writers, Body: body, Highest: groupstate.MaxSlots - 1,
			Caller: protocol.Caller{Session: ann, Slot: slots, Sequence: 1},
		}
		slots++
		var code protocol.Code
		s.entry("call", 100, func() { s.b.Request(q.Append(nil)) })
		lines := bytes.Split(bytes.TrimSpace(s.log.Bytes()), []byte("\n"))
		if _, err := fmt.Sscanf(string(lines[len(lines)-1]), "  0: code %d", &code); err != nil {
			t.Fatalf("%s: %v", lines[len(lines)-1], err)
		}
		return code, s.state.Seen(third, q.Caller)
	}
	const init, acquire, try, release, drain, add = 1, 2, 3, 4, 6, 7
	for _, c := range []struct {
		op    protocol.Op
		flags protocol.Flags
		body  []byte
		want  protocol.Code
	}{
		{init, 0, ints(2), protocol.CodeOK},
		{acquire, protocol.FlagWait, ints(1, 0), protocol.CodeFrozen},
		{try, 0, ints(1), protocol.CodeFrozen},
		{drain, 0, ints(), protocol.CodeFrozen},
		{release, 0, ints(1), protocol.CodeKindBase + 3},
		{add, 0, ints(3), protocol.CodeOK},
	} {
		code, entered := call(c.op, c.flags, c.body)
		if code != c.want || entered != (c.want != protocol.CodeFrozen) {
			t.Errorf("operation %d in the grace period: code %d, want %d; it left a record: %t", c.op, code, c.want, entered)
		}
	}
	s.entry("the grace period is over", 10_100, func() {})
	if code, _ := call(drain, 0, ints()); code != protocol.CodeOK {
		t.Errorf("a drain after it: code %d", code)
	}
}

// TestFirstRevision shows that tokens can begin above those of an earlier grid.
func TestFirstRevision(t *testing.T) {
	s := quiet(t, func(*script) {})
	o := owned(false)
	o.GracePeriod, o.Revision = 0, 5<<40
	s.entry("own", 0, func() { s.b.Own(o) })
	if tok, ok := token(t, s, ann, 0); !ok || tok <= 1<<48+5<<40 {
		t.Errorf("token %x, %t", tok, ok)
	}
}

// FuzzLoad shows that frames of any content are taken or refused, and that replicas
// agree on it, one of which is restored in the middle.
func FuzzLoad(f *testing.F) {
	s := fuzzedState()
	if err := s.Apply(seedEntry(), deaf{}); err != nil {
		f.Fatal(err)
	}
	_, frames := archived(f, s)
	var all []byte
	for _, v := range frames {
		all = append(binary.BigEndian.AppendUint16(append(all, byte(v.Type)), uint16(len(v.Content))), v.Content...)
	}
	f.Add(all, uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, middle uint8) {
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
		for i := uint8(0); len(b) >= 3; i++ {
			n := min(int(binary.BigEndian.Uint16(b[1:])), len(b)-3)
			f := archive.Frame{Type: archive.FrameType(b[0]), Content: b[3 : 3+n]}
			b = b[3+n:]
			apply(func(e *groupstate.Builder) {
				l, _ := one.Loading()
				e.Load(l.Frames, f)
			})
			if i == middle {
				var kept bytes.Buffer
				if err := two.Prepare().WriteTo(&kept, nil); err != nil {
					t.Fatal(err)
				}
				if two = fuzzedState(); two.Restore(&kept, nil) != nil {
					t.Fatal("a load in the middle cannot be restored")
				}
			}
		}
		if one.Prepare().Hash() != two.Prepare().Hash() {
			t.Fatal("replicas differ")
		}
	})
}
