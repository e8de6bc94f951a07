package nemesis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/verify/network"
)

// patience is how long a grid may take to be fully replicated again.
const patience = 2 * time.Minute

// termPatience is how long a member may take to end in order.
const termPatience = 40 * time.Second

// Config says which grid is started.
type Config struct {
	Command    []string // how a member is started: the program and its first arguments
	Dir        string   // for data and logs
	Members    int
	Durability string   // "disk" or "memory"
	Arguments  []string // more, for every member
	Network    string   // one of network.Auto and the others
	SmallDisk  bool     // one member has its data on a disk that can be filled
}

// clusterName is the name of the cluster.
const clusterName = "verify"

// smallDisk is the size of a disk that can be filled.
const smallDisk = 512 << 20

// Grid is a grid of member processes on this machine. Its methods are safe for
// concurrent use; faults are injected one at a time.
type Grid struct {
	cfg     Config
	members []*Member
	hosts   *network.Hosts
	small   *Member // has its data on a small disk; nil: none
	noSmall error   // why none has

	mu      sync.Mutex // guards what follows
	crashes []string   // members that ended without being told
}

// Member is one member, whether its process runs or not.
type Member struct {
	Index   int
	Name    string
	Listen  string // where it listens
	Address string // where others think it is
	Dir     string // its data
	LogFile string

	mu      sync.Mutex        // guards what follows
	process *procgrid.Process // nil: it was ended
	mayEnd  bool              // by itself, as one whose disk fails must
}

// New prepares a grid; Start starts its members.
func New(cfg Config) (*Grid, error) {
	g := &Grid{cfg: cfg}
	var err error
	g.hosts, err = network.NewHosts(cfg.Network, cfg.Members)
	if err == nil {
		err = g.place()
	}
	if err != nil {
		g.hosts.Close()
		return nil, err
	}
	g.noSmall = errors.New("no member has a small disk")
	if last := g.members[len(g.members)-1]; cfg.SmallDisk && cfg.Durability != "memory" {
		dir := filepath.Join(cfg.Dir, "small")
		if g.noSmall = mountSmall(dir, smallDisk); g.noSmall == nil {
			last.Dir = filepath.Join(dir, last.Name)
			g.small = last
		}
	}
	return g, nil
}

// place gives the members their addresses.
func (g *Grid) place() error {
	addresses, err := g.hosts.Addresses(g.cfg.Members)
	if err != nil {
		return err
	}
	for i, address := range addresses {
		name := fmt.Sprintf("n%d", i+1)
		g.members = append(g.members, &Member{
			Index: i, Name: name, Listen: address, Address: address,
			Dir: filepath.Join(g.cfg.Dir, name), LogFile: filepath.Join(g.cfg.Dir, name+".log"),
		})
	}
	if g.hosts.Kind == network.Proxy {
		n, err := network.NewProxies(addresses, g.memberOf)
		if err != nil {
			return err
		}
		g.hosts.Network = n
		for i, m := range g.members {
			m.Address = n.Address(i)
		}
	}
	return nil
}

// Members returns the members.
func (g *Grid) Members() []*Member { return g.members }

// Network is what members' traffic passes through; nil if it passes through nothing.
func (g *Grid) Network() network.Network { return g.hosts.Network }

// NetworkKind says through what members' traffic passes, and what of it cannot
// be disturbed.
func (g *Grid) NetworkKind() (kind, lacks string) { return g.hosts.Describe() }

// Dial opens a connection from where clients are to the member of an address.
func (g *Grid) Dial(ctx context.Context, address string) (net.Conn, error) {
	return g.hosts.Dial(ctx, g.hosts.Clients, g.Resolve(address))
}

// Durability is that of the grid.
func (g *Grid) Durability() string { return g.cfg.Durability }

// Seeds returns the addresses that a client is given.
func (g *Grid) Seeds() []string {
	var all []string
	for _, m := range g.members {
		all = append(all, m.Address)
	}
	return all
}

// Resolve returns where a member really listens, by the address that others
// know.
func (g *Grid) Resolve(address string) string {
	for _, m := range g.members {
		if m.Address == address {
			return m.Listen
		}
	}
	return address
}

