package shardgroups

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

var leading = Leader{Replica: 1, Term: 2, Self: true}

// patience bounds what a test waits for, on a machine that is busy with other things.
const patience = 2 * time.Minute

// asked makes a request whose answers arrive on the channel.
func (g *Group) asked() (*Request, chan protocol.Reply) {
	answers := make(chan protocol.Reply, 2)
	return &Request{group: g, Done: func(r protocol.Reply) { answers <- r }}, answers
}

// answered waits for the one answer to a request.
func answered(t *testing.T, answers <-chan protocol.Reply) protocol.Reply {
	t.Helper()
	select {
	case r := <-answers:
		return r
	case <-time.After(patience):
		t.Fatal("a request is never answered")
		return protocol.Reply{}
	}
}

// blocked waits until a goroutine that runs f waits for a mutex.
func blocked(t *testing.T, f string) {
	t.Helper()
	buf := make([]byte, 1<<20)
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		for g := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(g, "sync.(*Mutex).Lock") && strings.Contains(g, f) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not wait for a lock", f)
		}
	}
}

// TestGroup_StepsDownMeanwhile: a request that is about to be queued again, or
// parked, while the replica ceases to lead is answered: nothing looks into the
// queues of a follower. The replica ceases to lead when the other has looked
// whether it does, and waits for the lock.
func TestGroup_StepsDownMeanwhile(t *testing.T) {
	h := bareHost(t)
	for _, test := range []struct {
		name  string
		again func(*Group, *Request)
	}{
		{"the read of a dropped ReadIndex", func(g *Group, q *Request) { g.proposer.readAgain([]*Request{q}, true) }},
		{"the read of a failed entry", func(g *Group, q *Request) {
			locked := make(chan struct{})
			e := &entry{number: 1, piggybacked: []*Request{q}, requests: []*Request{{group: g, Done: func(protocol.Reply) {
				g.proposer.mu.Lock()
				close(locked)
			}}}}
			g.proposer.mu.Unlock()
			g.proposer.inFlight[1] = e
			go func() { g.proposer.fail(e, protocol.CodeUnknown) }()
			<-locked
		}},
		{"a request of an unknown session", func(g *Group, q *Request) { g.proposer.park([]*Request{q}) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := bareGroup(h)
			g.setLeader(leading)
			q, answers := g.asked()
			g.proposer.mu.Lock()
			if strings.Contains(test.name, "entry") {
				test.again(g, q)
			} else {
				go test.again(g, q)
			}
			blocked(t, "shardgroups.(*proposer)")
			g.leader.Store(&Leader{})
			g.proposer.mu.Unlock()
			if r := answered(t, answers); r.Code != protocol.CodeNoLeader {
				t.Errorf("code %d", r.Code)
			}
		})
	}
}

// TestGroup_ParksNothingWhenItFollows: what comes to be parked after the replica
// has stepped down is answered, although the session lives.
func TestGroup_ParksNothingWhenItFollows(t *testing.T) {
	h := bareHost(t)
	spec := GroupSpec{Group: protocol.SystemGroup, Replica: 1, Initial: map[protocol.ReplicaID]protocol.UUID{1: h.cfg.Incarnation}}
	if err := h.StartGroup(spec, true); err != nil {
		t.Fatal(err)
	}
	a, err := h.System().Propose(t.Context(), systemstate.Command{
		Kind: systemstate.KeepSessions, Opens: []systemstate.Opening{{Client: protocol.UUID{7}, TTL: time.Hour}},
	})
	if err != nil {
		t.Fatal(err)
	}
	g := bareGroup(h)
	q, answers := g.asked()
	q.Caller.Session = a.Opened[0].Session
	g.proposer.park([]*Request{q})
	if r := answered(t, answers); r.Code != protocol.CodeNoLeader {
		t.Errorf("code %d", r.Code)
	}
}

// claimed is an entry of a group with a claim of its clock.
func claimed(proposer, number, nonce uint64) statemachine.Entry {
	var b groupstate.Builder
	b.Reset(groupstate.Header{Proposer: proposer, Number: number}, 0)
	b.Claim(nonce)
	return statemachine.Entry{Index: number, Cmd: b.Bytes()}
}

// TestGroup_ClaimsAgain: a leader's claim of the clock, and behind it that of a
// deposed leader, come in one batch of entries. The leader claims again: as long
// as another holds the clock its entries move no time.
func TestGroup_ClaimsAgain(t *testing.T) {
	h := bareHost(t)
	g := bareGroup(h)
	g.setLeader(leading)
	build := func() groupstate.Header {
		t.Helper()
		g.proposer.mu.Lock()
		defer g.proposer.mu.Unlock()
		e, b := g.proposer.build()
		delete(g.proposer.inFlight, e.number)
		header, _, err := groupstate.ReadHeader(b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		return header
	}
	first := build()
	nonce := g.proposer.claim.nonce
	if _, err := (&groupMachine{g}).Update([]statemachine.Entry{
		claimed(first.Proposer, first.Number, nonce), claimed(first.Proposer+1, first.Number+1, nonce+2),
	}); err != nil {
		t.Fatal(err)
	}
	again := build()
	if g.proposer.claim.nonce == nonce || g.proposer.claim.nonce == 0 {
		t.Fatal("the leader does not claim the clock again, though another holds it: time stands")
	}
	if _, err := (&groupMachine{g}).Update([]statemachine.Entry{claimed(again.Proposer, again.Number, g.proposer.claim.nonce)}); err != nil {
		t.Fatal(err)
	}
	if next := build(); next.ClockEpoch != g.state.Clock().Epoch {
		t.Errorf("its next entry is of the clock epoch %d, in force is %d", next.ClockEpoch, g.state.Clock().Epoch)
	}
}

// TestSystem_ClaimsAgain is the same of the system group.
func TestSystem_ClaimsAgain(t *testing.T) {
	s := newSystem(bareHost(t))
	s.leader.Store(&leading)
	claim := func(nonce uint64) statemachine.Entry {
		return statemachine.Entry{Cmd: systemstate.Encode(groupstate.Header{}, systemstate.Command{Kind: systemstate.Claim, Nonce: nonce})}
	}
	open := statemachine.Entry{Cmd: systemstate.Encode(groupstate.Header{}, systemstate.Command{
		Kind: systemstate.KeepSessions, Opens: []systemstate.Opening{{Client: protocol.UUID{7}, TTL: time.Minute}},
	})}
	s.claim.nonce = 5
	if _, err := (&systemMachine{s}).Update([]statemachine.Entry{open, claim(5), claim(6)}); err != nil {
		t.Fatal(err)
	}
	s.tick() // its proposal fails: no replica runs
	if s.claim.nonce == 5 || s.claim.nonce == 0 {
		t.Error("the leader does not claim the clock again, though another holds it")
	}
}
