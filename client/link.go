package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/protocol"
)

// member holds the links to one member. With forwarding there is one that stands for
// whichever seed answers.
type member struct {
	id       protocol.MemberID // 0: the seeds
	ordinary link
	waiting  [waitLanes]link // by lane
	watching link            // for watches
}

func newMember(c *Client, id protocol.MemberID) *member {
	m := &member{id: id}
	m.ordinary = link{client: c, member: id}
	m.watching = link{client: c, member: id}
	for i := range m.waiting {
		m.waiting[i] = link{client: c, member: id, waiting: true}
	}
	return m
}

// link is the way to a member for one purpose: a connection, or the state of the
// attempts to open the next one.
type link struct {
	client  *Client
	member  protocol.MemberID
	waiting bool
	conn    atomic.Pointer[conn] // nil: none that may be used

	mu        sync.Mutex
	dialing   chan struct{} // closed when the attempt in progress has ended; nil: none
	failures  int           // in a row
	notBefore time.Duration // of the next attempt, on the client's clock
	err       error         // why the last attempt failed, or why the last connection ended
}

// backoff returns a random duration below base doubled n times, at most limit:
// full jitter.
func backoff(n int, base, limit time.Duration) time.Duration {
	return rand.N(min(limit, base<<min(n, 16))) + 1
}

// open starts an attempt to connect, unless one is in progress, and returns a channel
// that is closed when the attempt has ended.
func (l *link) open() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.dialing != nil {
		return l.dialing
	}
	ended := make(chan struct{})
	if l.conn.Load() != nil {
		close(ended)
		return ended
	}
	l.dialing = ended
	if !l.client.tasks.spawn(func() { l.connect(ended) }) {
		l.dialing = nil
		close(ended)
	}
	return ended
}

func (l *link) connect(ended chan struct{}) {
	l.mu.Lock()
	wait := l.notBefore - l.client.now()
	failures := l.failures
	l.mu.Unlock()
	if wait > 0 {
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-l.client.ctx.Done():
			t.Stop()
		}
	}
	ctx, cancel := context.WithTimeout(l.client.ctx, dialTimeout)
	defer cancel()
	g, err := l.greet(ctx, failures)
	if err == nil {
		err = l.client.attach(l, g)
	}

	l.mu.Lock()
	l.err = err
	if err != nil {
		l.client.log.Debug("could not connect", "member", l.member, "err", err)
		l.failures++
		l.notBefore = l.client.now() + backoff(l.failures, 25*time.Millisecond, time.Second)
	} else {
		l.failures = 0
		// A member that accepts a connection and closes it is not dialled again at once.
		l.notBefore = max(l.notBefore, l.client.now()+backoff(0, 50*time.Millisecond, time.Second))
	}
	l.dialing = nil
	l.mu.Unlock()
	close(ended)
}

func (l *link) greet(ctx context.Context, failures int) (greeted, error) {
	address := ""
	if l.member == 0 {
		seeds := l.client.cfg.seeds
		address = seeds[failures%len(seeds)]
	} else if address = l.client.table.address(l.member); address == "" {
		return greeted{}, fmt.Errorf("member %d is not in the table", l.member)
	}
	g, err := greet(ctx, &l.client.cfg, l.client.id, address)
	if err != nil {
		return g, err
	}
	if l.member != 0 && g.welcome.Member != l.member {
		g.nc.Close()
		in := l.client.table.cluster.Load()
		if g.welcome.Cluster != in.id {
			return g, l.client.refresher.foreignMember(&g.welcome)
		}
		l.client.table.learn(in, &g.welcome.Table)
		return g, fmt.Errorf("member %d answers at %s in place of member %d", g.welcome.Member, address, l.member)
	}
	return g, nil
}

// drop forgets n if it is the connection of the link.
func (l *link) drop(n *conn, err error) {
	l.mu.Lock()
	if l.conn.CompareAndSwap(n, nil) {
		l.err = err
		if err == nil { // the member said goodbye
			l.notBefore = max(l.notBefore, l.client.now()+250*time.Millisecond)
		} else {
			l.client.conns.reconnects.Add(1)
		}
	}
	l.mu.Unlock()
}

// problem returns why there is no connection, human-readable.
func (l *link) problem() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}
