package dns

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/quorate/quorate/grid/internal/network"
)

const (
	maxConnections = 128 // over TCP; others wait in the listener's queue
	maxQuestions   = 128 // of a connection
	idleTimeout    = 5 * time.Second
	readTimeout    = 2 * time.Second // for the first question of a connection
	writeTimeout   = 2 * time.Second
	acceptPause    = 50 * time.Millisecond // when the process has no descriptors left

	bitResponse = 1 << 15 // of a header
)

// The transports.
const (
	UDP = "udp"
	TCP = "tcp"
)

// rcodes are the codes that are answered, as the metric names them.
var rcodes = map[int]string{
	dns.RcodeSuccess: "NOERROR", dns.RcodeFormatError: "FORMERR", dns.RcodeServerFailure: "SERVFAIL",
	dns.RcodeNameError: "NXDOMAIN", dns.RcodeNotImplemented: "NOTIMP", dns.RcodeRefused: "REFUSED",
	dns.RcodeBadVers: "BADVERS",
}

// Config is what a Server needs of its member.
type Config struct {
	Listener net.Listener
	Packets  *net.UDPConn
	Address  netip.Addr // that others reach it at; invalid: none is known
	Follow   Follow
	Logger   *slog.Logger
}

// Server answers questions until it is closed.
type Server struct {
	address netip.Addr
	log     *slog.Logger
	mirrors *mirrors
	serving []*dns.Server
	done    sync.WaitGroup

	queries   map[string]*atomic.Uint64 // by transport
	responses map[int]*atomic.Uint64    // by code
}

// Stats are what a Server has counted.
type Stats struct {
	Queries   map[string]uint64 // by transport: packets and messages, also those that are not answered
	Responses map[string]uint64 // by the name of the code
	Mirrors   int               // services that are followed
}

// Start begins to answer.
func Start(cfg Config) *Server {
	s := newServer(cfg)
	for _, udp := range []bool{true, false} {
		one := s.transport(udp)
		if udp {
			one.PacketConn = cfg.Packets
		} else {
			one.Listener = &listener{network.Limit(cfg.Listener, maxConnections)}
		}
		// Shutting down what has not begun fails.
		begun := make(chan struct{})
		begin := sync.OnceFunc(func() { close(begun) })
		one.NotifyStartedFunc = begin
		s.serving = append(s.serving, one)
		s.done.Go(func() {
			defer begin()
			if err := one.ActivateAndServe(); err != nil {
				s.log.Error("the DNS listener ends", "err", err)
			}
		})
		<-begun
	}
	return s
}

func newServer(cfg Config) *Server {
	s := &Server{
		address: cfg.Address, log: cfg.Logger, mirrors: newMirrors(cfg.Follow, cfg.Logger),
		queries: map[string]*atomic.Uint64{UDP: {}, TCP: {}}, responses: map[int]*atomic.Uint64{},
	}
	for code := range rcodes {
		s.responses[code] = new(atomic.Uint64)
	}
	return s
}

// transport returns the server of one transport.
func (s *Server) transport(udp bool) *dns.Server {
	count := s.queries[TCP]
	if udp {
		count = s.queries[UDP]
	}
	return &dns.Server{
		UDPSize: maxUDP, ReadTimeout: readTimeout, MaxTCPQueries: maxQuestions,
		IdleTimeout: func() time.Duration { return idleTimeout },
		MsgAcceptFunc: func(h dns.Header) dns.MsgAcceptAction {
			count.Add(1)
			return s.accept(h)
		},
		MsgInvalidFunc: func(packet []byte, err error) {
			if len(packet) < headerSize {
				count.Add(1) // and that is all
				return
			}
			s.responses[dns.RcodeFormatError].Add(1)
		},
		Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			m := s.answer(q, udp)
			s.responses[m.Rcode].Add(1)
			if err := w.WriteMsg(m); err != nil {
				s.log.Debug("a DNS answer cannot be sent", "to", w.RemoteAddr().String(), "err", err)
			}
		}),
	}
}

const headerSize = 12

// accept decides by the header of a message whether it is read at all: questions with what
// EDNS0 and signatures add, and no more.
func (s *Server) accept(h dns.Header) dns.MsgAcceptAction {
	opcode := int(h.Bits>>11) & 0xF
	switch {
	case h.Bits&bitResponse != 0:
		return dns.MsgIgnore // else two servers could answer each other for ever
	case opcode != dns.OpcodeQuery:
		s.responses[dns.RcodeNotImplemented].Add(1)
		return dns.MsgRejectNotImplemented
	case h.Qdcount != 1 || h.Ancount > 0 || h.Nscount > 0 || h.Arcount > 2:
		s.responses[dns.RcodeFormatError].Add(1)
		return dns.MsgReject
	}
	return dns.MsgAccept
}

// Stats returns what was counted.
func (s *Server) Stats() Stats {
	st := Stats{Queries: map[string]uint64{}, Responses: map[string]uint64{}, Mirrors: s.mirrors.len()}
	for t, n := range s.queries {
		st.Queries[t] = n.Load()
	}
	for code, n := range s.responses {
		st.Responses[rcodes[code]] = n.Load()
	}
	return st
}

// Close ends the server. Questions that wait for a list fail, others are answered. It may be
// called twice.
func (s *Server) Close() {
	s.mirrors.close()
	for _, one := range s.serving {
		_ = one.Shutdown() // it fails where that was done, and only there
	}
	s.done.Wait()
}

// listener accepts connections whose writes have a deadline, which package miekg/dns does
// not give them.
type listener struct{ net.Listener }

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		time.Sleep(acceptPause) // package miekg/dns tries again at once
		return nil, err
	}
	return &conn{c}, nil
}

type conn struct{ net.Conn }

// Write closes the connection where it fails: half of a message may have been sent, and the
// questions that have come would each wait as long again.
func (c *conn) Write(b []byte) (int, error) {
	err := c.SetWriteDeadline(time.Now().Add(writeTimeout))
	n := 0
	if err == nil {
		n, err = c.Conn.Write(b)
	}
	if err != nil {
		return n, errors.Join(err, c.Close())
	}
	return n, nil
}
