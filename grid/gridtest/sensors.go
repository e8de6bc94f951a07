package gridtest

import (
	"cmp"
	"sync"
	"sync/atomic"

	"github.com/quorate/quorate/grid"
	filesystem "github.com/quorate/quorate/grid/internal/disk"
	"github.com/quorate/quorate/grid/internal/memory"
	"github.com/quorate/quorate/grid/internal/tune"
)

// sensors are what a member measures, as far as a test has said.
type sensors struct {
	memory atomic.Int64 // percent of the limit that lives; 0: as it is
	disk   atomic.Int64 // bytes that are free; 0: as it is
	file   atomic.Pointer[func()]
}

// tune returns what replaces the measurements of a member.
func (s *sensors) tune(cfg grid.Config) *tune.Sensors {
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
			return filesystem.Room(dir)
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

// Room is how much of it a member believes that its disk has.
type Room int64

// Amounts of room.
const (
	RoomReal   Room = 0                     // what there is
	RoomEnough Room = diskSize / 2          // enough
	RoomLittle Room = diskSize / 20 / 4 * 3 // below the first mark: the member leads nothing where others can
	RoomNone   Room = diskSize / 20 / 4     // below the second: its replicas stop where others have them
	RoomOut    Room = 1 << 20               // nothing at all may be written
)

// FillDisk makes a member believe that its disk has that much room.
func (c *Cluster) FillDisk(member int, r Room) { c.nodes[member].sensors.disk.Store(int64(r)) }

// StallMemberFile has the disk of a member stand still with its next write of
// member.json, until resume is called. What is returned is closed when that write
// has begun.
func (c *Cluster) StallMemberFile(member int) (stalled <-chan struct{}, resume func()) {
	writes, resumed := make(chan struct{}), make(chan struct{})
	begun, ended := sync.OnceFunc(func() { close(writes) }), sync.OnceFunc(func() { close(resumed) })
	stall := func() {
		begun()
		<-resumed
	}
	c.nodes[member].sensors.file.Store(&stall)
	c.t.Cleanup(ended)
	return writes, ended
}

// FillMemory makes a member believe that so many percent of its memory's limit
// are in use; 0 makes it measure again. Above 85 the groups with a copy there
// refuse operations that grow.
func (c *Cluster) FillMemory(member, percent int) {
	c.nodes[member].sensors.memory.Store(int64(percent))
}
