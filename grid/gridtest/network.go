package gridtest

import (
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/network"
)

// Clients stands, in place of a member's number, for all clients that
// Cluster.Client has returned. A member's own client is at its member.
const Clients = int(network.Clients)

// Link says how what one member sends to another fares on its way; each
// direction is a link of its own. The zero Link is healthy.
//
// Members speak over TCP, except for the packets of the gossip. A TCP stream
// never loses, repeats or reorders: it stalls or breaks. Raft does not depend on
// that, so a frame of Raft messages is treated as a packet is: lost, sent twice,
// or overtaken, as a whole.
type Link struct {
	// Cut lets nothing through. Connections stay open: what is written to them
	// waits, and arrives when the link is healthy again. Packets are lost. No
	// connection comes about while either of its ways is cut.
	Cut bool
	// Delay is how long everything is on its way, and Jitter how much longer it
	// may be, at random. They keep the order of what a connection carries.
	Delay, Jitter time.Duration
	// Loss, Duplicate and Reorder are chances, from 0 to 1, for each packet and
	// each frame of Raft. A connection with something else stalls for 200 ms where
	// something was lost.
	Loss, Duplicate, Reorder float64
	// Reset is the chance for each write to a connection that it breaks.
	Reset float64
}

// WithSeed makes the network draw its chances from a seed. A test that fails
// prints the one that was used.
func WithSeed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// WithoutReflection has no member reach its own address over the network, as where
// a router does not send back what comes from inside (no hairpin).
func WithoutReflection() Option { return func(o *options) { o.apart = true } }

// links are the network between the members of a cluster, and with its clients.
type links struct {
	fabric  *network.Fabric
	clients *network.Network // of Cluster.Client

	mu   sync.Mutex // guards ends
	ends int        // members that were ever started
}

func newLinks(seed uint64, apart bool) *links {
	f := network.NewFabric(seed)
	if apart {
		f.Unreflected()
	}
	return &links{fabric: f, clients: f.Network(network.Clients)}
}

// network returns the network of a member that starts.
func (ls *links) network(i int) *network.Network {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.ends = max(ls.ends, i+1)
	return ls.fabric.Network(network.Place(i))
}

func (ls *links) size() int {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	return ls.ends
}

// SetLink changes how what one sends to another fares: both are members, or
// Clients.
func (ls *links) SetLink(from, to int, l Link) {
	ls.fabric.Set(network.Place(from), network.Place(to), network.Link(l))
}

// SetLinks changes all links between members, and those with the clients.
func (ls *links) SetLinks(l Link) {
	n := ls.size()
	for from := Clients; from < n; from++ {
		for to := Clients; to < n; to++ {
			if from != to {
				ls.SetLink(from, to, l)
			}
		}
	}
}

// CutOneWay lets nothing through from one to another; the way back stays.
func (ls *links) CutOneWay(from, to int) { ls.SetLink(from, to, Link{Cut: true}) }

// Cut lets nothing through between two, either way.
func (ls *links) Cut(a, b int) {
	ls.CutOneWay(a, b)
	ls.CutOneWay(b, a)
}

// Isolate cuts a member off from all others. Clients still reach it.
func (ls *links) Isolate(i int) {
	for j := range ls.size() {
		if j != i {
			ls.Cut(i, j)
		}
	}
}

// Partition lets nobody on one side reach anybody on another. A side has
// members, and perhaps Clients; who is on none of them is reached by everybody.
func (ls *links) Partition(sides ...[]int) {
	for i, side := range sides {
		for _, other := range sides[i+1:] {
			for _, a := range side {
				for _, b := range other {
					ls.Cut(a, b)
				}
			}
		}
	}
}

// Heal makes every link healthy. What waited on cut connections arrives.
func (ls *links) Heal() { ls.fabric.Heal() }
