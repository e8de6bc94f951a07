package client

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// waitLanes is how many connections for waiting calls a client has with one
// member at most.
const waitLanes = 4

// heldBackEvery is the time between two warnings that calls are held back.
const heldBackEvery = 10 * time.Second

// admission bounds the waiting calls of a client that are at the grid, so that
// they leave room for everything else: for the releases, puts and confirms that
// they wait for.
//
//   - Of one operation of one structure a quarter of the slots of a partition (256)
//     may wait. Further calls wait in line in the client, in order: those before
//     them wait for the same, and are served first in any case.
//   - In one partition three quarters of the slots (768) may be taken by waiting
//     calls. A call over that is refused: what it would wait for in line has
//     nothing to do with it, and need never end.
//   - Each admitted call has a lane: the connection with that number, at whichever
//     member leads, carries it. A lane has as many calls as a connection may have in
//     flight, repeats counted (960), so whichever members lead there is room, and four
//     lanes are all there are (3,840 calls). A call over that is refused.
//
// A place is kept as long as the slot of the call: until the grid has said what
// became of it. It is safe for concurrent use.
type admission struct {
	mu         sync.Mutex
	lines      map[waitKey]*waitLine
	partitions map[protocol.PartitionID]int // calls admitted
	lanes      [waitLanes]int               // calls admitted
	held       int                          // calls in line
	warned     time.Duration                // when it was last told that calls are in line; 0: never
}

// waitKey is what a waiting call waits for.
type waitKey struct {
	partition protocol.PartitionID
	kind      protocol.KindID
	op        protocol.Op
	name      string
}

// waitLine is the calls that wait for the same. Invariant: nobody is in line
// where one more may be admitted.
type waitLine struct {
	admitted int
	inLine   list.List // of *linePlace, the oldest first
}

// linePlace is a call's place in line.
type linePlace struct {
	at       *list.Element
	admitted chan struct{} // closed when the call is admitted
	lane     int           // valid then
}

func waitKeyOf(o *op) waitKey {
	return waitKey{o.call.Partition, o.call.Kind, o.call.Op, o.call.Name}
}

// waitBounds are the bounds of admission under the limits of a grid.
func waitBounds(l *protocol.Limits) (line, partition, lane int) {
	slots := int(l.Slots)
	if slots == 0 {
		slots = int(protocol.DefaultLimits().Slots)
	}
	if mutants.On(mutants.WaitersTakeAll) {
		return slots, slots, slots
	}
	return max(slots/4, 1), max(slots*3/4, 1), waitingRoom(inFlightLimit(l))
}

// enter admits a call, puts it in line, or refuses it.
func (a *admission) enter(key waitKey, l *protocol.Limits) (lane int, place *linePlace, err error) {
	perLine, perPartition, perLane := waitBounds(l)
	a.mu.Lock()
	defer a.mu.Unlock()
	if line := a.lines[key]; line != nil && line.admitted >= perLine {
		if a.held >= maxBacklog {
			return 0, nil, fmt.Errorf("%w: %d waiting calls of this client are held back already", quorate.ErrOverloaded, a.held)
		}
		p := &linePlace{admitted: make(chan struct{})}
		p.at = line.inLine.PushBack(p)
		a.held++
		return 0, p, nil
	}
	if n := a.partitions[key.partition]; n >= perPartition {
		return 0, nil, fmt.Errorf("%w: %d calls of this client wait in partition %d, at most %d may", quorate.ErrOverloaded, n, key.partition, perPartition)
	}
	for lane < waitLanes && a.lanes[lane] >= perLane {
		lane++
	}
	if lane == waitLanes {
		return 0, nil, fmt.Errorf("%w: %d calls of this client wait, the most there may be", quorate.ErrOverloaded, waitLanes*perLane)
	}
	if a.lines == nil {
		a.lines, a.partitions = map[waitKey]*waitLine{}, map[protocol.PartitionID]int{}
	}
	line := a.lines[key]
	if line == nil {
		line = new(waitLine)
		a.lines[key] = line
	}
	line.admitted++
	a.partitions[key.partition]++
	a.lanes[lane]++
	return lane, nil, nil
}

// leave gives up the place of a call that was admitted; the first in line has
// it next.
func (a *admission) leave(key waitKey, lane int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	line := a.lines[key]
	if first := line.inLine.Front(); first != nil {
		p := line.inLine.Remove(first).(*linePlace)
		a.held--
		p.at, p.lane = nil, lane
		close(p.admitted)
		return
	}
	a.lanes[lane]--
	if a.partitions[key.partition]--; a.partitions[key.partition] == 0 {
		delete(a.partitions, key.partition)
	}
	if line.admitted--; line.admitted == 0 {
		delete(a.lines, key)
	}
}

// giveUp takes a call out of the line. A call that has been admitted meanwhile
// leaves.
func (a *admission) giveUp(key waitKey, p *linePlace) {
	a.mu.Lock()
	if p.at != nil {
		a.lines[key].inLine.Remove(p.at)
		a.held--
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	a.leave(key, p.lane)
}

// heldBack returns how many calls are in line.
func (a *admission) heldBack() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held
}

// admitWaiting has a waiting call admitted. It reports true where the time that
// the call may wait was over before: then nothing was sent.
func (c *Client) admitWaiting(ctx context.Context, o *op) (over bool, err error) {
	key := waitKeyOf(o)
	lane, p, err := c.admission.enter(key, c.limits.Load())
	if err != nil {
		return false, o.overloaded(err)
	}
	if p == nil {
		o.lane, o.admitted = lane, true
		return false, nil
	}
	perLine, _, _ := waitBounds(c.limits.Load())
	o.last = fmt.Errorf("%w: %d such calls of this client wait already, this one is in line behind them", quorate.ErrOverloaded, perLine)
	c.warnHeldBack(o, perLine)
	if o.call.Wait > 0 {
		o.until = c.now() + o.call.Wait
	}
	for {
		wait := time.Hour
		if o.until != 0 {
			wait = o.until - c.now()
		}
		err := c.pause(ctx, o, wait, p.admitted, nil)
		select {
		case <-p.admitted:
			if err == nil {
				o.lane, o.admitted, o.last = p.lane, true, nil
				return false, nil
			}
		default:
		}
		if over = err == nil && o.until != 0 && c.now() >= o.until; over || err != nil {
			c.admission.giveUp(key, p)
			return over, err
		}
	}
}

func (c *Client) warnHeldBack(o *op, most int) {
	a, now := &c.admission, c.now()
	a.mu.Lock()
	tell := a.warned == 0 || now-a.warned > heldBackEvery
	if tell {
		a.warned = max(now, 1)
	}
	held := a.held
	a.mu.Unlock()
	if tell {
		c.log.Warn("waiting calls are held back", "operation", o.call.Verb, "structure", o.call.Object(), "waiting", most, "held_back", held)
	}
}
