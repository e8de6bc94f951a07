package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Client carries calls to the grid. It is safe for concurrent use. It connects
// again by itself, for ever, until Close.
type Client struct {
	cfg        config
	log        *slog.Logger
	id         protocol.UUID // of this client, and of its first session
	birth      time.Time
	partitions int // fixed at the cluster's first start; 0 only inside Dial
	durability string
	seeds      *member // stands for the seeds when forwarding; else nil

	ctx    context.Context // ends with the client
	cancel context.CancelFunc
	wg     sync.WaitGroup

	life      atomic.Pointer[life] // replaced under routeMu
	routes    atomic.Pointer[routes]
	limits    atomic.Pointer[protocol.Limits]
	body      atomic.Uint32 // bytes of the body of a request, as announced
	sessions  sessions
	admission admission // of waiting calls
	ops       sync.Pool // of *op
	budget    budget    // of repeats

	parked     atomic.Bool   // the sweeper sleeps: nothing is in flight
	unpark     chan struct{} // capacity 1
	ask        chan struct{} // capacity 1; asks the scout for a newer table
	strange    atomic.Bool   // a member of another grid has answered
	searching  atomic.Bool   // the scout is to ask everyone, not only whom it is connected to
	reconnects atomic.Uint64

	routeMu sync.Mutex // guards view and the replacement of routes
	view    view

	mu           sync.Mutex // guards the rest
	conns        map[*conn]struct{}
	closed       bool
	pastAttempts uint64 // of connections that have ended
	pastRepeats  uint64
	closeOnce    sync.Once
}

var _ structures.Invoker = (*Client)(nil)

// Dial connects to a grid. It returns with the routing table of the first seed
// that answers, within 5 s or when ctx ends; its error names every seed with
// its reason. ctx bounds only Dial itself. Names among the seeds are resolved
// anew whenever they are used. A seed is host:port, and blanks around it do not
// count; where one is not, the error Is quorate.ErrInvalid and names it.
func Dial(ctx context.Context, seeds []string, opts ...Option) (*Client, error) {
	cfg, err := newConfig(seeds, opts)
	if err != nil {
		return nil, err
	}
	c := &Client{
		cfg: cfg, log: cfg.logger, birth: time.Now(),
		unpark: make(chan struct{}, 1), ask: make(chan struct{}, 1),
		conns: make(map[*conn]struct{}),
	}
	rand.Read(c.id[:])
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.routes.Store(&routes{next: make(chan struct{})})
	c.parked.Store(true)
	if cfg.forward {
		c.seeds = newMember(c, 0)
	}

	within, cancel := context.WithTimeout(ctx, dialAllTimeout)
	defer cancel()
	g, err := c.greetAny(within)
	if err != nil {
		c.cancel()
		if ended := contexts.Err(ctx); ended != nil {
			err = fmt.Errorf("%w: %w", ended, err)
		}
		return nil, &quorate.Error{Op: "dial", Cause: fmt.Errorf("%w: %w", quorate.ErrUnavailable, err)}
	}
	w := &g.welcome
	c.durability = w.Durability
	c.life.Store(&life{cluster: w.Cluster, name: w.Name})
	c.learn(c.life.Load(), &w.Table)
	c.partitions = len(w.Table.Partitions)
	c.sessions.init(c)
	c.spawn(c.sweep)
	if err := c.adopt(c.linkTo(w.Member), g); err != nil {
		c.Close()
		return nil, &quorate.Error{Op: "dial", Cause: err}
	}
	c.spawn(c.scout)
	return c, nil
}

// linkTo returns the ordinary link to a member; nil where it is not in the
// table.
func (c *Client) linkTo(id protocol.MemberID) *link {
	if c.seeds != nil {
		return &c.seeds.ordinary
	}
	if m := c.routes.Load().peers[id]; m != nil {
		return &m.ordinary
	}
	return nil
}

