package grid

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
)

func (b *backend) hash(ctx context.Context) (protocol.HashReport, error) {
	r := protocol.HashReport{Member: uint64(b.Self()), Groups: []protocol.GroupHash{}}
	h := b.m.coordinator.Host()
	if h == nil {
		return r, nil
	}
	leave, err := b.m.hashing.enter(ctx)
	if err != nil {
		return r, fmt.Errorf("%w while the hashes for others are computed", err)
	}
	defer leave()
	for _, g := range h.Groups() {
		applied, hash, err := g.Hash(ctx)
		if err != nil {
			return r, fmt.Errorf("hash of group %d: %w", g.ID(), err)
		}
		r.Groups = append(r.Groups, protocol.GroupHash{ID: uint64(g.ID()), Applied: applied, Hash: hash})
	}
	return r, nil
}

// lane lets one pass at a time, and the next only when the lane has been free for as long
// as it was taken: whatever is asked for, half of the time of one CPU is left to others.
type lane chan struct{}

func newLane() lane { return make(lane, 1) }

// enter waits for its turn until ctx ends. The caller must call leave.
func (l lane) enter(ctx context.Context) (leave func(), err error) {
	select {
	case l <- struct{}{}:
	case <-ctx.Done():
		return nil, contexts.Err(ctx)
	}
	entered := time.Now()
	return func() { time.AfterFunc(time.Since(entered), func() { <-l }) }, nil
}
