//go:build mutants

package client

import (
	"context"
	"time"

	"github.com/quorate/quorate/mutants"
)

// mutantWaitBounds lets waiting calls take every slot.
func mutantWaitBounds(slots, queue, partition, lane int) (int, int, int) {
	if mutants.On(mutants.WaitersTakeAll) {
		return slots, slots, slots
	}
	return queue, partition, lane
}

// mutantHoldFor counts on what is held for longer than the grid keeps it.
func mutantHoldFor(ttl, hold time.Duration) time.Duration {
	if mutants.On(mutants.HeldTooLate) {
		return ttl + ttl/4
	}
	return hold
}

// mutantStop ends the contexts of what a session held after the session is lost.
func mutantStop(stop context.CancelCauseFunc) context.CancelCauseFunc {
	if mutants.On(mutants.LostBeforeHeld) {
		return func(cause error) {
			go func() { time.Sleep(time.Millisecond); stop(cause) }()
		}
	}
	return stop
}

// mutantPatience gives up on heartbeats that are answered late.
func mutantPatience(d time.Duration) time.Duration {
	if mutants.On(mutants.LateBeatsDropped) {
		return 500 * time.Millisecond
	}
	return d
}
