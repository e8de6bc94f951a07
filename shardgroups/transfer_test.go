package shardgroups_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

// TestTransferLeader_Gates shows in which order a transfer goes: nothing is
// logged any more when the next leader is asked whether it has all, and requests
// that arrive during the transfer are answered with that leader, and nothing else.
func TestTransferLeader_Gates(t *testing.T) {
	c := newCluster(t)
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour)
	id := protocol.SystemGroup + 1
	seq := uint64(1)
	c.do(add(s, 0, seq))
	for deadline := time.Now().Add(patience); ; {
		from := c.leader(id)
		to := (from + 1) % members
		g := c.hosts[from].Group(id)
		seq++
		q, replies := later(add(s, 0, seq))
		ready := func(ctx context.Context, index uint64) error {
			if err := c.hosts[to].AwaitApplied(ctx, id, index); err != nil {
				return err
			}
			g.Submit(q)
			if now := g.Applied(); now != index {
				t.Errorf("the leader has applied %d while it waited for %d", now, index)
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err := g.TransferLeader(ctx, protocol.ReplicaID(to+1), ready)
		cancel()
		if err != nil {
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
			t.Logf("transfer: %v", err) // the machine is busy: no leader was elected in time
			c.do(add(s, 0, seq))
			continue
		}
		r := <-replies
		var p protocol.Problem
		if err := p.Decode(r.Body); err != nil || r.Code != protocol.CodeNotLeader {
			t.Fatalf("a write that came during the transfer: code %d: %q", r.Code, r.Body)
		}
		if now := c.leader(id); p.Leader != protocol.MemberID(to+1) && now == to {
			t.Errorf("it is sent to member %d, member %d leads", p.Leader, now+1)
		}
		if r := c.do(add(s, 0, seq)); r.Code != protocol.CodeOK {
			t.Errorf("the same write at the next leader: code %d", r.Code)
		}
		return
	}
}

// TestTransferLeader_NotReady shows that a replica which lags is not asked to
// lead, and that those who were held back for it go on.
func TestTransferLeader_NotReady(t *testing.T) {
	c := newCluster(t)
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour)
	id := protocol.SystemGroup + 1
	c.do(add(s, 0, 1))
	from := c.leader(id)
	g := c.hosts[from].Group(id)
	term := g.Leader().Term
	q, replies := later(add(s, 0, 2))
	lags := errors.New("not yet")
	err := g.TransferLeader(context.Background(), protocol.ReplicaID((from+1)%members+1), func(context.Context, uint64) error {
		g.Submit(q)
		return lags
	})
	if !errors.Is(err, lags) {
		t.Fatalf("transfer: %v, want %v", err, lags)
	}
	if r := <-replies; r.Code != protocol.CodeOK && g.Leader().Term == term {
		t.Errorf("a write that was held back: code %d: %q", r.Code, r.Body)
	}
}

// later makes a request whose reply arrives on a channel.
func later(q protocol.Request) (*shardgroups.Request, <-chan protocol.Reply) {
	replies := make(chan protocol.Reply, 1)
	return &shardgroups.Request{Request: q, Raw: q.Append(nil), Done: func(r protocol.Reply) { replies <- r }}, replies
}
