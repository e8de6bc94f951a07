package client

import (
	"context"
	"time"
)

const (
	sweepEvery   = 50 * time.Millisecond
	sweepsIdle   = 20 // with nothing in flight, before the sweeper sleeps
	scoutEvery   = 50 * time.Millisecond
	scoutRestart = 100 * time.Millisecond
)

// sweep is the client's timer: it ends attempts that are overdue. No call has
// a timer of its own.
//
// It sleeps while nothing is in flight. No request is missed: it stores parked
// and then looks at every connection; a caller queues its request and then
// loads parked.
func (c *Client) sweep() {
	t := time.NewTimer(0)
	defer t.Stop()
	idle := 0
	for {
		select {
		case <-t.C:
		case <-c.ctx.Done():
			return
		}
		if c.sweepAll() {
			idle = 0
		} else if idle++; idle >= sweepsIdle {
			c.parked.Store(true)
			if !c.sweepAll() {
				select {
				case <-c.unpark:
				case <-c.ctx.Done():
					return
				}
			}
			c.parked.Store(false)
			idle = 0
		}
		t.Reset(sweepEvery)
	}
}

func (c *Client) sweepAll() bool {
	now := c.now()
	busy := false
	for _, n := range c.connections() {
		busy = n.sweep(now) || busy
	}
	return busy
}

func (c *Client) unparkSweeper() {
	select {
	case c.unpark <- struct{}{}:
	default:
	}
}

func (c *Client) connections() []*conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	conns := make([]*conn, 0, len(c.conns))
	for n := range c.conns {
		conns = append(conns, n)
	}
	return conns
}

// refresh asks the members the client is connected to for a newer table.
func (c *Client) refresh() {
	select {
	case c.ask <- struct{}{}:
	default:
	}
}

// search asks all members, and connects to those it is not connected to: what
// a leader that does not answer calls for.
func (c *Client) search() {
	c.searching.Store(true)
	c.refresh()
}

// scout keeps the table fresh and the client connected. Whatever happens to
// the grid, as long as there is no connection it goes through members and
// seeds for ever.
func (c *Client) scout() {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	for failures := 0; ; {
		select {
		case <-c.ask:
		case <-t.C:
		case <-c.ctx.Done():
			return
		}
		alive := c.askAll(c.searching.Swap(false))
		pause := scoutEvery
		if !alive {
			// The members of the table first; then the seeds, one of which may be
			// the member that has just gone.
			if !c.sleep(scoutEvery) {
				return
			}
			if c.trySeeds() || c.follow() {
				failures = 0
			} else {
				failures++
			}
			pause = backoff(failures, scoutRestart, 2*time.Second)
		}
		if !c.sleep(pause) {
			return
		}
		t.Reset(time.Hour)
		if !c.alive() {
			t.Reset(0)
			c.searching.Store(true)
		}
	}
}

func (c *Client) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// askAll asks for tables and reports whether there was anyone to ask. With all
// it connects to the others too, in the background.
func (c *Client) askAll(all bool) bool {
	if c.seeds != nil {
		if n := c.seeds.ordinary.conn.Load(); n != nil {
			n.askTable(c.now())
			return true
		}
		<-c.seeds.ordinary.open()
		return c.alive()
	}
	alive := false
	for _, m := range c.routes.Load().peers {
		if n := m.ordinary.conn.Load(); n != nil {
			n.askTable(c.now())
			alive = true
		} else if all {
			m.ordinary.open()
		}
	}
	return alive
}

// alive reports whether there is an ordinary connection.
func (c *Client) alive() bool {
	if c.seeds != nil {
		return c.seeds.ordinary.conn.Load() != nil
	}
	for _, m := range c.routes.Load().peers {
		if m.ordinary.conn.Load() != nil {
			return true
		}
	}
	return false
}

// trySeeds connects to the first seed that answers, resolving its name anew.
func (c *Client) trySeeds() bool {
	if c.seeds != nil || c.alive() {
		return c.alive()
	}
	ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
	defer cancel()
	g, err := c.greetAny(ctx)
	if err != nil {
		c.log.Warn("no seed address answers", "error", err)
		return false
	}
	if in := c.life.Load(); g.welcome.Cluster == in.cluster {
		c.learn(in, &g.welcome.Table)
	}
	l := c.linkTo(g.welcome.Member)
	if l != nil && l.conn.Load() != nil {
		g.nc.Close()
		return true
	}
	if err := c.adopt(l, g); err != nil {
		c.log.Warn("a seed address cannot be used", "error", err)
		return false
	}
	return true
}
