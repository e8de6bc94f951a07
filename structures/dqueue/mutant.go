//go:build mutants

package dqueue

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/structures"
)

// mutantGivenBack moves an element that comes back to the tail.
func mutantGivenBack(env structures.Env, c *count, e element) element {
	if mutants.On(mutants.GiveBackAtTail) {
		e.number = c.number(env)
	}
	return e
}
