package main

import (
	"context"
	"fmt"
	"time"
)

// measures are what can be measured: see the documentation of the command.
var measures = []string{"load", "watch", "events", "stalled", "lock", "handover", "takeover"}

// run is one thing that is measured of each system, with its numbers.
type run struct {
	what    string
	clients int
	measure func(ctx context.Context, m *measured, clients []conn) figures
}

// runs are those that the flags ask for.
func (o options) runs() []run {
	var all []run
	l := o.load
	for _, measure := range o.measure {
		switch measure {
		case "load":
			for _, puts := range o.puts {
				for _, inFlight := range o.inFlight {
					l := l
					l.puts, l.inFlight = puts, inFlight
					all = append(all, run{fmt.Sprintf("load, %d %% puts, %d in flight", puts, inFlight), o.clients, l.filled})
				}
			}
		case "watch":
			for _, n := range o.watchers {
				all = append(all, run{fmt.Sprintf("watch, %d watchers", n), o.clients, func(ctx context.Context, _ *measured, c []conn) figures {
					return l.latency(ctx, c, n)
				}})
			}
		case "events":
			for _, n := range o.watchers {
				all = append(all, run{fmt.Sprintf("events, %d watchers", n), o.clients, func(ctx context.Context, _ *measured, c []conn) figures {
					return l.events(ctx, c, n)
				}})
			}
		case "stalled":
			for _, n := range []int{0, o.stalled} {
				all = append(all, run{fmt.Sprintf("puts, %d stalled watchers", n), o.clients, func(ctx context.Context, _ *measured, c []conn) figures {
					return l.stalled(ctx, c, n)
				}})
			}
		case "lock":
			for _, locks := range o.lockedOf {
				for _, n := range o.sessions {
					all = append(all, run{fmt.Sprintf("lock, %d sessions, %d locks", n, locks), n, func(ctx context.Context, _ *measured, c []conn) figures {
						return l.lock(ctx, c, locks)
					}})
				}
			}
		case "handover":
			for _, n := range o.sessions {
				if n > 1 {
					all = append(all, run{fmt.Sprintf("handover, %d sessions", n), n, func(ctx context.Context, _ *measured, c []conn) figures {
						return l.handover(ctx, c)
					}})
				}
			}
		case "takeover":
			all = append(all, run{fmt.Sprintf("takeover, TTL %v", l.ttl), 1, func(ctx context.Context, m *measured, c []conn) figures {
				return l.takeover(ctx, m.name, m.system, c[0])
			}})
		}
	}
	return all
}

// measured is a system that is measured, and the clients that are connected to it.
type measured struct {
	name   string
	system system
	ttl    time.Duration
	open   []conn
	filled bool
}

// clients returns a number of clients; those that are open are kept for later runs.
func (m *measured) clients(ctx context.Context, n int) ([]conn, error) {
	for len(m.open) < n {
		c, err := m.system.open(ctx, m.ttl)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.name, err)
		}
		m.open = append(m.open, c)
	}
	return m.open[:n], nil
}

func (m *measured) stop() {
	for _, c := range m.open {
		c.close()
	}
	m.system.stop()
}

// filled is the load, on a system that has all keys.
func (l load) filled(ctx context.Context, m *measured, clients []conn) figures {
	if !m.filled {
		if err := l.fill(ctx, clients[0]); err != nil {
			var f figures
			f.fail(fmt.Errorf("write the keys: %w", err))
			return f
		}
		m.filled = true
	}
	return l.run(ctx, clients)
}
