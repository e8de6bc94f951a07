package systemstate

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// Session is a client's liveness (SESSION-1).
type Session struct {
	ID       protocol.SessionID
	Client   protocol.UUID
	TTL      time.Duration
	Deadline protocol.LogTime
	Source   string // where it was opened from
	Name     string // of its client, human-readable; may be empty
	Opened   protocol.LogTime
	// Kept is set once the client has sent a heartbeat, or has opened the session
	// itself, and so counts the TTL. From then on nobody else renews it (SESSION-5).
	Kept bool
	// Dying says that it was killed: nothing keeps it alive any more, and it counts as
	// ended in answers. Its end gets a number when its time is over, as if its client had
	// been silent since its last heartbeat, so the client gives up first (SESSION-6).
	Dying  bool
	Reason string // why it was killed
}

// Origin says where a session is opened from.
type Origin struct {
	Source string // the address that sessions are counted by
	Name   string // of the client, human-readable; may be empty
}

// End says why a session has ended.
type End uint8

// The reasons of ends.
const (
	EndClosed  End = iota // by its client
	EndExpired            // its client was silent for its TTL
	EndKilled             // by an operator
	EndLoss               // a group has lost the data of its majority
	Ends                  // how many there are
)

// String names the reason: "killed".
func (e End) String() string { return [...]string{"closed", "expired", "killed", "loss"}[e] }

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
		if !ok || v.Deadline <= s.clock.Now || id < s.over || v.Dying {
			a.Gone = append(a.Gone, id)
			continue
		}
		v.Deadline, v.Kept = s.clock.Now.Add(v.TTL), true
		s.setSession(v)
	}
	for _, id := range c.Renews {
		v, ok := s.sessions[id]
		if !ok || v.Deadline <= s.clock.Now || id < s.over || v.Kept || v.Dying {
			a.Dropped = append(a.Dropped, id)
			continue
		}
		v.Deadline = s.clock.Now.Add(v.TTL)
		s.setSession(v)
	}
	for _, id := range c.Closes {
		if v, ok := s.sessions[id]; ok {
			why := EndClosed
			if v.Dying {
				why = EndKilled
			}
			s.end(v, why)
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
	// A client whose session is dying opens another: the old one must not live longer.
	if v, ok := s.sessions[s.clients[o.Client]]; ok && v.ID >= s.over && !v.Dying {
		if !o.Greets || !v.Kept {
			v.Deadline = max(v.Deadline, s.clock.Now.Add(v.TTL))
		}
		v.Kept = v.Kept || !o.Greets
		s.setSession(v)
		return Opened{Session: v.ID, TTL: v.TTL}
	}
	free := maxSessions - (len(s.sessions) - s.leaving)
	switch n := s.sources[o.Source]; {
	case free <= 0:
		return Opened{Problem: fmt.Sprintf("the grid has %d sessions, no more are opened", maxSessions)}
	case n >= free:
		return Opened{Problem: fmt.Sprintf("%d sessions are open from %s, and %d are left for all: no more are opened from there", n, o.Source, free)}
	}
	v := Session{
		ID: s.next, Client: o.Client, TTL: min(max(o.TTL, protocol.MinSessionTTL), protocol.MaxSessionTTL),
		Source: o.Source, Name: o.Name, Opened: s.clock.Now, Kept: !o.Greets,
	}
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

// kill ends a session that an operator does not want any more, at once or when its time
// is over. A kill of a session that has ended does nothing.
func (s *State) kill(k *Kill) Answer {
	v, ok := s.sessions[k.Session]
	if !ok || v.ID < s.over {
		return Answer{Gone: []protocol.SessionID{k.Session}}
	}
	if k.Now || mutants.On(mutants.KillAtOnce) {
		s.end(v, EndKilled)
		return Answer{}
	}
	if !v.Dying {
		v.Dying, v.Reason = true, k.Reason
		s.setSession(v)
	}
	return Answer{Left: max(v.Deadline.Sub(s.clock.Now), 0)}
}

// end ends a session and gives its end a number.
func (s *State) end(v Session, why End) {
	s.endedBy[why]++
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
		switch {
		case v.ID < s.over:
			s.end(v, EndLoss)
		case v.Dying:
			s.end(v, EndKilled)
		default:
			s.end(v, EndExpired)
		}
	}
}

// Sessions returns how many sessions live.
func (s *State) Sessions() int { return len(s.sessions) }

// SetMaxEnded changes how many ended sessions are listed, for tests only.
func (s *State) SetMaxEnded(n int) { s.maxEnded = n }

// Lookup reports whether a session lives, and the number of the last that has
// ended.
func (s *State) Lookup(id protocol.SessionID) (lives bool, end uint64) {
	v, ok := s.sessions[id]
	return ok && id >= s.over && !v.Dying, s.ends
}

// EndedBy returns how many sessions have ended for each reason, since the cluster was
// founded.
func (s *State) EndedBy() [Ends]uint64 { return s.endedBy }

// Listed returns sessions that have not ended, from an id on, in their order.
func (s *State) Listed(from protocol.SessionID, most int) (listed []Session) {
	ids := slices.Sorted(maps.Keys(s.sessions))
	at, _ := slices.BinarySearch(ids, from)
	for _, id := range ids[at:min(len(ids), at+most)] {
		v := s.sessions[id]
		v.Dying = v.Dying || id < s.over
		listed = append(listed, v)
	}
	return listed
}

// Dying reports whether a session was killed and has not ended yet.
func (s *State) Dying(id protocol.SessionID) bool { return s.sessions[id].Dying }

// Reason returns why a session was killed, empty if it was not, or no reason was given.
func (s *State) Reason(id protocol.SessionID) string { return s.sessions[id].Reason }

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
	return id < s.over || s.sessions[id].Dying || s.Ended(id)
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
