package gossip

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/internal/otherversion"
	"github.com/quorate/quorate/protocol"
)

type node struct {
	*Gossip
	address string
}

func start(t *testing.T, name string, seeds ...string) node {
	t.Helper()
	return startLabelled(t, "", name, seeds...)
}

func startLabelled(t *testing.T, label, name string, seeds ...string) node {
	t.Helper()
	n := &network.Network{}
	tcp, udp, err := n.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := tcp.Addr().String()
	g, err := Start(Config{
		Label:       label,
		Incarnation: identity.NewUUID(), Name: name, Address: address, Network: n, Packets: udp,
		Logger: slog.New(slog.DiscardHandler), Seeds: func() []string { return seeds }, Changed: func() {},
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			if p, err := protocol.ReadPreface(c); err != nil || p != protocol.PurposeGossip {
				c.Close()
				continue
			}
			g.Serve(c)
		}
	}()
	t.Cleanup(func() { g.Close(); udp.Close(); tcp.Close(); <-done })
	return node{g, address}
}

func TestHints(t *testing.T) {
	a := start(t, "a")
	b := start(t, "b", a.address)
	c := start(t, "c", a.address)
	eventually(t, "three see each other", func() bool {
		for _, n := range []node{a, b, c} {
			if len(n.Hints()) != 2 {
				return false
			}
		}
		return true
	})
	cluster := identity.NewUUID()
	c.SetCluster(cluster)
	eventually(t, "b hears of c's cluster", func() bool {
		for _, h := range b.Hints() {
			if h.Name == "c" && h.Cluster == cluster && h.Address == c.address && h.Alive {
				return true
			}
		}
		return false
	})
	full := State{MemoryFull: true, Closing: true}
	c.SetState(full)
	eventually(t, "a hears how c is", func() bool {
		h, ok := a.Hint(c.cfg.Incarnation)
		return ok && h.State == full && h.Alive
	})
	c.Leave()
	c.Close()
	eventually(t, "a suspects c and keeps its address", func() bool {
		for _, h := range a.Hints() {
			if h.Name == "c" {
				at, alive := a.Address(h.Incarnation)
				return !h.Alive && !alive && at == c.address
			}
		}
		return false
	})
}

func TestGarbage(t *testing.T) {
	a := start(t, "a")
	c, err := net.Dial("udp", a.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 64 {
		if _, err := c.Write(make([]byte, 1+i)); err != nil {
			t.Fatal(err)
		}
	}
	b := start(t, "b", a.address)
	eventually(t, "a still listens", func() bool { return len(a.Hints()) == 1 && len(b.Hints()) == 1 })
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestMetaOfOtherVersions: what a later version appends is skipped, and what an
// earlier one lacks is zero.
func TestMetaOfOtherVersions(t *testing.T) {
	all := meta{Name: "a", Address: "127.0.0.1:1", Cluster: identity.NewUUID(), Flags: 1<<60 | flagDiskSlow, Started: 1 << 40}
	read := func(what string, b []byte, want meta) {
		t.Helper()
		var got meta
		if err := protocol.Decode(b, &got); err != nil || got != want {
			t.Errorf("%s: %+v, error %v, want %+v", what, got, err, want)
		}
	}
	for _, item := range otherversion.Items() {
		read("later", otherversion.Encode(&all, otherversion.Later(item, item)), all)
	}
	for without := range 5 {
		m := all
		read("earlier", otherversion.Encode(&m, otherversion.Earlier(without)), m)
	}
	if got, want := StateOf(all.Flags), (State{DiskSlow: true}); got != want {
		t.Errorf("state %+v, want %+v", got, want)
	}
}

// FuzzMeta has any announcement, and what it says in other versions.
func FuzzMeta(f *testing.F) {
	for i, item := range otherversion.Items() {
		f.Add(protocol.Encode(meta{Name: "a", Address: "127.0.0.1:1", Flags: 1, Started: 2}), item, byte(i))
	}
	f.Fuzz(func(t *testing.T, b, item []byte, without byte) {
		var m, n meta
		if protocol.Decode(b, &m) != nil {
			return
		}
		r := protocol.NewReader(item)
		if r.Skip(); r.Done() == nil {
			if err := protocol.Decode(otherversion.Encode(&m, otherversion.Later(item)), &n); err != nil || m != n {
				t.Errorf("later: %+v became %+v: %v", m, n, err)
			}
		}
		if err := protocol.Decode(otherversion.Encode(&m, otherversion.Earlier(int(without))), &n); err != nil || m != n {
			t.Errorf("earlier: %+v became %+v: %v", m, n, err)
		}
	})
}

// TestSameAddress has a new incarnation take over the address of an old one, of
// which memberlist hears once more before it misses it.
func TestSameAddress(t *testing.T) {
	g := &Gossip{changed: make(chan struct{}, 1), hints: map[protocol.UUID]Hint{}, heard: map[protocol.UUID]seen{}}
	before, after := identity.NewUUID(), identity.NewUUID()
	started := map[protocol.UUID]uint64{}
	learn := func(u protocol.UUID, alive bool) {
		m := meta{Name: "n1", Address: "10.0.0.1:7170", Started: started[u]}
		g.learn(&memberlist.Node{Name: u.String(), Meta: protocol.Encode(m)}, alive)
	}
	check := func(when string, wantBefore, wantAfter bool) {
		t.Helper()
		if b, a := g.hints[before].Alive, g.hints[after].Alive; b != wantBefore || a != wantAfter {
			t.Errorf("%s: the old one alive %t, the new one %t", when, b, a)
		}
	}
	learn(before, true)
	check("at first", true, false)
	learn(after, true)
	check("after the new one came", false, true)
	learn(before, true)
	check("after news of the old one", false, true)
	learn(before, false)
	learn(before, true)
	check("after the old one came once more", true, false)
	learn(before, false)
	check("after the old one was missed", false, true)

	// Where each says when it was started the order of the news does not matter.
	learn(after, false)
	started[before], started[after] = 1000, 2000
	learn(after, true)
	learn(before, true)
	check("after the old one was heard of last", false, true)
}

// TestSilentSeeds: seeds that accept a connection and say nothing do not keep
// one that answers waiting.
func TestSilentSeeds(t *testing.T) {
	b := start(t, "b")
	var seeds []string
	accepted := make(chan net.Conn, 4)
	for range cap(accepted) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		seeds = append(seeds, l.Addr().String())
		go func() {
			if c, err := l.Accept(); err == nil {
				accepted <- c
			}
		}()
	}
	a := start(t, "a", append(seeds, b.address)...)
	eventually(t, "b is heard of", func() bool { return len(a.Hints()) == 1 })
	for range seeds {
		(<-accepted).Close() // a waits for them before it is closed
	}
}

// TestLabels: what is told under another label is not heard, wherever it comes
// from.
func TestLabels(t *testing.T) {
	a := startLabelled(t, "one", "a")
	b := startLabelled(t, "two", "b", a.address)
	c := startLabelled(t, "one", "c", a.address, b.address)
	d := startLabelled(t, "two", "d", a.address, b.address)
	eventually(t, "those of one label see each other", func() bool {
		return len(a.Hints()) == 1 && len(b.Hints()) == 1 && len(c.Hints()) == 1 && len(d.Hints()) == 1
	})
	for n, want := range map[node]string{a: "c", b: "d", c: "a", d: "b"} {
		if h := n.Hints()[0]; h.Name != want || !h.Alive {
			t.Errorf("%s has heard of %+v, want %s", n.cfg.Name, h, want)
		}
	}
}
