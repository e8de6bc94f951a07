package server

import (
	"net"
	"sync"
	"time"

	"github.com/quorate/quorate/protocol"
)

// Clients are sent the table when it has changed, and when they ask for it: then
// they look for a leader that nobody knows yet, or want a sign of life. Whoever
// asks over and over, in order to keep the member from its work, costs it next to
// nothing.
const (
	tableInterval = 20 * time.Millisecond // between two tables that are pushed, at least
	tableAge      = 20 * time.Millisecond // of a table that is sent to who asks, at most

	// Who asks again within tableAgain for what it has been sent gets it from the
	// sweep, within a second.
	tableAgain = 250 * time.Millisecond

	// Of questions that follow each other faster than tablePause maxTables are read
	// in a row, then moreTables after a pause, and so on; each pause is twice as long
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

// tablesSent is what a connection was sent.
type tablesSent struct {
	version uint64 // of the server's table, or an older one
	at      time.Time
	owed    bool   // it has asked since
	asked   uint64 // the ID of what it has asked
}

// TableChanged makes the server send the table to all clients soon.
func (s *Server) TableChanged() {
	s.version.Add(1) // before pushTables looks who is there
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
					c.sendTable(b, version, now)
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

// table returns the table as a message. To make one takes so much time that
// whoever asks over and over could keep a member from its work.
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

// sendTable sends a table, as the answer to what has been asked if there is such.
func (c *clientConn) sendTable(b []byte, version uint64, now time.Time) {
	c.mu.Lock()
	if c.told.owed && c.told.asked != 0 { // b is everybody's; the ID is its last element
		b = protocol.AppendUint(b[:len(b)-1:len(b)-1], c.told.asked)
	}
	c.told = tablesSent{version: version, at: now}
	c.appendFrame(b)
	c.mu.Unlock()
}

// answerTable answers a client that asks for the table: at once where it may not
// know it yet, or has not been sent it lately.
func (c *clientConn) answerTable(id uint64, now time.Time) {
	version := c.s.version.Load() // before the table is taken
	c.mu.Lock()
	later := c.told.version == version && now.Sub(c.told.at) < tableAgain
	c.told.owed, c.told.asked = true, id
	c.mu.Unlock()
	if !later {
		c.sendTable(c.s.table(), version, now)
	}
}

// payTable sends the table that answerTable did not.
func (c *clientConn) payTable(now time.Time) {
	c.mu.Lock()
	owed := c.told.owed
	c.mu.Unlock()
	if owed {
		version := c.s.version.Load()
		c.sendTable(c.s.table(), version, now)
	}
}

// slowDown holds back the reading of a connection that asks for tables without
// end. A client waits for the answer, or a moment at least, before it asks again;
// but a network that has stood still may bring what was asked meanwhile at once,
// and what other requests are behind that must not wait for long. What was read
// of a hostile connection would keep its reader for hours: it ends with the
// connection.
func (c *clientConn) slowDown() error {
	if time.Since(c.askedAt) >= tablePause {
		c.asked = 0
	}
	c.asked++
	if pause := pauseAfter(c.asked); pause > 0 {
		select {
		case <-time.After(pause):
		case <-c.s.ctx.Done():
			return net.ErrClosed
		}
		c.mu.Lock()
		closed := c.closed
		c.mu.Unlock()
		if closed {
			return net.ErrClosed
		}
	}
	c.askedAt = time.Now()
	return nil
}

// pauseAfter returns how long to wait after so many questions in a row.
func pauseAfter(asked int) time.Duration {
	more := asked - maxTables
	if more < 0 || more%moreTables != 0 {
		return 0
	}
	return min(tablePause<<min(more/moreTables, 10), mostTablePause)
}
