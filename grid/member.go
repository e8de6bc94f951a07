package grid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/internal/coordinator"
	"github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/dns"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/memory"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/grid/internal/server"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/grid/internal/web"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// handOverTimeout bounds how long Close tries to transfer the leadership of its groups.
const handOverTimeout = 3 * time.Second

// Member is a running member. It is safe for concurrent use.
type Member struct {
	cfg     Config
	log     *slog.Logger
	net     *network.Network
	dir     *identity.Dir
	packets net.PacketConn
	address string // advertised
	listens string
	limits  protocol.Limits
	kinds   *groupstate.Kinds

	hashing     lane // for operators
	coordinator *coordinator.Coordinator
	server      *server.Server
	web         *web.Server // nil: none
	webAddress  string
	dns         *dns.Server // nil: none
	dnsAddress  string

	disk      *disk.Watch // of watchDisk alone; nil: no disk is used
	diskState atomic.Pointer[disk.State]
	snapshot  atomic.Uint64 // bytes of the largest snapshot that may have to be written

	memory      *memory.Watch // used by watchLimits only
	memoryState atomic.Pointer[memory.State]
	lookClosely atomic.Bool   // somebody needs more headroom than is known
	news        chan struct{} // of capacity 1: watchLimits is to look at once
	stopLimits  context.CancelFunc
	limiting    sync.WaitGroup

	routing sync.Mutex // held while routes are computed and set

	dialing sync.Mutex // held while Ready makes the client; before mu

	mu     sync.Mutex // guards what follows
	client *client.Client
	closed bool
	done   chan struct{} // closed when Close has returned
}

// Start starts a member. It returns once the member listens, which is before it serves:
// see Ready. It fails if the configuration is invalid, the data directory cannot be
// used, or the address is in use. ctx bounds only Start itself.
func Start(ctx context.Context, cfg Config) (*Member, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	cfg.setDefaults()
	served := tune.KindsFrom(ctx)
	m := &Member{
		cfg: cfg, net: network.From(ctx), limits: protocol.DefaultLimits(), kinds: groupstate.KindsOf(served), done: make(chan struct{}), news: make(chan struct{}, 1), hashing: newLane(),
		log: cfg.Logger.With("member", cfg.Name),
	}
	dir, err := m.identify()
	if err != nil {
		return nil, err
	}
	m.dir = dir
	dir.BeforeWrite = tune.SensorsFrom(ctx).MemberFile
	if err := m.checkDisk(tune.SensorsFrom(ctx).Disk); err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	listener, packets, err := m.net.Listen(cfg.Listen)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	m.packets = packets
	m.listens = listener.Addr().String()
	m.address = cfg.Advertise
	if m.address == "" {
		m.address = m.listens
	}
	shown, err := listenViews(&cfg, m.listens, m.log)
	if err != nil {
		return nil, errors.Join(err, listener.Close(), packets.Close(), dir.Close())
	}
	limit := cmp.Or(uint64(cfg.MemoryLimit), memory.Limit())
	// The server needs the coordinator, and the coordinator notifies the server of
	// changes: the lock delays those until both are there.
	m.routing.Lock()
	m.net.ServeOwn(m.address, m.serveOwn)
	m.coordinator, err = coordinator.Start(coordinator.Config{
		Dir: dir, Address: m.address, Join: cfg.Join, Expect: cfg.BootstrapExpect, ClusterName: cfg.Cluster,
		Settings: cfg.settings(),
		Network:  m.net, Packets: packets, Kinds: served, Limits: m.limits, RTT: cfg.Tick, SlowOp: cfg.SlowOp, Disk: m.diskState.Load().Level, Tune: m.bounded(limit, tune.From(ctx)),
		Stepped: tune.StepsFrom(ctx), Headroom: m.headroom,
		Logger: m.log, Changed: m.changed, Announced: m.notify, Reset: m.reset,
	})
	if err != nil {
		m.routing.Unlock()
		return nil, errors.Join(err, shown.close(), listener.Close(), packets.Close(), dir.Close())
	}
	self := m.coordinator.Member()
	m.server = server.Start(server.Config{
		Listener: listener, Network: m.net, Backend: &backend{m}, Limits: m.limits,
		Client: self.Incarnation, Logger: m.log, Budget: share(limit, 16, 32<<20, 256<<20),
	})
	m.routing.Unlock()
	m.memory = memory.New(limit, tune.SensorsFrom(ctx).Memory, nil)
	limiting, stop := context.WithCancel(context.Background())
	m.stopLimits = stop
	m.limiting.Go(func() { m.watchLimits(limiting) })
	if m.disk != nil {
		m.limiting.Go(func() { m.watchDisk(limiting) })
	}
	m.show(shown)
	m.log.Info("listening", "address", m.address, "http", cmp.Or(m.webAddress, HTTPOff), "dns", cmp.Or(m.dnsAddress, DNSOff), "durability", cfg.Durability,
		"incarnation", self.Incarnation.String(), "start", self.Starts)
	return m, nil
}

// identify opens the data directory, if the member has one.
func (m *Member) identify() (*identity.Dir, error) {
	if m.cfg.Durability != Memory {
		return identity.Open(m.cfg.DataDir, m.cfg.Name)
	}
	if m.cfg.DataDir != "" {
		m.log.Warn("durability is memory: the data directory is not used, what is in it is left alone", "directory", m.cfg.DataDir)
		m.cfg.DataDir = ""
	}
	return identity.Volatile(m.cfg.Name)
}