// Start starts the process of a member that does not run.
func (g *Grid) Start(m *Member) error {
	var others []string
	for _, o := range g.members {
		if o != m {
			others = append(others, o.Address)
		}
	}
	flags := procgrid.Flags{Name: m.Name, Dir: m.Dir, Cluster: clusterName, Join: others, Expect: len(g.members)}
	log, err := os.OpenFile(m.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil && m.process.Running() {
		return fmt.Errorf("member %s runs", m.Name)
	}
	p, err := g.launch(m, flags, log)
	if err != nil {
		return fmt.Errorf("start member %s: %w", m.Name, err)
	}
	m.process = p
	go g.watch(m, p)
	return nil
}

// launch starts a process at the address of a member, and on its host.
func (g *Grid) launch(m *Member, flags procgrid.Flags, log io.Writer) (*procgrid.Process, error) {
	flags.Listen, flags.Advertise = m.Listen, m.Address
	flags.Durability, flags.HTTP = g.cfg.Durability, "off"
	flags.Insecure = g.hosts.Kind == network.Namespaces // not on loopback, and yet nobody else is there
	return g.hosts.Of(m.Index).Process(log, log, slices.Concat(g.cfg.Command, flags.Args(), g.cfg.Arguments)...)
}

// watch records a process that ends unexpectedly.
func (g *Grid) watch(m *Member, p *procgrid.Process) {
	<-p.Done
	m.mu.Lock()
	told := m.process != p || m.mayEnd
	m.mu.Unlock()
	g.mu.Lock()
	defer g.mu.Unlock()
	if !told {
		g.crashes = append(g.crashes, fmt.Sprintf("member %s ended by itself: %v\n%s", m.Name, p.Err(), procgrid.Tail(m.LogFile)))
	}
}

// allowEnd says whether a member may end by itself from now on.
func (g *Grid) allowEnd(m *Member, yes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mayEnd = yes
}

// Crashes returns the members that ended unexpectedly, with the end of their logs.
func (g *Grid) Crashes() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.crashes)
}

// take returns the process and makes its end expected.
func (m *Member) take() *procgrid.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.process
	m.process = nil
	return p
}

// Kill ends the process of a member with SIGKILL.
func (g *Grid) Kill(m *Member) {
	if p := m.take(); p != nil {
		p.Kill()
	}
}

// Terminate ends a member in order.
func (g *Grid) Terminate(m *Member) error {
	if p := m.take(); p != nil {
		if err := p.Terminate(termPatience); err != nil {
			return fmt.Errorf("member %s: SIGTERM: %w", m.Name, err)
		}
	}
	return nil
}

// namesOf names members.
func namesOf(members []*Member) string {
	var all []string
	for _, m := range members {
		all = append(all, m.Name)
	}
	return strings.Join(all, " ")
}

// Running reports whether the member's process runs.
func (m *Member) Running() bool { return m.pid() != 0 }

func (m *Member) pid() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil || !m.process.Running() {
		return 0
	}
	return m.process.PID()
}

// Pause stops the member's process, Resume lets it go on.
func (m *Member) Pause() error { return m.signal(pause) }

// Resume lets a paused member go on.
func (m *Member) Resume() error { return m.signal(resume) }

func (m *Member) signal(f func(*os.Process) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process == nil || !m.process.Running() {
		return nil
	}
	return m.process.Signal(f)
}

// pids returns the indices of the members that run, by process id.
func pids(members []*Member) map[int]int {
	all := map[int]int{}
	for i, m := range members {
		if pid := m.pid(); pid != 0 {
			all[pid] = i
		}
	}
	return all
}

// memberOf returns the index of the member that has opened a connection, or
// outside.
func (g *Grid) memberOf(from, to *net.TCPAddr) int {
	return network.SocketOwner(pids(g.members), from, to)
}

// StartAll starts the members that do not run.
func (g *Grid) StartAll() error {
	for _, m := range g.members {
		if !m.Running() {
			if err := g.Start(m); err != nil {
				return err
			}
		}
	}
	return nil
}

