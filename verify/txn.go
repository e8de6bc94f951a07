package verify

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/txn"
)

// Txn records transactions over a map, a counter and a queue of one tag, which are
// linearizable together.
type Txn struct {
	recorder
	inv     structures.Invoker
	entries *dmap.Map[string, string]
	counter *dcounter.Counter
	queue   *dqueue.Queue[string]
}

// NewTxn returns a recorder for one client. The tag is {tag}, and part of the names.
func NewTxn(h *History, client int, tag string, inv structures.Invoker) *Txn {
	return &Txn{
		recorder{h, client, object{kind: transactions, name: tag}},
		inv,
		dmap.New[string, string](inv, tag+"map"), dcounter.New(inv, tag+"counter"), dqueue.New[string](inv, tag+"queue"),
	}
}

// TxnOp is an operation, or a condition, of a recorded transaction.
type TxnOp uint8

// The operations and conditions.
const (
	TxnGet    TxnOp = iota + 1 // of the map: the value of Key
	TxnPut                     // of the map: Key becomes Value
	TxnRemove                  // of the map: Key is removed, and its value returned
	TxnCount                   // of the counter: its value
	TxnAdd                     // to the counter: N
	TxnOffer                   // to the queue: Value
	TxnPoll                    // of the queue: its head
	TxnLen                     // of the queue
	TxnRefuse                  // it is always refused, and all with it

	TxnIfAbsent  // Key is not in the map
	TxnIfValue   // Key has Value
	TxnIfAtLeast // the counter is at least N
	TxnIfEmpty   // the queue has no element
)

// TxnStep is an operation or a condition with what it is about.
type TxnStep struct {
	Op         TxnOp
	Key, Value string
	N          int64
}

// TxnPlan is what a transaction is to do. Values hold no commas.
type TxnPlan struct{ If, Then, Else []TxnStep }

// txnInput is a plan.
type txnInput struct{ plan *TxnPlan }

// txnOutput is what came of it.
type txnOutput struct {
	yes     bool
	refused bool // by an operation of the branch
	results string
}

// Commit carries a plan out, and records it.
func (t *Txn) Commit(ctx context.Context, p TxnPlan) error {
	tx := txn.New(t.inv)
	for _, c := range p.If {
		tx.If(t.condition(c))
	}
	results := map[bool][]func() string{}
	for _, branch := range []bool{true, false} {
		steps := p.Then
		if !branch {
			steps = p.Else
		}
		for _, s := range steps {
			step, result := t.step(s)
			if results[branch] = append(results[branch], result); branch {
				tx.Then(step)
			} else {
				tx.Else(step)
			}
		}
	}
	call := t.history.now()
	yes, err := tx.Commit(ctx)
	var refused *txn.OpError
	switch {
	case err == nil:
		out := txnOutput{yes: yes}
		for _, f := range results[yes] {
			out.results += f() + ","
		}
		t.record(call, txnInput{&p}, out, nil)
	case errors.As(err, &refused) && !unknown(err):
		t.record(call, txnInput{&p}, txnOutput{yes: !refused.Else, refused: true}, nil)
		return nil
	default:
		t.record(call, txnInput{&p}, nil, err)
	}
	return err
}

// Get records a read of a key of the map outside of a transaction.
func (t *Txn) Get(ctx context.Context, key string) error {
	call := t.history.now()
	v, _, err := t.entries.Get(ctx, key)
	if err == nil {
		t.record(call, txnInput{&TxnPlan{Then: []TxnStep{{Op: TxnGet, Key: key}}}}, txnOutput{yes: true, results: v + ","}, nil)
	}
	return err
}

// condition makes a condition.
func (t *Txn) condition(s TxnStep) structures.TxnTest {
	switch s.Op {
	case TxnIfAbsent:
		return t.entries.Txn().IfAbsent(s.Key)
	case TxnIfValue:
		return t.entries.Txn().IfValue(s.Key, s.Value)
	case TxnIfAtLeast:
		return t.counter.Txn().IfAtLeast(s.N)
	case TxnIfEmpty:
		return t.queue.Txn().IfEmpty()
	}
	panic(fmt.Sprintf("verify: %d is no condition of a transaction", s.Op))
}

// step makes an operation, and what returns its result afterwards.
func (t *Txn) step(s TxnStep) (structures.TxnStep, func() string) {
	none := func() string { return "" }
	found := func(f *structures.TxnFound[string]) (structures.TxnStep, func() string) {
		return f, func() string { v, _, _ := f.Result(); return v }
	}
	switch s.Op {
	case TxnGet:
		return found(t.entries.Txn().Get(s.Key))
	case TxnPut:
		return t.entries.Txn().Put(s.Key, s.Value), none
	case TxnRemove:
		return found(t.entries.Txn().Remove(s.Key))
	case TxnCount:
		n := t.counter.Txn().Get()
		return n, func() string { v, _ := n.Result(); return fmt.Sprint(v) }
	case TxnAdd:
		n := t.counter.Txn().Add(s.N)
		return n, func() string { v, _ := n.Result(); return fmt.Sprint(v) }
	case TxnOffer:
		return t.queue.Txn().Offer(s.Value), none
	case TxnPoll:
		return found(t.queue.Txn().Poll())
	case TxnLen:
		n := t.queue.Txn().Len()
		return n, func() string { v, _ := n.Result(); return fmt.Sprint(v) }
	case TxnRefuse:
		return t.entries.Txn().Replace("nobody", 1, ""), none
	}
	panic(fmt.Sprintf("verify: %d is no operation of a transaction", s.Op))
}
