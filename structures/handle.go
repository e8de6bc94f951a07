package structures

import (
	"context"
	"fmt"
	"reflect"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// Handle makes the calls of one structure, and names the structure in errors. The typed
// handles of all structure packages are made of it. It is safe for concurrent use.
type Handle struct {
	inv  Invoker
	kind *Kind
	name string
	bad  error // of the handle itself: every call's error
}

// NewHandle returns the handle of the structure of a kind and name. Every call returns
// bad, if it is not nil, or the error of a bad name: [quorate.ErrInvalid] or
// [quorate.ErrTooLarge]. With a nil invoker, as Member.Client is before Member.Ready
// has returned, every call returns [quorate.ErrUnavailable]. The kind must not be
// changed afterwards.
func NewHandle(inv Invoker, kind *Kind, name string, bad error) Handle {
	if v := reflect.ValueOf(inv); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		inv, bad = notReady{}, errNotReady
	}
	if err := CheckName(name, inv.Limits()); err != nil {
		bad = err
	}
	return Handle{inv: inv, kind: kind, name: name, bad: bad}
}

var errNotReady = fmt.Errorf("%w: the member is not ready: wait for Member.Ready", quorate.ErrUnavailable)

// notReady stands for an invoker that is not there.
type notReady struct{}

func (notReady) Invoke(context.Context, Call) (Reply, error) { return Reply{}, errNotReady }

func (notReady) InvokeAll(_ context.Context, calls []Call) ([]Reply, []error) {
	errs := make([]error, len(calls))
	for i := range errs {
		errs[i] = errNotReady
	}
	return make([]Reply, len(calls)), errs
}

func (notReady) Watch(_ context.Context, spec WatchSpec) (WatchStream, error) {
	return nil, &quorate.Error{Op: spec.Verb, Object: spec.Object(), Cause: errNotReady}
}

func (notReady) Partition(string, []byte) protocol.PartitionID { return 0 }

func (notReady) Partitions() int { return 1 }

func (notReady) Limits() protocol.Limits { return protocol.DefaultLimits() }

// Name returns the name of the structure.
func (h *Handle) Name() string { return h.name }

// Object names the structure for an error: "map users".
func (h *Handle) Object() string { return h.kind.Name + " " + h.name }

// Limits returns the limits of the grid.
func (h *Handle) Limits() protocol.Limits { return h.inv.Limits() }

// Partitions returns how many partitions there are.
func (h *Handle) Partitions() int { return h.inv.Partitions() }

// Partition returns the partition of an encoded key. The key is nil for a structure
// without keys, and for what a structure keeps only once.
func (h *Handle) Partition(key []byte) protocol.PartitionID { return h.inv.Partition(h.name, key) }

// Call returns a call; the verb names the operation for errors.
func (h *Handle) Call(verb string, op protocol.Op, flags protocol.Flags, p protocol.PartitionID, body []byte) Call {
	return Call{
		Kind: h.kind.ID, Op: op, Verb: verb, Label: h.kind.Name, Name: h.name,
		Partition: p, Flags: flags, Body: body,
	}
}

// Invoke carries out a call of the structure. A reply with another code than
// [protocol.CodeOK] is returned with an error: for a code of the kind the one that the
// kind describes, for [protocol.CodeTimedOut] [quorate.ErrNotInTime].
func (h *Handle) Invoke(ctx context.Context, call Call) (Reply, error) {
	if h.bad != nil {
		return Reply{}, h.Fail(call.Verb, h.bad, "")
	}
	reply, err := h.inv.Invoke(ctx, call)
	if err == nil && reply.Code != protocol.CodeOK {
		err = h.refused(call.Verb, reply)
	}
	return reply, err
}

// InvokeAll carries out many calls of the structure, each as Invoke does; the i-th
// answer is that of calls[i].
func (h *Handle) InvokeAll(ctx context.Context, calls []Call) ([]Reply, []error) {
	if h.bad != nil {
		errs := make([]error, len(calls))
		for i := range calls {
			errs[i] = h.Fail(calls[i].Verb, h.bad, "")
		}
		return make([]Reply, len(calls)), errs
	}
	replies, errs := h.inv.InvokeAll(ctx, calls)
	for i := range errs {
		if errs[i] == nil && replies[i].Code != protocol.CodeOK {
			errs[i] = h.refused(calls[i].Verb, replies[i])
		}
	}
	return replies, errs
}

// Fail returns the [*quorate.Error] of an operation that changed nothing.
func (h *Handle) Fail(verb string, cause error, detail string) error {
	return &quorate.Error{Op: verb, Object: h.Object(), Cause: cause, Detail: detail}
}

// refused returns the error of a reply whose code is not CodeOK, with the detail that
// the member gave.
func (h *Handle) refused(verb string, reply Reply) error {
	cause := error(nil)
	if reply.Code == protocol.CodeTimedOut {
		cause = quorate.ErrNotInTime
	}
	for i := range h.kind.Codes {
		if h.kind.Codes[i].Code == reply.Code {
			cause = h.kind.Codes[i].Err
		}
	}
	if cause == nil {
		return h.Garbled(verb, reply)
	}
	var p protocol.Problem
	_ = p.Decode(reply.Body) // without a detail that can be read there is none
	return h.Fail(verb, cause, p.Detail)
}

// Unreadable returns the error of a mutation that was carried out, but whose result
// cannot be decoded, or is of no use any more. The detail says what it did.
func (h *Handle) Unreadable(verb string, cause error, did string) error {
	return &quorate.Error{Op: verb, Object: h.Object(), Cause: cause, Unknown: true, Detail: did}
}

// Garbled returns the error of an answer whose code or body is not understood. The
// operation may have been carried out.
func (h *Handle) Garbled(verb string, reply Reply) error {
	// A read has changed nothing; it has no lease.
	e := &quorate.Error{Op: verb, Object: h.Object(), Cause: protocol.ErrMalformed, Unknown: reply.Lease != nil}
	if reply.Code != protocol.CodeOK {
		e.Cause, e.Unknown = quorate.ErrUnsupported, false
		e.Detail = "an answer this client does not know"
	}
	return e
}

// SessionNames returns the names of the clients of sessions, as [SessionNamer] does; none
// if the invoker knows none.
func (h *Handle) SessionNames(ctx context.Context, ids ...protocol.SessionID) map[protocol.SessionID]string {
	n, ok := h.inv.(SessionNamer)
	if !ok || len(ids) == 0 {
		return nil
	}
	return n.SessionNames(ctx, ids...)
}

// NearCache returns the near cache of the structure, nil if its invoker keeps none. Its
// error is that of [Cacher].
func (h *Handle) NearCache(spec NearSpec) (NearCache, error) {
	c, ok := h.inv.(Cacher)
	if !ok {
		return nil, nil
	}
	spec.Kind, spec.Label, spec.Name = h.kind.ID, h.kind.Name, h.name
	return c.NearCache(spec)
}

// SetBad makes an error that of every call, unless there is one already.
func (h *Handle) SetBad(err error) {
	if h.bad == nil {
		h.bad = err
	}
}
