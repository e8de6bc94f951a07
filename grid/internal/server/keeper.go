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
	// openTimeout bounds the first question about sessions to open, and each further
	// one twice the time before: who is asked may be gone, or its disk slow.
	openTimeout  = 400 * time.Millisecond
	renewTimeout = time.Second
	keeperPause  = 20 * time.Millisecond // after one that was not answered

	// A question has at most so many, which fit in one frame between members.
	maxGreeted = 512
	maxRenewed = 2048

	// renewParts is in how many parts of the TTL a session is renewed at most once
	// each, as a client's heartbeats come.
	renewParts = 5
	// Renewals are looked for so often: the lower bound is a quarter of the fifth of
	// the shortest TTL.
	minRenewTick = 100 * time.Millisecond
	maxRenewTick = time.Second
)

// SessionKeeper opens and renews the sessions that members keep, at the leader of
// the system group, whoever that is. Its methods are safe for concurrent use.
type SessionKeeper interface {
	// OpenSessions opens, or finds, sessions of clients of the cluster. Its answers are
	// in the order of what is opened.
	OpenSessions(ctx context.Context, cluster protocol.UUID, opens []systemstate.Opening) ([]systemstate.Opened, error)
	// RenewSessions renews sessions of the cluster, and returns those that are not to be
	// renewed any more: they are over, or their clients keep them.
	RenewSessions(ctx context.Context, cluster protocol.UUID, ids []protocol.SessionID) ([]protocol.SessionID, error)
}

// keeper keeps the sessions that clients have asked for with their Hello, for as
// long as it hears anything of them. The session of a client that is not heard of
// ends by its TTL, whether connections are open or not.
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
	conns int         // of the client; guarded, as what follows, by the keeper's mu

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

// join counts a connection of a client, and returns where to note that something
// has arrived on it.
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

// open opens, or finds, the session of a client, and keeps it from then on. It
// returns none if there is none in time.
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

// openAll asks for what clients have asked for, in few questions.
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

// openSome asks for the sessions of clients of one cluster. It reports whether
// there was anything to ask, and whether it was answered within limit.
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

// takeOpens takes the first that wait, of one cluster, and drops who waits no more.
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

// keep has a session renewed from now on.
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

// renewAll renews sessions when it is time, one question after the other.
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

// due returns, by cluster, whose sessions are to be renewed now, and when to look
// again: those of which something has arrived since the last renewal was begun, a
// fifth of the TTL ago or earlier.
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

// renew renews the sessions of clients. What is not answered is due again at the
// next look.
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
