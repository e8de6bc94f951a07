package gridtest

import (
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
func WithSeed(seed uint64) Option { return func(c *Cluster) { c.seed = seed } }

// WithoutReflection has no member reach its own address over the network, as where
// a router does not send back what comes from inside (no hairpin).
func WithoutReflection() Option { return func(c *Cluster) { c.apart = true } }

// SetLink changes how what one sends to another fares: both are members, or
// Clients.
func (c *Cluster) SetLink(from, to int, l Link) {
	c.fabric.Set(network.Place(from), network.Place(to), network.Link(l))
}

// SetLinks changes all links between members, and those with the clients.
func (c *Cluster) SetLinks(l Link) {
	for from := Clients; from < c.Len(); from++ {
		for to := Clients; to < c.Len(); to++ {
			if from != to {
				c.SetLink(from, to, l)
			}
		}
	}
}

// CutOneWay lets nothing through from one to another; the way back stays.
func (c *Cluster) CutOneWay(from, to int) { c.SetLink(from, to, Link{Cut: true}) }

// Cut lets nothing through between two, either way.
func (c *Cluster) Cut(a, b int) {
	c.CutOneWay(a, b)
	c.CutOneWay(b, a)
}

// Isolate cuts a member off from all others. Clients still reach it.
func (c *Cluster) Isolate(i int) {
	for j := range c.Len() {
		if j != i {
			c.Cut(i, j)
		}
	}
}

// Partition lets nobody on one side reach anybody on another. A side has
// members, and perhaps Clients; who is on none of them is reached by everybody.
func (c *Cluster) Partition(sides ...[]int) {
	for i, side := range sides {
		for _, other := range sides[i+1:] {
			for _, a := range side {
				for _, b := range other {
					c.Cut(a, b)
				}
			}
		}
	}
}

// Heal makes every link healthy. What waited on cut connections arrives.
func (c *Cluster) Heal() { c.fabric.Heal() }
