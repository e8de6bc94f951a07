package server

import (
	"net"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
)

// Clients are sent the table when it has changed, and when they ask for it. They ask
// because they look for a leader that nobody knows yet, or to see whether the member is
// alive. A client that asks over and over, in order to overload the member, costs it
// next to nothing.
const (
	tableInterval = 20 * time.Millisecond // the shortest interval between two tables that are pushed
	tableAge      = 20 * time.Millisecond // the greatest age of a table that is sent as an answer

	// A client that asks again within tableAgain, although the table has not changed,
	// gets it from the sweep, within a second.
	tableAgain = 250 * time.Millisecond

	// If a client asks more often than every tablePause, maxTables questions are read
	// in a row, then moreTables after a pause, and so on. Each pause is twice as long
	// as the one before.
	maxTables      = 100
	moreTables     = 25
	tablePause     = 50 * time.Millisecond
	mostTablePause = time.Second
)

// tableMessage is the table as it was sent last.
type tableMessage struct {
	sync.Mutex
	message []byte // nil: the table has changed since
	made    time.Time
}

// tablesSent is the last table that a connection was sent, and what the client has
// asked since.
type tablesSent struct {
	version uint64 // of the server's table, or an older one
	at      time.Time
	owed    bool   // it has asked since
	asked   uint64 // the ID of what it has asked
}

// tableSender sends a client the table.
type tableSender struct {
	s   *Server
	out *traffic

	// Of the reader alone.
	asked   int       // how often for the table, without waiting in between
	askedAt time.Time // when that was last answered

	mu   sync.Mutex // guards sent; it is locked before that of out
	sent tablesSent
}

// TableChanged makes the server send the table to all clients soon.
func (s *Server) TableChanged() {
	s.version.Add(1) // before pushTables reads who is connected
	s.tables.Lock()
	s.tables.message = nil
	s.tables.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// pushTables sends the table to all clients when it has changed, and not more
// often than every tableInterval: a change of many leaders is one push.
func (s *Server) pushTables() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-s.changed:
		}
		s.mu.Lock()
		clients := make([]*clientConn, 0, len(s.clients))
		for c := range s.clients {
			clients = append(clients, c)
		}
		s.mu.Unlock()
		if len(clients) > 0 {
			now := time.Now()
			version := s.version.Load() // before the table is taken
			b := s.table()
			for _, c := range clients {
				if c.takesTables() {
					c.tables.send(b, version, now)
				}
			}
		}
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(tableInterval):
		}
	}
}

// table returns the table as a message. It is kept for a while, because encoding one
// takes so long that a client that asks over and over could overload the member.
func (s *Server) table() []byte {
	s.tables.Lock()
	defer s.tables.Unlock()
	if s.tables.message == nil || time.Since(s.tables.made) > tableAge {
		t := s.cfg.Backend.Table()
		t.Type = protocol.TypeTable
		s.tables.message, s.tables.made = protocol.Encode(t), time.Now()
	}
	return s.tables.message
}

// welcomed notes the version of the table that the client gets with its Welcome.
func (t *tableSender) welcomed(version uint64) {
	t.mu.Lock()
	t.sent.version = version
	t.mu.Unlock()
}

// version returns the version of the table that the client was sent last.
func (t *tableSender) version() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent.version
}

// send sends a table. If the client has asked, it is the answer.
func (t *tableSender) send(b []byte, version uint64, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sent.owed && t.sent.asked != 0 { // b is everybody's; the ID is its last element
		b = protocol.AppendUint(b[:len(b)-1:len(b)-1], t.sent.asked)
	}
	t.sent = tablesSent{version: version, at: now}
	t.out.sendFrame(b)
}

// answer answers a client that asks for the table: at once if the table has changed
// since the client was sent one, or that was a while ago; else the sweep does.
func (t *tableSender) answer(id uint64, now time.Time) {
	version := t.s.version.Load() // before the table is taken
	t.mu.Lock()
	later := t.sent.version == version && now.Sub(t.sent.at) < tableAgain
	t.sent.owed, t.sent.asked = true, id
	t.mu.Unlock()
	if !later {
		t.send(t.s.table(), version, now)
	}
}

// pay sends the table that answer left to the sweep.
func (t *tableSender) pay(now time.Time) {
	t.mu.Lock()
	owed := t.sent.owed
	t.mu.Unlock()
	if owed {
		version := t.s.version.Load()
		t.send(t.s.table(), version, now)
	}
}

// slowDown delays the reading of a connection that asks for tables without end. A
// proper client waits for the answer, or at least a moment, before it asks again; but
// after a network has stalled many of its questions may arrive at once, and the other
// requests behind them must not wait for long. The delays for the questions of a
// hostile connection could add up to hours, so they end with the connection.
func (t *tableSender) slowDown() error {
	if time.Since(t.askedAt) >= tablePause {
		t.asked = 0
	}
	t.asked++
	if pause := pauseAfter(t.asked); pause > 0 {
		select {
		case <-time.After(pause):
		case <-t.s.ctx.Done():
			return net.ErrClosed
		}
		if t.out.isClosed() {
			return net.ErrClosed
		}
	}
	t.askedAt = time.Now()
	return nil
}

// pauseAfter returns how long to wait after a number of questions in a row.
func pauseAfter(asked int) time.Duration {
	more := asked - maxTables
	if more < 0 || more%moreTables != 0 {
		return 0
	}
	return min(tablePause<<min(more/moreTables, 10), mostTablePause)
}
