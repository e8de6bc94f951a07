package gossip

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/protocol"
)

const (
	seedInterval     = time.Second      // between attempts to reach seeds, at first
	seedIntervalLong = 10 * time.Second // after seedAttempts of them
	seedAttempts     = 20
	seedsAtOnce      = 16
	leaveTimeout     = time.Second
	announceTimeout  = 100 * time.Millisecond
	announceRepeats  = 4
	metaLimit        = memberlist.MetaMaxSize
)

// Config is what a Gossip needs of its member.
type Config struct {
	// Label keeps the gossip of clusters apart: messages with another label are
	// dropped.
	Label       string
	Incarnation protocol.UUID
	Name        string
	Address     string // advertised
	Cluster     protocol.UUID
	State       State
	Network     *network.Network
	Packets     net.PacketConn
	Logger      *slog.Logger
	// Seeds returns addresses of members to connect to. It may be called at any time.
	Seeds func() []string
	// Changed is called, from a goroutine of the Gossip, after hints changed.
	Changed func()
}

// Hint is what the gossip knows of a member.
type Hint struct {
	Incarnation protocol.UUID
	Name        string
	Address     string
	Cluster     protocol.UUID // zero: blank
	State       State
	Alive       bool
}

// Gossip is a running membership gossip. It is safe for concurrent use.
type Gossip struct {
	cfg       Config
	transport *transport
	list      *memberlist.Memberlist
	stop      chan struct{}
	changed   chan struct{} // of capacity 1
	news      chan struct{} // of capacity 1: there is something to announce
	wg        sync.WaitGroup
	once      sync.Once

	mu      sync.Mutex // guards what follows; memberlist's callbacks lock it, so memberlist is not called under it
	cluster protocol.UUID
	state   State
	hints   map[protocol.UUID]Hint
	// heard are the members that memberlist believes alive, numbered in the order of
	// their arrival. Of several at one address only the last is really there.
	heard   map[protocol.UUID]seen
	number  uint64
	started uint64 // when this Gossip was, in milliseconds
}

// Start announces the member and begins to listen.
func Start(cfg Config) (*Gossip, error) {
	host, portText, err := net.SplitHostPort(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("gossip: address %q: %w", cfg.Address, err)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return nil, fmt.Errorf("gossip: address %q: %w", cfg.Address, err)
	}
	ip, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return nil, fmt.Errorf("gossip: advertised address %q: %w: advertise an address the other members can resolve", cfg.Address, err)
	}
	g := &Gossip{
		cfg: cfg, stop: make(chan struct{}), changed: make(chan struct{}, 1), news: make(chan struct{}, 1),
		cluster: cfg.Cluster, state: cfg.State, hints: map[protocol.UUID]Hint{}, heard: map[protocol.UUID]seen{},
		started: uint64(time.Now().UnixMilli()),
	}
	if n := len(g.meta()); n > metaLimit {
		return nil, fmt.Errorf("gossip: name and address take %d bytes, at most %d: use a shorter name", n, metaLimit)
	}
	g.transport = newTransport(cfg.Network, cfg.Packets, ip.IP, port)
	mc := memberlist.DefaultLANConfig()
	mc.Name = cfg.Incarnation.String()
	mc.Transport = g.transport
	mc.Label = mutantLabel(cfg.Label)
	mc.AdvertiseAddr = ip.IP.String()
	mc.AdvertisePort = port
	mc.EnableCompression = false // messages are tiny, and nobody must be able to make us inflate one
	// A member that was killed may return at another address as soon as it is missed.
	mc.DeadNodeReclaimTime = time.Second
	// In a small grid nobody confirms a suspicion, so the longest timeout applies.
	mc.SuspicionMaxTimeoutMult = 2
	mc.Delegate = delegate{g}
	mc.Events = events{g}
	mc.Logger = log.New(logWriter{cfg.Logger}, "", 0)
	list, err := memberlist.Create(mc)
	if err != nil {
		g.transport.stop()
		return nil, fmt.Errorf("gossip: %w", err)
	}
	g.list = list
	g.wg.Go(g.notify)
	g.wg.Go(g.seek)
	g.wg.Go(g.announceAll)
	return g, nil
}

// SetCluster announces the cluster that the member has enlisted with.
func (g *Gossip) SetCluster(cluster protocol.UUID) {
	g.mu.Lock()
	same := g.cluster == cluster
	g.cluster = cluster
	g.mu.Unlock()
	if !same {
		g.announce()
	}
}

// SetState announces the member's state.
func (g *Gossip) SetState(s State) {
	g.mu.Lock()
	same := g.state == s
	g.state = s
	g.mu.Unlock()
	if !same {
		g.announce()
	}
}

// announce starts an announcement, and does not wait for it.
func (g *Gossip) announce() {
	select {
	case g.news <- struct{}{}:
	default:
	}
}

// announceAll sends each announcement when it is made, and repeats it a few times.
// memberlist itself repeats an announcement for less than a second only. Also, its
// queue loses one of two announcements of the same length that are queued at the same
// time, because it numbers them from one whenever it is empty. So members that have
// something to announce at the same time must not repeat it at the same time.
func (g *Gossip) announceAll() {
	left := 0
	for {
		var again <-chan time.Time
		if left > 0 {
			again = time.After(time.Second/2 + rand.N(3*time.Second/2))
		}
		select {
		case <-g.stop:
			return
		case <-g.news:
			left = announceRepeats
		case <-again:
			left--
		}
		// The error is that nobody has received it in time.
		_ = g.list.UpdateNode(announceTimeout)
	}
}

