package coordinator

import (
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// peers listens at n addresses and returns them in the order in which they are
// asked. Connections are accepted by the system, and nobody answers.
func peers(t *testing.T, n int) []net.Listener {
	t.Helper()
	var all []net.Listener
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b net.Listener) int { return strings.Compare(a.Addr().String(), b.Addr().String()) })
	return all
}

// serveQuestions answers the questions that come to an address.
func serveQuestions(t *testing.T, l net.Listener, answer func(protocol.PeerRequest) protocol.Reply) {
	t.Helper()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if _, err := protocol.ReadPreface(c); err != nil {
					return
				}
				for frames := protocol.NewFrameReader(c, protocol.MaxFrame); ; {
					b, err := frames.Next()
					if err != nil {
						return
					}
					var q protocol.PeerRequest
					if err := protocol.Decode(b, &q); err != nil {
						t.Error(err)
						return
					}
					r := answer(q)
					r.ID = q.ID
					if _, err := c.Write(protocol.EndFrame(r.Append(protocol.BeginFrame(nil)), 0)); err != nil && err != io.ErrClosedPipe {
						return
					}
				}
			}()
		}
	}()
}

// blankMember is a coordinator that does nothing by itself.
func blankMember(t *testing.T) *Coordinator {
	t.Helper()
	dir, err := identity.Volatile("n1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	c := &Coordinator{
		cfg: Config{Network: &network.Network{}, Address: "127.0.0.1:1", Changed: func() {}},
		dir: dir, log: slog.New(slog.DiscardHandler), poke: make(chan struct{}, 1), ctx: ctx, cancel: cancel,
	}
	c.makeParts()
	ready := make(chan struct{})
	c.ready.Store(&ready)
	return c
}

// TestJoinPastSilentAddresses: of nine addresses only the one that is asked last
// answers. A step has 10 s, and each question may take 3: asked one after the
// other a member would never join.
func TestJoinPastSilentAddresses(t *testing.T) {
	c := blankMember(t)
	all := peers(t, 9)
	for _, l := range all {
		c.cfg.Join = append(c.cfg.Join, l.Addr().String())
	}
	serveQuestions(t, all[len(all)-1], func(q protocol.PeerRequest) protocol.Reply {
		if q.What != askJoin {
			t.Errorf("asked for %s", q.What)
		}
		return protocol.Reply{}
	})
	ctx, cancel := context.WithTimeout(t.Context(), stepTimeout)
	defer cancel()
	m := c.Member()
	if err := c.Rejoin.askToJoin(ctx, &m); err != nil {
		t.Error(err)
	}
}

// TestMembersAreAskedAtTheSameTime: who looks whether members are over, or releases
// them, asks all before the first answers. Each may be silent for 3 s.
func TestMembersAreAskedAtTheSameTime(t *testing.T) {
	c := blankMember(t)
	var all sync.WaitGroup
	v := &systemstate.ClusterState{}
	var g systemstate.Group
	for i, l := range peers(t, 4) {
		o := systemstate.Member{ID: protocol.MemberID(i + 1), Incarnation: identity.NewUUID(), Address: l.Addr().String()}
		v.Members = append(v.Members, o)
		g.Replicas = append(g.Replicas, systemstate.Replica{ID: protocol.ReplicaID(i + 1), Member: o.ID})
		serveQuestions(t, l, func(q protocol.PeerRequest) protocol.Reply {
			all.Done()
			all.Wait()
			if q.What == askState {
				return protocol.Reply{Body: protocol.Encode(stateReply{Self: self{Incarnation: identity.NewUUID()}})}
			}
			p := protocol.Problem{Detail: "being released"}
			return protocol.Reply{Code: protocol.CodeBusy, Body: p.Append(nil)}
		})
	}
	m := c.Member()
	all.Add(len(v.Members))
	if dead := c.Formation.deadOf(t.Context(), nil, &m, v, g); len(dead) != len(v.Members) {
		t.Errorf("dead are %v of %d members", dead, len(v.Members))
	}
	all.Add(len(v.Members))
	if err := c.Formation.disband(t.Context(), &m, v); err == nil || strings.Count(err.Error(), "being released") != len(v.Members) {
		t.Errorf("released: %v", err)
	}
}

// TestLogThatNeverComes: a member in memory that waits for the log of the system
// group goes on waiting while somebody answers who belongs to its cluster, and
// begins anew once nobody does. It waited for ever, and others for it.
func TestLogThatNeverComes(t *testing.T) {
	c := blankMember(t)
	cluster := identity.NewUUID()
	if err := c.dir.Update(func(m *identity.Member) {
		m.Cluster, m.ClusterName, m.Formed, m.Durability = cluster, "quorate", true, "memory"
	}); err != nil {
		t.Fatal(err)
	}
	peer := peers(t, 1)[0]
	c.cfg.Join = []string{peer.Addr().String()}
	var formed atomic.Bool
	formed.Store(true)
	serveQuestions(t, peer, func(protocol.PeerRequest) protocol.Reply {
		r := stateReply{Cluster: cluster, Formed: formed.Load(), Self: self{Incarnation: protocol.UUID{1}, Address: c.cfg.Join[0]}}
		return protocol.Reply{Body: protocol.Encode(r)}
	})
	looks := func() bool {
		c.Formation.reform.looked, c.Formation.reform.leaderless = time.Time{}, time.Now().Add(-lostAfter)
		m := c.Member()
		return c.Formation.logNeverComes(t.Context(), &m)
	}
	if looks() {
		t.Error("it begins anew beside a member of its cluster")
	}
	formed.Store(false)
	if !looks() {
		t.Error("it waits for a log that nobody has")
	}
}
