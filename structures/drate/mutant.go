//go:build mutants

package drate

import (
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

var started = time.Now()

// mutantNow goes by the clock of the replica, not by log time.
func mutantNow(now protocol.LogTime) protocol.LogTime {
	if mutants.On(mutants.RateRealClock) {
		return now.Add(time.Since(started))
	}
	return now
}
