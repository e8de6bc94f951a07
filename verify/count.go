package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/structures/did"
	"github.com/quorate/quorate/structures/drate"
)

// CheckSum reports whether a counter that began at 0 and was only added to has
// a possible value: the sum of acknowledged deltas, and of any of those whose
// outcome is unknown.
func CheckSum(value int64, acknowledged, unknown []int64) error {
	low, high := int64(0), int64(0)
	for _, n := range acknowledged {
		low, high = low+n, high+n
	}
	for _, n := range unknown {
		low, high = low+min(n, 0), high+max(n, 0)
	}
	if value < low || value > high {
		return fmt.Errorf("the counter is %d, not within %d to %d", value, low, high)
	}
	return nil
}

// Elements is what happened to the elements of a queue. Each element was put
// once, under a value of its own.
type Elements struct {
	Put          []string // acknowledged
	PutUnknown   []string // may be in the queue
	Taken        []string // by all, in any order
	TakesUnknown int      // Takes that may each have taken one element
	Left         []string // in the queue at the end
}

// CheckElements reports whether each element was taken at most once, came from
// a Put, and, if it was acknowledged, was taken or is left.
func CheckElements(e Elements) error {
	var errs []error
	put := map[string]bool{}
	for _, v := range e.PutUnknown {
		put[v] = true
	}
	for _, v := range e.Put {
		put[v] = true
	}
	seen := map[string]int{}
	for _, list := range [][]string{e.Taken, e.Left} {
		for _, v := range list {
			if seen[v]++; seen[v] == 2 {
				errs = append(errs, fmt.Errorf("element %q is there twice, in what was taken and what is left", v))
			}
			if !put[v] {
				errs = append(errs, fmt.Errorf("element %q was never put", v))
			}
		}
	}
	var missing []string
	for _, v := range e.Put {
		if seen[v] == 0 {
			missing = append(missing, v)
		}
	}
	if len(missing) > e.TakesUnknown {
		errs = append(errs, fmt.Errorf("%d acknowledged elements are lost, and only %d takes are unknown: %.20q",
			len(missing), e.TakesUnknown, missing))
	}
	return errors.Join(errs...)
}

// IDs records the ids of one name that all clients get. It is safe for concurrent use.
type IDs struct {
	mu     sync.Mutex // guards what follows
	takers []*IDTaker
}

// IDTaker records the ids of one handle, whose calls come one after the other.
type IDTaker struct {
	all   *IDs
	ids   *did.Sequence
	given []int64
}

// Taker returns the recorder of a handle.
func (i *IDs) Taker(s *did.Sequence) *IDTaker {
	i.mu.Lock()
	defer i.mu.Unlock()
	t := &IDTaker{all: i, ids: s}
	i.takers = append(i.takers, t)
	return t
}

// Next records did.Sequence.Next.
func (t *IDTaker) Next(ctx context.Context) (int64, error) {
	id, err := t.ids.Next(ctx)
	if err == nil {
		t.all.mu.Lock()
		defer t.all.mu.Unlock()
		t.given = append(t.given, id)
	}
	return id, err
}

// Given returns the ids of each handle, in the order of its calls.
func (i *IDs) Given() (lists [][]int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, t := range i.takers {
		lists = append(lists, t.given)
	}
	return lists
}

// CheckIDs reports whether all ids that handles have given out are different, and those of
// each handle grow.
func CheckIDs(lists [][]int64) error {
	var errs []error
	seen := map[int64]int{}
	for i, given := range lists {
		last := int64(0)
		for _, id := range given {
			if other, twice := seen[id]; twice {
				errs = append(errs, fmt.Errorf("handles %d and %d have given out %d", other, i, id))
			}
			if id <= last {
				errs = append(errs, fmt.Errorf("handle %d has given out %d after %d", i, id, last))
			}
			seen[id], last = i, id
		}
	}
	return errors.Join(errs...)
}

// RateGrant is a grant of a rate limit: drate.Limit.Allow or Wait that has spent N tokens. Its
// times are nanoseconds.
type RateGrant struct{ Call, Return, N int64 }

// CheckRate reports whether a limit has never granted more than its burst and its rate: of
// all grants that lie between a call and a return the tokens are no more than burst, and what
// comes in that time.
func CheckRate(grants []RateGrant, rate int64, per time.Duration, burst int64) error {
	if rate < 1 || rate > drate.MaxTokens || per <= 0 {
		return fmt.Errorf("a rate of %d in %v", rate, per)
	}
	grants = slices.Clone(grants)
	slices.SortFunc(grants, func(a, b RateGrant) int { return cmp.Compare(a.Return, b.Return) })
	for _, first := range grants {
		sum := int64(0)
		for _, g := range grants {
			if g.Call < first.Call {
				continue
			}
			sum += g.N
			took := g.Return - first.Call
			if most := burst + int64(float64(took)*float64(rate)/float64(per)) + 1; sum > most {
				return fmt.Errorf("%d tokens in %v, at %d in %v and a burst of %d", sum, time.Duration(took), rate, per, burst)
			}
		}
	}
	return nil
}
