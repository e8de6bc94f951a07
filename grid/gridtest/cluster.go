package gridtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/grid/internal/tune"
	"github.com/quorate/quorate/internal/ports"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures"
)

// WaitTimeout bounds every wait of this package.
const WaitTimeout = 60 * time.Second

// Option changes how a cluster is started.
type Option func(*Cluster)

// WithConfig changes the configuration of each member before it starts, also
// before it starts again.
func WithConfig(f func(member int, cfg *grid.Config)) Option {
	return func(c *Cluster) { c.configure = f }
}

// WithDurability starts members of that durability; disk is the default. A
// member in memory that is restarted is a new, empty incarnation.
func WithDurability(d grid.Durability) Option {
	return func(c *Cluster) { c.durability = d }
}

// WithTuning changes the engine of each member: how soon snapshots are taken,
// and faults that a test plants to see that they are noticed.
func WithTuning(f func(*shardgroups.Config)) Option {
	return func(c *Cluster) { c.tune = f }
}

// WithKinds makes the members serve these kinds of structures in place of those that a
// grid has: more, as a later version does, or fewer.
func WithKinds(all []structures.Kind) Option {
	return func(c *Cluster) { c.kinds = all }
}

// WithSteps has f told how far the coordinator of a member is with giving a
// place to another, which it goes on with when f returns.
func WithSteps(f func(member int, point string, g protocol.GroupID)) Option {
	return func(c *Cluster) { c.steps = f }
}

// WithoutWait makes Start return before the members serve.
func WithoutWait() Option { return func(c *Cluster) { c.wait = false } }

// Cluster is a grid of members inside the test. Its methods fail the test
// rather than return an error, and are safe for concurrent use as long as no
// two concern the same member. Members are numbered from 0.
type Cluster struct {
	t         testing.TB
	dir       string
	configure func(int, *grid.Config)
	tune      func(*shardgroups.Config)
	kinds     []structures.Kind // nil: those that a grid has
	steps     func(member int, point string, g protocol.GroupID)
	wait      bool
	disks     bool          // in memory
	apart     bool          // no member reaches its own address
	clock     *atomic.Int64 // of the test; nil: everybody's own
	seed      uint64
	fabric    *network.Fabric
	clients   *network.Network
	expect    int // members that form the cluster

	durability grid.Durability
	logs       *logBuffer
	nodes      []*node
}

// node is one member, or the place of one.
type node struct {
	paused  atomic.Bool
	sensors sensors
	disk    *disk // nil: the system's
	host    atomic.Pointer[shardgroups.Host]

	mu      sync.Mutex // guards what follows
	member  *grid.Member
	net     *network.Network
	address string
	up      bool
}

// Start starts n members that form a cluster, and waits until all serve. They
// are closed with the test.
func Start(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	c := &Cluster{t: t, dir: t.TempDir(), wait: true, expect: n, logs: &logBuffer{}}
	for _, o := range opts {
		o(c)
	}
	if c.seed == 0 {
		c.seed = rand.Uint64() | 1
	}
	c.fabric = network.NewFabric(c.seed)
	if c.apart {
		c.fabric.Unreflected()
	}
	c.clients = c.fabric.Network(network.Clients)
	t.Cleanup(c.close)
	for i := range n {
		c.nodes = append(c.nodes, &node{})
		c.start(i)
	}
	if c.wait {
		c.WaitReady()
	}
	return c
}

func memberName(i int) string { return fmt.Sprintf("n%d", i+1) }

func (c *Cluster) start(i int) {
	c.t.Helper()
	if err := c.tryStart(i); err != nil {
		c.t.Fatalf("start member %d: %v", i, err)
	}
}

