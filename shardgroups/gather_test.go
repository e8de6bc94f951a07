package shardgroups

import (
	"strings"
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
)

// TestGroup_GathersWithinBounds shows that repeats of a request in flight, and
// requests that wait for their session, are gathered up to a number: small ones
// would take the memory of many bytes that are counted.
func TestGroup_GathersWithinBounds(t *testing.T) {
	g := bareGroup(bareHost(t))
	g.leader.Store(&Leader{Self: true, Replica: 1})
	g.proposer.inFlight[1] = &entry{number: 1, requests: []*Request{{}}}
	for i := range maxJoined + 1 {
		joined, inFlight := g.proposer.join(&Request{})
		if joined != (i < maxJoined) || !inFlight {
			t.Fatalf("repeat %d: joined %t, in flight %t", i, joined, inFlight)
		}
	}
	g.pressure.Store(&Pressure{Code: protocol.CodeMemoryFull, Everything: true})
	repeat, _ := g.asked()
	repeat.Kind, repeat.Flags = 0, protocol.FlagRepeat
	g.proposer.inFlight[1].requests[0].Kind, repeat.Kind = dcounter.Kind().ID, dcounter.Kind().ID
	if g.pressed(repeat) {
		t.Error("a repeat of a request that is in flight is answered, under pressure, that it has not entered")
	}

	g.proposer.sessions.parkedCount = maxQueuedRequests
	q, answers := g.asked()
	q.Caller.Session = 7
	g.proposer.park([]*Request{q})
	if r := answered(t, answers); r.Code != protocol.CodeBusy {
		t.Errorf("code %d", r.Code)
	}
}

// TestGroup_ControlIsChecked shows that a cancel with a name that no structure has
// is not logged.
func TestGroup_ControlIsChecked(t *testing.T) {
	g := bareGroup(bareHost(t))
	g.leader.Store(&Leader{Self: true, Replica: 1})
	for name, want := range map[string]protocol.Code{strings.Repeat("x", 1<<20): protocol.CodeTooLarge, "a\nb": protocol.CodeInvalid} {
		q, answers := g.asked()
		q.Request = protocol.Request{Op: protocol.OpCancel, Name: name, Caller: protocol.Caller{Session: 1, Sequence: 1}}
		g.Submit(q)
		if r := answered(t, answers); r.Code != want {
			t.Errorf("code %d, want %d", r.Code, want)
		}
	}
}

// TestGroup_FollowsEndsFaster shows that a group that is more than an entry behind
// the list of ended sessions follows it immediately, although it is idle: with one
// entry a second it fell behind whenever more ended.
func TestGroup_FollowsEndsFaster(t *testing.T) {
	for _, test := range []struct {
		ends uint64
		want bool
	}{{maxEndsPerEntry + 5, true}, {maxEndsPerEntry + 4, false}} {
		g := bareGroup(bareHost(t))
		g.leader.Store(&leading)
		g.host.system.ends.Store(test.ends)
		g.proposer.endsApplied, g.proposer.owned, g.proposer.endsInFlight = 5, 1, 3
		g.proposer.completed(2)
		if g.proposer.wantEntry {
			t.Error("another entry is complete")
		}
		if g.proposer.completed(3); g.proposer.wantEntry != test.want {
			t.Errorf("%d ends, 5 applied: another entry %t, want %t", test.ends, g.proposer.wantEntry, test.want)
		}
	}
}
