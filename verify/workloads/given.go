package workloads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/did"
	"github.com/quorate/quorate/verify"
)

// given are ids that all clients take, in small blocks.
type given struct {
	run  *Run
	name string
	each []*verify.IDs
}

const (
	givenNames = 2
	givenBlock = 20
)

func newGiven(r *Run) *given {
	g := &given{run: r, name: r.cfg.Name + "-id-"}
	for range givenNames {
		g.each = append(g.each, &verify.IDs{})
	}
	r.atEnd("ids", g.check)
	return g
}

// worker takes ids with handles of its own, whose ids grow.
func (g *given) worker(c *client.Client) worker {
	var own []*did.Sequence
	var takers []*verify.IDTaker
	for i, ids := range g.each {
		own = append(own, did.New(c, fmt.Sprint(g.name, i), did.Block(givenBlock)))
		takers = append(takers, ids.Taker(own[i]))
	}
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		i := rng.IntN(givenNames)
		var err error
		if rng.IntN(100) == 0 {
			_, err = own[i].Raise(ctx, 1) // it drops the block
		} else {
			_, err = takers[i].Next(ctx)
		}
		_ = g.run.count(err)
	}
}

func (g *given) check(context.Context) error {
	var errs []error
	for i, ids := range g.each {
		if err := verify.CheckIDs(ids.Given()); err != nil {
			errs = append(errs, fmt.Errorf("%s%d: %w", g.name, i, err))
		}
	}
	return errors.Join(errs...)
}
