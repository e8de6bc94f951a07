package client

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// waitLanes is how many connections for waiting calls a client has with one
// member at most.
const waitLanes = 4

// heldBackEvery is the time between two warnings that calls are held back.
const heldBackEvery = 10 * time.Second

// admission bounds the waiting calls that a client has sent to the grid, so that
// capacity is left for everything else, and above all for the releases, puts and
// confirms that those calls wait for (WAIT-4).
//
//   - Of one operation of one structure as many calls may wait as a quarter of a
//     partition's slots (256). Further calls are queued in the client, in order: they
//     would be served after the others in any case.
//   - In one partition waiting calls may take three quarters of the slots (768). A
//     call over that is refused: it would be queued behind calls that have nothing to
//     do with it, and that need never end.
//   - Each admitted call has a lane, and is carried by the connection with the number
//     of the lane, to whichever member leads. A lane has as many calls as a connection
//     may have in flight, counting repeats (960), so that every possible leader can
//     take them. There are four lanes (3,840 calls). A call over that is refused.
//
// A call counts as admitted as long as it has its slot, which is until the grid has
// answered it definitely. admission is safe for concurrent use.
type admission struct {
	mu         sync.Mutex
	queues     map[waitKey]*waitQueue
	partitions map[protocol.PartitionID]int // calls admitted
	lanes      [waitLanes]int               // calls admitted
	held       int                          // calls queued
	warned     time.Duration                // when the last warning of queued calls was logged; 0: never
}

// waitKey identifies what a waiting call waits for.
type waitKey struct {
	partition protocol.PartitionID
	kind      protocol.KindID
	op        protocol.Op
	name      string
}

// waitQueue holds the calls that wait for the same thing. Invariant: no call is queued
// while one more may be admitted.
type waitQueue struct {
	admitted int
	waiters  list.List // of *waiter, the oldest first
}

// waiter is a call in a waitQueue.
type waiter struct {
	at       *list.Element
	admitted chan struct{} // closed when the call is admitted
	lane     int           // valid then
}

func waitKeyOf(c *call) waitKey {
	return waitKey{c.spec.Partition, c.spec.Kind, c.spec.Op, c.spec.Name}
}

// waitBounds returns the bounds of admission for the limits of a grid.
func waitBounds(l *protocol.Limits) (queue, partition, lane int) {
	slots := int(l.Slots)
	if slots == 0 {
		slots = int(protocol.DefaultLimits().Slots)
	}
	return mutantWaitBounds(slots, max(slots/4, 1), max(slots*3/4, 1), waitingLimit(inFlightLimit(l)))
}

// enter admits a call to a lane, queues it as a waiter, or refuses it.
func (a *admission) enter(key waitKey, l *protocol.Limits) (lane int, queued *waiter, err error) {
	perQueue, perPartition, perLane := waitBounds(l)
	a.mu.Lock()
	defer a.mu.Unlock()
	if q := a.queues[key]; q != nil && q.admitted >= perQueue {
		if a.held >= maxBacklog {
			return 0, nil, fmt.Errorf("%w: %d waiting calls of this client are held back already", quorate.ErrOverloaded, a.held)
		}
		w := &waiter{admitted: make(chan struct{})}
		w.at = q.waiters.PushBack(w)
		a.held++
		return 0, w, nil
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
	if a.queues == nil {
		a.queues, a.partitions = map[waitKey]*waitQueue{}, map[protocol.PartitionID]int{}
	}
	q := a.queues[key]
	if q == nil {
		q = new(waitQueue)
		a.queues[key] = q
	}
	q.admitted++
	a.partitions[key.partition]++
	a.lanes[lane]++
	return lane, nil, nil
}

// leave ends the admission of a call, and admits the first waiter for the same thing.
func (a *admission) leave(key waitKey, lane int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	q := a.queues[key]
	if first := q.waiters.Front(); first != nil {
		w := q.waiters.Remove(first).(*waiter)
		a.held--
		w.at, w.lane = nil, lane
		close(w.admitted)
		return
	}
	a.lanes[lane]--
	if a.partitions[key.partition]--; a.partitions[key.partition] == 0 {
		delete(a.partitions, key.partition)
	}
	if q.admitted--; q.admitted == 0 {
		delete(a.queues, key)
	}
}

// giveUp takes a waiter out of its queue, or ends its admission if it has been
// admitted meanwhile.
func (a *admission) giveUp(key waitKey, w *waiter) {
	a.mu.Lock()
	if w.at != nil {
		a.queues[key].waiters.Remove(w.at)
		a.held--
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	a.leave(key, w.lane)
}

// heldBack returns how many calls are queued.
func (a *admission) heldBack() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.held
}

// admitWaiting waits until a waiting call is admitted. It reports true if the time that
// the call may wait was over first: then nothing was sent.
func (c *call) admitWaiting(ctx context.Context) (over bool, err error) {
	key := waitKeyOf(c)
	lane, w, err := c.client.admission.enter(key, c.client.limits.Load())
	if err != nil {
		return false, c.overloaded(err)
	}
	if w == nil {
		c.lane, c.admitted = lane, true
		return false, nil
	}
	perQueue, _, _ := waitBounds(c.client.limits.Load())
	c.last = fmt.Errorf("%w: %d such calls of this client wait already, this one is in line behind them", quorate.ErrOverloaded, perQueue)
	c.warnHeldBack(perQueue)
	if c.spec.Wait > 0 {
		c.until = c.client.now() + c.spec.Wait
	}
	for {
		wait := time.Hour
		if c.until != 0 {
			wait = c.until - c.client.now()
		}
		err := c.pause(ctx, wait, w.admitted, nil)
		select {
		case <-w.admitted:
			if err == nil {
				c.lane, c.admitted, c.last = w.lane, true, nil
				return false, nil
			}
		default:
		}
		if over = err == nil && c.until != 0 && c.client.now() >= c.until; over || err != nil {
			c.client.admission.giveUp(key, w)
			return over, err
		}
	}
}

// warnHeldBack logs that calls wait in the client, every heldBackEvery at most.
func (c *call) warnHeldBack(most int) {
	a, now := &c.client.admission, c.client.now()
	a.mu.Lock()
	warn := a.warned == 0 || now-a.warned > heldBackEvery
	if warn {
		a.warned = max(now, 1)
	}
	held := a.held
	a.mu.Unlock()
	if warn {
		c.client.log.Warn("waiting calls held back", "operation", c.spec.Verb, "structure", c.spec.Object(), "waiting", most, "held_back", held)
	}
}
