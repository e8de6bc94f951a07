package membership

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// TestFloorOnlyGrows loses groups, and grids in memory as a whole, while the wall
// clock is right, set back and ahead: whatever begins then begins above what was
// handed out before, if a process lives that has seen it or the clock is right.
func TestFloorOnlyGrows(t *testing.T) {
	const day = 24 * time.Hour
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	clock := &FloorClock{}
	last, session := protocol.Version(0), protocol.SessionID(0)
	for i, x := range []struct {
		passed time.Duration // since the last
		wall   time.Duration // what the wall clock says, less what it should say
		dead   bool          // all processes have ended
		told   time.Duration // a member that joins has a clock that is as much ahead
	}{
		{},
		{passed: time.Second},                  // a group is lost
		{passed: time.Millisecond},             // another
		{passed: time.Millisecond, dead: true}, // and the whole grid, at once
		{passed: time.Second, wall: -20 * 365 * day}, // the wall clock is set back
		{passed: 200 * day, wall: -20 * 365 * day},
		{passed: time.Minute, dead: true},
		{passed: time.Minute, dead: true, wall: -time.Hour, told: time.Hour},
		{passed: time.Minute, wall: 50 * 365 * day},
		{passed: time.Minute},
		{passed: time.Minute, wall: 200 * 365 * day},
		{passed: time.Minute},
	} {
		start = start.Add(x.passed)
		if x.dead {
			clock = &FloorClock{}
		}
		f := clock.advance(start.Add(x.wall), x.passed)
		if x.told != 0 {
			f = max(f, floorAt(start.Add(x.wall).Add(x.told)))
			clock.last = f
		}
		if v := version(f); v <= last || f.Session() <= session {
			t.Errorf("%d begins with version %d after %d, session %d after %d", i, v, last, f.Session(), session)
		}
		// As much as can be handed out until the next.
		last, session = version(f), f.Session()
	}
}

// TestFloorIsNotOutrun: a partition and the sessions stay below the clock as long
// as they hand out no more than its ticks, at the end of a generation, too.
func TestFloorIsNotOutrun(t *testing.T) {
	generation := ticks(97*24*time.Hour + 2*time.Hour)
	for _, f := range []systemstate.Floor{0, 1, generation - 1, generation, floorAt(clockEpoch.AddDate(300, 0, 0))} {
		const written = systemstate.TicksPerSecond * 60
		later := f + written + 1
		if v := version(f) + written; v >= version(later) {
			t.Errorf("%d versions after %d: %d, the clock says %d", written, f, v, version(later))
		}
		if systemstate.FloorOf(f.Generation(), f.Revision()) != f {
			t.Errorf("the moment %d is read as %d", f, systemstate.FloorOf(f.Generation(), f.Revision()))
		}
	}
	for _, f := range []systemstate.Floor{systemstate.MaxFloor, 1<<64 - 1} {
		if f.Generation() != 1<<14 || f.Revision() != 0 {
			t.Errorf("%d: generation %d, revision %d", f, f.Generation(), f.Revision())
		}
	}
}

// TestFloorClockOfNow: a clock that was told more goes on from there.
func TestFloorClockOfNow(t *testing.T) {
	var c FloorClock
	first := c.Now()
	ahead := first + ticks(time.Hour)
	c.Learn(ahead)
	if f := c.Now(); f < ahead || f > ahead+ticks(time.Minute) {
		t.Errorf("%d after it was told %d", f, ahead)
	}
	c.Learn(first)
	if f := c.Now(); f < ahead {
		t.Errorf("%d: it went back", f)
	}
	c.Learn(1<<64 - 1)
	if f := c.Now(); f != systemstate.MaxFloor {
		t.Errorf("%d after nonsense", f)
	}
}

func version(f systemstate.Floor) protocol.Version {
	return protocol.Version(uint64(f.Generation())<<48 | uint64(f.Revision()))
}
