//go:build mutants

package dns

import (
	"math"
	"time"

	"github.com/quorate/quorate/mutants"
)

// mutantUsable takes every instance for one that can be used.
func mutantUsable(usable bool) bool { return usable || mutants.On(mutants.DNSUnusable) }

// mutantComplete takes a list for complete with whatever comes first.
func mutantComplete(synced bool) bool { return synced || mutants.On(mutants.DNSHalfList) }

// mutantUnknown lets a service that is not known yet be one that is not there.
func mutantUnknown() bool { return !mutants.On(mutants.DNSUnknownAbsent) }

// mutantMaxAge lets a list be told however old it is.
func mutantMaxAge(d time.Duration) time.Duration {
	if mutants.On(mutants.DNSAgeless) {
		return math.MaxInt64
	}
	return d
}

// mutantSpare lets a new mirror push out any other.
func mutantSpare(d time.Duration) time.Duration {
	if mutants.On(mutants.DNSPushedOut) {
		return 0
	}
	return d
}

// mutantSize lets an answer be as large as the question says.
func mutantSize(asked, bounded int) int {
	if mutants.On(mutants.DNSOversize) {
		return asked
	}
	return bounded
}
