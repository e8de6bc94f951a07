//go:build !mutants

package client

import (
	"context"
	"time"
)

func mutantWaitBounds(_, queue, partition, lane int) (int, int, int) { return queue, partition, lane }

func mutantHoldFor(_, hold time.Duration) time.Duration { return hold }

func mutantStop(stop context.CancelCauseFunc) context.CancelCauseFunc { return stop }

func mutantPatience(d time.Duration) time.Duration { return d }
