package client

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/protocol"
)

const (
	sweepEvery = 50 * time.Millisecond
	sweepsIdle = 20 // with nothing in flight, before the sweeper sleeps
)

// connections are the open connections of a client, the counts of those that have
// ended, and the sweeper, which ends attempts that are overdue.
type connections struct {
	client     *Client
	parked     atomic.Bool   // the sweeper sleeps: nothing is in flight
	unpark     chan struct{} // capacity 1
	reconnects atomic.Uint64

	mu           sync.Mutex
	open         map[*conn]struct{}
	closed       bool
	pastAttempts uint64 // of connections that have ended
	pastRepeats  uint64
}

func (cs *connections) init(c *Client) {
	cs.client, cs.unpark, cs.open = c, make(chan struct{}, 1), map[*conn]struct{}{}
	cs.parked.Store(true)
}

// add adds a connection. It reports false if the client is closed.
func (cs *connections) add(n *conn) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.closed {
		return false
	}
	cs.open[n] = struct{}{}
	return true
}

// forget adds the counts of a connection that has ended to the totals.
func (cs *connections) forget(n *conn) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, ok := cs.open[n]; ok {
		delete(cs.open, n)
		n.mu.Lock()
		cs.pastAttempts += n.attempts
		cs.pastRepeats += n.repeats
		n.mu.Unlock()
	}
}

// all returns the open connections.
func (cs *connections) all() []*conn {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Collect(maps.Keys(cs.open))
}

// close refuses further connections, and returns those that are open.
func (cs *connections) close() []*conn {
	cs.mu.Lock()
	cs.closed = true
	cs.mu.Unlock()
	return cs.all()
}

// count adds the counts of all connections to s.
func (cs *connections) count(s *Stats) {
	s.Reconnects = cs.reconnects.Load()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	s.Attempts, s.Repeats = cs.pastAttempts, cs.pastRepeats
	s.Connections = len(cs.open)
	for n := range cs.open {
		n.mu.Lock()
		s.Attempts += n.attempts
		s.Repeats += n.repeats
		s.InFlight += n.inFlight
		s.Backlog += n.backlog.n
		n.mu.Unlock()
	}
}

// runSweeper is the client's timer: it ends attempts that are overdue. No call has
// a timer of its own.
//
// It sleeps while nothing is in flight. No request is missed: the sweeper first stores
// parked and then checks every connection; a caller first queues its request and then
// loads parked.
func (cs *connections) runSweeper() {
	t := time.NewTimer(0)
	defer t.Stop()
	idle := 0
	for {
		select {
		case <-t.C:
		case <-cs.client.ctx.Done():
			return
		}
		if cs.sweep() {
			idle = 0
		} else if idle++; idle >= sweepsIdle {
			cs.parked.Store(true)
			if !cs.sweep() {
				select {
				case <-cs.unpark:
				case <-cs.client.ctx.Done():
					return
				}
			}
			cs.parked.Store(false)
			idle = 0
		}
		t.Reset(sweepEvery)
	}
}

// sweep ends what is overdue, and reports whether anything is in flight.
func (cs *connections) sweep() bool {
	now := cs.client.now()
	busy := false
	for _, n := range cs.all() {
		busy = n.sweep(now) || busy
	}
	return busy
}

func (cs *connections) wakeSweeper() {
	select {
	case cs.unpark <- struct{}{}:
	default:
	}
}

// Stats counts what a client has done since Dial.
type Stats struct {
	Attempts     uint64 // requests sent, including repeats
	Repeats      uint64 // mutations sent again under the same identity
	Reconnects   uint64 // connections that were lost
	Connections  int    // open now
	InFlight     int    // requests not yet answered
	Backlog      int    // calls that wait until they may be sent; none of them was sent
	HeldBack     int    // waiting calls queued in the client: too many of the same wait at the grid
	SessionsLost uint64 // sessions that were lost
	Watches      int
	WatchResumes uint64 // registrations of watches that have ended, and were made anew elsewhere
	WatchGaps    uint64 // partitions of watches in which events were missing,
	WatchRelists uint64 // and those whose entries came anew then
	Epoch        protocol.Epoch
}

// Stats returns the client's counts.
func (c *Client) Stats() Stats {
	s := Stats{SessionsLost: c.sessions.lost.Load(), Epoch: c.table.epoch(), HeldBack: c.admission.heldBack()}
	c.conns.count(&s)
	c.watchers.count(&s)
	return s
}
