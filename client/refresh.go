package client

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/internal/contexts"
)

const (
	refreshEvery   = 50 * time.Millisecond  // at most so often
	refreshBackoff = 100 * time.Millisecond // first, without a connection
)

// refresher refreshes the routing table and keeps the client connected. While there is
// no connection it tries the members and the seeds again and again, for ever.
type refresher struct {
	client  *Client
	wake    chan struct{} // capacity 1; asks for a newer table
	all     atomic.Bool   // from every member, not only those that the client is connected to
	foreign atomic.Bool   // a member of another cluster has answered
}

func (f *refresher) init(c *Client) { f.client, f.wake = c, make(chan struct{}, 1) }

// refresh asks the connected members for a newer table, in the background.
func (f *refresher) refresh() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// search asks all members for a newer table, and connects to the others for that, in
// the background. It is called when a leader does not answer.
func (f *refresher) search() {
	f.all.Store(true)
	f.refresh()
}

func (f *refresher) run() {
	ctx := f.client.ctx
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for failures := 0; ; {
		select {
		case <-f.wake:
		case <-t.C:
		case <-ctx.Done():
			return
		}
		pause := refreshEvery
		if !f.requestTables(f.all.Swap(false)) {
			// The members of the table first; then the seeds, one of which may be
			// the member that has just left.
			if !contexts.Pause(ctx, refreshEvery) {
				return
			}
			if f.trySeeds() || f.switchCluster() {
				failures = 0
			} else {
				failures++
			}
			pause = backoff(failures, refreshBackoff, 2*time.Second)
		}
		if !contexts.Pause(ctx, pause) {
			return
		}
		t.Reset(time.Hour)
		if !f.connected() {
			t.Reset(0)
			f.all.Store(true)
		}
	}
}

// requestTables asks for tables, and reports whether there was a member to ask. With
// all set it connects to the other members too, in the background.
func (f *refresher) requestTables(all bool) bool {
	c := f.client
	if c.seeds != nil {
		if n := c.seeds.ordinary.conn.Load(); n != nil {
			n.requestTable(c.now())
			return true
		}
		<-c.seeds.ordinary.open()
		return f.connected()
	}
	connected := false
	for _, m := range c.table.routes().peers {
		if n := m.ordinary.conn.Load(); n != nil {
			n.requestTable(c.now())
			connected = true
		} else if all {
			m.ordinary.open()
		}
	}
	return connected
}

// connected reports whether there is an ordinary connection.
func (f *refresher) connected() bool {
	c := f.client
	if c.seeds != nil {
		return c.seeds.ordinary.conn.Load() != nil
	}
	for _, m := range c.table.routes().peers {
		if m.ordinary.conn.Load() != nil {
			return true
		}
	}
	return false
}

// trySeeds connects to the first seed that answers. Names are resolved again.
func (f *refresher) trySeeds() bool {
	c := f.client
	if c.seeds != nil || f.connected() {
		return f.connected()
	}
	ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
	defer cancel()
	g, err := c.greetAny(ctx)
	if err != nil {
		c.log.Warn("no seed address answers", "err", err)
		return false
	}
	if in := c.table.cluster.Load(); g.welcome.Cluster == in.id {
		c.table.learn(in, &g.welcome.Table)
	}
	l := c.linkTo(g.welcome.Member)
	if l != nil && l.conn.Load() != nil {
		g.nc.Close()
		return true
	}
	if err := c.attach(l, g); err != nil {
		c.log.Warn("seed address refused", "err", err)
		return false
	}
	return true
}
