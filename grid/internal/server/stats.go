package server

import (
	"sync/atomic"

	"github.com/quorate/quorate/protocol"
)

// counts are the counters of a Server.
type counts struct {
	refused                                   [protocol.NumCodes]atomic.Uint64
	tooMany, noPreface, handshake, slowReader atomic.Uint64
	notOpened                                 atomic.Uint64 // sessions that a Hello wanted
}

// Stats are counters since the start of the server, and present numbers.
type Stats struct {
	Connections int // of clients, of members, and those of unknown purpose
	Clients     int
	// SessionsKept is how many sessions this member renews for connected clients,
	// SessionsNotOpened how many a Hello asked for and did not get.
	SessionsKept      int
	SessionsNotOpened uint64
	// Closed counts connections that were refused or closed early, by reason.
	Closed map[string]uint64
	// Refused counts requests that were refused before a group had them, by code.
	Refused map[protocol.Code]uint64
}

// Stats returns what the server has counted.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	r := Stats{Connections: len(s.conns), Clients: len(s.clients)}
	s.mu.Unlock()
	r.SessionsKept, r.SessionsNotOpened = s.keeper.kept(), s.stats.notOpened.Load()
	r.Closed = map[string]uint64{
		"too_many": s.stats.tooMany.Load(), "no_preface": s.stats.noPreface.Load(),
		"handshake": s.stats.handshake.Load(), "slow_reader": s.stats.slowReader.Load(),
	}
	r.Refused = map[protocol.Code]uint64{}
	for c := range s.stats.refused {
		if n := s.stats.refused[c].Load(); n > 0 {
			r.Refused[protocol.Code(c)] = n
		}
	}
	return r
}
