//go:build mutants

package structures

import (
	"context"

	"github.com/quorate/quorate/mutants"
)

// mutantCancel leaves the contexts of a revoked hold alive.
func mutantCancel(cancel context.CancelCauseFunc) context.CancelCauseFunc {
	if mutants.On(mutants.AcknowledgedEarly) {
		return func(error) {}
	}
	return cancel
}
