package systemstate

import (
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/protocol"
)

// Session is a client's liveness (SESSION-1).
type Session struct {
	ID       protocol.SessionID
	Client   protocol.UUID
	TTL      time.Duration
	Deadline protocol.LogTime
	Source   string // where it was opened from
	// Kept is set once the client has sent a heartbeat, or has opened the session
	// itself, and so counts the TTL. From then on nobody else renews it (SESSION-5).
	Kept bool
}

const (
	// maxSessions bounds the sessions of a cluster.
	maxSessions = 100_000
	// maxEnded is how many ended sessions are listed. For a group that is further
	// behind, its sessions are looked up instead.
	maxEnded = 64 << 10
	// maxExpired bounds the sessions that one entry ends by its time.
	maxExpired = 1000
)

// keepSessions carries out the requests of clients on their sessions.
func (s *State) keepSessions(c *Command) Answer {
	var a Answer
	for _, id := range c.Keeps {
		v, ok := s.sessions[id]
		if !ok || v.Deadline <= s.clock.Now || id < s.over {
			a.Gone = append(a.Gone, id)
			continue
		}
		v.Deadline, v.Kept = s.clock.Now.Add(v.TTL), true
		s.setSession(v)
	}
	for _, id := range c.Renews {
		v, ok := s.sessions[id]
		if !ok || v.Deadline <= s.clock.Now || id < s.over || v.Kept {
			a.Dropped = append(a.Dropped, id)
			continue
		}
		v.Deadline = s.clock.Now.Add(v.TTL)
		s.setSession(v)
	}
	for _, id := range c.Closes {
		if v, ok := s.sessions[id]; ok {
			s.end(v)
		}
	}
	for i := range c.Opens {
		a.Opened = append(a.Opened, s.open(&c.Opens[i]))
	}
	return a
}

// open opens a session, or finds it. A source may have as many sessions as are left
// free: so the first source gets at most half of all, the next half of the rest, and a
// source without sessions gets one as long as any is free.
func (s *State) open(o *Opening) Opened {
	if id, ok := s.clients[o.Client]; ok && id >= s.over {
		v := s.sessions[id]
		if !o.Greets || !v.Kept {
			v.Deadline = max(v.Deadline, s.clock.Now.Add(v.TTL))
		}
		v.Kept = v.Kept || !o.Greets
		s.setSession(v)
		return Opened{Session: id, TTL: v.TTL}
	}
	free := maxSessions - (len(s.sessions) - s.leaving)
	switch n := s.sources[o.Source]; {
	case free <= 0:
		return Opened{Problem: fmt.Sprintf("the grid has %d sessions, no more are opened", maxSessions)}
	case n >= free:
		return Opened{Problem: fmt.Sprintf("%d sessions are open from %s, and %d are left for all: no more are opened from there", n, o.Source, free)}
	}
	v := Session{ID: s.next, Client: o.Client, TTL: min(max(o.TTL, protocol.MinSessionTTL), protocol.MaxSessionTTL), Source: o.Source, Kept: !o.Greets}
	v.Deadline = s.clock.Now.Add(v.TTL)
	s.next++
	s.add(v)
	return Opened{Session: v.ID, TTL: v.TTL}
}

// add adds a session. If a client has two the later one counts.
func (s *State) add(v Session) {
	s.setSession(v)
	s.clients[v.Client] = v.ID
	if v.ID < s.over {
		s.leaving++
	} else {
		s.sources[v.Source]++
	}
}

// setSession writes a session.
func (s *State) setSession(v Session) {
	s.sessions[v.ID] = v
	s.soonest = min(s.soonest, v.Deadline)
}

