package membership

import (
	"sync"
	"time"

	"github.com/quorate/quorate/shardgroups/systemstate"
)

// clockEpoch is a year before the first release.
var clockEpoch = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// FloorClock says where versions and tokens of a grid in memory begin, see
// systemstate.Floor. Nothing of such a grid is on a disk, so it is a hybrid clock:
// it follows the wall clock, never goes back, and is never behind what this member
// was told by others and the time that has passed since. Members tell each other
// whenever they ask for each other's state, so a wall clock that is behind, or set
// back, does no harm as long as one process lives that has seen more, or one of
// those that form the grid anew has a clock that is right. It is safe for concurrent
// use.
type FloorClock struct {
	mu   sync.Mutex
	last systemstate.Floor
	at   time.Time // when last was
}

// Now returns the Floor of now.
func (c *FloorClock) Now() systemstate.Floor {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	elapsed := time.Duration(0)
	if !c.at.IsZero() {
		elapsed = now.Sub(c.at) // monotonic
	}
	c.at = now
	return c.advance(now, elapsed)
}

// advance moves the clock to a wall time, and by what has passed since it was last
// moved. mu is held.
func (c *FloorClock) advance(wall time.Time, elapsed time.Duration) systemstate.Floor {
	c.last = min(max(floorAt(wall), c.last+ticks(max(elapsed, 0))), systemstate.MaxFloor)
	return c.last
}

// Learn moves the clock to what another says, if that is later.
func (c *FloorClock) Learn(f systemstate.Floor) {
	c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = min(max(c.last, f), systemstate.MaxFloor)
}

// floorAt returns the Floor that a wall clock says.
func floorAt(wall time.Time) systemstate.Floor { return ticks(max(wall.Sub(clockEpoch), 0)) }

func ticks(d time.Duration) systemstate.Floor {
	s, rest := d/time.Second, d%time.Second
	return systemstate.Floor(s)*systemstate.TicksPerSecond + systemstate.Floor(rest)*systemstate.TicksPerSecond/systemstate.Floor(time.Second)
}
