package gridtest

import (
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/network"
)

// Clients stands for all clients that Cluster.Client has returned, where a member's
// number is expected. A member's own client is at its member.
const Clients = int(network.Clients)

// Link describes the faults on the way from one member to another; each direction is a
// link of its own. The zero Link is healthy.
//
// Members use TCP, except for gossip packets. A TCP stream never loses, repeats or
// reorders bytes: it stalls or breaks. Raft does not depend on that, so a frame of Raft
// messages is treated like a packet: it is lost, sent twice, or reordered as a whole.
type Link struct {
	// Cut lets nothing through. Connections stay open: bytes that are written to them
	// wait, and arrive when the link is healthy again. Packets are lost. No connection
	// can be opened while either direction is cut.
	Cut bool
	// Delay is how long everything takes, and Jitter how much longer it may take, at
	// random. They keep the order of bytes on a connection.
	Delay, Jitter time.Duration
	// Loss, Duplicate and Reorder are probabilities, from 0 to 1, for each packet and
	// each Raft frame. On other connections a loss is a stall of 200 ms.
	Loss, Duplicate, Reorder float64
	// Reset is the probability that a write breaks its connection.
	Reset float64
}

// WithSeed sets the seed of the network's random choices. A test that fails prints the
// seed that was used.
func WithSeed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// WithoutReflection keeps every member from reaching its own address over the network,
// as a router without hairpin NAT does.
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

// SetLink changes the link from one to another. Both are numbers of members, or
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

// CutOneWay lets nothing through from one to another. The other direction stays as it
// is.
func (ls *links) CutOneWay(from, to int) { ls.SetLink(from, to, Link{Cut: true}) }

// Cut lets nothing through between two, in either direction.
func (ls *links) Cut(a, b int) {
	ls.CutOneWay(a, b)
	ls.CutOneWay(b, a)
}

// Isolate cuts a member off from all other members. Clients still reach it.
func (ls *links) Isolate(i int) {
	for j := range ls.size() {
		if j != i {
			ls.Cut(i, j)
		}
	}
}

// Partition cuts the links between sides. A side consists of members, and perhaps
// Clients. Members that are on no side stay connected to all.
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

// Heal makes every link healthy. Bytes that waited on cut connections arrive.
func (ls *links) Heal() { ls.fabric.Heal() }
