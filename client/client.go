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
	"github.com/quorate/quorate/client/nearcache"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Client carries calls to the grid. It is safe for concurrent use. It reconnects
// by itself, for ever, until [Client.Close].
type Client struct {
	cfg        config
	log        *slog.Logger
	id         protocol.UUID // of this client, and of its first session
	birth      time.Time
	partitions int // fixed at the cluster's first start; 0 only inside Dial
	durability string
	seeds      *member // stands for the seeds with WithForward; else nil

	ctx    context.Context // ends with the client
	cancel context.CancelFunc
	tasks  tasks

	limits    atomic.Pointer[protocol.Limits]
	body      atomic.Uint32 // bytes of the body of a request, as announced
	table     table
	refresher refresher
	conns     connections
	sessions  sessions
	admission admission // of waiting calls
	names     names
	watchers  watchers
	near      *nearcache.Caches
	calls     sync.Pool // of *call
	budget    budget    // of repeats
	closeOnce sync.Once
}

var (
	_ structures.Invoker = (*Client)(nil)
	_ structures.Cacher  = (*Client)(nil)

	_ structures.SessionNamer = (*Client)(nil)
)

// Dial connects to a grid through its members at the seed addresses. It returns with
// the routing table of the first one that answers, after 5 s at most, or when ctx ends.
// ctx bounds only Dial itself. A seed is host:port. Blanks around it are ignored. Its
// name is resolved each time it is used.
//
// Errors: [quorate.ErrInvalid] names each wrong seed and option;
// [quorate.ErrUnavailable] names each seed with the reason why it did not answer,
// and Is ctx's error and cause if ctx has ended.
func Dial(ctx context.Context, seeds []string, opts ...Option) (*Client, error) {
	cfg, err := newConfig(seeds, opts)
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, log: cfg.logger, birth: time.Now()}
	rand.Read(c.id[:])
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.table.init(c)
	c.refresher.init(c)
	c.conns.init(c)
	c.sessions.init(c)
	c.names.init()
	c.near = nearcache.New(nearGrid{c}, cfg.nearBytes)
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
	c.table.cluster.Store(&cluster{id: w.Cluster, name: w.Name})
	c.table.learn(c.table.cluster.Load(), &w.Table)
	c.partitions = len(w.Table.Partitions)
	c.tasks.spawn(c.conns.runSweeper)
	for _, f := range cfg.onSession {
		q := c.sessions.events.subscribe()
		c.tasks.spawn(func() { q.deliver(f) })
	}
	if err := c.attach(c.linkTo(w.Member), g); err != nil {
		c.Close()
		return nil, &quorate.Error{Op: "dial", Cause: err}
	}
	c.tasks.spawn(c.refresher.run)
	return c, nil
}

// Close ends the contexts of what is held, waits until the functions that run under them
// ([structures.Held.Do]) have returned, for the hold margin at most ([WithHoldMargin]), and
// then ends the session, so that others can have at once what it holds. Then it closes the
// connections. Calls in flight return [quorate.ErrClosed]. Close waits at most a second for
// the grid, and returns when no goroutine of the client is left. It may be called more than
// once. Its error is always nil.
func (c *Client) Close() error {
	c.closeOnce.Do(func() {
		c.sessions.close()
		c.tasks.close()
		conns := c.conns.close()
		c.cancel()
		for _, n := range conns {
			n.fail(quorate.ErrClosed)
		}
	})
	c.tasks.wait()
	c.near.Close()
	return nil
}

// Partition returns the partition of a key of a structure. For a structure without keys
// pass nil.
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
// and formed anew ([quorate.ErrGridLost]).
func (c *Client) Cluster() protocol.UUID { return c.table.cluster.Load().id }

// Table returns a copy of the client's routing table.
func (c *Client) Table() protocol.Table { return c.table.export() }

// now is the client's clock: monotonic, from its birth.
func (c *Client) now() time.Duration { return time.Since(c.birth) }

// linkTo returns the ordinary link to a member; nil: it is not in the table.
func (c *Client) linkTo(id protocol.MemberID) *link {
	if c.seeds != nil {
		return &c.seeds.ordinary
	}
	if m := c.table.routes().peers[id]; m != nil {
		return &m.ordinary
	}
	return nil
}

// attach starts a connection and hands it to its link. It closes a connection that
// cannot be used.
func (c *Client) attach(l *link, g greeted) error {
	err := error(nil)
	in := c.table.cluster.Load()
	switch w := &g.welcome; {
	case w.Cluster != in.id:
		err = c.refresher.foreignMember(w)
	case l == nil:
		err = fmt.Errorf("member %d is not in the table", w.Member)
	default:
		c.table.learn(in, &w.Table)
		limits := w.Limits
		c.limits.Store(&limits)
		c.body.Store(w.Body)
	}
	if err != nil {
		g.nc.Close()
		return err
	}
	n := newConn(c, l, in, g)
	if !c.conns.add(n) {
		g.nc.Close()
		return quorate.ErrClosed
	}
	if c.table.cluster.Load() != in { // switchCluster did not find it among the connections
		defer n.fail(quorate.ErrGridLost)
	}
	if !l.conn.CompareAndSwap(nil, n) {
		n.fail(errors.New("another connection was faster"))
		return nil
	}
	if !c.tasks.spawn(n.write) || !c.tasks.spawn(func() { n.read(g.frames) }) {
		n.fail(quorate.ErrClosed)
		return quorate.ErrClosed
	}
	return nil
}

// tasks are the goroutines of a client. The zero value is ready for use.
type tasks struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// spawn runs f in a goroutine that wait waits for. It reports false, and runs
// nothing, if the client is closed.
func (t *tasks) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(f)
	return true
}

// close lets no further goroutine start.
func (t *tasks) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// wait returns when every goroutine has ended.
func (t *tasks) wait() { t.wg.Wait() }
