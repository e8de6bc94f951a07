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
		model := models[o.kind]
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

// context adds to an operation what it needs to know of others: whether there
// may have been a line that it was not allowed to pass.
func (h *History) context(op *Operation) any {
	overlaps := func(puts bool) bool {
		return slices.ContainsFunc(h.line, func(w wait) bool {
			return w.object == op.Object && w.puts == puts && w.call <= op.Return && op.Call <= w.end
		})
	}
	switch in := op.Input.(type) {
	case semaphoreInput:
		if out, ok := op.Output.(semaphoreOutput); ok && in.op == semaphoreAcquire && !out.granted && out.err == nil {
			in.contended = overlaps(false)
		}
		return in
	case queueInput:
		if out, ok := op.Output.(queueOutput); ok && (in.op == queuePut && !out.ok || in.op == queuePutAll && out.n < int64(len(in.values))) {
			in.contended = overlaps(true)
		}
		return in
	}
	return op.Input
}

// models by kind of object.
var models = map[kind]porcupine.Model{
	counters:   counterModel,
	registers:  registerModel,
	semaphores: semaphoreModel,
	queues:     queueModel,
}

// String names the object.
func (o object) String() string {
	names := map[kind]string{counters: "counter", registers: "map", semaphores: "semaphore", queues: "queue"}
	s := names[o.kind] + " " + o.name
	if o.kind == registers {
		s += fmt.Sprintf(" key %q", o.key)
	}
	return s
}
