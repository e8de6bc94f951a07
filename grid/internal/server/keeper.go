package server

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

const (
	// greetTimeout is how long a Hello waits for its session.
	greetTimeout = 2 * time.Second
	// openTimeout bounds the first request to open sessions. The timeout of each
	// further attempt doubles: the member that is asked may be dead, or its disk slow.
	openTimeout  = 400 * time.Millisecond
	renewTimeout = time.Second
	keeperPause  = 20 * time.Millisecond // after an attempt that was not answered

	// maxGreeted is the most sessions in one request; they fit in one frame between
	// members.
	maxGreeted = 512
	maxRenewed = 2048

	// renewParts divides the TTL: a session is renewed at most once in each part, as
	// often as a client sends heartbeats.
	renewParts = 5
	// minRenewTick is the shortest interval between two looks for renewals: a quarter
	// of a fifth of the shortest TTL.
	minRenewTick = 100 * time.Millisecond
	maxRenewTick = time.Second
)

// SessionKeeper opens and renews the sessions that members keep, at the present leader
// of the system group. Its methods are safe for concurrent use.
type SessionKeeper interface {
	// OpenSessions opens, or finds, sessions of clients of the cluster. It returns one
	// answer for each opening, in order.
	OpenSessions(ctx context.Context, cluster protocol.UUID, opens []systemstate.Opening) ([]systemstate.Opened, error)
	// RenewSessions renews sessions of the cluster, and returns those that must not be
	// renewed any more, because they have ended, or because their clients send
	// heartbeats themselves.
	RenewSessions(ctx context.Context, cluster protocol.UUID, ids []protocol.SessionID) ([]protocol.SessionID, error)
}

// keeper renews the sessions that clients have asked for with their Hello, for as long
// as anything arrives from those clients. If nothing arrives from a client its session
// ends after its TTL, even if its connections stay open.
type keeper struct {
	of      SessionKeeper
	greeted chan struct{} // of capacity 1: opens has grown

	mu      sync.Mutex // guards what follows
	clients map[protocol.UUID]*keptClient
	opens   []greeting
}

// keptClient is a client that this member serves.
type keptClient struct {
	heard atomic.Bool // since the last renewal was begun
	conns int         // of the client; the keeper's mu guards it and what follows

	cluster protocol.UUID      // of session
	session protocol.SessionID // 0: none that members keep
	ttl     time.Duration
	renewed time.Time // when the last renewal was begun
}

// greeting waits for the session of a client, until ctx ends.
type greeting struct {
	ctx     context.Context
	cluster protocol.UUID
	opening systemstate.Opening
	done    chan systemstate.Opened // of capacity 1
}

func newKeeper(of SessionKeeper) *keeper {
	return &keeper{of: of, greeted: make(chan struct{}, 1), clients: map[protocol.UUID]*keptClient{}}
}

// join counts a connection of a client, and returns the client, whose heard field notes
// that something has arrived.
func (k *keeper) join(id protocol.UUID) *keptClient {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.clients[id]
	if c == nil {
		c = &keptClient{}
		k.clients[id] = c
	}
	c.conns++
	return c
}

// leave counts a connection as ended.
func (k *keeper) leave(id protocol.UUID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.clients[id]; c != nil {
		if c.conns--; c.conns == 0 {
			delete(k.clients, id)
		}
	}
}

// open opens, or finds, the session of a client, and keeps it from then on. It returns
// none if it is not opened in time.
func (k *keeper) open(ctx context.Context, cluster protocol.UUID, o systemstate.Opening) systemstate.Opened {
	ctx, cancel := context.WithTimeout(ctx, greetTimeout)
	defer cancel()
	g := greeting{ctx, cluster, o, make(chan systemstate.Opened, 1)}
	k.mu.Lock()
	k.opens = append(k.opens, g)
	k.mu.Unlock()
	select {
	case k.greeted <- struct{}{}:
	default:
	}
	select {
	case a := <-g.done:
		return a
	case <-ctx.Done():
		return systemstate.Opened{}
	}
}

// openAll opens the sessions that clients have asked for, many in one request.
func (k *keeper) openAll(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.greeted:
		}
		limit := openTimeout
		for more, ok := true, false; more; {
			if more, ok = k.openSome(ctx, limit); ok {
				limit = openTimeout
			} else {
				limit *= 2
			}
		}
	}
}

