package verify

import (
	"strings"
	"sync"
	"time"
)

// timeline is when which fault was in force, until the grid had recovered.
type timeline struct {
	mu    sync.Mutex // guards all
	spans []span
}

type span struct {
	fault, detail string
	from, to      time.Time // to is zero while it lasts
}

// afterEffect is how long after its recovery a grid is not called quiet:
// sessions attach, leaders move back.
const afterEffect = time.Second

func (t *timeline) begin(fault string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans = append(t.spans, span{fault: fault, from: time.Now()})
}

func (t *timeline) detail(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans[len(t.spans)-1].detail = s
}

func (t *timeline) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spans[len(t.spans)-1].to = time.Now()
}

// now names the fault in force.
func (t *timeline) now() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.spans) == 0 {
		return "no fault"
	}
	s := t.spans[len(t.spans)-1]
	if !s.to.IsZero() {
		return "no fault"
	}
	return strings.TrimSpace(s.fault + " " + s.detail)
}

// during names the fault that was in force for most of a span, or has just
// ended when it began.
func (t *timeline) during(from, to time.Time) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	name, most := noFault, time.Duration(0)
	for i := len(t.spans) - 1; i >= 0; i-- {
		s := t.spans[i]
		if !s.to.IsZero() && s.to.Add(afterEffect).Before(from) {
			break
		}
		if o := s.overlap(from, to); o > most {
			name, most = s.fault, o
		} else if name == noFault && s.from.Before(to) {
			name = s.fault
		}
	}
	return name
}

// only reports whether all faults that were in force in a span, or had just
// ended, are such that ok says so.
func (t *timeline) only(from, to time.Time, ok func(fault string) bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.spans {
		after := !s.to.IsZero() && s.to.Add(afterEffect).Before(from)
		if !after && s.from.Before(to) && !ok(s.fault) {
			return false
		}
	}
	return true
}

func (s span) overlap(from, to time.Time) time.Duration {
	if s.from.After(from) {
		from = s.from
	}
	if !s.to.IsZero() && s.to.Before(to) {
		to = s.to
	}
	return to.Sub(from)
}

// noFault stands for a time without a fault.
const noFault = "none"

// quiet returns how much of a span was free of faults.
func (t *timeline) quiet(from, to time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := to.Sub(from)
	covered := from // up to here it is accounted for
	for _, s := range t.spans {
		end := s.to.Add(afterEffect)
		if s.to.IsZero() {
			end = to
		}
		begin := s.from
		if begin.Before(covered) {
			begin = covered
		}
		if end.After(to) {
			end = to
		}
		if end.After(begin) {
			left -= end.Sub(begin)
			covered = end
		}
	}
	return left
}
