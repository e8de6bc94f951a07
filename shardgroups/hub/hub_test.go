package hub_test

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/hub"
	"github.com/quorate/quorate/structures"
)

// cards is a kind whose one operation puts a body under a key of one letter, or removes it.
type cards struct{ structures.Base }

func (cards) Check(protocol.Op, []byte) error                             { return nil }
func (cards) Read(structures.View, protocol.Op, []byte) structures.Result { return structures.OK(nil) }

func (cards) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	for _, k := range body {
		key := []byte{k}
		row, had := env.Get(key)
		if op == 2 {
			env.Delete(key)
			if had {
				env.Emit(structures.Event{Type: structures.EventRemoved, Key: key, Previous: row.Version})
			}
			return structures.OK(nil)
		}
	}
	for _, k := range body {
		key := []byte{k}
		env.Put(key, structures.Row{Value: []byte{k}})
		env.Emit(structures.Event{Type: structures.EventPut, Key: key, Value: []byte{k}})
	}
	return structures.OK(nil)
}

const kind = protocol.KindID(77)

// patience bounds what a test waits for, on a machine that is busy with other things.
const patience = 2 * time.Minute

// replica is a state with a hub, whose leadership the test has in hand.
type replica struct {
	t   testing.TB
	hub *hub.Hub

	mu       sync.Mutex
	state    *groupstate.State
	term     uint64
	confirms []func(protocol.Code) // held
	hold     bool
	seq      uint64
	began    protocol.Version
}

func newReplica(t testing.TB, own groupstate.Ownership) *replica {
	r := &replica{t: t, term: 1, state: groupstate.New([]structures.Kind{{ID: kind, Name: "cards", Level: 1, Machine: cards{}, Watch: structures.WatchEntries}})}
	own.Partitions, own.Owned, own.Limits = 1, []protocol.PartitionID{0}, protocol.DefaultLimits()
	r.apply(func(b *groupstate.Builder) { b.Own(own); b.Claim(1); b.Attach(1, 0) })
	r.hub = hub.New(r)
	r.hub.Start()
	t.Cleanup(r.hub.Close)
	return r
}

func (r *replica) apply(fill func(*groupstate.Builder)) {
	r.t.Helper()
	var b groupstate.Builder
	b.Reset(groupstate.Header{ClockEpoch: 1}, 64)
	fill(&b)
	r.mu.Lock()
	err := r.state.Apply(b.Bytes(), deaf{})
	r.mu.Unlock()
	if err != nil {
		r.t.Fatal(err)
	}
	if r.hub != nil {
		r.hub.Applied()
	}
}

type deaf struct{}

func (deaf) Replied(int, *protocol.Request, structures.Result, protocol.Version)                {}
func (deaf) Granted(protocol.PartitionID, protocol.Caller, structures.Result, protocol.Version) {}

// put puts a value under each letter, in one mutation, and remove removes one.
func (r *replica) put(letters string)    { r.do(1, letters) }
func (r *replica) remove(letters string) { r.do(2, letters) }

func (r *replica) do(op protocol.Op, body string) {
	r.seq++
	q := protocol.Request{Kind: kind, Op: op, Name: "n", Body: []byte(body), Caller: protocol.Caller{Session: 1, Sequence: r.seq}}
	r.apply(func(b *groupstate.Builder) { b.Request(q.Append(nil)) })
}

func (r *replica) version() (v protocol.Version) {
	r.View(func(s groupstate.Watched) { v, _ = s.Current(0) })
	return v
}

func (r *replica) View(f func(groupstate.Watched)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(r.state.Watched())
}

func (r *replica) Term() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.term
}

func (r *replica) Leader() protocol.MemberID { return 9 }

func (r *replica) Began() protocol.Version { return r.began }