func (c *Cluster) tryStart(i int) error {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	cfg := grid.Config{
		Name: memberName(i), DataDir: c.dataDir(i),
		BootstrapExpect: c.expect, Durability: c.durability,
		Logger: slog.New(slog.NewTextHandler(c.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if cfg.Listen = n.address; n.address == "" {
		free, err := ports.Free(1)
		if err != nil {
			return err
		}
		cfg.Listen = free[0]
	}
	for j, o := range c.nodes {
		if j != i && o.address != "" {
			cfg.Join = append(cfg.Join, o.address)
		}
	}
	if c.durability == grid.Memory {
		cfg.DataDir = ""
	}
	if c.configure != nil {
		c.configure(i, &cfg)
	}
	n.net = c.fabric.Network(network.Place(i))
	n.paused.Store(false)
	ctx := network.With(context.Background(), n.net)
	ctx = tune.WithSensors(ctx, n.sensors.tune(cfg))
	if c.disks {
		if n.disk == nil {
			n.disk = newDisk()
		}
		kill := n.net.Kill
		n.disk.kill.Store(&kill)
	}
	if c.kinds != nil {
		ctx = tune.WithKinds(ctx, c.kinds)
	}
	if c.steps != nil {
		ctx = tune.WithSteps(ctx, func(point string, g protocol.GroupID) { c.steps(i, point, g) })
	}
	n.host.Store(nil)
	ctx = tune.With(ctx, func(cfg *shardgroups.Config) {
		cfg.TestHooks = c.hooks(n)
		if c.tune != nil {
			c.tune(cfg)
		}
	})
	m, err := grid.Start(ctx, cfg)
	if err != nil {
		return err
	}
	n.member, n.address, n.up = m, m.Addr(), true
	return nil
}

// WaitReady waits until every running member serves.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), WaitTimeout)
	defer cancel()
	for i, n := range c.nodes {
		if m := n.running(); m != nil {
			if err := m.Ready(ctx); err != nil {
				c.t.Fatalf("member %d: %v\n%s", i, err, c.Diagnose())
			}
		}
	}
}

func (n *node) running() *grid.Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		return nil
	}
	return n.member
}

// Len returns how many members there are, running or not.
func (c *Cluster) Len() int { return len(c.nodes) }

// Member returns a member, nil while it is down.
func (c *Cluster) Member(i int) *grid.Member { return c.nodes[i].running() }

// Addrs returns the addresses of all members.
func (c *Cluster) Addrs() []string {
	var all []string
	for _, n := range c.nodes {
		n.mu.Lock()
		all = append(all, n.address)
		n.mu.Unlock()
	}
	return all
}

// Client returns a client of the cluster over the network, closed with t. Its
// connections are those of Clients, unless opts bring a dialer.
func (c *Cluster) Client(t testing.TB, opts ...client.Option) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), WaitTimeout)
	defer cancel()
	opts = append([]client.Option{client.WithDialer(c.clients.DialClient)}, opts...)
	cl, err := client.Dial(ctx, c.Addrs(), opts...)
	if err != nil {
		t.Fatalf("dial: %v\n%s", err, c.Diagnose())
	}
	t.Cleanup(func() {
		if err := cl.Close(); err != nil {
			t.Errorf("close client: %v", err)
		}
	})
	return cl
}

// Kill ends a member as the death of its process does, from the point of view
// of everybody else: its connections break, and nothing is handed over.
func (c *Cluster) Kill(i int) {
	c.t.Helper()
	c.stop(i, (*network.Network).Kill)
}

// Close ends a member in order.
func (c *Cluster) Close(i int) {
	c.t.Helper()
	c.stop(i, func(*network.Network) {})
}

func (c *Cluster) stop(i int, before func(*network.Network)) {
	c.t.Helper()
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		c.t.Fatalf("member %d is down already", i)
	}
	n.up = false
	before(n.net)
	if err := closeWithin(n.member); err != nil {
		c.t.Fatalf("close member %d: %v", i, err)
	}
}

func closeWithin(m *grid.Member) error {
	done := make(chan error, 1)
	go func() { done <- m.Close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(WaitTimeout):
		return errors.New("not within " + WaitTimeout.String())
	}
}

