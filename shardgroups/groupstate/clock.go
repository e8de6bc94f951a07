package groupstate

import (
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

// clock is the replicated clock of a group (TIME-1). A leader claims it with
// its first entry; the claim, applied, opens a new epoch whose base is the time
// of that moment. Entries of the epoch in force move time to base + elapsed,
// all others leave it standing: time never moves faster than the one monotonic
// clock it is read from, and stands while nobody leads.
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
