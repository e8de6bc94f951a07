// Package tune lets tests change a member that they start: the engine, the kinds that
// it serves, and what it measures. Package grid has no other way to do that.
package tune

import (
	"context"

	"github.com/quorate/quorate/shardgroups"
)

type contextKey struct{}

// With returns a context that carries f to the members started with it.
func With(ctx context.Context, f func(*shardgroups.Config)) context.Context {
	return context.WithValue(ctx, contextKey{}, f)
}

// From returns what ctx carries, or a function that changes nothing.
func From(ctx context.Context) func(*shardgroups.Config) {
	if f, ok := ctx.Value(contextKey{}).(func(*shardgroups.Config)); ok {
		return f
	}
	return func(*shardgroups.Config) {}
}
