package raftnet

import (
	"log/slog"
	"sync"
	"time"
)

// remindAfter is how often an address that stays unreachable is logged again.
const remindAfter = time.Minute

// maxUnreached bounds how many unreachable addresses are remembered.
const maxUnreached = 1024

// reach logs unreachable addresses: when one becomes unreachable, every minute while it
// is, and when it is reachable again. The engine tries about once a second. It is safe
// for concurrent use.
type reach struct {
	log *slog.Logger

	mu   sync.Mutex // guards what follows
	lost map[string]unreached
}

type unreached struct{ since, logged time.Time }

// failed records that an address was not reached.
func (r *reach) failed(address string, err error) {
	now := time.Now()
	r.mu.Lock()
	u, known := r.lost[address]
	due := !known || now.Sub(u.logged) >= remindAfter
	if !known {
		if r.lost == nil || len(r.lost) >= maxUnreached {
			r.lost = map[string]unreached{}
		}
		u.since = now
	}
	if due {
		u.logged = now
		r.lost[address] = u
	}
	r.mu.Unlock()
	switch {
	case !known:
		r.log.Warn("a member is not reached", "address", address, "err", err)
	case due:
		r.log.Warn("a member is still not reached", "address", address, "for", now.Sub(u.since).Round(time.Second), "err", err)
	}
}

// reached records that an address was reached.
func (r *reach) reached(address string) {
	r.mu.Lock()
	u, known := r.lost[address]
	delete(r.lost, address)
	r.mu.Unlock()
	if known {
		r.log.Info("a member is reached again", "address", address, "after", time.Since(u.since).Round(time.Second))
	}
}
