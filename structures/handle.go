package structures

import (
	"context"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// Handle is what the typed handles of all rooms are made of: it makes the calls
// of one structure, and names the structure in errors. It is safe for
// concurrent use.
type Handle struct {
	inv   Invoker
	kind  protocol.KindID
	label string
	name  string
	bad   error // of the handle itself: every call's error
}

// NewHandle returns the handle of the structure of a kind and name. A bad name,
// or a bad that is not nil, is the error of every call.
func NewHandle(inv Invoker, kind Kind, name string, bad error) Handle {
	if err := CheckName(name, inv.Limits()); err != nil {
		bad = err
	}
	return Handle{inv: inv, kind: kind.ID, label: kind.Name, name: name, bad: bad}
}

// Name returns the name of the structure.
func (h *Handle) Name() string { return h.name }

// Object names the structure for an error: "map users".
func (h *Handle) Object() string { return h.label + " " + h.name }

// Limits returns the limits of the grid.
func (h *Handle) Limits() protocol.Limits { return h.inv.Limits() }

// Partitions returns how many partitions there are.
func (h *Handle) Partitions() int { return h.inv.Partitions() }

// Partition returns where an encoded key lives; nil for a structure without
// keys, and for what a structure keeps once.
func (h *Handle) Partition(key []byte) protocol.PartitionID { return h.inv.Partition(h.name, key) }

// Call returns a call; the verb names the operation for errors.
func (h *Handle) Call(verb string, op protocol.Op, flags protocol.Flags, p protocol.PartitionID, body []byte) Call {
	return Call{
		Kind: h.kind, Op: op, Verb: verb, Label: h.label, Name: h.name,
		Partition: p, Flags: flags, Body: body,
	}
}

// Invoke carries out a call of the structure.
func (h *Handle) Invoke(ctx context.Context, call Call) (Reply, error) {
	if h.bad != nil {
		return Reply{}, h.Fail(call.Verb, h.bad, "")
	}
	return h.inv.Invoke(ctx, call)
}

// InvokeAll carries out many calls of the structure; the i-th answer is that of
// calls[i].
func (h *Handle) InvokeAll(ctx context.Context, calls []Call) ([]Reply, []error) {
	if h.bad != nil {
		errs := make([]error, len(calls))
		for i := range calls {
			errs[i] = h.Fail(calls[i].Verb, h.bad, "")
		}
		return make([]Reply, len(calls)), errs
	}
	return h.inv.InvokeAll(ctx, calls)
}

// Fail returns the error of an operation that changed nothing.
func (h *Handle) Fail(verb string, cause error, detail string) error {
	return &quorate.Error{Op: verb, Object: h.Object(), Cause: cause, Detail: detail}
}

// Refused returns the error of a reply with a code of the structure's own, for
// which cause stands; what the member says about it is the detail.
func (h *Handle) Refused(verb string, cause error, reply Reply) error {
	var p protocol.Problem
	_ = p.Decode(reply.Body) // a detail that cannot be read is no detail
	return h.Fail(verb, cause, p.Detail)
}

// Garbled returns the error of an answer that cannot be understood, by a code
// or a body: the operation may well have been carried out.
func (h *Handle) Garbled(verb string, reply Reply) error {
	e := &quorate.Error{Op: verb, Object: h.Object(), Cause: protocol.ErrMalformed, Unknown: true}
	if reply.Code != protocol.CodeOK {
		e.Cause, e.Unknown = quorate.ErrUnsupported, false
		e.Detail = "an answer this client does not know"
	}
	return e
}
