package gossip

import (
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/protocol"
)

type node struct {
	*Gossip
	address string
}

func start(t *testing.T, name string, seeds ...string) node {
	t.Helper()
	n := &network.Network{}
	tcp, udp, err := n.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := tcp.Addr().String()
	g, err := Start(Config{
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

// TestMetaOfLaterVersions: what a later version appends is skipped.
func TestMetaOfLaterVersions(t *testing.T) {
	want := meta{name: "a", address: "127.0.0.1:1", cluster: identity.NewUUID(), state: State{DiskFull: true, DiskSlow: true}, started: 1 << 40}
	b := want.append(nil)
	b[0]++ // one element more
	b = protocol.AppendString(b, "news")
	if got, ok := parseMeta(b); !ok || got != want {
		t.Errorf("parseMeta = %+v, %t, want %+v", got, ok, want)
	}
	if _, ok := parseMeta(b[:8]); ok {
		t.Error("half of it was taken")
	}
}

func FuzzMeta(f *testing.F) {
	f.Add(meta{name: "a", address: "127.0.0.1:1"}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, ok := parseMeta(b)
		if !ok {
			return
		}
		if again, ok := parseMeta(m.append(nil)); !ok || again != m {
			t.Errorf("%+v is read back as %+v, %t", m, again, ok)
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
		m := meta{name: "n1", address: "10.0.0.1:7170", started: started[u]}
		g.learn(&memberlist.Node{Name: u.String(), Meta: m.append(nil)}, alive)
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