// Stop ends all members in order and returns what went wrong. Of a grid in
// memory it ends one in order: each of the others would wait for that to be back,
// as they are to, for as long as they may, and they are killed.
func (g *Grid) Stop() error {
	if g.cfg.Durability == "memory" {
		_ = g.members[0].Resume()
		return g.Terminate(g.members[0])
	}
	errs := make([]error, len(g.members))
	var all sync.WaitGroup
	for i, m := range g.members {
		all.Go(func() {
			_ = m.Resume()
			errs[i] = g.Terminate(m)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Close kills what runs and closes the network.
func (g *Grid) Close() {
	for _, m := range g.members {
		_ = m.Resume()
		g.Kill(m)
	}
	g.hosts.Close()
	if g.small != nil {
		unmount(filepath.Dir(g.small.Dir))
	}
}

// Status asks every member that runs; nil for one that did not answer.
func (g *Grid) Status(ctx context.Context) []*protocol.Status {
	all := make([]*protocol.Status, len(g.members))
	var asking sync.WaitGroup
	for i, m := range g.members {
		if !m.Running() {
			continue
		}
		asking.Go(func() {
			if s, err := g.ask(ctx, m); err == nil {
				all[i] = s
			}
		})
	}
	asking.Wait()
	return all
}

// ask asks whatever process listens at a member's address for its status.
func (g *Grid) ask(ctx context.Context, m *Member) (*protocol.Status, error) {
	var s protocol.Status
	err := g.Ask(ctx, m, protocol.AdminStatus, &s)
	return &s, err
}

// Ask asks a member an operator's question, past the network.
func (g *Grid) Ask(ctx context.Context, m *Member, what string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return g.hosts.Dial(ctx, g.hosts.Watching, address)
	}
	b, err := client.Ask(ctx, m.Listen, what, nil, client.WithName("verify"), client.WithDialer(dial))
	if err != nil {
		return err
	}
	return protocol.DecodeAnswer(b, answer)
}

// caughtUp is how many entries a replica of a fully replicated grid may be
// behind: under load one always is.
const caughtUp = 5_000

// Missing says what a grid is short of; empty: it is fully replicated, with
// every member serving and every group led and complete.
func (g *Grid) Missing(ctx context.Context) string {
	all := g.Status(ctx)
	member := map[uint64]*protocol.Status{}
	groups := map[uint64]protocol.StatusGroup{} // as their leaders see them
	known := map[uint64]bool{}
	for i, s := range all {
		switch {
		case s == nil:
			return fmt.Sprintf("member %s does not answer", g.members[i].Name)
		case !s.Ready:
			return fmt.Sprintf("member %s does not serve: %s", g.members[i].Name, s.Waiting)
		}
		member[s.Member] = s
		for _, group := range s.Groups {
			known[group.ID] = true
			if group.Leader == s.Member {
				groups[group.ID] = group
			}
		}
	}
	if len(known) < 2 {
		return "there is no group of data"
	}
	for id := range known {
		group, led := groups[id]
		if !led {
			return fmt.Sprintf("group %d has no leader", id)
		}
		voters := 0
		for _, r := range group.Replicas {
			on := member[r.Member]
			if r.State == protocol.ReplicaNonVoting || on == nil {
				continue
			}
			i := slices.IndexFunc(on.Groups, func(o protocol.StatusGroup) bool { return o.ID == id })
			if i < 0 || on.Groups[i].Applied+caughtUp < group.Applied {
				return fmt.Sprintf("group %d: member %s catches up", id, on.Name)
			}
			voters++
		}
		if want := min(len(g.members), 3); voters < want {
			return fmt.Sprintf("group %d has %d of %d replicas", id, voters, want)
		}
	}
	return ""
}

// AwaitFull waits until the grid is fully replicated. Its error says what is
// missing: nobody is to help a grid whose faults are over.
func (g *Grid) AwaitFull(ctx context.Context) error { return g.await(ctx, g.Missing) }

func (g *Grid) await(ctx context.Context, missing func(context.Context) string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %v", patience))
	defer cancel()
	for {
		why := missing(ctx)
		if why == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", why, context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Leaders returns how many groups each member leads, and which.
func (g *Grid) Leaders(ctx context.Context) [][]protocol.GroupID {
	led := make([][]protocol.GroupID, len(g.members))
	for i, s := range g.Status(ctx) {
		if s == nil {
			continue
		}
		for _, group := range s.Groups {
			if group.Leader == s.Member {
				led[i] = append(led[i], protocol.GroupID(group.ID))
			}
		}
	}
	return led
}

// leader returns a member that leads a group, drawn among those that lead; follower one
// of the others, or any if all lead.
func (g *Grid) leader(ctx context.Context, rng *rand.Rand) *Member {
	return draw(g.members, rng, g.Leaders(ctx), func(led []protocol.GroupID) bool { return len(led) > 0 })
}

func (g *Grid) follower(ctx context.Context, rng *rand.Rand) *Member {
	led := g.Leaders(ctx)
	least := len(led[0])
	for _, l := range led {
		least = min(least, len(l))
	}
	return draw(g.members, rng, led, func(l []protocol.GroupID) bool { return len(l) == least })
}

func draw(members []*Member, rng *rand.Rand, led [][]protocol.GroupID, fits func([]protocol.GroupID) bool) *Member {
	var fit []*Member
	for i, m := range members {
		if fits(led[i]) {
			fit = append(fit, m)
		}
	}
	if len(fit) == 0 {
		fit = members
	}
	return fit[rng.IntN(len(fit))]
}

// shuffled returns the members in random order.
func shuffled(members []*Member, rng *rand.Rand) []*Member {
	all := slices.Clone(members)
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// Hashes waits until all replicas of every group have applied the same and
// compares the hashes of their states.
func (g *Grid) Hashes(ctx context.Context) error {
	var differ error
	err := g.await(ctx, func(ctx context.Context) string {
		type state struct {
			member string
			hash   protocol.GroupHash
		}
		first := map[uint64]state{}
		for _, m := range g.members {
			var r protocol.HashReport
			if err := g.Ask(ctx, m, protocol.AdminHash, &r); err != nil {
				return fmt.Sprintf("member %s gives no hash: %v", m.Name, err)
			}
			for _, h := range r.Groups {
				have, ok := first[h.ID]
				switch {
				case !ok:
					first[h.ID] = state{m.Name, h}
				case have.hash.Applied != h.Applied:
					return fmt.Sprintf("group %d: %s has applied %d, %s %d", h.ID, have.member, have.hash.Applied, m.Name, h.Applied)
				case have.hash.Hash != h.Hash:
					differ = fmt.Errorf("group %d: the replicas of %s and %s differ at index %d", h.ID, have.member, m.Name, h.Applied)
				}
			}
		}
		return ""
	})
	return errors.Join(err, differ)
}
