package shardgroups

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/dmap"
)

// idler is a group on a clock that the test moves, led by one replica after the
// other. What it wants to log is logged immediately.
type idler struct {
	t       *testing.T
	g       *Group
	now     time.Duration
	term    uint64
	seq     uint64
	entries int
}

func newIdler(t *testing.T) *idler {
	r := &idler{t: t, term: 1}
	h := tunedHost(t, func(c *Config) { c.TestHooks.Clock = func() time.Duration { return r.now } })
	r.g = bareGroup(h)
	r.newLeader()
	r.g.applyEntry(t, groupstate.Header{}, func(b *groupstate.Builder) {
		b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
		b.Attach(1, 0)
	})
	return r
}

// newLeader is a change of leader that was not prepared.
func (r *idler) newLeader() {
	r.term++
	r.g.setLeader(Leader{})
	r.g.setLeader(Leader{Replica: 1, Term: r.term, Self: true})
}

// log applies the next entry, with requests in it.
func (r *idler) log(requests ...protocol.Request) {
	r.t.Helper()
	r.g.proposer.mu.Lock()
	e, b := r.g.proposer.seal(&entry{}, 0)
	for _, q := range requests {
		b.Request(q.Append(nil))
	}
	delete(r.g.proposer.inFlight, e.number)
	r.g.proposer.wantEntry = false
	r.g.proposer.mu.Unlock()
	if _, err := (&groupMachine{r.g}).Update([]statemachine.Entry{{Index: r.g.Applied() + 1, Cmd: b.Bytes()}}); err != nil {
		r.t.Fatal(err)
	}
	r.entries++
}

// idle lets time pass, and logs what the group wants to.
func (r *idler) idle(d time.Duration) {
	r.t.Helper()
	for end := r.now + d; r.now < end; {
		r.now += tickInterval
		r.g.proposer.tick(r.now%time.Second == 0)
		r.g.proposer.mu.Lock()
		want := r.g.proposer.wantEntry
		r.g.proposer.mu.Unlock()
		if want {
			r.log()
		}
	}
}

// put makes the write of an entry of a map.
func (r *idler) put(key string, ttl time.Duration) protocol.Request {
	r.seq++
	b := protocol.AppendBytes(protocol.AppendArray(nil, 3), append([]byte{protocol.KeyText}, key...))
	b = protocol.AppendInt(protocol.AppendBytes(b, []byte{1, 0}), ttl.Milliseconds())
	return protocol.Request{Kind: dmap.Kind().ID, Op: 2, Name: "m", Caller: protocol.Caller{Session: 1, Sequence: r.seq}, Body: b}
}

// left reads how many milliseconds an entry has left, and whether it is there.
func (r *idler) left(key string) (left time.Duration, there bool) {
	r.t.Helper()
	answers := make(chan protocol.Reply, 1)
	b := protocol.AppendBytes(protocol.AppendArray(nil, 1), append([]byte{protocol.KeyText}, key...))
	r.g.readNow([]*Request{{
		Request: protocol.Request{Flags: protocol.FlagRead, Kind: dmap.Kind().ID, Op: 1, Name: "m", Body: b},
		group:   r.g, Done: func(p protocol.Reply) { answers <- p },
	}}, time.Now())
	rd := protocol.NewReader((<-answers).Body)
	if rd.ArrayLen() == 0 {
		return 0, false
	}
	rd.Bytes()
	rd.Uint()
	return time.Duration(rd.Uint()) * time.Millisecond, true
}

