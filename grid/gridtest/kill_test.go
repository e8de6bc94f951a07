package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// sessionOf returns a session as the grid lists it.
func sessionOf(t *testing.T, c *client.Client, id protocol.SessionID) (client.SessionInfo, bool) {
	t.Helper()
	all, err := c.Sessions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(s client.SessionInfo) bool { return s.ID == id })
	if i < 0 {
		return client.SessionInfo{}, false
	}
	return all[i], true
}

// TestKillSession: a session that an operator kills is listed with what it has, its
// client ends what it held before others are granted it, and goes on under another.
func TestKillSession(t *testing.T) {
	g := gridtest.Start(t, 3)
	operator, next := g.Client(t), g.Client(t)
	holder := g.Client(t, client.WithName("holder"), client.WithSessionTTL(5*time.Second))
	if err := dsemaphore.New(holder, "s").Init(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	held, err := dsemaphore.New(holder, "s").Acquire(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	id := holder.Session().ID
	s, ok := sessionOf(t, operator, id)
	if !ok || s.Client != "holder" || s.TTL != 5*time.Second || !s.Kept || s.Dying || s.Holds != 1 || s.Left <= 0 || s.Left > s.TTL {
		t.Errorf("the session is listed as %+v, %t", s, ok)
	}
	holds, err := operator.SessionHolds(t.Context(), id)
	if err != nil || len(holds) != 1 || holds[0].Kind != "semaphore" || holds[0].Name != "s" || holds[0].What != protocol.HoldsHold ||
		holds[0].Hold != held.ID() || holds[0].Token != held.Token() || holds[0].Amount != 1 {
		t.Errorf("the session has %+v, %v", holds, err)
	}
	granted := make(chan time.Time, 1)
	go func() {
		if _, err := dsemaphore.New(next, "s").Acquire(context.WithoutCancel(t.Context()), 1); err != nil {
			t.Errorf("the next: %v", err)
		}
		granted <- time.Now()
	}()
	existed, left, err := operator.KillSession(t.Context(), id, client.KillReason("maintenance"))
	if err != nil || !existed || left <= 0 || left > 5*time.Second {
		t.Fatalf("killed %t, with %v left, %v", existed, left, err)
	}
	if s, ok := sessionOf(t, operator, id); ok && (!s.Dying || s.Reason != "maintenance") {
		t.Errorf("the killed session is listed as %+v", s)
	}
	<-held.Context().Done()
	if at, cause := time.Now(), context.Cause(held.Context()); !errors.Is(cause, quorate.ErrSessionLost) || !strings.Contains(cause.Error(), "maintenance") {
		t.Errorf("the hold was lost because of %v", cause)
	} else if got := <-granted; !got.After(at) {
		t.Errorf("the next was granted at %v, and the holder's context ended at %v", got, at)
	}
	// A kill keeps nobody out: the client has another session.
	if err := dsemaphore.New(holder, "other").Init(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	again, err := dsemaphore.New(holder, "other").Acquire(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	second := holder.Session().ID
	if second == id {
		t.Error("the client goes on under the session that was killed")
	}
	if existed, left, err := operator.KillSession(t.Context(), second, client.Now()); err != nil || !existed || left != 0 {
		t.Errorf("killed at once: %t, with %v left, %v", existed, left, err)
	}
	if _, err := dsemaphore.New(next, "other").Acquire(t.Context(), 1); err != nil {
		t.Error(err)
	}
	<-again.Context().Done()
	for _, gone := range []protocol.SessionID{id, second, 1 << 60} {
		if existed, _, err := operator.KillSession(t.Context(), gone); existed || err != nil {
			t.Errorf("session %d, which is not there, is killed: %t, %v", gone, existed, err)
		}
	}
	if _, _, err := operator.KillSession(t.Context(), second, client.KillReason(strings.Repeat("x", 256))); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("a long reason: %v", err)
	}
}

// TestEphemeralEntries: what a client has stored as ephemeral is listed as its own, goes
// when the client is closed or killed, and stays as long as it lives.
func TestEphemeralEntries(t *testing.T) {
	g := gridtest.Start(t, 3)
	watcher := g.Client(t)
	m := dmap.New[string, string](watcher, "workers")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.Put(ctx, "ordinary", "x"); err != nil {
		t.Fatal(err)
	}
	var clients []*client.Client
	for _, name := range []string{"closed", "killed", "lives"} {
		c := g.Client(t, client.WithSessionTTL(5*time.Second))
		clients = append(clients, c)
		for i := range 20 {
			if err := dmap.New[string, string](c, "workers").Put(ctx, fmt.Sprintf("%s/%d", name, i), name, dmap.Ephemeral()); err != nil {
				t.Fatal(err)
			}
		}
	}
	holds, err := watcher.SessionHolds(ctx, clients[2].Session().ID)
	if err != nil || len(holds) != 20 || holds[0].What != protocol.HoldsEntry || holds[0].Kind != "map" || holds[0].Name != "workers" {
		t.Errorf("%d entries are listed, %v", len(holds), err)
	}
	ended := make(chan map[string]int, 1)
	go func() {
		seen := map[string]int{}
		for e, err := range m.Watch(ctx, dmap.WithCurrent()) {
			if err != nil {
				t.Error(err)
				break
			}
			if e.Type == dmap.Ended {
				seen[e.Key]++
			}
			if len(seen) == 40 {
				break
			}
			if e.Type == dmap.Synced { // watched from now on
				if _, _, err := watcher.KillSession(ctx, clients[1].Session().ID); err != nil {
					t.Error(err)
				}
				clients[0].Close()
			}
		}
		ended <- seen
	}()
	seen := <-ended
	for k, n := range seen {
		if n != 1 || strings.HasPrefix(k, "lives") || k == "ordinary" {
			t.Errorf("entry %s has ended %d times", k, n)
		}
	}
	if n, err := m.Len(ctx); len(seen) != 40 || n != 21 || err != nil {
		t.Errorf("%d entries have ended, %d are left, %v", len(seen), n, err)
	}
	e, ok, err := m.Entry(ctx, "lives/0")
	if err != nil || !ok || e.Owner != clients[2].Session().ID {
		t.Errorf("an entry of a client that lives: %t, of session %d, %v", ok, e.Owner, err)
	}
}
