package shardgroups

import (
	"log/slog"
	"sync"
	"time"
)

// remindAfter is how long nothing more is said of what goes on as it was.
const remindAfter = time.Minute

// maxUnreached bounds how many addresses are remembered that are not reached.
const maxUnreached = 1024

// reach tells of addresses that are not reached: once when it begins, each minute
// while it goes on, and once when it is over. The engine tries about once a second.
// It is safe for concurrent use.
type reach struct {
	log *slog.Logger

	mu   sync.Mutex // guards what follows
	lost map[string]unreached
}

type unreached struct{ since, told time.Time }

// failed notes that an address was not reached.
func (r *reach) failed(address string, err error) {
	now := time.Now()
	r.mu.Lock()
	u, known := r.lost[address]
	tell := !known || now.Sub(u.told) >= remindAfter
	if !known {
		if r.lost == nil || len(r.lost) >= maxUnreached {
			r.lost = map[string]unreached{}
		}
		u.since = now
	}
	if tell {
		u.told = now
		r.lost[address] = u
	}
	r.mu.Unlock()
	switch {
	case !known:
		r.log.Warn("a member is not reached", "address", address, "error", err)
	case tell:
		r.log.Warn("a member is still not reached", "address", address, "for", now.Sub(u.since).Round(time.Second), "error", err)
	}
}

// reached notes that an address was reached.
func (r *reach) reached(address string) {
	r.mu.Lock()
	u, known := r.lost[address]
	delete(r.lost, address)
	r.mu.Unlock()
	if known {
		r.log.Info("a member is reached again", "address", address, "after", time.Since(u.since).Round(time.Second))
	}
}