func (r *replica) Confirm(done func(protocol.Code)) {
	r.mu.Lock()
	if r.hold {
		r.confirms = append(r.confirms, done)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	done(protocol.CodeOK)
}

// confirm holds confirmations back, or ends those that are held with a code.
func (r *replica) holdConfirms() { r.mu.Lock(); r.hold = true; r.mu.Unlock() }

func (r *replica) confirm(code protocol.Code) {
	r.mu.Lock()
	held := r.confirms
	r.confirms, r.hold = nil, false
	r.mu.Unlock()
	for _, done := range held {
		done(code)
	}
}

func (r *replica) lead(term uint64) {
	r.mu.Lock()
	r.term = term
	r.mu.Unlock()
	r.hub.Applied()
}

// sink is a connection that keeps what it gets, as texts.
type sink struct {
	t    testing.TB
	r    *replica
	mu   sync.Mutex
	got  []string
	at   groupstate.Position // of the last section
	full bool
	sent func() // called with each frame; nil: nothing is
}

func (s *sink) Writable(*hub.Hub) bool { s.mu.Lock(); defer s.mu.Unlock(); return !s.full }
func (s *sink) Closed() bool           { return false }
func (s *sink) Forgotten(uint64)       {}

func (s *sink) Reply(r protocol.Reply) { s.add(fmt.Sprint("reply ", r.Code)) }

func (s *sink) add(text string) { s.mu.Lock(); defer s.mu.Unlock(); s.got = append(s.got, text) }

func (s *sink) Send(b []byte) {
	var m protocol.WatchEvents
	var n protocol.WatchNote
	if s.sent != nil {
		s.sent()
	}
	if protocol.PeekType(b) == protocol.TypeWatchNote {
		if err := n.Decode(bytes.Clone(b)); err != nil {
			s.t.Error(err)
		}
		s.add(fmt.Sprintf("note %d %d", n.What, n.N))
		return
	}
	if err := m.Decode(bytes.Clone(b)); err != nil {
		s.t.Error(err)
	}
	for _, section := range m.Sections {
		s.mu.Lock()
		s.at = groupstate.Position{Version: section.Version, Skip: int(section.Skip)} // before what it is behind, for who waits for that
		s.mu.Unlock()
		for _, e := range section.Events {
			text := structures.EventType(e.Type).String() + " " + string(e.Key)
			if e.Flags&protocol.WatchListed != 0 {
				text = "listed " + string(e.Key)
			}
			if e.Flags&protocol.WatchMore != 0 {
				text += "+"
			}
			s.add(text)
		}
	}
}

// watch registers a watch of the letters, under ID 1.
func (r *replica) watch(w protocol.Watch) *sink {
	s := &sink{t: r.t, r: r}
	r.register(s, 1, w)
	return s
}

func (r *replica) register(s *sink, id uint64, w protocol.Watch) {
	w.Kind = kind
	if w.Credit == 0 {
		w.Credit = 1 << 20
	}
	q := protocol.Request{ID: id, Name: "n", Kind: protocol.KindControl, Op: protocol.OpWatch, Flags: protocol.FlagRead, Body: w.Append(nil)}
	r.mu.Lock()
	gate := r.state.Gate()
	r.mu.Unlock()
	spec, refused := gate.CheckWatch(&q)
	if refused.Code != protocol.CodeOK {
		r.t.Fatalf("code %d", refused.Code)
	}
	r.hub.Watch(s, &q, spec)
}

func parts(p protocol.WatchPart) []protocol.WatchPart { return []protocol.WatchPart{p} }

// await waits until the sink has got a text.
func (s *sink) await(text string) {
	s.t.Helper()
	for start := time.Now(); time.Since(start) < patience; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		found := slices.Contains(s.got, text)
		s.mu.Unlock()
		if found {
			return
		}
	}
	s.t.Fatalf("no %q has come", text)
}

// gets waits until the sink has got that, in that order, since it was asked last.
func (s *sink) gets(want ...string) {
	s.t.Helper()
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		got := slices.Clone(s.got)
		if len(got) >= len(want) {
			s.got = nil
		}
		s.mu.Unlock()
		if len(got) >= len(want) || time.Since(start) > patience {
			if diff := cmp.Diff(want, got); diff != "" {
				s.t.Fatalf("-want +got\n%s", diff)
			}
			return
		}
	}
}

func (s *sink) nothing() {
	s.t.Helper()
	time.Sleep(20 * time.Millisecond)
	s.gets()
}

