package workloads

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dlatch"
	"github.com/quorate/quorate/verify"
)

const epochLatches = 3

// latches sets latches, takes them down, also in rounds that may be over, holds and
// releases, and waits.
func (r *Run) latches(id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		name := fmt.Sprint(e.prefix, "latch-", rng.IntN(epochLatches))
		l := verify.NewLatch(e.history, id, name, dlatch.New(c, name))
		var err error
		switch rng.IntN(16) {
		case 0, 1, 2, 3:
			_, err = l.Set(ctx, 1+rng.Int64N(4))
		case 4:
			_, _, err = l.Count(ctx)
		case 5, 6, 7:
			_, err = l.CountDown(ctx, 1+rng.Int64N(2), 0)
		case 8:
			var round dlatch.Round
			if _, round, err = l.Count(ctx); err == nil {
				_ = r.seen(nil)
				r.sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
				_, err = l.CountDown(ctx, 1, round)
			}
		case 9:
			_, err = l.Await(ctx, dlatch.Wait(time.Duration(rng.IntN(500))*time.Millisecond))
			err = inTime(err)
		case 10, 11, 12:
			wait, cancel := waiting(ctx, e, rng)
			_, err = l.Await(wait)
			cancel()
		case 13:
			if rng.IntN(20) == 0 {
				err = l.Destroy(ctx)
			}
		default:
			var held *verify.LatchHeld
			if held, err = l.Hold(ctx); err == nil {
				_ = r.seen(nil)
				r.sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
				err = notHeld(held.Release(ctx))
			}
		}
		_ = r.seen(latchAnswer(err))
	}
}

// latchAnswer returns err, and nil if it is an answer.
func latchAnswer(err error) error {
	if has([]error{dlatch.ErrNotSet, dlatch.ErrNotZero, dlatch.ErrRound, dlatch.ErrDone}, err) && !unknown(err) {
		return nil
	}
	return err
}
