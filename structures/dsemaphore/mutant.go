//go:build mutants

package dsemaphore

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/structures"
)

// mutantGivenBack gives no permits back.
func mutantGivenBack(h structures.Hold) structures.Hold {
	if mutants.On(mutants.PermitLeaked) {
		h.Amount = 0
	}
	return h
}

// mutantTaken leaves permits free that are granted.
func mutantTaken(n int64) int64 {
	if mutants.On(mutants.PermitTwice) {
		return 0
	}
	return n
}
