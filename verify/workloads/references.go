package workloads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/verify"
)

// epochRefs is how many references an epoch has.
const epochRefs = 6

// references uses a few references: set, swap, replace by version and by value, delete, and
// rollback to a version that was read.
func references(r *Run, id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		name := fmt.Sprint(e.prefix, "ref-", rng.IntN(epochRefs))
		handle := dref.New[string](c, name)
		if err := e.prepare(name, func() error { return r.seen(handle.Configure(ctx, dref.Keep(verify.RefKept))) }); err != nil {
			return
		}
		ref := verify.NewRef(e.history, id, name, handle)
		value := fmt.Sprint(id, "-", rng.Uint64())
		what := rng.IntN(12)
		var now dref.Entry[string]
		var err error
		if what >= 6 {
			if now, _, err = ref.Get(ctx); r.seen(err) != nil {
				return
			}
		}
		switch what {
		case 0, 1:
			err = ref.Set(ctx, value)
		case 2:
			_, _, err = ref.Swap(ctx, value)
		case 3:
			_, _, err = ref.SetIfAbsent(ctx, value)
		case 4:
			_, err = ref.Delete(ctx)
		case 5:
			_, _, err = ref.Get(ctx)
		case 6, 7:
			_, err = ref.CompareAndSet(ctx, now.Value, value)
		case 8, 9:
			_, err = ref.Replace(ctx, now.Version, value)
			err = answered(err, dref.ErrConflict)
		default:
			if now.Version == 0 {
				return
			}
			if err = ref.Set(ctx, value); r.seen(err) != nil {
				return
			}
			_, err = ref.Rollback(ctx, now.Version)
			err = answered(err, dref.ErrNotKept)
		}
		_ = r.seen(err)
	}
}

// answered returns err, and nil if it is an answer of the structure.
func answered(err, condition error) error {
	if errors.Is(err, condition) && !unknown(err) {
		return nil
	}
	return err
}
