package verify

import (
	"fmt"
	"slices"
	"strings"

	"github.com/anishathalye/porcupine"
)

// txnState is the state of the map, the counter and the queue. Entries and elements are
// followed by a comma each, entries in the order of their keys.
type txnState struct {
	entries string // "key=value,"
	counter int64
	queue   string
}

func (s txnState) get(key string) string {
	for e := range strings.SplitSeq(s.entries, ",") {
		if v, ok := strings.CutPrefix(e, key+"="); ok {
			return v
		}
	}
	return ""
}

func (s txnState) set(key, value string) txnState {
	var all []string
	for e := range strings.SplitSeq(s.entries, ",") {
		if e != "" && !strings.HasPrefix(e, key+"=") {
			all = append(all, e+",")
		}
	}
	if value != "" {
		all = append(all, key+"="+value+",")
	}
	slices.Sort(all)
	s.entries = strings.Join(all, "")
	return s
}

// holds reports whether a condition holds.
func (s txnState) holds(c TxnStep) bool {
	switch c.Op {
	case TxnIfAbsent:
		return s.get(c.Key) == ""
	case TxnIfValue:
		return s.get(c.Key) == c.Value
	case TxnIfAtLeast:
		return s.counter >= c.N
	}
	return s.queue == ""
}

// step returns the state after an operation, and its result.
func (s txnState) step(o TxnStep) (txnState, string) {
	switch o.Op {
	case TxnGet:
		return s, s.get(o.Key)
	case TxnPut:
		return s.set(o.Key, o.Value), ""
	case TxnRemove:
		return s.set(o.Key, ""), s.get(o.Key)
	case TxnAdd:
		s.counter += o.N
		return s, fmt.Sprint(s.counter)
	case TxnCount:
		return s, fmt.Sprint(s.counter)
	case TxnOffer:
		s.queue += o.Value + ","
		return s, ""
	case TxnPoll:
		head, rest, _ := strings.Cut(s.queue, ",")
		s.queue = rest
		return s, head
	}
	return s, fmt.Sprint(strings.Count(s.queue, ","))
}

// run carries a plan out in a state.
func (s txnState) run(p *TxnPlan) (txnState, txnOutput) {
	out := txnOutput{yes: !slices.ContainsFunc(p.If, func(c TxnStep) bool { return !s.holds(c) })}
	steps := p.Then
	if !out.yes {
		steps = p.Else
	}
	now := s
	for _, o := range steps {
		if o.Op == TxnRefuse {
			return s, txnOutput{yes: out.yes, refused: true}
		}
		var result string
		now, result = now.step(o)
		out.results += result + ","
	}
	return now, out
}

var txnChecker = checker{name: "transactions of", model: TxnModel}

// TxnModel is a map, a counter and a queue on which transactions are carried out, each at
// one moment: all of its conditions are tested in one state, and all operations of the
// branch are carried out in it, one after the other, or none.
var TxnModel = porcupine.Model{
	Init: func() any { return txnState{} },
	Step: func(state, input, output any) (bool, any) {
		next, want := state.(txnState).run(input.(txnInput).plan)
		out, known := output.(txnOutput)
		return !known || out == want, next
	},
	DescribeOperation: func(input, output any) string {
		return fmt.Sprintf("%+v -> %+v", *input.(txnInput).plan, output)
	},
}
