package gridtest

import (
	"cmp"
	"sync/atomic"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/internal/memory"
	"github.com/quorate/quorate/grid/internal/tune"
)

// sensors are what a member measures, as far as a test has said.
type sensors struct {
	memory atomic.Int64 // percent of the limit that lives; 0: as it is
}

// tune returns what replaces the measurements of a member.
func (s *sensors) tune(cfg grid.Config) *tune.Sensors {
	measure := memory.Meter()
	limit := cmp.Or(uint64(cfg.MemoryLimit), memory.Limit())
	return &tune.Sensors{Memory: func() memory.Sample {
		m := measure()
		if percent := s.memory.Load(); percent > 0 {
			m.Live, m.Other, m.Outside = limit/100*uint64(percent), 0, 0
			m.Heap = m.Live
		}
		return m
	}}
}

// FillMemory makes a member believe that so many percent of its memory's limit
// are in use; 0 makes it measure again. Above 85 the groups with a copy there
// refuse operations that grow.
func (c *Cluster) FillMemory(member, percent int) {
	c.nodes[member].sensors.memory.Store(int64(percent))
}
