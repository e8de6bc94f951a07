package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// grid is the system group as a keeper sees it, with a clock that does not drift.
type grid struct {
	sync.Mutex
	cluster protocol.UUID
	next    protocol.SessionID
	ends    map[protocol.SessionID]time.Time
	kept    map[protocol.SessionID]bool // by their clients
	ttl     time.Duration
	renewed map[protocol.SessionID][]time.Time
	asked   int
	down    bool // answers nothing
}

// ask counts a question. If the grid is down it is not answered.
func (g *grid) ask(ctx context.Context) error {
	g.asked++
	if !g.down {
		return nil
	}
	g.Unlock()
	defer g.Lock()
	<-ctx.Done()
	return ctx.Err()
}

func (g *grid) OpenSessions(ctx context.Context, cluster protocol.UUID, opens []systemstate.Opening) ([]systemstate.Opened, error) {
	g.Lock()
	defer g.Unlock()
	if err := g.ask(ctx); err != nil {
		return nil, err
	}
	if cluster != g.cluster {
		return nil, errors.New("another cluster")
	}
	var answers []systemstate.Opened
	for range opens {
		g.next++
		g.ends[g.next] = time.Now().Add(g.ttl)
		answers = append(answers, systemstate.Opened{Session: g.next, TTL: g.ttl})
	}
	return answers, nil
}

func (g *grid) RenewSessions(ctx context.Context, cluster protocol.UUID, ids []protocol.SessionID) ([]protocol.SessionID, error) {
	g.Lock()
	defer g.Unlock()
	if err := g.ask(ctx); err != nil {
		return nil, err
	}
	if cluster != g.cluster {
		return ids, nil
	}
	var dropped []protocol.SessionID
	for _, id := range ids {
		if g.kept[id] || time.Now().After(g.ends[id]) {
			dropped = append(dropped, id)
			continue
		}
		g.ends[id] = time.Now().Add(g.ttl)
		g.renewed[id] = append(g.renewed[id], time.Now())
	}
	return dropped, nil
}

func (g *grid) lives(id protocol.SessionID) bool {
	g.Lock()
	defer g.Unlock()
	return !time.Now().After(g.ends[id])
}

func (g *grid) renewals(id protocol.SessionID) []time.Time {
	g.Lock()
	defer g.Unlock()
	return g.renewed[id]
}

// set changes the grid, and returns how many questions it has been asked since the
// last time.
func (g *grid) set(f func()) (asked int) {
	g.Lock()
	defer g.Unlock()
	f()
	asked, g.asked = g.asked, 0
	return asked
}

func keeping(t *testing.T, ttl time.Duration, f func(t *testing.T, g *grid, k *keeper)) {
	synctest.Test(t, func(t *testing.T) {
		g := &grid{
			cluster: protocol.UUID{1}, ends: map[protocol.SessionID]time.Time{}, kept: map[protocol.SessionID]bool{},
			ttl: ttl, renewed: map[protocol.SessionID][]time.Time{},
		}
		k := newKeeper(g)
		ctx, cancel := context.WithCancel(t.Context())
		go k.openAll(ctx)
		go k.renewAll(ctx)
		f(t, g, k)
		cancel()
		synctest.Wait()
	})
}

func opening(client byte) systemstate.Opening {
	return systemstate.Opening{Client: protocol.UUID{client}, TTL: 10 * time.Second, Greets: true}
}

// TestKeeper_RenewsWhileBytesArrive: a session lives as long as something comes of
// its client at least every third of its TTL, on whichever connection, with one
// renewal in a fifth of the TTL at most; and it ends by its TTL when nothing comes.
func TestKeeper_RenewsWhileBytesArrive(t *testing.T) {
	for _, ttl := range []time.Duration{2 * time.Second, 10 * time.Second, time.Hour} {
		for _, every := range []time.Duration{ttl / 1000, ttl / 7, ttl / 3} {
			t.Run(fmt.Sprint(ttl, " every ", every), func(t *testing.T) {
				keeping(t, ttl, func(t *testing.T, g *grid, k *keeper) {
					c, second := k.join(protocol.UUID{7}), k.join(protocol.UUID{7})
					a := k.open(t.Context(), g.cluster, opening(7))
					if a.Session == 0 || a.TTL != ttl {
						t.Fatalf("opened %+v", a)
					}
					began := time.Now()
					for i := 0; time.Since(began) < 10*ttl; i++ {
						if i%2 == 0 {
							c.heard.Store(true)
						} else {
							second.heard.Store(true)
						}
						time.Sleep(every)
						if !g.lives(a.Session) {
							t.Fatalf("it has ended after %v", time.Since(began))
						}
					}
					at := g.renewals(a.Session)
					for i := 1; i < len(at); i++ {
						if d := at[i].Sub(at[i-1]); d < ttl/5 {
							t.Errorf("renewed twice within %v", d)
						}
					}
					k.leave(protocol.UUID{7})
					n := len(g.renewals(a.Session))
					time.Sleep(2 * ttl) // the other connection is open, and silent
					if g.lives(a.Session) || len(g.renewals(a.Session)) > n+1 {
						t.Errorf("it lives on in silence, renewed %d times", len(g.renewals(a.Session))-n)
					}
					k.leave(protocol.UUID{7})
					if len(k.clients) > 0 {
						t.Error("the client is not forgotten")
					}
				})
			})
		}
	}
}

