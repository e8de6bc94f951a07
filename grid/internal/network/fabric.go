package network

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/quorate/quorate/internal/contexts"
)

// Place is where something is sent from, or to: the number of a member, or one
// of these.
type Place int

const (
	// Clients are all clients of the fabric.
	Clients Place = -1
	// Outside is everybody else. Links with it are always healthy.
	Outside Place = -2
)

// Link says how what one place sends to another fares on its way. The zero Link
// is healthy.
type Link struct {
	// Cut lets nothing through. Connections stay open: what is written to them
	// waits, and arrives when the link is healthy again. Packets are lost. No
	// connection comes about while either of its ways is cut.
	Cut bool
	// Delay is how long everything is on its way, and Jitter how much longer it
	// may be. They do not change the order of what a stream carries.
	Delay, Jitter time.Duration
	// Loss, Duplicate and Reorder are chances, from 0 to 1, for each packet of the
	// gossip and each frame of Raft. What else is sent is a stream: all that shows
	// of a loss there is that it stalls until it is sent again, and of the others
	// nothing.
	Loss, Duplicate, Reorder float64
	// Reset is the chance for each write to a connection that it breaks.
	Reset float64
}

const (
	retransmission = 200 * time.Millisecond // of what a stream lost: what TCP takes at least
	overtaken      = 30 * time.Millisecond  // how much later comes what is reordered
)

// errUnreflected is the error of a connection to the place that it comes from.
var errUnreflected = errors.New("a place does not reach itself")

// Fabric is what the networks of the members in one process have in common:
// who is where, and the links between them. It is safe for concurrent use.
type Fabric struct {
	mu      sync.Mutex // guards what follows
	places  map[string]Place
	links   map[[2]Place]Link
	changed chan struct{} // closed and replaced when a link has changed
	apart   bool          // no place reaches itself
	rng     *rand.Rand
}

// NewFabric returns a fabric whose links are healthy. Its chances are drawn
// from the seed.
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

// Set changes how what is sent from one place to another fares.
func (f *Fabric) Set(from, to Place, l Link) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if l == (Link{}) {
		delete(f.links, [2]Place{from, to})
	} else {
		f.links[[2]Place{from, to}] = l
	}
	f.tell()
}

// Unreflected has no place reach itself: connections to an address of its own are
// refused, as where a router does not send back what comes from inside.
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
	f.tell()
}

// tell wakes those who wait for a link. mu is held.
func (f *Fabric) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// Link returns the link from one place to another.
func (f *Fabric) Link(from, to Place) Link {
	l, _ := f.link(from, to)
	return l
}

// link returns a link, and what is closed when it may have changed.
func (f *Fabric) link(from, to Place) (Link, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if from == to || from == Outside || to == Outside {
		return Link{}, f.changed
	}
	return f.links[[2]Place{from, to}], f.changed
}

// reach waits until neither way between two places is cut, and as long as a
// connection takes to come about.
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

// settle notes that an address is at a place.
func (f *Fabric) settle(address string, p Place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.places[address] = p
}

// leave forgets what settle noted, unless another has the address since.
func (f *Fabric) leave(address string, p Place) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.places[address] == p {
		delete(f.places, address)
	}
}

// placeOf returns where an address is.
func (f *Fabric) placeOf(address string) Place {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.places[address]; ok {
		return p
	}
	return Outside
}

// chance is true with a probability.
func (f *Fabric) chance(p float64) bool {
	if p <= 0 {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.Float64() < p
}

// travel returns how long something is on its way.
func (f *Fabric) travel(l Link) time.Duration {
	if l.Jitter <= 0 {
		return l.Delay
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return l.Delay + time.Duration(f.rng.Int64N(int64(l.Jitter)))
}