// Restart starts a member that was killed or closed, with its data, if it is on
// disk, and at its address. It does not wait until it serves: see WaitReady.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	if err := c.TryRestart(i); err != nil {
		c.t.Fatalf("start member %d: %v", i, err)
	}
}

// TryRestart is Restart for a member that may refuse to start: it returns the
// reason.
func (c *Cluster) TryRestart(i int) error {
	c.t.Helper()
	if c.Member(i) != nil {
		c.t.Fatalf("member %d is running", i)
	}
	return c.tryStart(i)
}

// Wipe removes the data of a member that is down. It returns as a new
// incarnation.
func (c *Cluster) Wipe(i int) {
	c.t.Helper()
	if c.Member(i) != nil {
		c.t.Fatalf("member %d is running", i)
	}
	if err := os.RemoveAll(c.dataDir(i)); err != nil {
		c.t.Fatal(err)
	}
}

// Dir returns a member's data directory.
func (c *Cluster) Dir(i int) string { return c.dataDir(i) }

func (c *Cluster) dataDir(i int) string { return filepath.Join(c.dir, memberName(i)) }

// WaitFull waits until every running member serves and knows all of them, and
// every group has all its replicas and they have caught up.
func (c *Cluster) WaitFull() {
	c.t.Helper()
	c.WaitReady()
	c.Eventually("every group fully replicated", c.full)
}

func (c *Cluster) full() bool {
	var epoch uint64
	names := map[string]bool{}
	for i := range c.nodes {
		if c.Member(i) == nil {
			continue
		}
		s, err := c.Status(i)
		if err != nil || !s.Ready || len(s.Groups) == 0 || epoch != 0 && s.Epoch != epoch {
			return false
		}
		epoch = s.Epoch
		for _, g := range s.Groups {
			if g.Missing > 0 || g.Leader == 0 {
				return false
			}
		}
		own := false
		for _, m := range s.Members {
			own = own || m.ID == s.Member
			names[m.Address] = names[m.Address] || m.State == protocol.StateServing
		}
		if !own {
			return false
		}
	}
	for _, n := range c.nodes {
		n.mu.Lock()
		known := !n.up || names[n.address]
		n.mu.Unlock()
		if !known {
			return false
		}
	}
	return true
}

// Add starts one more member, which joins the cluster, and returns its number.
func (c *Cluster) Add() int {
	c.t.Helper()
	c.nodes = append(c.nodes, &node{})
	c.start(len(c.nodes) - 1)
	return len(c.nodes) - 1
}

// Pause stops a member's network both ways; its connections stay open.
func (c *Cluster) Pause(i int) {
	c.nodes[i].paused.Store(true)
	c.network(i).Pause()
}

// Resume ends Pause.
func (c *Cluster) Resume(i int) {
	c.network(i).Resume()
	c.nodes[i].paused.Store(false)
}

// CutClients breaks every client connection to every running member.
func (c *Cluster) CutClients() {
	for i := range c.nodes {
		if c.Member(i) != nil {
			c.network(i).CutClients()
		}
	}
}

func (c *Cluster) network(i int) *network.Network {
	n := c.nodes[i]
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.net
}

// Status returns how a running member sees the grid.
func (c *Cluster) Status(i int) (protocol.Status, error) {
	var s protocol.Status
	err := c.ask(i, protocol.AdminStatus, &s)
	return s, err
}

// Hashes returns the hashes of a running member's replicas.
func (c *Cluster) Hashes(i int) (protocol.HashReport, error) {
	var r protocol.HashReport
	err := c.ask(i, protocol.AdminHash, &r)
	return r, err
}