// TestKeeper_GathersAndRepeats: many clients share questions, and what the system
// group does not answer is asked again.
func TestKeeper_GathersAndRepeats(t *testing.T) {
	keeping(t, 10*time.Second, func(t *testing.T, g *grid, k *keeper) {
		const n = 3 * maxGreeted
		ids := make(chan protocol.SessionID, n)
		g.set(func() { g.down = true })
		var clients []*keptClient
		for i := range n {
			o := opening(0)
			o.Client = protocol.UUID{1, byte(i), byte(i >> 8)}
			clients = append(clients, k.join(o.Client))
			go func() { ids <- k.open(t.Context(), g.cluster, o).Session }()
		}
		time.Sleep(1100 * time.Millisecond) // within the time that a hello waits
		g.set(func() { g.down = false })
		seen := map[protocol.SessionID]bool{}
		for range n {
			seen[<-ids] = true
		}
		if asked := g.set(func() {}); len(seen) != n || seen[0] || asked > 4 {
			t.Errorf("%d sessions (%t: none) in %d questions", len(seen), seen[0], asked)
		}
		// For half of their time nobody answers.
		for range 10 {
			g.set(func() { g.down = !g.down })
			for _, c := range clients {
				c.heard.Store(true)
			}
			time.Sleep(3 * time.Second)
		}
		for id := range seen {
			if !g.lives(id) {
				t.Fatalf("session %d has ended", id)
			}
		}
		// What has come while nobody answered counts, also if nothing more comes.
		time.Sleep(2 * time.Second)
		g.set(func() { g.down = true })
		clients[5].heard.Store(true)
		time.Sleep(3 * time.Second)
		g.set(func() { g.down = false })
		clock := time.Now()
		time.Sleep(2 * time.Second)
		late := 0
		for id := range seen {
			if at := g.renewals(id); at[len(at)-1].After(clock) {
				late++
			}
		}
		if late != 1 {
			t.Errorf("%d sessions are renewed afterwards, want 1", late)
		}
		// Nobody leads for longer than a client waits.
		g.set(func() { g.down = true })
		began := time.Now()
		if a := k.open(t.Context(), g.cluster, opening(9)); a.Session != 0 || time.Since(began) != greetTimeout {
			t.Errorf("opened %+v after %v", a, time.Since(began))
		}
		g.set(func() { g.down = false })
		time.Sleep(time.Second)
		g.set(func() {
			if g.next != n {
				t.Error("a session is opened for a client that waits no more")
			}
		})
	})
}

// TestKeeper_Drops: what is over, what its client keeps, and what was of another
// grid is renewed no more; the next session is.
func TestKeeper_Drops(t *testing.T) {
	keeping(t, 10*time.Second, func(t *testing.T, g *grid, k *keeper) {
		c := k.join(protocol.UUID{7})
		talk := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
				c.heard.Store(true)
			}
		}
		for what, drop := range map[string]func(protocol.SessionID){
			"taken over": func(id protocol.SessionID) { g.kept[id] = true },
			"over":       func(id protocol.SessionID) { g.ends[id] = time.Time{} },
			"lost grid":  func(protocol.SessionID) { g.cluster[1]++ },
		} {
			var cluster protocol.UUID
			g.set(func() { cluster = g.cluster })
			id := k.open(t.Context(), cluster, opening(7)).Session
			talk(20 * time.Second)
			if !g.lives(id) {
				t.Fatalf("%s: session %d has ended", what, id)
			}
			g.set(func() { drop(id) })
			talk(5 * time.Second) // it is found out
			g.set(func() {})
			talk(20 * time.Second)
			if g.set(func() {}) > 0 || slices.ContainsFunc(g.renewals(id), func(at time.Time) bool { return time.Since(at) < 20*time.Second }) {
				t.Errorf("%s: session %d is still asked for", what, id)
			}
		}
	})
}
