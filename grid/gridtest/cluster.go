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
type Option func(*options)

// WithConfig changes the configuration of each member before it starts, also
// before it starts again.
func WithConfig(f func(member int, cfg *grid.Config)) Option {
	return func(o *options) { o.configure = f }
}

// WithDurability sets the durability of the cluster; grid.Disk is the default. A member
// in memory that is restarted is a new, empty incarnation.
func WithDurability(d grid.Durability) Option {
	return func(o *options) { o.durability = d }
}

// WithTuning changes the engine of each member: how soon snapshots are taken,
// and faults that a test plants to see that they are noticed.
func WithTuning(f func(*shardgroups.Config)) Option {
	return func(o *options) { o.tune = f }
}

// WithKinds makes the members serve these kinds of structures instead of the usual
// ones: for example one more, as a later version may.
func WithKinds(all []structures.Kind) Option {
	return func(o *options) { o.kinds = all }
}

// WithSteps calls f at each step in which the coordinator of a member gives a replica
// to another member, or forms the cluster. The coordinator goes on when f returns.
func WithSteps(f func(member int, point string, g protocol.GroupID)) Option {
	return func(o *options) { o.steps = f }
}

// WithoutWait makes Start return before the members serve.
func WithoutWait() Option { return func(o *options) { o.noWait = true } }

// options say how a cluster is started.
type options struct {
	configure  func(int, *grid.Config)
	durability grid.Durability
	tune       func(*shardgroups.Config)
	kinds      []structures.Kind // nil: those that a grid has
	steps      func(member int, point string, g protocol.GroupID)
	noWait     bool
	disks      bool          // in memory
	apart      bool          // no member reaches its own address
	clock      *atomic.Int64 // of the test; nil: everybody's own
	seed       uint64        // of the network; 0: drawn
}

// Cluster is a grid of members inside the test. Its methods fail the test
// rather than return an error, and are safe for concurrent use as long as no
// two concern the same member. Members are numbered from 0.
type Cluster struct {
	members
	*links
	options
	dir    string
	expect int // members that form the cluster
	logs   *logBuffer
}

// Start starts n members that form a cluster, and waits until all serve. They
// are closed with the test.
func Start(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	c := &Cluster{members: members{t: t}, dir: t.TempDir(), expect: n, logs: &logBuffer{}}
	for _, o := range opts {
		o(&c.options)
	}
	if c.seed == 0 {
		c.seed = rand.Uint64() | 1
	}
	c.links = newLinks(c.seed, c.apart)
	t.Cleanup(c.close)
	for range n {
		c.Add()
	}
	if !c.noWait {
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
	cfg, err := c.config(i)
	if err != nil {
		return err
	}
	if c.disks && n.disk == nil {
		n.disk = newDisk()
	}
	n.begin(c.links.network(i))
	ctx := network.With(context.Background(), n.net)
	ctx = tune.WithSensors(ctx, n.sensors.tune(cfg))
	if c.kinds != nil {
		ctx = tune.WithKinds(ctx, c.kinds)
	}
	if c.steps != nil {
		ctx = tune.WithSteps(ctx, func(point string, g protocol.GroupID) { c.steps(i, point, g) })
	}
	ctx = tune.With(ctx, func(cfg *shardgroups.Config) {
		cfg.TestHooks = n.hooks(c.clock)
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

// config returns the configuration of a member that starts. The lock of its node is
// held.
func (c *Cluster) config(i int) (grid.Config, error) {
	cfg := grid.Config{
		Name: memberName(i), DataDir: c.Dir(i),
		BootstrapExpect: c.expect, Durability: c.durability,
		Logger: slog.New(slog.NewTextHandler(c.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if cfg.Listen = c.nodes[i].address; cfg.Listen == "" {
		free, err := ports.Free(1)
		if err != nil {
			return cfg, err
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
	return cfg, nil
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

// Kill ends a member as the death of its process would look to everybody else: its
// connections break, and no leadership is transferred.
func (c *Cluster) Kill(i int) {
	c.t.Helper()
	c.end(i, true)
}

// Close shuts a member down gracefully.
func (c *Cluster) Close(i int) {
	c.t.Helper()
	c.end(i, false)
}

func (c *Cluster) end(i int, kill bool) {
	c.t.Helper()
	if err := c.nodes[i].stop(kill); err != nil {
		c.t.Fatalf("close member %d: %v", i, err)
	}
}

// Restart starts a member that was killed or closed, at its address, and with its data
// if it has it on disk. It does not wait until the member serves: see WaitReady.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	if err := c.TryRestart(i); err != nil {
		c.t.Fatalf("start member %d: %v", i, err)
	}
}

// TryRestart is Restart for a member that may refuse to start. It returns the reason.
func (c *Cluster) TryRestart(i int) error {
	c.t.Helper()
	if c.Member(i) != nil {
		c.t.Fatalf("member %d is running", i)
	}
	return c.tryStart(i)
}

// Wipe removes the data of a member that is down. When it is restarted it is a new
// incarnation.
func (c *Cluster) Wipe(i int) {
	c.t.Helper()
	if c.Member(i) != nil {
		c.t.Fatalf("member %d is running", i)
	}
	if err := os.RemoveAll(c.Dir(i)); err != nil {
		c.t.Fatal(err)
	}
}

// Dir returns a member's data directory.
func (c *Cluster) Dir(i int) string { return filepath.Join(c.dir, memberName(i)) }

// Add starts one more member, which joins the cluster, and returns its number.
func (c *Cluster) Add() int {
	c.t.Helper()
	i := c.add()
	c.start(i)
	return i
}

// Pause stops a member's network both ways; its connections stay open.
func (c *Cluster) Pause(i int) {
	c.nodes[i].paused.Store(true)
	c.nodes[i].network().Pause()
}

// Resume ends Pause.
func (c *Cluster) Resume(i int) {
	c.nodes[i].network().Resume()
	c.nodes[i].paused.Store(false)
}

// CutClients breaks every client connection to every running member.
func (c *Cluster) CutClients() {
	for i := range c.nodes {
		if c.Member(i) != nil {
			c.nodes[i].network().CutClients()
		}
	}
}

// close closes all members at once: there is nobody left to transfer leadership to.
func (c *Cluster) close() {
	var wg sync.WaitGroup
	for i, n := range c.nodes {
		m := n.running()
		if m == nil {
			continue
		}
		n.network().Kill()
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
