package verify

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Outcome is the answer of a check.
type Outcome string

// The outcomes of a check.
const (
	Linearizable Outcome = "linearizable"
	Illegal      Outcome = "not linearizable"
	Undecided    Outcome = "undecided" // the time was up
)

// Verdict is what Check found. An illegal object wins over undecided ones.
type Verdict struct {
	Outcome Outcome
	Object  string // the first that is not linearizable, or undecided
	Checked int    // operations

	model porcupine.Model
	info  porcupine.LinearizationInfo
}

// String says the outcome in a line.
func (v Verdict) String() string {
	if v.Outcome == Linearizable {
		return fmt.Sprintf("linearizable: %d operations", v.Checked)
	}
	return fmt.Sprintf("%s: %s", v.Outcome, v.Object)
}

// Visualize writes a page that shows the history of the verdict's object, and
// how far it could be explained.
func (v Verdict) Visualize(path string) error {
	if v.Object == "" {
		return fmt.Errorf("visualize: nothing to show: %s", v.Outcome)
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("visualize: %w", err)
	}
	if err := porcupine.Visualize(v.model, v.info, f); err != nil {
		_ = f.Close()
		return fmt.Errorf("visualize: %w", err)
	}
	return f.Close()
}

// Check decides whether every object of a history is linearizable, and takes
// about limit at most. No call may be in flight.
func Check(h *History, limit time.Duration) Verdict {
	deadline := time.Now().Add(limit)
	h.mu.Lock()
	byObject := map[object][]porcupine.Operation{}
	ops := h.operations()
	for i := range ops {
		op := &ops[i]
		byObject[op.Object] = append(byObject[op.Object], porcupine.Operation{
			ClientId: op.Client, Input: h.context(op), Call: op.Call, Output: op.Output, Return: op.Return,
		})
	}
	total := len(ops)
	h.mu.Unlock()

	objects := make([]object, 0, len(byObject))
	for o := range byObject {
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(a, b object) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), strings.Compare(a.name, b.name), strings.Compare(a.key, b.key))
	})
	verdict := Verdict{Outcome: Linearizable, Checked: total}
	for _, o := range objects {
		model := checkers[o.kind].model
		left := max(time.Until(deadline), time.Millisecond)
		result, info := porcupine.CheckOperationsVerbose(model, byObject[o], left)
		if result == porcupine.Ok || result == porcupine.Unknown && verdict.Outcome == Undecided {
			continue
		}
		verdict = Verdict{Outcome: Undecided, Object: o.String(), Checked: total, model: model, info: info}
		if result == porcupine.Illegal {
			verdict.Outcome = Illegal
			return verdict
		}
	}
	return verdict
}

// context adds to an operation what it needs to know of others: whether there may
// have been waiting calls that it was not allowed to overtake.
func (h *History) context(op *Operation) any {
	check := checkers[op.Object.kind]
	if check.contended == nil {
		return op.Input
	}
	return check.contended(op, func(puts bool) bool {
		return slices.ContainsFunc(h.line, func(w wait) bool {
			return w.object == op.Object && w.puts == puts && w.call <= op.Return && op.Call <= w.end
		})
	})
}

// checker is how the objects of a kind are checked.
type checker struct {
	name  string // of the kind
	keyed bool   // each key is an object of its own
	model porcupine.Model
	// contended, if not nil, returns the input of an operation. It marks the input if
	// the operation gave way to waiting calls; overlaps reports whether some waited at
	// the time, of a queue to put or to take.
	contended func(op *Operation, overlaps func(puts bool) bool) any
}

// checkers by kind of object.
var checkers = map[kind]*checker{
	counters:     &counterChecker,
	registers:    &registerChecker,
	semaphores:   &semaphoreChecker,
	queues:       &queueChecker,
	locks:        &lockChecker,
	rwlocks:      &lockChecker,
	latches:      &latchChecker,
	elections:    &electionChecker,
	refs:         &refChecker,
	services:     &serviceChecker,
	presences:    &presenceChecker,
	transactions: &txnChecker,
}

// String names the object.
func (o object) String() string {
	check := checkers[o.kind]
	s := check.name + " " + o.name
	if check.keyed {
		s += fmt.Sprintf(" key %q", o.key)
	}
	return s
}
