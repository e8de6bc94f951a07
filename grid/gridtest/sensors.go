package gridtest

import (
	"cmp"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quorate/quorate/grid"
	filesystem "github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/memory"
	"github.com/quorate/quorate/grid/internal/tune"
)

// Sensors replace what a member measures, as far as a test sets them.
type Sensors struct {
	memory atomic.Int64 // percent of the limit that lives; 0: as it is
	disk   atomic.Int64 // bytes that are free; 0: as it is
	file   atomic.Pointer[func()]
}

// tune returns what replaces the measurements of a member.
func (s *Sensors) tune(cfg grid.Config) *tune.Sensors {
	measure := memory.Meter()
	limit := cmp.Or(uint64(cfg.MemoryLimit), memory.Limit())
	return &tune.Sensors{
		Memory: func() memory.Sample {
			m := measure()
			if percent := s.memory.Load(); percent > 0 {
				m.Live, m.Other, m.Outside = limit/100*uint64(percent), 0, 0
				m.Heap = m.Live
			}
			return m
		},
		Disk: func(dir string) (free, size uint64, err error) {
			if free := s.disk.Load(); free > 0 {
				return uint64(free), diskSize, nil
			}
			return filesystem.Space(dir)
		},
		MemberFile: func() {
			if f := s.file.Load(); f != nil {
				(*f)()
			}
		},
	}
}

// diskSize is the size of a file system that a test has filled.
const diskSize = 1 << 30

// Space is how much free space a member believes that its disk has, in bytes.
type Space int64

// Amounts of free space.
const (
	SpaceReal     Space = 0                     // what there is
	SpaceEnough   Space = diskSize / 2          // enough
	SpaceLow      Space = diskSize / 20 / 4 * 3 // below the first mark: the member leads nothing if others can
	SpaceCritical Space = diskSize / 20 / 4     // below the second: its replicas stop if others have them
	SpaceNone     Space = 1 << 20               // nothing at all may be written
)

// Sensors returns what a member measures.
func (c *Cluster) Sensors(i int) *Sensors { return &c.nodes[i].sensors }

// FillDisk makes the member believe that its disk has that much free space.
func (s *Sensors) FillDisk(free Space) { s.disk.Store(int64(free)) }

// StallMemberFile makes the member's next write of member.json stall until resume
// is called, or the test ends. stalled is closed when that write has begun.
func (s *Sensors) StallMemberFile(t testing.TB) (stalled <-chan struct{}, resume func()) {
	writes, resumed := make(chan struct{}), make(chan struct{})
	begun, ended := sync.OnceFunc(func() { close(writes) }), sync.OnceFunc(func() { close(resumed) })
	stall := func() {
		begun()
		<-resumed
	}
	s.file.Store(&stall)
	t.Cleanup(ended)
	return writes, ended
}

// FillMemory makes the member believe that so many percent of its memory's limit
// are in use; 0 makes it measure again. Above 85 the groups with a replica there
// refuse operations that grow.
func (s *Sensors) FillMemory(percent int) { s.memory.Store(int64(percent)) }
