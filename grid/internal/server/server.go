package server

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/hub"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

const (
	handshakeTimeout = 5 * time.Second
	maxIdleBuffer    = 1 << 20 // bytes of a write buffer that is kept for the next
	adminTimeout     = 10 * time.Second
	peerTimeout      = 30 * time.Second
	drainTimeout     = 500 * time.Millisecond
)

// Group is this member's replica of a group.
type Group interface {
	Submit(*shardgroups.Request)
	Leader() shardgroups.Leader
	Watch(hub.Sink, *protocol.Request)
	Hub() *hub.Hub
}

// Backend is the member behind the listener. Its methods are safe for
// concurrent use.
type Backend interface {
	// Welcome returns the answer to a Hello. Before the grid is formed its table
	// is empty, and the client tries again.
	Welcome() protocol.Welcome
	// Self returns this member's number, 0 before it is admitted.
	Self() protocol.MemberID
	// Table returns the member's view of the table.
	Table() protocol.Table
	// LeaderOf returns who leads a group, 0 if that is not known.
	LeaderOf(protocol.GroupID) protocol.MemberID
	// AddressOf returns the address of a member.
	AddressOf(protocol.MemberID) (string, bool)
	// PartitionOf returns the partition that a request belongs to, out of a number of
	// partitions, whatever partition the request names.
	PartitionOf(q *protocol.Request, partitions int) protocol.PartitionID
	SessionKeeper
	// Session submits a request on sessions, as Group.Submit does. From is where it
	// comes from.
	Session(q protocol.SessionRequest, from systemstate.Origin, done func(protocol.Reply))
	// Admin answers operators' questions.
	Admin(ctx context.Context, q protocol.AdminRequest) protocol.Reply
	// Peer answers other members' questions.
	Peer(ctx context.Context, q protocol.PeerRequest) protocol.Reply
	// ServeRaft and ServeGossip take over a connection whose preface was read.
	ServeRaft(net.Conn)
	ServeGossip(net.Conn)
}

// Route says where the requests for a partition go.
type Route struct {
	ID    protocol.GroupID
	Group Group // nil: this member has no replica
}

// Routes are the routes by partition. They are immutable.
type Routes struct {
	Epoch      protocol.Epoch
	Partitions []Route
}

// Config is what a Server needs.
type Config struct {
	Listener net.Listener
	Network  *network.Network
	Backend  Backend
	Limits   protocol.Limits
	Client   protocol.UUID // names this member when it forwards for a client
	Logger   *slog.Logger

	StallTimeout   time.Duration // how long a peer may read nothing, or not continue a frame; 0: 10 s
	MaxConnections int           // of clients; 0: 10,000
	MaxPeers       int           // connections of members; 0: 1,000
	Budget         int64         // bytes of large messages on their way in, and, apart from that, of replies on their way out; 0: 64 MiB
}

// Server serves the connections of a member.
type Server struct {
	cfg     Config
	log     *slog.Logger
	routes  atomic.Pointer[Routes]
	changed chan struct{} // of capacity 1: the table has changed
	version atomic.Uint64 // counts its changes
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	stats   counts

	inbound   atomic.Int64  // bytes of large messages that arrive or are in flight
	outbound  atomic.Int64  // bytes of replies not yet written, in coarse steps
	sessions  atomic.Int64  // requests on sessions in flight
	watches   atomic.Int64  // of all connections, that this member serves
	tick      atomic.Int64  // counts the rounds of the sweep
	questions chan struct{} // of operators, in flight
	tables    tableMessage
	keeper    *keeper

	mu        sync.Mutex // guards what follows
	conns     map[net.Conn]counted
	counts    [purposes]int // of conns
	arrivals  uint64
	refusedAt time.Time // when it was last warned of
	clients   map[*clientConn]struct{}
	grid      uint64 // counts the grids that the member has left
	closed    bool
}

