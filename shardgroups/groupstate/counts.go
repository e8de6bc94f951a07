package groupstate

import (
	"slices"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// counts is what the partitions of a group count together. It is derived, not replicated,
// and changed under the lock of Apply only.
type counts struct {
	// distinct counts, by kind byte and name of a structure, the partitions that have
	// it.
	distinct map[string]int
	// states adds up the rows that count by state, by kind; nil: it has none.
	//
	// Invariant: it has those of the structures that are there, and of no other: a row of
	// a destroyed structure that is not cleared yet does not count.
	states [256]*states
}

// states adds up the rows of one kind.
type states struct {
	*structures.Counted
	sums []int64
}

func newCounts(kinds *Kinds) *counts {
	c := &counts{distinct: map[string]int{}}
	for id, k := range kinds {
		if k != nil && k.Counted != nil {
			c.states[id] = &states{Counted: k.Counted, sums: make([]int64, len(k.Counted.States))}
		}
	}
	return c
}

// clear counts anew.
func (c *counts) clear() {
	clear(c.distinct)
	for _, s := range c.states {
		if s != nil {
			clear(s.sums)
		}
	}
}

// ofStates returns the sums by kind.
func (c *counts) ofStates() map[protocol.KindID][]int64 {
	by := map[protocol.KindID][]int64{}
	for id, s := range c.states {
		if s != nil {
			by[protocol.KindID(id)] = slices.Clone(s.sums)
		}
	}
	return by
}

// row counts that a row of a structure of the kind has changed; an empty value: it is not
// there.
func (c *counts) row(kind protocol.KindID, key string, old, value []byte) {
	if s := c.states[kind]; s != nil && key[instanceSize-1] == rowMachine && key[instanceSize:] == view(s.Key) {
		s.add(old, -1)
		s.add(value, 1)
	}
}

// instance counts that a structure has come, or gone, with all of its rows.
func (c *counts) instance(p *partition, id uint64, kind protocol.KindID, sign int64) {
	s := c.states[kind]
	if s == nil || sign < 0 && mutants.On(mutants.DestroyedCounted) {
		return
	}
	if row, ok := p.rows.Get(string(append(appendInstance(nil, id, rowMachine), s.Key...))); ok {
		s.add(row.Value, sign)
	}
}

// add adds what a row says, or takes it off. A row that does not read counts nothing.
func (s *states) add(value []byte, sign int64) {
	r := protocol.NewReader(value)
	if len(value) == 0 || r.ArrayLen() != len(s.sums) {
		return
	}
	for i := range s.sums {
		s.sums[i] += sign * r.Int()
	}
}
