//go:build !mutants

package dns

import "time"

func mutantUsable(usable bool) bool { return usable }

func mutantComplete(synced bool) bool { return synced }

func mutantUnknown() bool { return true }

func mutantMaxAge(d time.Duration) time.Duration { return d }

func mutantSpare(d time.Duration) time.Duration { return d }

func mutantSize(_, bounded int) int { return bounded }
