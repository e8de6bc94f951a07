package shardgroups

import (
	"github.com/quorate/quorate/protocol"
)

// Pressure makes a group's leader refuse mutations for now, because a member with a
// voter of the group is short of memory or disk.
type Pressure struct {
	Code   protocol.Code // CodeMemoryFull or CodeReadOnly
	Detail string        // which member, and of what
	// Everything refuses every mutation, not only those that grow: the log itself
	// has no free space left. Cancels and confirms always pass.
	Everything bool
}

// pressureWaitHint is when to try again, in milliseconds.
const pressureWaitHint = 250

// SetPressure makes this replica refuse mutations while it leads, see [Pressure]; nil
// ends that.
func (g *Group) SetPressure(p *Pressure) { g.pressure.Store(p) }

// Pressure returns what was set last, nil for none.
func (g *Group) Pressure() *Pressure { return g.pressure.Load() }

// pressed refuses a mutation because of the pressure on the group, and reports whether
// it did. It does not refuse repeats of a call that is in flight or was applied: they
// do not grow, and it would be wrong to answer that they have not entered.
func (g *Group) pressed(q *Request) bool {
	p := g.pressure.Load()
	if p == nil || q.Kind == protocol.KindControl {
		return false
	}
	if !p.Everything && !g.kinds.Grows(&q.Request) {
		return false
	}
	if q.Flags&protocol.FlagRepeat != 0 {
		g.proposer.mu.Lock()
		joined, inFlight := false, false
		if !g.proposer.stopped {
			joined, inFlight = g.proposer.join(q)
		}
		g.proposer.mu.Unlock()
		switch {
		case joined:
			g.stats.Repeats.Add(1)
			return true
		case inFlight:
			return false
		}
		// An entry is completed under mu, and applied before mu is released: what is no
		// longer in flight is seen here.
		g.mu.RLock()
		seen := g.state.Seen(q.Partition, q.Caller)
		g.mu.RUnlock()
		if seen {
			return false
		}
	}
	problem := protocol.Problem{Detail: p.Detail, Wait: pressureWaitHint}
	q.turnDown(protocol.Reply{ID: q.ID, Code: p.Code, Body: problem.Append(nil)})
	return true
}
