package shardgroups

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// leadingSystem is the replica of a leader without an engine, whose state has
// sessions 1 to n, of which the first has ended.
func leadingSystem(t *testing.T, n int) *System {
	h := &Host{nonce: 1, mono: newMonotime(nil)}
	s := newSystem(h)
	h.system = s
	s.leader.Store(&Leader{Self: true, Replica: 1})
	s.asked.unknown.asking = true // nobody to ask
	apply := func(c systemstate.Command) {
		if _, _, err := s.state.Apply(systemstate.Encode(groupstate.Header{}, c)); err != nil {
			t.Fatal(err)
		}
	}
	for first := 0; first < n; first += systemstate.MaxKeep {
		c := systemstate.Command{Kind: systemstate.KeepSessions}
		for i := first; i < min(n, first+systemstate.MaxKeep); i++ {
			c.Opens = append(c.Opens, systemstate.Opening{Client: protocol.UUID{1, byte(i >> 8), byte(i)}, TTL: time.Minute})
		}
		apply(c)
	}
	apply(systemstate.Command{Kind: systemstate.KeepSessions, Closes: []protocol.SessionID{1}})
	return s
}

// replies collects the answers to requests, by code.
type replies struct {
	codes map[protocol.Code]int
	last  protocol.Reply
}

func (r *replies) ask(s *System, q protocol.SessionRequest) {
	s.Session(q, systemstate.Origin{Source: "10.0.0.1"}, func(p protocol.Reply) {
		if r.codes == nil {
			r.codes = map[protocol.Code]int{}
		}
		r.codes[p.Code]++
		r.last = p
	})
}

// TestSystem_GathersSessions shows what the leader logs of what clients ask: each
// session once, so many in an entry as it may cost, and all of them in the end.
func TestSystem_GathersSessions(t *testing.T) {
	const n = systemstate.MaxKeep + 1000
	s := leadingSystem(t, n)
	var r replies
	for range 3 {
		for id := protocol.SessionID(2); id <= n; id++ {
			r.ask(s, protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: id})
		}
	}
	for range 10 {
		r.ask(s, protocol.SessionRequest{Action: protocol.SessionOpen, Client: protocol.UUID{9}, TTL: 5000})
		r.ask(s, protocol.SessionRequest{Action: protocol.SessionClose, Session: 7})
	}
	seen := 0
	for _, want := range []int{systemstate.MaxKeep, n - 1 + 2 - systemstate.MaxKeep, 0} {
		asks := s.takeAsks()
		if len(asks) != want {
			t.Fatalf("an entry has %d, want %d", len(asks), want)
		}
		seen += want
		var c systemstate.Command
		var a systemstate.Answer
		for _, ask := range asks {
			switch ask.key.action {
			case protocol.SessionOpen:
				c.Opens = append(c.Opens, systemstate.Opening{})
				a.Opened = append(a.Opened, systemstate.Opened{Session: n + 1, TTL: 5 * time.Second})
			case protocol.SessionHeartbeat:
				c.Keeps = append(c.Keeps, ask.key.session)
				if len(c.Keeps) == 1 {
					a.Gone = c.Keeps
				}
			}
		}
		s.answerAsks(asks, a)
	}
	// The first heartbeat of each entry was for a session that has ended by then.
	want := map[protocol.Code]int{protocol.CodeOK: 3*(n-1) + 20 - 6, protocol.CodeSessionEnded: 6}
	for code, n := range want {
		if r.codes[code] != n {
			t.Errorf("code %d: %d answers, want %d", code, r.codes[code], n)
		}
	}
	if s.asked.callers != 0 || len(s.asked.byKey) != 0 {
		t.Errorf("%d callers, %d places are left", s.asked.callers, len(s.asked.byKey))
	}
}

// TestSystem_AnswersWithoutAnEntry shows that nothing is logged for sessions that
// are over or were never opened, and that what waits is bounded.
func TestSystem_AnswersWithoutAnEntry(t *testing.T) {
	s := leadingSystem(t, 3)
	for _, test := range []struct {
		q    protocol.SessionRequest
		want protocol.Code
	}{
		{protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: 1}, protocol.CodeSessionEnded},
		{protocol.SessionRequest{Action: protocol.SessionHeartbeat}, protocol.CodeSessionEnded},
		{protocol.SessionRequest{Action: protocol.SessionClose, Session: 1}, protocol.CodeOK},
		{protocol.SessionRequest{Action: protocol.SessionOpen}, protocol.CodeInvalid},
		{protocol.SessionRequest{Action: 0, Session: 2}, protocol.CodeUnsupported},
		{protocol.SessionRequest{Action: 4, Session: 2}, protocol.CodeUnsupported},
	} {
		var r replies
		if r.ask(s, test.q); r.codes[test.want] != 1 {
			t.Errorf("%+v: codes %v, want %d", test.q, r.codes, test.want)
		}
	}
	var r replies
	for i := range maxUnknown + 5 {
		r.ask(s, protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: protocol.SessionID(4 + i)})
	}
	if r.codes[protocol.CodeBusy] != 5 || len(r.codes) != 1 || len(s.asked.asks) != 0 {
		t.Errorf("codes %v, %d to be logged", r.codes, len(s.asked.asks))
	}
	r = replies{}
	for range maxSessionCallers + 7 {
		r.ask(s, protocol.SessionRequest{Action: protocol.SessionHeartbeat, Session: 2})
	}
	if r.codes[protocol.CodeBusy] != 7 || len(r.codes) != 1 || len(s.takeAsks()) != 1 {
		t.Errorf("codes %v", r.codes)
	}
}
