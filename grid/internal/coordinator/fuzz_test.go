package coordinator

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

// questions are all that members ask of each other, and one that they do not.
var questions = []string{
	peers.AskState, peers.AskEnlist, peers.AskRelease, peers.AskStart, peers.AskJoin, peers.AskAddress, peers.AskTransfer, peers.AskCaughtUp,
	peers.AskLeaders, peers.AskWithout, peers.AskObserved, peers.AskLeave, peers.AskChange, "", peers.AskApplied, peers.AskSize, peers.AskHeadroom,
}

// FuzzQuestions puts two questions of any bytes to a blank member, of which the
// second meets what the first has changed. Each is answered or refused.
func FuzzQuestions(f *testing.F) {
	who := peers.Self{Incarnation: protocol.UUID{1}, Name: "n2", Address: "127.0.0.1:2", Level: 1}
	cluster := protocol.UUID{9}
	give := protocol.Encode(peers.Enlistment{Incarnation: protocol.UUID{5}, Founder: who, Cluster: cluster, ClusterName: "c", Settings: peers.Settings{Durability: "disk", Partitions: 271}})
	for what, args := range map[byte]any{
		0: who,
		2: peers.Release{Founder: who.Incarnation, Cluster: cluster},
		3: peers.Start{Cluster: cluster, Replica: 2, Peers: []peers.Self{who}},
		4: peers.Join{Cluster: cluster, Incarnation: who.Incarnation, Name: "n2", Address: "127.0.0.1:2", Level: 1},
		6: peers.Transfer{Cluster: cluster, Group: 2, Replica: 3},
		9: peers.Without{Cluster: cluster, Group: 2, Member: 3},
		10: peers.ProgressQuery{
			Cluster: cluster, Self: who, Run: 3, Nonce: 7, Replicas: []peers.ReplicaOf{{Group: 2, Replica: 3}},
		},
		11: peers.Leave{Cluster: cluster, Member: 2, Groups: []protocol.GroupID{1, 2}},
		12: peers.Change{Cluster: cluster, Group: 2, Replica: 3, Member: who.Incarnation},
		14: peers.Applied{Cluster: cluster, Group: 2, Replica: 3, Index: 4},
		15: peers.SizeQuery{Cluster: cluster, Group: 2},
		16: peers.HeadroomQuery{Cluster: cluster, Group: 2, Member: who.Incarnation, Size: peers.Size{State: 1 << 30, Stream: 1 << 29}},
	} {
		f.Add(byte(1), give, what, protocol.Encode(args))
	}
	ctx, cancel := context.WithCancel(f.Context())
	cancel() // what it asks others in turn is asked of nobody
	f.Fuzz(func(t *testing.T, first byte, args []byte, second byte, more []byte) {
		c := idleMember(t, nobody, func(cfg *Config) {
			if err := cfg.Dir.Update(func(m *identity.Member) { m.Incarnation = protocol.UUID{5} }); err != nil {
				t.Fatal(err)
			}
		})
		for _, q := range []protocol.PeerRequest{
			{What: questions[int(first)%len(questions)], Args: args},
			{What: questions[int(second)%len(questions)], Args: more},
		} {
			r := c.Peer(ctx, q)
			var p protocol.Problem
			if r.Code != protocol.CodeOK && p.Decode(r.Body) != nil {
				t.Errorf("%q is refused with code %d and a detail that cannot be read", q.What, r.Code)
			}
		}
	})
}

// FuzzAnswers has a member look at answers of any bytes, to its first look around and to
// the question what others have seen of its data: it takes one form of what it knows of
// each, and none of them ends it.
func FuzzAnswers(f *testing.F) {
	who := peers.Self{Incarnation: protocol.UUID{1}, Name: "n2", Address: "127.0.0.1:2", Level: 1}
	f.Add(byte(0), protocol.Encode(peers.StateReply{
		Self: who, Cluster: protocol.UUID{9}, ClusterName: "c", Formed: true, Expect: 3, Seen: []protocol.UUID{{1}}, Known: []string{"127.0.0.1:2"},
	}))
	f.Add(byte(1), protocol.Encode(peers.ProgressReply{
		Self: who, Run: 2, Noted: true, Seen: []shardgroups.ObservedProgress{{Group: 2, Replica: 3, Term: 4, HeldTerm: 4, HeldIndex: 9}},
		Led: true, Listed: true, Others: []protocol.UUID{{1}},
	}))
	f.Add(byte(2), protocol.Encode(peers.LeadersReply{Leaders: []peers.LeaderOf{{Group: 2, Term: 3, Member: 1}}}))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		answers := func(_ context.Context, _, what string, _ []byte) (any, error) {
			if what == peers.AskState || what == peers.AskObserved {
				return raw(b), nil
			}
			return nil, errNobody
		}
		switch kind % 3 {
		case 0:
			if _, ok := oneForm[peers.StateReply](t, b); !ok {
				return
			}
			c := idleMember(t, answers, func(cfg *Config) { cfg.Join = []string{who.Address} })
			m := c.Member()
			_ = c.Formation.Step(t.Context(), &m)
		case 1:
			if _, ok := oneForm[peers.ProgressReply](t, b); !ok {
				return
			}
			c := idleMember(t, answers, func(cfg *Config) {
				cfg.Join = []string{who.Address}
				cfg.Outside.Open = openEngine
				cfg.Outside.Inspect = func(context.Context, string, *slog.Logger, func(protocol.GroupID, protocol.ReplicaID) bool) ([]shardgroups.Stored, error) {
					return []shardgroups.Stored{{Group: 2, Replica: 3, Term: 4, Last: 8}}, nil
				}
				if err := cfg.Dir.Update(func(m *identity.Member) {
					m.Cluster, m.Formed, m.Durability = protocol.UUID{9}, true, "disk"
					m.Started = []identity.Replica{{Group: 2, Replica: 3, Started: true}}
					// Of the second nobody hears, and without it nothing is started.
					m.Peers = []identity.Peer{{Incarnation: protocol.UUID{1}, Voter: true, Address: who.Address}, {Incarnation: protocol.UUID{2}, Voter: true}, {Incarnation: protocol.UUID{3}, Voter: true}, {Incarnation: protocol.UUID{4}, Voter: true}}
				}); err != nil {
					t.Fatal(err)
				}
			})
			m := c.Member()
			_, _ = c.Rejoin.Step(t.Context(), &m)
		case 2:
			_, _ = oneForm[peers.LeadersReply](t, b)
		}
	})
}

// raw is an answer that is encoded already.
type raw []byte

// MarshalCBOR returns the encoding.
func (r raw) MarshalCBOR() ([]byte, error) { return r, nil }

// oneForm decodes b, if it is the encoding of a T in some version.
func oneForm[T any](t *testing.T, b []byte) (v T, ok bool) {
	t.Helper()
	if err := protocol.Decode(b, &v); err != nil {
		if !errors.Is(err, protocol.ErrMalformed) {
			t.Fatalf("error %v is not ErrMalformed", err)
		}
		return v, false
	}
	again := protocol.Encode(v)
	var w T
	if err := protocol.DecodeExact(again, &w); err != nil || !bytes.Equal(protocol.Encode(w), again) {
		t.Fatalf("%x became %x, which is not read again: %v", b, again, err)
	}
	return v, true
}
