package tune

import (
	"context"

	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/structures"
)

type kindsKey struct{}

// WithKinds returns a context that makes members started with it serve these kinds of
// structures.
func WithKinds(ctx context.Context, all []structures.Kind) context.Context {
	return context.WithValue(ctx, kindsKey{}, all)
}

// KindsFrom returns the kinds that ctx carries, or those that a grid has.
func KindsFrom(ctx context.Context) []structures.Kind {
	if all, ok := ctx.Value(kindsKey{}).([]structures.Kind); ok {
		return all
	}
	return kinds.All()
}