// greetAny shakes hands with all seeds at once and returns the first that
// serves. Its error names every seed.
func (c *Client) greetAny(ctx context.Context) (greeted, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		seed int
		g    greeted
		err  error
	}
	seeds := c.cfg.seeds
	results := make(chan result, len(seeds))
	for i, address := range seeds {
		if !c.spawn(func() {
			g, err := c.greetServing(ctx, address)
			results <- result{i, g, err}
		}) {
			return greeted{}, quorate.ErrClosed
		}
	}
	errs := make([]error, len(seeds))
	for n := range seeds {
		r := <-results
		if r.err != nil {
			errs[r.seed] = fmt.Errorf("%s: %w", seeds[r.seed], r.err)
			continue
		}
		rest := len(seeds) - n - 1
		cancel()
		drain := func() {
			for range rest {
				if late := <-results; late.err == nil {
					late.g.nc.Close()
				}
			}
		}
		if !c.spawn(drain) {
			drain()
		}
		return r.g, nil
	}
	return greeted{}, errors.Join(errs...)
}

// greetServing shakes hands with a seed until its grid is formed.
func (c *Client) greetServing(ctx context.Context, address string) (greeted, error) {
	for try := 0; ; try++ {
		g, err := greet(ctx, &c.cfg, c.id, address)
		if err != nil {
			return g, err
		}
		if len(g.welcome.Table.Partitions) > 0 {
			return g, nil
		}
		g.nc.Close()
		select {
		case <-time.After(backoff(try, 50*time.Millisecond, 500*time.Millisecond)):
		case <-ctx.Done():
			return g, errors.New("the grid is not formed yet")
		}
	}
}

// adopt starts a connection and gives it to its link. It closes a connection
// that cannot be used.
func (c *Client) adopt(l *link, g greeted) error {
	err := error(nil)
	in := c.life.Load()
	switch w := &g.welcome; {
	case w.Cluster != in.cluster:
		err = c.stranger(w)
	case l == nil:
		err = fmt.Errorf("member %d is not in the table", w.Member)
	default:
		c.learn(in, &w.Table)
		limits := w.Limits
		c.limits.Store(&limits)
		c.body.Store(w.Body)
	}
	if err != nil {
		g.nc.Close()
		return err
	}
	n := newConn(c, l, in, g)
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		g.nc.Close()
		return quorate.ErrClosed
	}
	c.conns[n] = struct{}{}
	c.wg.Add(2)
	c.mu.Unlock()
	if c.life.Load() != in { // before it was among the connections, which are closed then
		defer n.fail(quorate.ErrGridLost)
	}
	if !l.conn.CompareAndSwap(nil, n) {
		c.wg.Add(-2)
		n.fail(errors.New("another connection was faster"))
		return nil
	}
	go func() { defer c.wg.Done(); n.write() }()
	go func() { defer c.wg.Done(); n.read(g.frames) }()
	return nil
}

// forget keeps the counts of a connection that has ended.
func (c *Client) forget(n *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.conns[n]; ok {
		delete(c.conns, n)
		n.mu.Lock()
		c.pastAttempts += n.attempts
		c.pastRepeats += n.repeats
		n.mu.Unlock()
	}
}

// spawn runs f in a goroutine that Close waits for. It reports false where the
// client is closed.
func (c *Client) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.wg.Go(f)
	return true
}

// now is the client's clock: monotonic, from its birth.
func (c *Client) now() time.Duration { return time.Since(c.birth) }

// Close ends the session, so that what it holds is free at once, and then the
// connections. Calls in flight return ErrClosed. It waits at most a second for
// the grid, returns when no goroutine is left, and may be called twice.
func (c *Client) Close() error {
	c.closeOnce.Do(func() {
		c.sessions.close()
		c.mu.Lock()
		c.closed = true
		conns := make([]*conn, 0, len(c.conns))
		for n := range c.conns {
			conns = append(conns, n)
		}
		c.mu.Unlock()
		c.cancel()
		for _, n := range conns {
			n.fail(quorate.ErrClosed)
		}
	})
	c.wg.Wait()
	return nil
}

// Partition returns where a key of a structure lives; without keys: nil.
func (c *Client) Partition(name string, key []byte) protocol.PartitionID {
	return partition.Of(c.partitions, name, key)
}

// Partitions returns how many partitions the grid has.
func (c *Client) Partitions() int { return c.partitions }

// Limits returns the limits of the grid.
func (c *Client) Limits() protocol.Limits { return *c.limits.Load() }

// Durability returns what an acknowledged write survives: "disk" or "memory".
func (c *Client) Durability() string { return c.durability }

// Cluster returns the id of the grid. It is another one after the grid was lost
// and formed anew (quorate.ErrGridLost).
func (c *Client) Cluster() protocol.UUID { return c.life.Load().cluster }
