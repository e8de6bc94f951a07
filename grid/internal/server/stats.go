package server

import (
	"sync/atomic"

	"github.com/quorate/quorate/protocol"
)

// counts are what a Server counts.
type counts struct {
	refused                                   [protocol.NumCodes]atomic.Uint64
	tooMany, noPreface, handshake, slowReader atomic.Uint64
	notOpened                                 atomic.Uint64 // sessions that a Hello wanted
}

// Stats are counts since the server was started, and what is now.
type Stats struct {
	Connections int // of clients, members and those that have not said yet
	Clients     int
	// SessionsKept are sessions that this member keeps for clients which are connected,
	// SessionsNotOpened those that a Hello wanted and did not get.
	SessionsKept      int
	SessionsNotOpened uint64
	// Closed counts connections that were refused or given up, by reason.
	Closed map[string]uint64
	// Refused counts requests that no group was asked about.
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
