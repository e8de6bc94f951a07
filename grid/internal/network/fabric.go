package network

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quorate/quorate/internal/contexts"
)

// Place is an end of a link: the number of a member, or one of these constants.
type Place int

const (
	// Clients are all clients of the fabric.
	Clients Place = -1
	// Outside is everything else. Links with it are always healthy.
	Outside Place = -2
)

// Link describes the faults on the way from one place to another. The zero Link is
// healthy.
type Link struct {
	// Cut lets nothing through. Connections stay open: bytes that are written to them
	// wait, and arrive when the link is healthy again. Packets are lost. No connection
	// can be opened while either direction is cut.
	Cut bool
	// Delay is how long everything takes, and Jitter how much longer it may take. They
	// keep the order of bytes on a stream.
	Delay, Jitter time.Duration
	// Loss, Duplicate and Reorder are probabilities, from 0 to 1, for each gossip
	// packet and each Raft frame. Everything else is a TCP stream: there a loss shows
	// as a stall until the retransmission, and the others do not show.
	Loss, Duplicate, Reorder float64
	// Reset is the probability that a write breaks its connection.
	Reset float64
}

const (
	retransmission = 200 * time.Millisecond // of what a stream lost: the least that TCP takes
	overtaken      = 30 * time.Millisecond  // how much later a reordered packet arrives
)

// errUnreflected is the error of a connection from a place to itself.
var errUnreflected = errors.New("a place does not reach itself")

// Fabric connects the networks of the members in one process: it knows the place of
// each address, and the links between places. It is safe for concurrent use.
type Fabric struct {
	mu      sync.Mutex // guards what follows
	places  map[string]Place
	links   map[[2]Place]Link
	changed chan struct{} // closed and replaced when a link has changed
	apart   bool          // no place reaches itself
	rng     *rand.Rand
}

// NewFabric returns a fabric whose links are healthy. Its random choices follow from
// the seed.
func NewFabric(seed uint64) *Fabric {
	return &Fabric{
		places: map[string]Place{}, links: map[[2]Place]Link{}, changed: make(chan struct{}),
		rng: rand.New(rand.NewPCG(seed, 0xfab)),
	}
}

// Network returns a network of the fabric for a place. A member that is started
// again gets another.
func (f *Fabric) Network(p Place) *Network {
	return &Network{fabric: f, place: p, dead: make(chan struct{}), conns: map[*conn]struct{}{}}
}

// Set changes the link from one place to another.
func (f *Fabric) Set(from, to Place, l Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l == (Link{}) {
		delete(f.links, [2]Place{from, to})
	} else {
		f.links[[2]Place{from, to}] = l
	}
	f.notify()
}

// Unreflected keeps every place from reaching itself: connections to its own address
// are refused, as by a router without hairpin NAT.
func (f *Fabric) Unreflected() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apart = true
}

// Heal makes every link healthy.
func (f *Fabric) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.links)
	f.notify()
}

// notify wakes those who wait for a link to change. mu is held.
func (f *Fabric) notify() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Link returns the link from one place to another.
func (f *Fabric) Link(from, to Place) Link {
	l, _ := f.link(from, to)
	return l
}

// link returns a link, and a channel that is closed when it may have changed.
func (f *Fabric) link(from, to Place) (Link, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if from == to || from == Outside || to == Outside {
		return Link{}, f.changed
	}
	return f.links[[2]Place{from, to}], f.changed
}

// reach waits until neither direction between two places is cut, and for the time that
// it takes to open a connection.
func (f *Fabric) reach(ctx context.Context, dead <-chan struct{}, from, to Place) error {
	f.mu.Lock()
	apart := f.apart
	f.mu.Unlock()
	if apart && from == to {
		return errUnreflected
	}
	for {
		there, changed := f.link(from, to)
		back, _ := f.link(to, from)
		var arrives <-chan time.Time
		if !there.Cut && !back.Cut {
			if there.Delay+back.Delay == 0 {
				return nil
			}
			t := time.NewTimer(f.travel(there) + f.travel(back))
			defer t.Stop()
			arrives = t.C
		}
		select {
		case <-arrives:
			return nil
		case <-changed:
		case <-dead:
			return ErrKilled
		case <-ctx.Done():
			return contexts.Err(ctx)
		}
	}
}

// settle records that an address is at a place.
func (f *Fabric) settle(address string, p Place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.places[address] = p
}

// leave removes what settle recorded, unless another place has the address by now.
func (f *Fabric) leave(address string, p Place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.places[address] == p {
		delete(f.places, address)
	}
}

// placeOf returns the place of an address.
func (f *Fabric) placeOf(address string) Place {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.places[address]; ok {
		return p
	}
	return Outside
}

// chance returns true with probability p.
func (f *Fabric) chance(p float64) bool {
	if p <= 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.Float64() < p
}

// travel returns how long something takes on a link.
func (f *Fabric) travel(l Link) time.Duration {
	if l.Jitter <= 0 {
		return l.Delay
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.Delay + time.Duration(f.rng.Int64N(int64(l.Jitter)))
}
