package client

import "sync/atomic"

// A client repeats what was refused or not answered for want of time as often as it
// begins calls, divided by budgetShare, beside budgetMost of the time before: where
// everything is repeated, a grid that has too much to do gets twice as much.
const (
	budgetShare = 10
	budgetMost  = 1000 // repeats
)

// budget is what is left for such repeats, in parts of one.
type budget struct {
	spent atomic.Int64 // Invariant: 0 to budgetMost*budgetShare
}

// earn counts a call that begins.
func (b *budget) earn() {
	if n := b.spent.Load(); n > 0 {
		b.spent.CompareAndSwap(n, n-1) // one that is missed does not matter
	}
}

// spend reports whether there is something left for a repeat, and takes it.
func (b *budget) spend() bool {
	if b.spent.Add(budgetShare) <= budgetMost*budgetShare {
		return true
	}
	b.spent.Add(-budgetShare)
	return false
}
