package client

import "github.com/quorate/quorate/protocol"

// Stats counts what a client has done since Dial.
type Stats struct {
	Attempts     uint64 // requests sent, the repeats among them
	Repeats      uint64 // of mutations: sent again under the same identity
	Reconnects   uint64 // connections that were lost
	Connections  int    // open now
	InFlight     int    // requests not yet answered
	Backlog      int    // calls that wait for room on a connection: nothing of them was sent
	HeldBack     int    // waiting calls that wait in the client: too many of the same wait at the grid
	SessionsLost uint64 // sessions whose holdings were given up
	Epoch        protocol.Epoch
}

// Stats returns the client's counts.
func (c *Client) Stats() Stats {
	s := Stats{Reconnects: c.reconnects.Load(), SessionsLost: c.sessions.lost.Load(), Epoch: c.epoch(), HeldBack: c.admission.heldBack()}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.Attempts, s.Repeats = c.pastAttempts, c.pastRepeats
	s.Connections = len(c.conns)
	for n := range c.conns {
		n.mu.Lock()
		s.Attempts += n.attempts
		s.Repeats += n.repeats
		s.InFlight += n.inFlight
		s.Backlog += n.backlog.n
		n.mu.Unlock()
	}
	return s
}
