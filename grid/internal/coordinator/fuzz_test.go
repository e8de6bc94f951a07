package coordinator

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

// questions are all that members ask of each other, and one that they do not.
var questions = []string{
	askState, askEnlist, askRelease, askStart, askJoin, askAddress, askTransfer, askCaughtUp,
	askLeaders, askWithout, askObserved, askLeave, askChange, "", askApplied, askSize, askRoom,
}

// blank returns the part of a blank member that answers others.
func blank(tb testing.TB) *Coordinator {
	tb.Helper()
	dir, err := identity.Volatile("n1")
	if err != nil {
		tb.Fatal(err)
	}
	if err := dir.Update(func(m *identity.Member) { m.Incarnation = protocol.UUID{5} }); err != nil {
		tb.Fatal(err)
	}
	c := &Coordinator{
		cfg: Config{Dir: dir, Address: "127.0.0.1:1", Network: &network.Network{}, Tune: func(*shardgroups.Config) {}}, dir: dir,
		log: slog.New(slog.DiscardHandler), poke: make(chan struct{}, 1),
	}
	c.makeParts()
	c.Rejoin.check = check{asked: map[protocol.UUID]int{}, answers: map[protocol.UUID]progressReply{}}
	return c
}

// FuzzQuestions puts two questions of any bytes to a blank member, of which the
// second meets what the first has changed. Each is answered or refused.
func FuzzQuestions(f *testing.F) {
	who := self{Incarnation: protocol.UUID{1}, Name: "n2", Address: "127.0.0.1:2", Level: 1}
	cluster := protocol.UUID{9}
	give := protocol.Encode(enlistment{Incarnation: protocol.UUID{5}, Founder: who, Cluster: cluster, ClusterName: "c", Settings: settings{Durability: "disk", Partitions: 271}})
	for what, args := range map[byte]any{
		0: who,
		2: release{Founder: who.Incarnation, Cluster: cluster},
		3: start{Cluster: cluster, Replica: 2, Peers: []self{who}},
		4: join{Cluster: cluster, Incarnation: who.Incarnation, Name: "n2", Address: "127.0.0.1:2", Level: 1},
		6: transfer{Cluster: cluster, Group: 2, Replica: 3},
		9: without{Cluster: cluster, Group: 2, Member: 3},
		10: progressQuery{
			Cluster: cluster, Self: who, Life: 3, Nonce: 7, Replicas: []replicaOf{{Group: 2, Replica: 3}},
		},
		11: leave{Cluster: cluster, Member: 2, Groups: []protocol.GroupID{1, 2}},
		12: change{Cluster: cluster, Group: 2, Replica: 3, Member: who.Incarnation},
		14: applied{Cluster: cluster, Group: 2, Replica: 3, Index: 4},
		15: sizeQuery{Cluster: cluster, Group: 2},
		16: roomQuery{Cluster: cluster, Group: 2, Member: who.Incarnation, Size: size{State: 1 << 30, Stream: 1 << 29}},
	} {
		f.Add(byte(1), give, what, protocol.Encode(args))
	}
	ctx, cancel := context.WithCancel(f.Context())
	cancel() // what it asks others in turn is asked of nobody
	f.Fuzz(func(t *testing.T, first byte, args []byte, second byte, more []byte) {
		c := blank(t)
		for _, q := range []protocol.PeerRequest{
			{What: questions[int(first)%len(questions)], Args: args},
			{What: questions[int(second)%len(questions)], Args: more},
		} {
			r := c.Peers.Peer(ctx, q)
			var p protocol.Problem
			if r.Code != protocol.CodeOK && p.Decode(r.Body) != nil {
				t.Errorf("%q is refused with code %d and a detail that cannot be read", q.What, r.Code)
			}
		}
	})
}

// FuzzAnswers has a member that was started before look at answers of any bytes:
// it takes one form of what it knows of each, and none of them ends it.
func FuzzAnswers(f *testing.F) {
	who := self{Incarnation: protocol.UUID{1}, Name: "n2", Address: "127.0.0.1:2", Level: 1}
	f.Add(byte(0), protocol.Encode(stateReply{
		Self: who, Cluster: protocol.UUID{9}, ClusterName: "c", Formed: true, Expect: 3, Seen: []protocol.UUID{{1}}, Known: []string{"127.0.0.1:2"},
	}))
	f.Add(byte(1), protocol.Encode(progressReply{
		Self: who, Life: 2, Noted: true, Seen: []shardgroups.ObservedProgress{{Group: 2, Replica: 3, Term: 4, HeldTerm: 4, HeldIndex: 9}},
		Led: true, Listed: true, Others: []protocol.UUID{{1}},
	}))
	f.Add(byte(2), protocol.Encode(leadersReply{Leaders: []leaderOf{{Group: 2, Term: 3, Member: 1}}}))
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		c := blank(t)
		switch kind % 3 {
		case 0:
			if r, ok := oneForm[stateReply](t, b); ok && c.agree(r.ClusterName, r.Settings) == nil {
				_ = c.Formation.adopt(r)
			}
		case 1:
			r, ok := oneForm[progressReply](t, b)
			if !ok {
				return
			}
			m := c.member()
			m.Started = []identity.Replica{{Group: 2, Replica: 3, Started: true}}
			m.Peers = []identity.Peer{{Incarnation: protocol.UUID{1}, Voter: true}}
			c.Rejoin.check.stored = []shardgroups.Stored{{Group: 2, Replica: 3, Term: 4, Last: 8}}
			c.Rejoin.check.answers[r.Self.Incarnation] = r
			_, _ = c.Rejoin.verdict(&m), c.Rejoin.unanswered(&m)
		case 2:
			_, _ = oneForm[leadersReply](t, b)
		}
	})
}

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
