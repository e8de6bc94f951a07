package txn

import (
	"context"
	"fmt"
	"strings"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// OpError is the error of a transaction one of whose operations was refused: nothing has
// changed. It Is the error that the operation has by itself, for example dmap.ErrConflict,
// and [quorate.SafeToRetry].
type OpError struct {
	Else  bool // the operation is one of Else
	Index int  // of the operation in its branch
	Err   error
}

func (e *OpError) Error() string {
	return fmt.Sprintf("commit: operation %d of %s was refused, nothing has changed: %v", e.Index, branchName(e.Else), e.Err)
}

// Unwrap returns the error of the operation.
func (e *OpError) Unwrap() error { return e.Err }

func branchName(isElse bool) string {
	if isElse {
		return "Else"
	}
	return "Then"
}

// Txn is a transaction that is being put together. It is committed once, and not for
// concurrent use.
type Txn struct {
	inv        structures.Invoker
	conditions []structures.TxnTest
	then, or   []structures.TxnStep
	committed  bool
}

// New returns an empty transaction. It does no I/O.
func New(inv structures.Invoker) *Txn { return &Txn{inv: inv} }

// If adds conditions. All of them must hold for Then to be carried out; without any Then
// always is.
func (t *Txn) If(conditions ...structures.TxnTest) *Txn {
	t.conditions = append(t.conditions, conditions...)
	return t
}

// Then adds operations that are carried out if all conditions hold.
func (t *Txn) Then(steps ...structures.TxnStep) *Txn {
	t.then = append(t.then, steps...)
	return t
}

// Else adds operations that are carried out if a condition does not hold.
func (t *Txn) Else(steps ...structures.TxnStep) *Txn {
	t.or = append(t.or, steps...)
	return t
}

// Commit carries the transaction out, and reports whether all conditions held. The results
// of operations are those of their Result then.
//
// Errors: an [*OpError] if an operation was refused; [structures.ErrNotCollocated];
// [quorate.ErrTooLarge] if the transaction or its results are; [quorate.ErrInvalid] for an
// operation that cannot be made, for a transaction without any, for one that was committed
// before, and for operations of another client's handles; [quorate.ErrSessionLost] if a hold
// in a condition belongs to a session that has ended; and those of any mutation, such as
// [quorate.ErrOutcomeUnknown].
func (t *Txn) Commit(ctx context.Context) (bool, error) {
	if t.committed {
		return false, fail(quorate.ErrInvalid, "it was committed before")
	}
	t.committed = true
	call, err := t.call()
	if err != nil {
		return false, t.settle(err)
	}
	for _, s := range t.steps() {
		if begin := s.Part().Begin; begin != nil {
			begin()
		}
	}
	reply, err := t.inv.Invoke(ctx, call)
	if err != nil {
		return false, t.settle(err)
	}
	var r structures.TxnResult
	if bad := r.Read(reply.Body); bad != nil {
		return false, t.settle(garbled(bad))
	}
	branch := t.then
	if r.Outcome == structures.TxnElse || r.Outcome == structures.TxnElseRefused {
		branch = t.or
	}
	if r.Outcome >= structures.TxnThenRefused {
		if len(r.Answers) != 1 || r.Index >= len(branch) {
			return false, t.settle(garbled(protocol.ErrMalformed))
		}
		part := branch[r.Index].Part()
		return false, t.settle(&OpError{
			Else: r.Outcome == structures.TxnElseRefused, Index: r.Index, Err: part.Handle.Refusal(part.Call.Verb, r.Answers[0]),
		})
	}
	if len(r.Answers) != len(branch) {
		return false, t.settle(garbled(protocol.ErrMalformed))
	}
	for i, s := range branch {
		a := r.Answers[i]
		s.Settle(structures.Reply{Code: a.Code, Body: a.Body, Version: reply.Version, Lease: reply.Lease}, nil)
	}
	return r.Outcome == structures.TxnThen, nil
}

// steps returns all operations.
func (t *Txn) steps() []structures.TxnStep {
	return append(append([]structures.TxnStep(nil), t.then...), t.or...)
}

// settle tells the operations that they were not carried out, and returns why. Where that
// is not known it is their error, too.
func (t *Txn) settle(err error) error {
	for _, s := range t.steps() {
		if s != nil {
			s.Settle(structures.Reply{}, fmt.Errorf("%w: %w", structures.ErrNotRun, err))
		}
	}
	return err
}

// call checks the transaction and returns its call.
func (t *Txn) call() (structures.Call, error) {
	parts, err := t.parts()
	if err != nil {
		return structures.Call{}, err
	}
	if err := collocated(parts); err != nil {
		return structures.Call{}, err
	}
	var body structures.TxnBody
	var lease context.Context
	for i, p := range parts {
		if own := p.Call.Lease; own != nil {
			if lease != nil && lease != own {
				return structures.Call{}, fail(quorate.ErrSessionLost, "its holds are of two sessions, and one of them has ended")
			}
			lease = own
		}
		switch {
		case i < len(t.conditions):
			body.If = append(body.If, p.Item())
		case i < len(t.conditions)+len(t.then):
			body.Then = append(body.Then, p.Item())
		default:
			body.Else = append(body.Else, p.Item())
		}
	}
	encoded := body.Append(nil)
	limits := t.inv.Limits()
	if most := int(limits.Body()); len(encoded) > most {
		return structures.Call{}, fail(quorate.ErrTooLarge, fmt.Sprintf("it has %d bytes, at most %d", len(encoded), most))
	}
	of := parts[0].Call
	of.Verb, of.Label = "commit", "transaction"
	return structures.TxnCall(&of, encoded, lease), nil
}

// parts returns the conditions and operations, in this order.
func (t *Txn) parts() ([]*structures.TxnPart, error) {
	var parts []*structures.TxnPart
	for i := range t.conditions {
		parts = append(parts, t.conditions[i].Part())
	}
	for i, s := range t.steps() {
		if s == nil {
			return nil, fail(quorate.ErrInvalid, fmt.Sprintf("operation %d is nil", i))
		}
		parts = append(parts, s.Part())
	}
	switch n := len(parts); {
	case n == len(t.conditions):
		return nil, fail(quorate.ErrInvalid, "it has no operation")
	case n > structures.MaxTxnOps:
		return nil, fail(quorate.ErrTooLarge, fmt.Sprintf("it has %d conditions and operations, at most %d", n, structures.MaxTxnOps))
	}
	for _, p := range parts {
		switch {
		case p.Err != nil:
			return nil, p.Err
		case p.Call.Verb == "":
			return nil, fail(quorate.ErrInvalid, "a condition was not made by a handle")
		case !p.Uses(t.inv):
			return nil, fail(quorate.ErrInvalid, p.Object()+" is of another client's handle")
		}
	}
	return parts, nil
}

// collocated returns an error for parts in different partitions, which names them.
func collocated(parts []*structures.TxnPart) error {
	apart := false
	var where []string
	named := map[string]bool{}
	for _, p := range parts {
		apart = apart || p.Call.Partition != parts[0].Call.Partition
		if o := p.Object(); !named[o] {
			named[o] = true
			where = append(where, fmt.Sprintf("%s is in partition %d", o, p.Call.Partition))
		}
	}
	if !apart {
		return nil
	}
	return fail(structures.ErrNotCollocated, strings.Join(where, ", ")+"; give them one {tag}")
}

func fail(cause error, detail string) error {
	return &quorate.Error{Op: "commit", Object: "transaction", Cause: cause, Detail: detail}
}

// garbled returns the error of a transaction that may have been carried out, but whose
// result is not understood.
func garbled(cause error) error {
	return &quorate.Error{Op: "commit", Object: "transaction", Cause: cause, Unknown: true}
}