// Serve takes over a stream connection whose preface was read.
func (g *Gossip) Serve(c net.Conn) { g.transport.serve(c) }

// Hints returns the hints of the other members, ordered by address.
func (g *Gossip) Hints() []Hint {
	g.mu.Lock()
	hints := make([]Hint, 0, len(g.hints))
	for _, h := range g.hints {
		hints = append(hints, h)
	}
	g.mu.Unlock()
	slices.SortFunc(hints, func(a, b Hint) int {
		if a.Address != b.Address {
			return cmpString(a.Address, b.Address)
		}
		return cmpString(a.Incarnation.String(), b.Incarnation.String())
	})
	return hints
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Address returns the address at which an incarnation was last heard, empty if never,
// and whether it is believed to be there still.
func (g *Gossip) Address(u protocol.UUID) (address string, alive bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.hints[u]
	return h.Address, h.Alive
}

// Hint returns the hint of an incarnation, false if there is none.
func (g *Gossip) Hint(u protocol.UUID) (Hint, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	h, ok := g.hints[u]
	return h, ok
}

// Leave announces to the others that the member leaves. Call Close after it.
func (g *Gossip) Leave() {
	if err := g.list.Leave(leaveTimeout); err != nil {
		g.cfg.Logger.Debug("gossip: leave", "err", err)
	}
}

// Close stops the gossip and leaves the socket open.
func (g *Gossip) Close() {
	g.once.Do(func() {
		close(g.stop)
		g.transport.stop()
		if err := g.list.Shutdown(); err != nil {
			g.cfg.Logger.Debug("gossip: shut down", "err", err)
		}
		g.wg.Wait()
	})
}

func (g *Gossip) meta() []byte {
	g.mu.Lock()
	m := meta{Name: g.cfg.Name, Address: g.cfg.Address, Cluster: g.cluster, Flags: g.state.Flags(), Started: g.started}
	g.mu.Unlock()
	return protocol.Encode(m)
}

// learn records a notification of memberlist.
func (g *Gossip) learn(n *memberlist.Node, alive bool) {
	u, err := protocol.ParseUUID(n.Name)
	if err != nil || u == g.cfg.Incarnation {
		return
	}
	var m meta
	if protocol.Decode(n.Meta, &m) != nil {
		return
	}
	g.mu.Lock()
	g.hints[u] = Hint{Incarnation: u, Name: m.Name, Address: m.Address, Cluster: m.Cluster, State: StateOf(m.Flags)}
	switch _, known := g.heard[u]; {
	case !alive:
		delete(g.heard, u)
	case !known:
		g.number++
		g.heard[u] = seen{m.Started, g.number}
	}
	g.settle()
	g.forgetOld()
	g.mu.Unlock()
	select {
	case g.changed <- struct{}{}:
	default:
	}
}

// seen is a member that is believed alive: when it was started, by its own clock, and
// its number in the order of arrival.
type seen struct{ started, number uint64 }

func (s seen) after(o seen) bool {
	return s.started > o.started || s.started == o.started && s.number > o.number
}

// settle decides which members are alive. An address has one member, the one that was
// started last. A member that was there before is not alive any more, though memberlist
// may need half a minute to notice, and may hear of the old member after the new one.
// mu is held.
func (g *Gossip) settle() {
	last := map[string]seen{}
	for u, s := range g.heard {
		if at := g.hints[u].Address; s.after(last[at]) {
			last[at] = s
		}
	}
	for u, h := range g.hints {
		s, ok := g.heard[u]
		h.Alive = ok && s == last[h.Address]
		g.hints[u] = h
	}
}

// maxHints bounds how many hints strangers can make a member keep.
const maxHints = 4096

func (g *Gossip) forgetOld() {
	if len(g.hints) <= maxHints {
		return
	}
	for u, h := range g.hints {
		if !h.Alive {
			delete(g.hints, u)
		}
	}
}

func (g *Gossip) notify() {
	for {
		select {
		case <-g.stop:
			return
		case <-g.changed:
			g.cfg.Changed()
		}
	}
}

// seek joins seeds that are not known to be alive, for ever, so that two halves of a
// grid find each other again.
func (g *Gossip) seek() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-g.stop; cancel() }()
	for attempt := 0; ; attempt++ {
		g.join(ctx, g.missing())
		if ctx.Err() != nil {
			return
		}
		wait := seedInterval
		if attempt >= seedAttempts {
			wait = seedIntervalLong
		}
		select {
		case <-g.stop:
			return
		case <-time.After(wait):
		}
	}
}

// join joins seeds, several at a time, because each may stay silent until memberlist's
// timeout.
func (g *Gossip) join(ctx context.Context, seeds []string) {
	var joining sync.WaitGroup
	defer joining.Wait()
	turns := make(chan struct{}, seedsAtOnce)
	for _, seed := range seeds {
		select {
		case turns <- struct{}{}:
		case <-ctx.Done():
			return
		}
		joining.Go(func() {
			defer func() { <-turns }()
			if _, err := g.list.Join([]string{seed}); err != nil {
				g.cfg.Logger.Debug("gossip: a seed address does not answer", "address", seed, "err", err)
			}
		})
	}
}

func (g *Gossip) missing() []string {
	seeds := g.cfg.Seeds()
	g.mu.Lock()
	defer g.mu.Unlock()
	alive := map[string]bool{g.cfg.Address: true}
	for _, h := range g.hints {
		if h.Alive {
			alive[h.Address] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(seeds), func(s string) bool { return alive[s] })
}
