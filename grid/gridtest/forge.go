package gridtest

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/protocol"
)

// Forgery is what a stranger claims about a member.
type Forgery struct {
	MemoryFull, DiskFull, DiskOut, Closing bool
	Run                                    uint64 // 0: nothing
}

// Forge makes a stranger, which belongs to no cluster, send messages in the name of a
// member: its state over the gossip, again and again, and its run to each other member
// once. It ends with the test, or when stop is called.
func (c *Cluster) Forge(member int, f Forgery) (stop func()) {
	c.t.Helper()
	s, err := c.Status(member)
	if err != nil {
		c.t.Fatal(err)
	}
	var u, cluster protocol.UUID
	for _, m := range s.Members {
		if m.ID == s.Member {
			u, err = protocol.ParseUUID(m.Incarnation)
		}
	}
	if err != nil {
		c.t.Fatal(err)
	}
	if cluster, err = protocol.ParseUUID(s.Cluster); err != nil {
		c.t.Fatal(err)
	}
	var others []string
	for i, a := range c.Addrs() {
		if i != member && c.Member(i) != nil {
			others = append(others, a)
		}
	}
	n := &network.Network{}
	tcp, udp, err := n.Listen("127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	state := gossip.State{MemoryFull: f.MemoryFull, DiskFull: f.DiskFull, DiskOut: f.DiskOut, Closing: f.Closing}
	g, err := gossip.Start(gossip.Config{
		Label:       s.ClusterName, // no secret
		Incarnation: u, Name: s.Name, Address: s.Address, Cluster: cluster, Network: n, Packets: udp,
		State: state, Logger: slog.New(slog.DiscardHandler), Changed: func() {}, Seeds: func() []string { return others },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if f.Run > 0 {
		for _, a := range others {
			forgeRun(c.t, n, a, cluster, u, s, f.Run)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	said := make(chan struct{})
	go func() {
		defer close(said)
		// The member contradicts, so that the claim must be repeated; a change is
		// announced at once.
		for slow := false; ctx.Err() == nil; slow = !slow {
			state.DiskSlow = slow
			g.SetState(state)
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-said
		g.Close()
		_, _ = udp.Close(), tcp.Close() // the test is done with them
	})
	c.t.Cleanup(stop)
	return stop
}

// forgeRun reports a run to a member in the name of another.
func forgeRun(t testing.TB, n *network.Network, to string, cluster, u protocol.UUID, s protocol.Status, life uint64) {
	t.Helper()
	type self struct {
		_           struct{} `cbor:",toarray"`
		Incarnation protocol.UUID
		Name        string
		Address     string
		Level       uint32
	}
	type query struct {
		_        struct{} `cbor:",toarray"`
		Cluster  protocol.UUID
		Self     self
		Life     uint64
		Nonce    uint64
		Replicas []struct{}
	}
	ctx, cancel := context.WithTimeout(context.Background(), WaitTimeout)
	defer cancel()
	conn, err := n.Dial(ctx, to, protocol.PurposeMember)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(WaitTimeout)) // fails with the read
	q := protocol.Encode(protocol.PeerRequest{
		Type: protocol.TypePeer, ID: 1, What: "observed",
		Args: protocol.Encode(query{Cluster: cluster, Self: self{Incarnation: u, Name: s.Name, Address: s.Address}, Life: life, Nonce: 7}),
	})
	if _, err := conn.Write(protocol.EndFrame(append(protocol.BeginFrame(nil), q...), 0)); err != nil {
		t.Fatal(err)
	}
	b, err := protocol.NewFrameReader(conn, protocol.MaxFrame).Next()
	if err != nil {
		t.Fatal(err)
	}
	var r protocol.Reply
	if err := r.Decode(b); err != nil || r.Code != protocol.CodeOK {
		t.Fatalf("a forged life is answered with %v, %v", r.Code, err)
	}
}

// Logged reports whether the members' recent log contains a text.
func (c *Cluster) Logged(text string) bool { return strings.Contains(c.logs.tail(), text) }