// TestIdle_ChangesOfLeader: an entry of an idle group comes to its end although
// the leader changes again and again, and none of the changes costs more than a
// sixteenth of its life, or a second.
func TestIdle_ChangesOfLeader(t *testing.T) {
	for _, test := range []struct{ ttl, every time.Duration }{
		{8 * time.Second, 6 * time.Second},
		{20 * time.Second, 10 * time.Second},
		{time.Hour, 10 * time.Minute},
		{time.Hour, 5 * time.Minute},
	} {
		t.Run(fmt.Sprint(test.ttl, " by ", test.every), func(t *testing.T) {
			r := newIdler(t)
			r.log() // the claim of the clock
			r.log(r.put("k", test.ttl))
			const untilTaken = tickInterval // a new leader claims the clock with its first look
			for passed := time.Duration(0); ; passed += test.every {
				changes := passed / test.every
				latest := test.ttl + changes*(max(test.ttl/lifetimePart, leastUnlogged)+untilTaken) + tickInterval
				if _, there := r.left("k"); !there {
					if passed < test.ttl {
						t.Errorf("gone after %v", passed)
					}
					return
				}
				if passed > latest {
					t.Fatalf("there after %v and %d changes of leader, want at most %v", passed, changes, latest)
				}
				r.idle(test.every)
				r.newLeader()
			}
		})
	}
}

// TestIdle_TimeLeft: reads at the leader of an idle group show the time that is
// left as it is, however long nothing was logged; where an entry is due and that
// is not logged yet, it is still there and has some time left.
func TestIdle_TimeLeft(t *testing.T) {
	r := newIdler(t)
	r.log()
	r.log(r.put("k", 24*time.Second))
	for range 235 {
		r.now += tickInterval
		if left, _ := r.left("k"); left != 24*time.Second-r.now {
			t.Fatalf("%v left after %v of 24s", left, r.now)
		}
	}
	r.now = time.Minute
	if left, there := r.left("k"); !there || left != time.Millisecond {
		t.Errorf("due, and not logged: %v left, there: %v", left, there)
	}
	r.log()
	if _, there := r.left("k"); there {
		t.Error("it is there when it is logged that it is due")
	}
}

// heldFor reads since when a lock is held.
func (r *idler) heldFor(name string) time.Duration {
	r.t.Helper()
	kind := dlock.Kind()
	answers := make(chan protocol.Reply, 1)
	r.g.readNow([]*Request{{
		Request: protocol.Request{
			Flags: protocol.FlagRead, Kind: kind.ID, Op: structures.OpInspect, Name: name,
			Body: (&structures.InspectRequest{Most: 10}).Append(nil),
		},
		group: r.g, Done: func(p protocol.Reply) { answers <- p },
	}}, time.Now())
	var i structures.Inspected
	if err := i.Read((<-answers).Body, &kind); err != nil || len(i.Holders) != 1 {
		r.t.Fatalf("%+v, %v", i, err)
	}
	return i.Holders[0].For
}

// TestIdle_TimeHeld: reads at the leader of a group in which nothing has a deadline show
// since when something is held, although nothing is logged.
func TestIdle_TimeHeld(t *testing.T) {
	r := newIdler(t)
	r.log()
	r.seq++
	r.log(protocol.Request{
		Kind: dlock.Kind().ID, Op: 2, Name: "l", Caller: protocol.Caller{Session: 1, Sequence: r.seq},
		Body: protocol.AppendString(protocol.AppendArray(nil, 1), "note"),
	})
	entries := r.entries
	for _, passed := range []time.Duration{0, time.Second, time.Minute, time.Hour} {
		began := r.now
		r.idle(passed)
		if passed -= r.now - began; passed != 0 {
			t.Fatalf("%v are left", passed)
		}
		if held := r.heldFor("l"); held != r.now {
			t.Errorf("held for %v after %v", held, r.now)
		}
	}
	if r.entries != entries {
		t.Errorf("%d entries were logged meanwhile", r.entries-entries)
	}
}

