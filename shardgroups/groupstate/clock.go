package groupstate

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// clock is the replicated clock of a group (TIME-1). A leader claims it with its first
// entry. When the claim is applied it opens a new epoch, whose base is the log time at
// that moment. Entries of the present epoch move time to base + elapsed; all others do
// not move it. So time never moves faster than the one monotonic clock that it is read
// from, and it stops while nobody leads.
type clock struct {
	Now    protocol.LogTime
	Epoch  uint64
	Holder uint64 // nonce of the claim that opened Epoch
	Base   protocol.LogTime
}

// advance moves time by an entry's header.
func (c *clock) advance(h Header) {
	if h.ClockEpoch != c.Epoch && !mutants.On(mutants.DeposedClock) || h.Elapsed < 0 {
		return
	}
	if t := c.Base + protocol.LogTime(h.Elapsed+mutants.Drift()); t > c.Now {
		c.Now = t
	}
}

func (c *clock) claim(v claim) {
	c.Epoch++
	c.Holder, c.Base = v.Nonce, c.Now
}

// Clock is the replicated clock as a leader needs it for its next entry.
type Clock struct {
	Now    protocol.LogTime
	Epoch  uint64
	Holder uint64           // nonce of the claim in force
	Base   protocol.LogTime // time when it was applied
}
