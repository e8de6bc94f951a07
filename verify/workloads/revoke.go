package workloads

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

const (
	stuckOneOf = 100 // holders does not release
	// The longest grace is longer than a holder takes to acknowledge, the shortest is
	// shorter: a hold ends with the one or the other.
	mostGrace = 8 * time.Second
)

// revoker is a semaphore as another client has it.
type revoker interface {
	Inspect(ctx context.Context) (structures.Inspection, error)
	Revoke(ctx context.Context, hold protocol.HoldID, opts ...structures.RevokeOption) (existed bool, err error)
}

// other returns another client, if there is one.
func (r *Run) other(c *client.Client, rng *rand.Rand) *client.Client {
	all := r.cfg.Clients
	first := rng.IntN(len(all))
	for i := range all {
		if o := all[(first+i)%len(all)]; o != c {
			return o
		}
	}
	return c
}

// stuck holds until another client has revoked what is held, or the epoch is over. The
// other may take it for somebody else's and revoke that, too. It reports whether what
// was held comes back by itself; else the holder releases it.
func (r *Run) stuck(ctx context.Context, e *epoch, held *structures.Held, rng *rand.Rand, other revoker) bool {
	i, err := other.Inspect(ctx)
	if r.seen(err) != nil {
		return false
	}
	for _, h := range i.Holders {
		if h.ID != held.ID() && rng.IntN(2) == 0 {
			continue
		}
		grace := mostGrace / time.Duration(1+rng.IntN(8))
		existed, err := other.Revoke(ctx, h.ID, structures.Grace(grace), structures.Reason("verify"))
		if r.seen(err) == nil && existed {
			r.revoked.Add(1)
		}
	}
	select {
	case <-held.Context().Done():
	case <-ctx.Done():
	case <-e.ctx.Done():
	}
	if !errors.Is(context.Cause(held.Context()), structures.ErrRevoked) {
		return false
	}
	r.told.Add(1)
	return rng.IntN(2) == 0
}

// notHeld is an answer where somebody may have revoked what is released.
func notHeld(err error) error {
	if errors.Is(err, structures.ErrNotHeld) && !unknown(err) {
		return nil
	}
	return err
}
