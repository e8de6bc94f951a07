package shardgroups

import (
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// permits is a group with a semaphore, whose one permit session 2 has, and session 1.
// What is queued is logged when the test says so.
type permits struct {
	t *testing.T
	g *Group
}

const ( // operations of a semaphore
	initialize = 1
	acquire    = 2
	tryAcquire = 3
	addPermits = 7
)

func newPermits(t *testing.T) *permits {
	s := &permits{t, bareGroup(bareHost(t))}
	s.g.setLeader(leading)
	s.g.applyEntry(t, groupstate.Header{}, func(b *groupstate.Builder) {
		b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
		b.Attach(1, 0)
		b.Attach(2, 0)
	})
	s.keepSessions()
	s.learn()
	s.do(call(2, 1, 1, initialize, 0, 1))
	s.do(call(2, 0, 1, tryAcquire, 0, 1))
	return s
}

// keepSessions has this member's system group know sessions 1 and 2, which their
// clients keep.
func (s *permits) keepSessions() {
	s.t.Helper()
	h := groupstate.Header{}
	for _, c := range []systemstate.Command{
		{Kind: systemstate.Found, Cluster: protocol.UUID{1}, Name: "test", Member: systemstate.Member{Name: "n1", Incarnation: protocol.UUID{2}}},
		{Kind: systemstate.KeepSessions, Opens: []systemstate.Opening{{Client: protocol.UUID{1}, TTL: time.Hour}, {Client: protocol.UUID{2}, TTL: time.Hour}}},
	} {
		if _, _, err := s.g.host.system.state.Apply(systemstate.Encode(h, c)); err != nil {
			s.t.Fatal(err)
		}
	}
	for id := protocol.SessionID(1); id <= 2; id++ {
		if !s.g.host.system.isKept(id) {
			s.t.Fatalf("session %d is not known", id)
		}
	}
}

// learn lets the leader know which sessions the state knows.
func (s *permits) learn() {
	s.g.proposer.mu.Lock()
	defer s.g.proposer.mu.Unlock()
	s.g.proposer.sessions.learn(1)
	s.g.proposer.sessions.learn(2)
}

// call makes a request of a session.
func call(session protocol.SessionID, slot uint16, seq uint64, op protocol.Op, flags protocol.Flags, args ...int64) protocol.Request {
	body := protocol.AppendInts(nil, args...)
	if op == acquire || op == tryAcquire { // with a note, which is empty
		body = protocol.AppendArray(nil, len(args)+1)
		for _, n := range args {
			body = protocol.AppendInt(body, n)
		}
		body = protocol.AppendString(body, "")
	}
	return protocol.Request{
		Flags: flags, Kind: dsemaphore.Kind().ID, Op: op, Name: "s", Body: body,
		Caller: protocol.Caller{Session: session, Slot: slot, Sequence: seq},
	}
}

// waits is the acquire that waits in these tests, and its repeat.
func waits(repeat protocol.Flags) protocol.Request {
	return call(1, 0, 1, acquire, protocol.FlagWait|repeat, 1, 0)
}

// send submits a request.
func (s *permits) send(q protocol.Request) chan protocol.Reply {
	answers := make(chan protocol.Reply, 2)
	s.g.Submit(&Request{Request: q, Raw: q.Append(nil), Done: func(r protocol.Reply) { answers <- r }})
	return answers
}

// queued returns how many requests are to be logged.
func (s *permits) queued() int {
	s.g.proposer.mu.Lock()
	defer s.g.proposer.mu.Unlock()
	return len(s.g.proposer.writes)
}

// log logs and applies what is queued.
func (s *permits) log() {
	s.t.Helper()
	for s.queued() > 0 {
		s.g.proposer.mu.Lock()
		_, b := s.g.proposer.build()
		s.g.proposer.mu.Unlock()
		if _, err := (&groupMachine{s.g}).Update([]statemachine.Entry{{Index: s.g.Applied() + 1, Cmd: b.Bytes()}}); err != nil {
			s.t.Fatal(err)
		}
	}
}

// do carries a request out.
func (s *permits) do(q protocol.Request) protocol.Reply {
	s.t.Helper()
	answers := s.send(q)
	s.log()
	r := answered(s.t, answers)
	if r.Code != protocol.CodeOK {
		s.t.Fatalf("code %d: %q", r.Code, r.Body)
	}
	return r
}

// silent checks that none of the requests is answered.
func (s *permits) silent(all ...chan protocol.Reply) {
	s.t.Helper()
	for i, answers := range all {
		if len(answers) > 0 {
			s.t.Fatalf("request %d is answered: %+v", i, <-answers)
		}
	}
}

// TestGroup_RepeatsOfWaitingCallsAreNotLogged: repeats of a call that waits are not
// logged, and hear of the grant. One that comes after it is answered from the
// record, with its version, and is not logged either.
func TestGroup_RepeatsOfWaitingCallsAreNotLogged(t *testing.T) {
	s := newPermits(t)
	all := []chan protocol.Reply{s.send(waits(0))}
	s.log()
	applied := s.g.Applied()
	for range maxWaitingPerCall - 1 {
		all = append(all, s.send(waits(protocol.FlagRepeat)))
		if n := s.queued(); n != 0 {
			t.Fatalf("%d requests are to be logged", n)
		}
	}
	s.silent(all...)
	all = append(all, s.send(waits(protocol.FlagRepeat)))
	s.log()
	if n := s.g.Applied() - applied; n != 0 {
		t.Fatalf("the repeats are %d entries", n)
	}
	if r := answered(t, all[0]); r.Code != protocol.CodeUnknown {
		t.Errorf("the oldest of too many is answered with code %d", r.Code)
	}
	s.silent(all...)

	s.do(call(2, 0, 2, addPermits, 0, 1))
	granted := s.recorded()
	applied = s.g.Applied()
	s.do(call(2, 0, 3, addPermits, 0, 1)) // the partition's revision goes on
	late := s.send(waits(protocol.FlagRepeat))
	if n := s.g.Applied() - applied; n != 1 || s.queued() != 0 {
		t.Errorf("%d entries, and %d requests to be logged", n, s.queued())
	}
	var first protocol.Reply
	for i, answers := range append(all[1:], late) {
		r := answered(t, answers)
		if i == 0 {
			first = r
		}
		if r.Code != protocol.CodeOK || string(r.Body) != string(first.Body) || r.Version != granted {
			t.Errorf("request %d is answered with %+v, the first with %+v; granted at %d", i, r, first, granted)
		}
		s.silent(answers)
	}
	if n := len(s.g.waiting); n != 0 {
		t.Errorf("%d calls wait", n)
	}
}

// recorded returns the version of the record of the call that waits, or did.
func (s *permits) recorded() protocol.Version {
	s.t.Helper()
	q := waits(protocol.FlagRepeat)
	_, v, ok := s.g.state.Recorded(&q)
	if !ok {
		s.t.Fatal("there is no record")
	}
	return v
}

// TestGroup_RepeatsAtADeposedLeader: a repeat that waits at a leader hears "unknown"
// when it is deposed, also one that came while it was. After that the repeat waits at
// the next leader.
func TestGroup_RepeatsAtADeposedLeader(t *testing.T) {
	s := newPermits(t)
	first := s.send(waits(0))
	s.log()
	again := s.send(waits(protocol.FlagRepeat))
	s.g.setLeader(Leader{Replica: 2, Term: 3})
	for _, answers := range []chan protocol.Reply{first, again} {
		if r := answered(t, answers); r.Code != protocol.CodeUnknown {
			t.Errorf("code %d", r.Code)
		}
	}

	s.g.setLeader(Leader{Replica: 1, Term: 4, Self: true})
	s.learn()
	s.g.mu.Lock()
	sent := make(chan chan protocol.Reply)
	go func() { sent <- s.send(waits(protocol.FlagRepeat)) }()
	blocked(t, "shardgroups.(*Group).Submit")
	s.g.leader.Store(&Leader{}) // as setLeader does before it answers who waits
	s.g.mu.Unlock()
	if r := answered(t, <-sent); r.Code != protocol.CodeNoLeader {
		t.Errorf("code %d", r.Code)
	}
	if n := len(s.g.waiting); n != 0 {
		t.Errorf("%d calls wait without a leader", n)
	}

	s.g.setLeader(Leader{Replica: 1, Term: 5, Self: true})
	s.learn()
	last := s.send(waits(protocol.FlagRepeat))
	s.do(call(2, 0, 2, addPermits, 0, 1))
	if r := answered(t, last); r.Code != protocol.CodeOK {
		t.Errorf("code %d", r.Code)
	}
}

// TestGroup_RepeatsThatAreLogged: what is not the repeat of a waiting call that is
// recorded and whose session lives is logged as ever.
func TestGroup_RepeatsThatAreLogged(t *testing.T) {
	again := protocol.FlagRepeat
	for _, test := range []struct {
		name string
		q    protocol.Request
		ends bool
		want protocol.Code // 0xff: none
	}{
		{name: "of a mutation", q: call(2, 0, 1, tryAcquire, again, 1), want: protocol.CodeOK},
		{name: "without a record", q: call(1, 1, 1, acquire, protocol.FlagWait|again, 1, 0), want: 0xff},
		{name: "a later sequence", q: call(1, 0, 2, acquire, protocol.FlagWait|again, 1, 0), want: 0xff},
		{name: "a cancel", q: protocol.Request{
			Op: protocol.OpCancel, Flags: protocol.FlagWait | again, Name: "s", Caller: waits(0).Caller,
		}, want: protocol.CodeCancelled},
		{name: "of an ended session", q: waits(again), ends: true, want: protocol.CodeSessionUnknown},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newPermits(t)
			s.send(waits(0))
			s.log()
			if test.ends {
				var b groupstate.Builder
				b.Reset(groupstate.Header{}, 0)
				b.Ends(0, []protocol.SessionID{1})
				// The leader has not noticed it yet.
				if err := s.g.state.Apply(b.Bytes(), &applySink{g: s.g}); err != nil {
					t.Fatal(err)
				}
			}
			answers := s.send(test.q)
			if n := s.queued(); n != 1 {
				t.Fatalf("%d requests are to be logged", n)
			}
			s.log()
			if test.want == 0xff {
				s.silent(answers)
			} else if r := answered(t, answers); r.Code != test.want {
				t.Errorf("code %d, want %d", r.Code, test.want)
			}
		})
	}
}