// TestIdle_IsCheap counts what an idle group logs in an hour so that time goes on.
func TestIdle_IsCheap(t *testing.T) {
	for _, test := range []struct {
		name string
		ttl  func(i int) time.Duration
		most int
	}{
		{"no time to live", func(int) time.Duration { return 0 }, 0},
		{"an hour each", func(int) time.Duration { return time.Hour }, 120},
		// One every 360 ms comes due, and each look at which one is is logged anyway.
		{"1 to 3600 s", func(i int) time.Duration { return time.Second + time.Duration(i)*3599*time.Second/9999 }, 10_100},
		{"1 s to 28 hours", func(i int) time.Duration { return time.Second + time.Duration(i)*10*time.Second }, 3600},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newIdler(t)
			r.log()
			var puts []protocol.Request
			for i := range 10_000 {
				ttl := test.ttl(i)
				if ttl == 0 {
					ttl = -2 * time.Millisecond // never
				}
				if puts = append(puts, r.put(fmt.Sprint(i), ttl)); len(puts) == 1000 {
					r.log(puts...)
					puts = nil
				}
			}
			r.entries = 0
			r.idle(time.Hour)
			t.Logf("%d entries in an hour", r.entries)
			if r.entries > test.most {
				t.Errorf("%d entries in an hour, want at most %d", r.entries, test.most)
			}
		})
	}
}

// TestIdle_Sessions: a session that is not kept ends, although the leader of the
// system group changes again and again.
func TestIdle_Sessions(t *testing.T) {
	var now atomic.Int64
	h := tunedHost(t, func(c *Config) { c.TestHooks.Clock = func() time.Duration { return time.Duration(now.Load()) } })
	spec := GroupSpec{Group: protocol.SystemGroup, Replica: 1, Initial: map[protocol.ReplicaID]protocol.UUID{1: h.cfg.Incarnation}}
	if err := h.StartGroup(spec, true); err != nil {
		t.Fatal(err)
	}
	s := h.System()
	if _, err := s.Propose(t.Context(), systemstate.Command{
		Kind: systemstate.KeepSessions, Opens: []systemstate.Opening{{Client: protocol.UUID{7}, TTL: 8 * time.Second}},
	}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); !s.Leader().Self; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("there is no leader")
		}
	}
	const changes = 8
	for i := 0; s.Sessions() > 0; i++ {
		if i == changes {
			t.Fatalf("it lives after %v and %d changes of leader", time.Duration(now.Load()), changes)
		}
		for range 6 * time.Second / tickInterval {
			now.Add(int64(tickInterval))
			s.tick()
		}
		s.stepDown() // what a deposed leader does; it leads again immediately
	}
}

// TestTransferLeader_LogsTime: before it hands the lead over, a leader logs what
// time has passed for what has a deadline.
func TestTransferLeader_LogsTime(t *testing.T) {
	var now atomic.Int64
	h := tunedHost(t, func(c *Config) { c.TestHooks.Clock = func() time.Duration { return time.Duration(now.Load()) } })
	const id = protocol.SystemGroup + 1
	spec := GroupSpec{Group: id, Replica: 1, Initial: map[protocol.ReplicaID]protocol.UUID{1: h.cfg.Incarnation}}
	if err := h.StartGroup(spec, true); err != nil {
		t.Fatal(err)
	}
	g := h.Group(id)
	log := func(fill func(b *groupstate.Builder), requests ...*Request) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := g.until(ctx, func() bool { return g.Leader().Self }); err != nil {
			t.Fatal(err)
		}
		g.proposer.mu.Lock()
		e, b := g.proposer.seal(&entry{requests: requests}, 0)
		fill(b)
		g.proposer.mu.Unlock()
		g.proposer.propose(e, b)
		if err := g.until(ctx, g.proposer.drained); err != nil {
			t.Fatal(err)
		}
	}
	r := idler{t: t}
	put := r.put("k", time.Hour)
	log(func(b *groupstate.Builder) {
		b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
		b.Attach(1, 0)
	})
	log(func(*groupstate.Builder) {}, &Request{Request: put, Raw: put.Append(nil), group: g, Done: func(protocol.Reply) {}})
	now.Add(int64(500 * time.Millisecond)) // so little that nothing is logged for it alone
	stop := errors.New("no further")
	err := g.TransferLeader(t.Context(), 2, func(context.Context, uint64) error {
		g.mu.RLock()
		defer g.mu.RUnlock()
		if logged := g.state.Clock().Now; logged != protocol.LogTime(500*time.Millisecond) {
			t.Errorf("half a second has passed, %v of it is logged", time.Duration(logged))
		}
		return stop
	})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
}
