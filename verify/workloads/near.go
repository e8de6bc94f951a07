package workloads

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/verify"
)

// near reads a map through the near caches of all clients, while each client writes some of
// its keys. Values grow, so each read is checked at once: it is at most a bounded time
// behind, never goes back in one client, and shows the client's own writes.
type near struct {
	run  *Run
	keys []verify.Stale
}

const (
	nearKeys  = 4 // that a client writes
	nearStale = 2 * time.Second
	nearPause = 5 * time.Millisecond
)

func newNear(r *Run) *near {
	n := &near{run: r, keys: make([]verify.Stale, nearKeys*len(r.cfg.Clients))}
	for i := range n.keys {
		n.keys[i].MaxStale = nearStale
	}
	return n
}

func (n *near) worker(id int, c *client.Client) worker {
	m := dmap.New[string, int64](c, n.run.cfg.Name+"-near", dmap.NearCache(dmap.MaxStale(nearStale)))
	seen := make([]int64, len(n.keys)) // by this client
	next := int64(0)
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		if rng.IntN(16) == 0 {
			i := id*nearKeys + rng.IntN(nearKeys)
			next++
			n.keys[i].Sent(next)
			// An Update that is carried out late, after its caller has gone, changes nothing that
			// was written since.
			_, err := m.Update(ctx, fmt.Sprint("k", i), func(int64, bool) (int64, error) { return next, nil })
			if n.run.count(err) == nil {
				n.keys[i].Acknowledged(next, time.Now())
				seen[i] = next
			}
			return
		}
		n.run.sleep(nearPause) // most reads cost nothing, and would take all of a processor
		for range 4 {
			i := rng.IntN(len(n.keys))
			var opts []dmap.ReadOption
			if rng.IntN(100) == 0 {
				opts = append(opts, dmap.Fresh())
			}
			began := time.Now()
			value, _, err := m.Get(ctx, fmt.Sprint("k", i), opts...)
			if n.run.count(err) != nil {
				return
			}
			if err := verify.CheckStale(&n.keys[i], began, value, seen[i]); err != nil {
				n.run.violates("near", "client %d, key %d: %v; %+v", id, i, err, m.NearStats())
			}
			seen[i] = max(seen[i], value)
		}
	}
}
