package structures

import (
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// emptyBody is an array without elements. Its capacity is its length, so an append
// copies.
var emptyBody = protocol.AppendArray(make([]byte, 0, 1), 0)

// Destroy removes the structure with its settings. Calls that wait return
// [quorate.ErrDestroyed]. The name can be used again at once. A structure that is spread
// over partitions is not removed at one moment; after an error part of it may be left,
// and Destroy may be called again.
func (h *Handle) Destroy(ctx context.Context) error {
	_, err := h.InvokeEach(ctx, h.Everywhere("destroy", OpDestroy, 0, emptyBody))
	return err
}

// Len returns how many things the structure holds, in the Unit of its kind: the sum of
// what each partition had at some moment of the call. For a structure that is spread
// over partitions [Seen] is [quorate.ErrInvalid], because there is no one version.
func (h *Handle) Len(ctx context.Context, opts ...ReadOption) (int64, error) {
	const verb = "get the length of"
	reading := ReadWith(opts)
	if reading.Seen != nil && h.kind.Keyed {
		return 0, h.Fail(verb, quorate.ErrInvalid, "a read of all partitions sees no one version")
	}
	replies, err := h.InvokeEach(ctx, h.Everywhere(verb, OpLength, reading.Flags, emptyBody))
	if err != nil {
		return 0, err
	}
	total := int64(0)
	for i := range replies {
		var n int64
		if protocol.ReadInts(replies[i].Body, &n) != nil {
			return 0, h.Garbled(verb, replies[i])
		}
		total += n
	}
	if reading.Seen != nil {
		reading.Saw(replies[0])
	}
	return total, nil
}

// Configure sets the settings of the structure, once; those not given are at their
// defaults. The same settings again are no error.
//
// Errors: [quorate.ErrSettings], which names the settings in force, for others;
// [quorate.ErrInvalid] for unknown names and values out of range. After any other error
// it may be called again; until then parts of a structure that is spread over partitions
// may lack the settings.
func (h *Handle) Configure(ctx context.Context, settings ...Setting) error {
	const verb = "configure"
	settings = lastByName(settings)
	body := appendConfigure(nil, settings)
	if _, err := h.kind.ReadConfigure(OpConfigure, body); err != nil && h.bad == nil {
		return h.Fail(verb, err, "")
	}
	home := h.Partition(nil)
	reply, err := h.Invoke(ctx, h.Call(verb, OpConfigure, 0, home, body))
	if err != nil {
		return err
	}
	r := protocol.NewReader(reply.Body)
	r.Array(1)
	agreed := Settings{Version: protocol.Version(r.Uint()), List: settings}
	if r.Done() != nil {
		return h.Garbled(verb, reply)
	}
	if !h.kind.Keyed {
		return nil
	}
	calls := h.Everywhere(verb, OpAdopt, 0, agreed.Append(nil))
	_, err = h.InvokeEach(ctx, append(calls[:home], calls[home+1:]...))
	return err
}

// Settings returns all settings of the structure with their values in force, and the
// version of the mutation that set them; 0: none has.
func (h *Handle) Settings(ctx context.Context) ([]Setting, protocol.Version, error) {
	const verb = "get the settings of"
	reply, err := h.Invoke(ctx, h.Call(verb, OpSettings, protocol.FlagRead, h.Partition(nil), emptyBody))
	if err != nil {
		return nil, 0, err
	}
	s, err := ReadSettings(reply.Body)
	if err != nil {
		return nil, 0, h.Garbled(verb, reply)
	}
	return s.List, s.Version, nil
}

// Everywhere returns a call for each partition that has a part of the structure.
func (h *Handle) Everywhere(verb string, op protocol.Op, flags protocol.Flags, body []byte) []Call {
	if !h.kind.Keyed {
		return []Call{h.Call(verb, op, flags, h.Partition(nil), body)}
	}
	calls := make([]Call, h.Partitions())
	for p := range calls {
		calls[p] = h.Call(verb, op, flags, protocol.PartitionID(p), body)
	}
	return calls
}

// InvokeEach carries out calls that are one operation for the caller. Its error is the
// first of theirs; it Is [quorate.ErrOutcomeUnknown] if any of them may have changed
// something.
func (h *Handle) InvokeEach(ctx context.Context, calls []Call) ([]Reply, error) {
	if len(calls) == 1 {
		reply, err := h.Invoke(ctx, calls[0])
		return []Reply{reply}, err
	}
	replies, errs := h.InvokeAll(ctx, calls)
	var first error
	done, unknown := 0, false
	for _, err := range errs {
		if err == nil {
			done++
			continue
		}
		unknown = unknown || errors.Is(err, quorate.ErrOutcomeUnknown)
		if first == nil {
			first = err
		}
	}
	if first == nil || done == 0 && !unknown {
		return replies, first
	}
	read := calls[0].Flags&protocol.FlagRead != 0
	e := &quorate.Error{
		Op: calls[0].Verb, Object: h.Object(), Cause: first, Unknown: !read,
		Detail: fmt.Sprintf("done in %d of %d partitions", done, len(calls)),
	}
	if cause, ok := errors.AsType[*quorate.Error](first); ok {
		e.Cause = cause.Cause
	}
	return nil, e
}
