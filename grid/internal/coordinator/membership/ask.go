package membership

import (
	"context"
	"sync"
)

// Answer is what was answered at an address.
type Answer[T any] struct {
	At   string
	Says T
}

// AskAll puts a question to the members at all addresses at the same time, since each may
// be silent for as long as ctx lasts, and returns the answers in the order of the addresses.
// Who does not answer, or refuses, is left out.
func AskAll[T any](ctx context.Context, g *Grid, addresses []string, what string, args any) []Answer[T] {
	replies := make([]*T, len(addresses))
	var asking sync.WaitGroup
	for i, address := range addresses {
		asking.Go(func() {
			reply := new(T)
			if err := g.Ask(ctx, address, what, args, reply); err != nil {
				g.Log.Debug("no answer", "address", address, "question", what, "err", err)
				return
			}
			replies[i] = reply
		})
	}
	asking.Wait()
	var all []Answer[T]
	for i, r := range replies {
		if r != nil {
			all = append(all, Answer[T]{addresses[i], *r})
		}
	}
	return all
}