// Ready waits until the member serves. Its error says what the member waits for, or why
// it can never serve with its configuration. If ctx ends first the error Is ctx's error
// and its cause, and also quorate.ErrUnavailable if a deadline has passed. If the
// member is closed the error Is quorate.ErrClosed.
func (m *Member) Ready(ctx context.Context) error {
	if err := m.coordinator.Ready(ctx); err != nil {
		return fmt.Errorf("member %s: %w", m.cfg.Name, err)
	}
	m.dialing.Lock()
	defer m.dialing.Unlock()
	m.mu.Lock()
	have, closed := m.client != nil, m.closed
	m.mu.Unlock()
	switch {
	case closed:
		return fmt.Errorf("member %s: %w", m.cfg.Name, quorate.ErrClosed)
	case have:
		return nil
	}
	c, err := client.Dial(ctx, []string{m.address}, client.WithDialer(m.net.DialClient),
		client.WithName(m.cfg.Name), client.WithLogger(m.log))
	if err != nil {
		return fmt.Errorf("member %s: %w", m.cfg.Name, err)
	}
	m.mu.Lock()
	closed = m.closed
	if !closed {
		m.client = c
	}
	m.mu.Unlock()
	if closed {
		return errors.Join(fmt.Errorf("member %s: closed", m.cfg.Name), c.Close())
	}
	return nil
}

// Client returns the member's own client, which reaches it without the network. It
// returns nil until Ready has returned nil; a handle made with a nil client fails with
// quorate.ErrUnavailable. The client is closed when the member is closed, and when a
// grid in memory has lost a majority and forms anew: then Ready makes another.
func (m *Member) Client() *client.Client {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.client
}

// Status returns what the member knows of itself and of its grid, as `quorate
// status` shows it. It asks nobody.
func (m *Member) Status() protocol.Status { return (&backend{m}).status() }

// Addr returns the address at which others reach the member.
func (m *Member) Addr() string { return m.address }

// HTTPAddr returns the address of the HTTP listener, empty without one.
func (m *Member) HTTPAddr() string { return m.webAddress }

// DNSAddr returns the address at which the member answers DNS, empty if it does not.
func (m *Member) DNSAddr() string { return m.dnsAddress }

// Close transfers the leadership of the member's groups, answers the requests in
// flight, and stops the member. It leaves no goroutine running and may be called more
// than once.
func (m *Member) Close() error {
	m.mu.Lock()
	first := !m.closed
	m.closed = true
	own := m.client
	m.mu.Unlock()
	if !first {
		<-m.done
		return nil
	}
	defer close(m.done)
	var errs []error
	orderly := !m.net.Killed()
	if orderly {
		ctx, cancel := context.WithTimeout(context.Background(), m.leaveTimeout())
		m.coordinator.Leadership.Leave(ctx)
		cancel()
	}
	m.coordinator.Stop()
	defer m.limiting.Wait()
	defer m.stopLimits()
	if m.dns != nil {
		m.dns.Close()
	}
	if own != nil {
		errs = append(errs, own.Close())
	}
	if orderly {
		ctx, cancel := context.WithTimeout(context.Background(), min(handOverTimeout, m.cfg.ShutdownTimeout))
		m.coordinator.Leadership.HandOver(ctx)
		cancel()
		m.coordinator.Rejoin.Runs.EndRun() // the others ask back
		m.server.Drain("the member is going away")
	}
	m.coordinator.Close(orderly)
	m.server.Close()
	errs = append(errs, m.packets.Close(), m.dir.Close())
	if m.web != nil {
		errs = append(errs, m.web.Close())
	}
	m.log.Info("closed")
	return errors.Join(errs...)
}

// reset closes the connections of all clients, and the member's own client: they belong
// to a grid that no longer exists, and find the next one by themselves.
func (m *Member) reset() {
	m.routing.Lock()
	s := m.server
	m.routing.Unlock()
	if s != nil {
		s.LeaveGrid()
	}
}

// leaveTimeout bounds how long the member waits for others before it shuts down. The
// rest of Config.ShutdownTimeout is for the shutdown itself.
func (m *Member) leaveTimeout() time.Duration {
	return max(m.cfg.ShutdownTimeout-handOverTimeout-2*time.Second, m.cfg.ShutdownTimeout/2)
}

// serveOwn serves a connection of the member to itself. Closing the server waits for
// it.
func (m *Member) serveOwn(c net.Conn) {
	m.routing.Lock()
	s := m.server
	m.routing.Unlock()
	if s == nil {
		_ = c.Close() // Start has failed
		return
	}
	s.Serve(c)
}

// changed updates the server's routes from the tables and the leaders.
func (m *Member) changed() {
	m.notify()
	m.routing.Lock()
	defer m.routing.Unlock()
	if m.server == nil {
		return // Start has failed
	}
	h, v := m.coordinator.Host(), m.coordinator.View()
	if h == nil || v == nil || len(v.Partitions) == 0 {
		return
	}
	groups := map[protocol.GroupID]server.Route{}
	for _, g := range v.Groups {
		route := server.Route{ID: g.ID}
		if local := h.Group(g.ID); local != nil {
			route.Group = local
		}
		groups[g.ID] = route
	}
	r := &server.Routes{Epoch: v.Epoch, Partitions: make([]server.Route, len(v.Partitions))}
	for p, g := range v.Partitions {
		r.Partitions[p] = groups[g]
	}
	m.server.SetRoutes(r)
}