// Start begins to accept connections.
func Start(cfg Config) *Server {
	cfg.setDefaults()
	s := &Server{
		cfg: cfg, log: cfg.Logger, changed: make(chan struct{}, 1), questions: make(chan struct{}, maxQuestions),
		conns: map[net.Conn]counted{}, clients: map[*clientConn]struct{}{}, keeper: newKeeper(cfg.Backend),
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.routes.Store(&Routes{})
	s.tick.Store(idlePeer) // a connection that never brings a byte is idle at once
	s.wg.Go(s.accept)
	s.wg.Go(s.pushTables)
	s.wg.Go(s.sweep)
	s.wg.Go(func() { s.keeper.openAll(s.ctx) })
	s.wg.Go(func() { s.keeper.renewAll(s.ctx) })
	return s
}

// SetRoutes replaces the routes.
func (s *Server) SetRoutes(r *Routes) {
	s.routes.Store(r)
	s.TableChanged()
}

// Serve serves one connection, of any origin, from its preface on. It returns
// when the connection is closed.
func (s *Server) Serve(c net.Conn) {
	if !s.register(c) {
		_ = c.Close() // the server is closed
		return
	}
	s.serve(c)
}

// serve is Serve for a connection that is registered.
func (s *Server) serve(c net.Conn) {
	defer s.wg.Done()
	defer s.unregister(c)
	if err := c.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		_ = c.Close() // broken already
		return
	}
	p, err := protocol.ReadPreface(c)
	if err != nil {
		s.stats.noPreface.Add(1)
		// A port scanner or a health check of a load balancer: nothing to warn of.
		s.log.Debug("connection without preface", "address", addrOf(c), "err", err)
		_ = c.Close()
		return
	}
	as := ofMember
	if p == protocol.PurposeClient {
		as = ofClient
	}
	if !s.admit(c, as) {
		_ = c.Close()
		return
	}
	switch p {
	case protocol.PurposeClient:
		s.cfg.Network.MarkClient(c)
		s.serveClient(c)
	case protocol.PurposeMember:
		s.servePeer(s.watch(c))
	case protocol.PurposeRaft:
		if c.SetReadDeadline(time.Time{}) == nil {
			s.cfg.Backend.ServeRaft(s.watch(c))
		}
		_ = c.Close() // perhaps a second time
	case protocol.PurposeGossip:
		if c.SetReadDeadline(time.Time{}) == nil {
			s.cfg.Backend.ServeGossip(s.watch(c))
		}
	default:
		s.stats.noPreface.Add(1)
		s.log.Debug("connection of unknown purpose", "address", addrOf(c), "purpose", byte(p))
		_ = c.Close()
	}
}

// Drain stops accepting, sends all clients a Goodbye, and waits a short time for the
// requests in flight.
func (s *Server) Drain(reason string) {
	_ = s.cfg.Listener.Close() // Close closes it again
	s.mu.Lock()
	clients := make([]*clientConn, 0, len(s.clients))
	for c := range s.clients {
		clients = append(clients, c)
	}
	s.mu.Unlock()
	bye := protocol.Encode(protocol.Goodbye{Type: protocol.TypeGoodbye, Reason: reason})
	for _, c := range clients {
		c.traffic.sendFrame(bye)
	}
	deadline := time.Now().Add(drainTimeout)
	for _, c := range clients {
		for !c.traffic.idle() && time.Now().Before(deadline) {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// LeaveGrid closes the connections of clients, because the member no longer belongs to
// their grid. The next grid may give out the same session numbers to others.
func (s *Server) LeaveGrid() {
	s.mu.Lock()
	s.grid++
	clients := slices.Collect(maps.Keys(s.clients))
	s.mu.Unlock()
	for _, c := range clients {
		_ = c.conn.Close() // its reader ends
	}
}

// Close closes every connection and waits for their goroutines. It is
// idempotent.
func (s *Server) Close() {
	s.cancel()
	_ = s.cfg.Listener.Close() // Drain may have closed it
	s.mu.Lock()
	s.closed = true
	conns := make([]net.Conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // its owner may have closed it
	}
	s.wg.Wait()
}

func (s *Server) accept() {
	for {
		c, err := s.cfg.Listener.Accept()
		switch {
		case err == nil:
			if s.register(c) { // before the next is accepted: the count is right at once
				go s.serve(c)
			} else {
				_ = c.Close() // the server is closed
			}
		case errors.Is(err, net.ErrClosed):
			return
		default:
			// Out of file descriptors, for example: the pause gives others time to free
			// some.
			s.log.Warn("accept failed", "err", err)
			select {
			case <-s.ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// servePeer answers another member's questions, as many at a time as arrive, up to
// maxMemberQuestions. The context of one ends when its asker withdraws it or closes the
// connection: the asker may have asked others by then, or be dead.
func (s *Server) servePeer(c net.Conn) {
	ctx, cancel := context.WithCancel(s.ctx)
	p := &memberConn{Conn: c, answer: s.cfg.Backend.Peer, asked: map[uint64]context.CancelFunc{}, free: make(chan struct{}, maxMemberQuestions)}
	err := p.serve(ctx)
	if err != nil && err != io.EOF && ctx.Err() == nil {
		s.log.Debug("member connection", "address", addrOf(c), "err", err)
	}
	cancel()
	_ = c.Close() // perhaps a second time
	p.answering.Wait()
}

func addrOf(c net.Conn) string {
	if a := c.RemoteAddr(); a != nil {
		return a.String()
	}
	return ""
}