func (c *Cluster) ask(i int, what string, out any) error {
	m := c.Member(i)
	if m == nil {
		return fmt.Errorf("member %d is down", i)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	b, err := client.Ask(ctx, m.Addr(), what, nil)
	if err != nil {
		return err
	}
	return protocol.DecodeAnswer(b, out)
}

// LeaderOf waits until the members that run, and are not paused, agree who leads
// a group, and returns that member.
func (c *Cluster) LeaderOf(g protocol.GroupID) int {
	c.t.Helper()
	found := -1
	c.Eventually(fmt.Sprintf("a leader of group %d", g), func() bool {
		found = c.agreedLeader(g)
		return found >= 0
	})
	return found
}

func (c *Cluster) agreedLeader(g protocol.GroupID) int {
	agreed := ""
	for i, n := range c.nodes {
		if c.Member(i) == nil || n.paused.Load() {
			continue
		}
		s, err := c.Status(i)
		if err != nil {
			return -1
		}
		name := leaderName(s, g)
		if name == "" || agreed != "" && agreed != name {
			return -1
		}
		agreed = name
	}
	for i, n := range c.nodes {
		if n.running() != nil && agreed == memberName(i) {
			return i
		}
	}
	return -1
}

func leaderName(s protocol.Status, id protocol.GroupID) string {
	for _, g := range s.Groups {
		if g.ID != uint64(id) {
			continue
		}
		for _, m := range s.Members {
			if m.ID == g.Leader {
				return m.Name
			}
		}
	}
	return ""
}

// Leader returns the member that leads the partition of a key of a structure;
// key is as structures.AppendKey encodes it, nil for a structure without keys.
func (c *Cluster) Leader(cl *client.Client, name string, key []byte) int {
	c.t.Helper()
	t := cl.Table()
	return c.LeaderOf(t.Partitions[cl.Partition(name, key)])
}

// Eventually waits until f is true, and fails the test where it does not get
// so.
func (c *Cluster) Eventually(what string, f func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(WaitTimeout); !f(); {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within %v: %s\n%s", WaitTimeout, what, c.Diagnose())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Diagnose says how every member sees the grid, for a failing test.
func (c *Cluster) Diagnose() string {
	var b strings.Builder
	for i := range c.nodes {
		if c.Member(i) == nil {
			fmt.Fprintf(&b, "member %d: down\n", i)
			continue
		}
		s, err := c.Status(i)
		if err != nil {
			fmt.Fprintf(&b, "member %d: %v\n", i, err)
			continue
		}
		fmt.Fprintf(&b, "member %d: ready=%t waiting=%q formed=%t epoch=%d\n", i, s.Ready, s.Waiting, s.Formed, s.Epoch)
		for _, m := range s.Members {
			fmt.Fprintf(&b, "  member %d %s at %s: %s\n", m.ID, m.Name, m.Address, m.State)
		}
		for _, g := range s.Groups {
			fmt.Fprintf(&b, "  group %d: leader %d term %d applied %d missing %d replicas", g.ID, g.Leader, g.Term, g.Applied, g.Missing)
			for _, r := range g.Replicas {
				fmt.Fprintf(&b, " %d@%d(%s)", r.Replica, r.Member, r.State)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// close closes all members at once: together they have nobody to hand over to.
func (c *Cluster) close() {
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		m := n.running()
		if m == nil {
			continue
		}
		n.net.Kill()
		wg.Go(func() {
			if err := closeWithin(m); err != nil && !errors.Is(err, net.ErrClosed) {
				c.t.Errorf("close member %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	c.clients.Kill()
	if c.t.Failed() {
		c.t.Logf("the network's seed: %d", c.seed)
		c.t.Log("the members' log:\n" + c.logs.tail())
	}
}

// logBuffer keeps the end of the members' log for a test that fails.
type logBuffer struct {
	mu sync.Mutex
	b  []byte
}

const maxLog = 256 << 10

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.b) > 2*maxLog {
		l.b = append(l.b[:0], l.b[len(l.b)-maxLog:]...)
	}
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *logBuffer) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b[max(0, len(l.b)-maxLog):])
}