// end ends a session and gives its end a number.
func (s *State) end(v Session) {
	delete(s.sessions, v.ID)
	if s.clients[v.Client] == v.ID {
		delete(s.clients, v.Client)
	}
	if v.ID < s.over {
		s.leaving--
	} else if s.sources[v.Source]--; s.sources[v.Source] == 0 {
		delete(s.sources, v.Source)
	}
	s.ended = append(s.ended, v.ID)
	s.ends++
	if len(s.ended) > 2*s.maxEnded {
		s.ended = slices.Clone(s.ended[len(s.ended)-s.maxEnded:])
	}
}

// expire ends sessions whose deadline has come, the earliest first.
func (s *State) expire() {
	if s.clock.Now < s.soonest {
		return
	}
	var due []Session
	later := never
	for _, v := range s.sessions {
		if v.Deadline <= s.clock.Now {
			due = append(due, v)
		} else {
			later = min(later, v.Deadline)
		}
	}
	slices.SortFunc(due, func(a, b Session) int {
		if a.Deadline != b.Deadline {
			return int(min(max(a.Deadline-b.Deadline, -1), 1))
		}
		return int(int64(a.ID) - int64(b.ID))
	})
	if len(due) <= maxExpired { // otherwise the rest ends with the next entry
		s.soonest = later
	}
	for _, v := range due[:min(len(due), maxExpired)] {
		s.end(v)
	}
}

// Sessions returns how many sessions live.
func (s *State) Sessions() int { return len(s.sessions) }

// SetMaxEnded changes how many ended sessions are listed, for tests only.
func (s *State) SetMaxEnded(n int) { s.maxEnded = n }

// Lookup reports whether a session lives, and the number of the last that has
// ended.
func (s *State) Lookup(id protocol.SessionID) (lives bool, end uint64) {
	_, ok := s.sessions[id]
	return ok && id >= s.over, s.ends
}

// Keeper says who keeps a session.
type Keeper uint8

// The keepers of a session.
const (
	KeeperUnknown Keeper = iota // this replica has not heard of the session
	KeeperClient                // its client, which counts the TTL; or nobody, since it is over
	KeeperMembers               // the members that its client is connected to
)

// Keeper returns who keeps a session. If this replica says that the client keeps it,
// that is true for ever. If it says that members do, the client may have taken over
// since.
func (s *State) Keeper(id protocol.SessionID) Keeper {
	switch v, ok := s.sessions[id]; {
	case id >= s.next:
		return KeeperUnknown
	case ok && !v.Kept:
		return KeeperMembers
	}
	return KeeperClient
}

// TTL returns the time to live of a session, 0 if it is not listed.
func (s *State) TTL(id protocol.SessionID) time.Duration { return s.sessions[id].TTL }

// Over reports whether a session has ended, or certainly will. A session that is over
// stays over, even if this replica lags. A session that is not over here may be over by
// now, and one that this replica does not know may live.
func (s *State) Over(id protocol.SessionID) bool {
	return id < s.over || s.Ended(id)
}

// Ended reports whether the end of a session has a number. Ids are given out in order,
// once each, so a session below the next id that is not listed has ended, for ever.
func (s *State) Ended(id protocol.SessionID) bool {
	_, listed := s.sessions[id]
	return id < s.next && !listed
}

// UpTo returns up to where this replica knows the sessions: the number of the last end,
// and the first session id that was not given out.
func (s *State) UpTo() (ends uint64, next protocol.SessionID) { return s.ends, s.next }

// EndsAfter returns the sessions that ended with the numbers from+1 to at most
// from+limit; false if the list does not reach back to from.
func (s *State) EndsAfter(from uint64, limit int) ([]protocol.SessionID, bool) {
	oldest := s.ends - uint64(len(s.ended)) // number before the first listed
	if from < oldest {
		return nil, false
	}
	if from >= s.ends {
		return nil, true
	}
	rest := s.ended[from-oldest:]
	return slices.Clone(rest[:min(limit, len(rest))]), true
}

// NextDeadline returns a lower bound of the sessions' first deadline, and false if
// there is no session.
func (s *State) NextDeadline() (protocol.LogTime, bool) {
	return s.soonest, len(s.sessions) > 0
}