// A position in another history, or below what is kept, or of before a loss, is a gap,
// which says why; one that is served goes on behind its events.
func TestWatch_Gaps(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{Generation: 1, History: 1000})
	for range 20 {
		r.put("ab")
	}
	now := r.version()
	for what, test := range map[string]struct {
		at   protocol.Version
		want []string
	}{
		"another history":         {now + 1, []string{"reply 0", "note 4 3"}},
		"no longer kept":          {now - 19, []string{"reply 0", "note 4 1"}},
		"before the loss":         {1 << 40, []string{"reply 0", "note 4 2"}},
		"behind the last":         {now, []string{"reply 0"}},
		"behind the last but one": {now - 1, []string{"reply 0", "put a+", "put b"}},
	} {
		t.Run(what, func(t *testing.T) {
			s := r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Version: test.at})})
			s.t = t
			s.gets(test.want...)
			r.hub.End(s, 1)
		})
	}
}

// A group in memory that has lost its data begins anew in the same generation, at a later
// moment: what is below that was lost, not dropped.
func TestWatch_LostInMemory(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{Revision: 1000})
	r.began = r.version()
	r.put("a")
	r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Version: r.began - 1})}).gets("reply 0", "note 4 2")
	r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Version: r.began})}).gets("reply 0", "put a")
	r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Start: protocol.WatchCurrent})}).gets("reply 0", "listed a", "note 3 0")
}

// With one key there is no gap while its row has not changed, however much is gone.
func TestWatch_KeyWithoutGap(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{History: 1000})
	r.put("k")
	at := r.version()
	for range 50 {
		r.put("ab")
	}
	s := r.watch(protocol.Watch{From: []byte("k"), To: []byte("k\x00"), Parts: parts(protocol.WatchPart{Version: at})})
	s.gets("reply 0")
	r.put("k")
	s.gets("put k")
	gone := r.watch(protocol.Watch{From: []byte("x"), To: []byte("x\x00"), Parts: parts(protocol.WatchPart{Version: at})})
	gone.gets("reply 0", "note 4 1") // it may have been there, and be removed
}

// "From now" and a list wait for a confirmation; one that fails refuses the watch.
func TestWatch_Deposed(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{})
	r.holdConfirms()
	s := r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Start: protocol.WatchNow})})
	s.nothing()
	r.put("a") // committed before the watch is confirmed: perhaps acknowledged before the call
	r.confirm(protocol.CodeOK)
	s.gets("reply 0")
	r.put("b")
	s.gets("put b")

	r.holdConfirms()
	refused := r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Start: protocol.WatchCurrent})})
	r.confirm(protocol.CodeNotLeader)
	refused.gets("reply 1")
}

// A position that the replica has not applied yet is one to wait for: it may be of an entry
// that was committed elsewhere.
func TestWatch_Ahead(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{})
	r.put("a")
	r.holdConfirms()
	s := r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Version: r.version() + 1})})
	s.nothing()
	r.put("b") // which the client has
	r.confirm(protocol.CodeOK)
	s.gets("reply 0")
	r.put("c")
	s.gets("put c")
}

// Watches that are behind are served in turn with those that keep up: hundreds of them do
// not hold up the others.
func TestWatch_Fair(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{})
	for range 1500 {
		r.put("abcd")
	}
	live := r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Start: protocol.WatchNow})})
	live.gets("reply 0")
	r.holdConfirms()
	var turns atomic.Int64 // that those behind have had
	var told atomic.Int64  // when the live watch was told
	var write sync.Once
	live.sent = func() { told.CompareAndSwap(0, turns.Load()) }
	var slow []*sink
	for range 100 {
		slow = append(slow, r.watch(protocol.Watch{Credit: 4 << 20, Parts: parts(protocol.WatchPart{Version: r.version() - 1500})}))
	}
	for _, s := range slow {
		s.sent = func() {
			turns.Add(1)
			write.Do(func() { r.put("z") }) // when they have begun
		}
	}
	r.confirm(protocol.CodeOK)
	live.gets("put z")
	for _, s := range slow {
		s.await("put z")
	}
	if all := turns.Load(); told.Load()*2 > all {
		t.Errorf("the live watch was told after %d of %d turns of others", told.Load(), all)
	}
}