// openSome opens the sessions of clients of one cluster. It reports whether there was
// one to open, and whether the request was answered within limit.
func (k *keeper) openSome(ctx context.Context, limit time.Duration) (more, ok bool) {
	some := k.takeOpens()
	if len(some) == 0 || ctx.Err() != nil {
		return false, true
	}
	opens := make([]systemstate.Opening, len(some))
	for i := range some {
		opens[i] = some[i].opening
	}
	asked, done := context.WithTimeout(ctx, limit)
	answers, err := k.of.OpenSessions(asked, some[0].cluster, opens)
	done()
	if err != nil || len(answers) != len(some) {
		k.mu.Lock()
		k.opens = append(some, k.opens...)
		k.mu.Unlock()
		contexts.Pause(ctx, keeperPause)
		return true, false
	}
	for i, a := range answers {
		k.keep(some[i].cluster, some[i].opening.Client, a)
		some[i].done <- a
	}
	return true, true
}

// takeOpens takes the first waiting clients of one cluster, and drops those that no
// longer wait.
func (k *keeper) takeOpens() []greeting {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.opens = slices.DeleteFunc(k.opens, func(g greeting) bool { return g.ctx.Err() != nil })
	n := 0
	for n < len(k.opens) && n < maxGreeted && k.opens[n].cluster == k.opens[0].cluster {
		n++
	}
	some := k.opens[:n:n]
	k.opens = append([]greeting(nil), k.opens[n:]...)
	return some
}

// keep makes the keeper renew a session from now on.
func (k *keeper) keep(cluster, client protocol.UUID, a systemstate.Opened) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if c := k.clients[client]; c != nil && a.Session != 0 {
		c.cluster, c.session, c.ttl, c.renewed = cluster, a.Session, a.TTL, time.Now()
	}
}

// kept returns how many sessions are kept.
func (k *keeper) kept() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := 0
	for _, c := range k.clients {
		if c.session != 0 {
			n++
		}
	}
	return n
}

// renewAll renews the sessions that are due, one request after the other.
func (k *keeper) renewAll(ctx context.Context) {
	for tick := maxRenewTick; contexts.Pause(ctx, tick); {
		var due map[protocol.UUID][]*keptClient
		due, tick = k.due(time.Now())
		for cluster, clients := range due {
			for part := range slices.Chunk(clients, maxRenewed) {
				k.renew(ctx, cluster, part)
			}
		}
	}
}

// due returns the clients whose sessions are to be renewed now, by cluster, and when to
// look again. A session is due if a fifth of its TTL has passed since its last renewal
// began, and something has arrived from its client since then.
func (k *keeper) due(now time.Time) (due map[protocol.UUID][]*keptClient, next time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	next = maxRenewTick
	for _, c := range k.clients {
		if c.session == 0 {
			continue
		}
		next = min(next, max(c.ttl/renewParts/4, minRenewTick))
		if now.Sub(c.renewed) < c.ttl/renewParts || !c.heard.Swap(false) {
			continue
		}
		c.renewed = now
		if due == nil {
			due = map[protocol.UUID][]*keptClient{}
		}
		due[c.cluster] = append(due[c.cluster], c)
	}
	return due, next
}

// renew renews the sessions of clients. Sessions that are not answered for are due
// again at the next look.
func (k *keeper) renew(ctx context.Context, cluster protocol.UUID, clients []*keptClient) {
	ids := make([]protocol.SessionID, 0, len(clients))
	asked := make(map[protocol.SessionID]*keptClient, len(clients))
	k.mu.Lock()
	for _, c := range clients {
		if c.cluster == cluster && c.session != 0 { // else it has another by now
			ids = append(ids, c.session)
			asked[c.session] = c
		}
	}
	k.mu.Unlock()
	ctx, done := context.WithTimeout(ctx, renewTimeout)
	defer done()
	dropped, err := k.of.RenewSessions(ctx, cluster, ids)
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		for id, c := range asked {
			if c.session == id {
				c.heard.Store(true)
				c.renewed = time.Time{}
			}
		}
		return
	}
	for _, id := range dropped {
		if c := asked[id]; c != nil && c.session == id && c.cluster == cluster {
			c.session = 0
		}
	}
}
