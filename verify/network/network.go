package network

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Who sends and who hears, besides the members, which have their indices.
const (
	Outside = -1 // whoever is not a member, such as a client
	watcher = -2 // asks members how they are, and is never disturbed
)

// Way is what happens to what one member sends another.
type Way struct {
	Cut   bool          // nothing arrives; connections stay
	Delay time.Duration // of everything; the proxy delays streams by up to twice of it
	// Shares of packets. The proxy does it to datagrams only.
	Lose      float64
	Duplicate float64 // and what is not doubled is reordered
	// Corrupt is the share of packets, and of chunks of streams between members,
	// that have a bit flipped which no checksum of the network shows.
	Corrupt float64
}

// Network is what all that members send each other passes through. It is safe
// for concurrent use.
type Network interface {
	Set(from, to int, w Way) // what happens to what from sends to
	SetAll(w Way)            // what happens between all members
	Cut(a, b int)            // cuts both ways between two
	Heal()                   // ends all that was set
	Damaged() uint64         // chunks and packets that had a bit flipped
	Close()
}

// ways is what was set, for both kinds of network.
type ways struct {
	members int

	mu      sync.Mutex // guards what follows
	set     map[[2]int]Way
	changed chan struct{} // closed and replaced when set changes

	damaged atomic.Uint64
}

func newWays(members int) *ways {
	return &ways{members: members, set: map[[2]int]Way{}, changed: make(chan struct{})}
}

func (n *ways) Set(from, to int, w Way) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.set[[2]int{from, to}] = w
	n.wake()
}

func (n *ways) SetAll(w Way) {
	for a := range n.members {
		for b := range n.members {
			if a != b {
				n.Set(a, b, w)
			}
		}
	}
}

func (n *ways) Cut(a, b int) {
	n.Set(a, b, Way{Cut: true})
	n.Set(b, a, Way{Cut: true})
}

func (n *ways) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.set)
	n.wake()
}

// wake is called with n.mu held.
func (n *ways) wake() {
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *ways) Damaged() uint64 { return n.damaged.Load() }

func (n *ways) way(from, to int) Way {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.set[[2]int{from, to}]
}

// reordered is a delay that lets packets overtake each other.
func (w Way) reordered() time.Duration { return w.Delay/2 + rand.N(w.Delay) }