// A replica that leads in another term has ended its watches.
func TestWatch_StepDown(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{})
	s := r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Start: protocol.WatchNow})})
	s.gets("reply 0")
	r.lead(3)
	s.gets("note 6 1")
	r.put("a")
	s.nothing()
	for start := time.Now(); r.hub.Stats().Watches != 0; time.Sleep(time.Millisecond) { // it is told first
		if time.Since(start) > patience {
			t.Fatalf("%d watches", r.hub.Stats().Watches)
		}
	}
	r.lead(0)
	r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{})}).gets("reply 1")
}

// A probe is confirmed at once, and answered when all has been sent.
func TestWatch_Probe(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{})
	s := r.watch(protocol.Watch{Credit: 1, Parts: parts(protocol.WatchPart{Start: protocol.WatchNow})})
	s.gets("reply 0")
	r.put("a")
	s.gets("put a") // beyond its credit, by one event
	r.put("b")
	r.holdConfirms()
	r.hub.Sync(s, 1, 7)
	s.nothing()
	r.confirm(protocol.CodeOK)
	s.gets("note 1 7")
	s.nothing() // b has no credit
	r.hub.Credit(s, 1, 1000)
	s.gets("put b", "note 2 7")
	// Of the probes that wait for one only the last is answered.
	r.holdConfirms()
	r.hub.Sync(s, 1, 8)
	r.hub.Sync(s, 1, 9)
	r.hub.Sync(s, 1, 10)
	s.nothing()
	r.confirm(protocol.CodeOK)
	s.gets("note 1 8", "note 2 8", "note 1 10", "note 2 10")
}

// What changes while a list is under way comes before the page if it was listed, and with
// the page if it was not. A mutation that is split goes on where it was.
func TestWatch_ListWhileWriting(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{})
	r.put("adgjmp")
	one := uint32(34) // an entry
	s := r.watch(protocol.Watch{Credit: 3 * one, Parts: parts(protocol.WatchPart{Start: protocol.WatchCurrent})})
	s.gets("reply 0", "listed a", "listed d", "listed g")
	r.put("beh") // b and e are behind what was listed, h is not
	r.remove("m")
	r.put("n")
	r.remove("a")
	r.hub.Credit(s, 1, uint64(one))
	s.gets("put b+")
	// Another replica goes on with what the client has.
	s.mu.Lock()
	at := s.at
	s.mu.Unlock()
	r.hub.End(s, 1)
	next := r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Start: protocol.WatchCurrent, Version: at.Version, Skip: uint32(at.Skip), Listed: []byte("g")})})
	next.gets("reply 0", "put e", "removed a", "listed h", "listed j", "listed n", "listed p", "note 3 0")
	r.put("c")
	next.gets("put c")
}

// A connection that is not writable holds its watch up, and no other.
func TestWatch_NoRoom(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{})
	s := r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Start: protocol.WatchNow})})
	other := r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Start: protocol.WatchNow})})
	s.gets("reply 0")
	other.gets("reply 0")
	s.mu.Lock()
	s.full = true
	s.mu.Unlock()
	r.put("a")
	r.put("b")
	other.gets("put a", "put b")
	s.nothing()
	s.mu.Lock()
	s.full = false
	s.mu.Unlock()
	r.hub.Wake(s)
	s.gets("put a", "put b")
}

// A row is told as it is, and that it is gone, again when it comes back.
func TestWatch_Row(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{})
	s := r.watch(protocol.Watch{Options: protocol.WatchRow, From: []byte("k"), Parts: parts(protocol.WatchPart{Start: protocol.WatchCurrent})})
	s.gets("reply 0", "removed k")
	r.put("x")
	r.put("k")
	s.gets("put k")
	r.remove("k")
	s.gets("removed k")
	r.put("k")
	s.gets("put k")
}

// A watch that ends before it is registered is answered, and leaves nothing.
func TestWatch_EndsEarly(t *testing.T) {
	r := newReplica(t, groupstate.Ownership{})
	r.holdConfirms()
	s := r.watch(protocol.Watch{Parts: parts(protocol.WatchPart{Start: protocol.WatchCurrent})})
	r.hub.End(s, 1)
	r.confirm(protocol.CodeOK)
	s.gets("reply 44")
	if n := r.hub.Stats().Watches; n != 0 {
		t.Errorf("%d watches", n)
	}
}
