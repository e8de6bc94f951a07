package shardgroups

import (
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures/dcounter"
)

// TestGroup_ForgetsSessions shows that a leader does not take a session for known
// any longer than the state does: its requests would be logged, and refused as those
// of an unknown session, for ever.
func TestGroup_ForgetsSessions(t *testing.T) {
	known := func(g *Group) bool {
		g.proposer.mu.Lock()
		defer g.proposer.mu.Unlock()
		return g.proposer.sessions.known(7)
	}
	for what, play := range map[string]func(*testing.T, *Group){
		"its end is applied, and the tick saw it first": func(t *testing.T, g *Group) {
			g.proposer.endsApplied = 1
			g.applyEntry(t, groupstate.Header{}, func(b *groupstate.Builder) { b.Ends(0, []protocol.SessionID{7}) })
		},
		"it is found to have ended after ends were passed over": func(t *testing.T, g *Group) {
			g.applyEntry(t, groupstate.Header{}, func(b *groupstate.Builder) { b.PassOver(9, 20) })
			if !known(g) {
				t.Error("it is forgotten before it is looked up")
			}
			g.applyEntry(t, groupstate.Header{}, func(b *groupstate.Builder) {
				b.Ended(groupstate.Checked{End: 9, To: 20, IDs: []protocol.SessionID{7}})
			})
		},
		"it is learned after it has ended": func(t *testing.T, g *Group) {
			g.applyEntry(t, groupstate.Header{}, func(b *groupstate.Builder) { b.Ends(0, []protocol.SessionID{7}) })
			g.proposer.sessions.learn(7)
			q, answers := g.asked()
			q.Request = protocol.Request{
				Kind: dcounter.Kind().ID, Op: 3, Name: "hits",
				Caller: protocol.Caller{Session: 7, Sequence: 1}, Body: protocol.AppendInts(nil, 1),
			}
			g.proposer.inFlight[1] = &entry{number: 1, requests: []*Request{q}}
			g.applyEntry(t, groupstate.Header{Proposer: g.host.nonce, Number: 1}, func(b *groupstate.Builder) { b.Request(q.Append(nil)) })
			if r := answered(t, answers); r.Code != protocol.CodeSessionUnknown {
				t.Errorf("code %d", r.Code)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			g := bareGroup(bareHost(t))
			g.applyEntry(t, groupstate.Header{}, func(b *groupstate.Builder) {
				b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
				b.Attach(7, 0)
			})
			g.proposer.sessions.learn(7)
			if play(t, g); known(g) {
				t.Error("the leader takes it for known")
			}
		})
	}
}
