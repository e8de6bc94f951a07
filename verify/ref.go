package verify

import (
	"context"
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/quorate/quorate/structures/dref"
)

// RefKept is how many values a reference must be configured to keep, so that its model
// knows which versions can be rolled back to.
const RefKept = 3

// Ref records what a reference's handle does.
type Ref struct {
	recorder
	ref *dref.Ref[string]
}

// NewRef returns a recorder of a reference for one client.
func NewRef(h *History, client int, name string, r *dref.Ref[string]) *Ref {
	return &Ref{recorder{h, client, object{kind: refs, name: name}}, r}
}

type refOp uint8

const (
	refGet refOp = iota + 1
	refSet
	refSwap
	refSetIfAbsent
	refReplace
	refCompare
	refDelete
	refRollback
)

type refInput struct {
	op         refOp
	value, old string
	version    dref.Version // of replace and rollback
}

// Get records dref.Ref.Entry, which returns the version too.
func (r *Ref) Get(ctx context.Context) (dref.Entry[string], bool, error) {
	call := r.history.now()
	e, ok, err := r.ref.Entry(ctx)
	if err == nil {
		r.record(call, refInput{op: refGet}, registerOutput{existed: ok, value: e.Value, hasValue: ok, version: e.Version}, nil)
	}
	return e, ok, err
}

// Set records dref.Ref.Set.
func (r *Ref) Set(ctx context.Context, value string) error {
	call := r.history.now()
	err := r.ref.Set(ctx, value)
	r.answer(call, refInput{op: refSet, value: value}, registerOutput{}, err)
	return err
}

// Swap records dref.Ref.Swap.
func (r *Ref) Swap(ctx context.Context, value string) (string, bool, error) {
	call := r.history.now()
	old, existed, err := r.ref.Swap(ctx, value)
	r.answer(call, refInput{op: refSwap, value: value}, registerOutput{existed: existed, value: old, hasValue: existed}, err)
	return old, existed, err
}

// SetIfAbsent records dref.Ref.SetIfAbsent.
func (r *Ref) SetIfAbsent(ctx context.Context, value string) (string, bool, error) {
	call := r.history.now()
	existing, set, err := r.ref.SetIfAbsent(ctx, value)
	r.answer(call, refInput{op: refSetIfAbsent, value: value}, registerOutput{existed: !set, value: existing, hasValue: !set}, err)
	return existing, set, err
}

// Replace records dref.Ref.Replace.
func (r *Ref) Replace(ctx context.Context, version dref.Version, value string) (dref.Version, error) {
	call := r.history.now()
	next, err := r.ref.Replace(ctx, version, value)
	in := refInput{op: refReplace, value: value, version: version}
	if is(err, dref.ErrConflict) != nil {
		r.record(call, in, registerOutput{conflict: true}, nil)
	} else {
		r.answer(call, in, registerOutput{version: next}, err)
	}
	return next, err
}

// CompareAndSet records dref.Ref.CompareAndSet.
func (r *Ref) CompareAndSet(ctx context.Context, old, value string) (bool, error) {
	call := r.history.now()
	set, err := r.ref.CompareAndSet(ctx, old, value)
	r.answer(call, refInput{op: refCompare, value: value, old: old}, registerOutput{conflict: !set}, err)
	return set, err
}

// Delete records dref.Ref.Delete.
func (r *Ref) Delete(ctx context.Context) (bool, error) {
	call := r.history.now()
	existed, err := r.ref.Delete(ctx)
	r.answer(call, refInput{op: refDelete}, registerOutput{existed: existed}, err)
	return existed, err
}

// Rollback records dref.Ref.Rollback to a version that Get has returned.
func (r *Ref) Rollback(ctx context.Context, version dref.Version) (dref.Version, error) {
	call := r.history.now()
	next, err := r.ref.Rollback(ctx, version)
	in := refInput{op: refRollback, version: version}
	if is(err, dref.ErrNotKept) != nil {
		r.record(call, in, registerOutput{conflict: true}, nil)
	} else {
		r.answer(call, in, registerOutput{version: next}, err)
	}
	return next, err
}

// reference is the state of a reference: a register, and the values before it, the newest
// first.
type reference struct {
	register
	kept [RefKept]keptValue
}

// keptValue is a value of before; its version is 0 if nobody has seen it.
type keptValue struct {
	value   string
	version dref.Version
}

var refChecker = checker{name: "ref", model: refModel}

// refModel is the model of an entry of a map, with the values before it: what nobody has
// seen the version of cannot be rolled back to.
var refModel = porcupine.Model{
	Init: func() any { return reference{} },
	Step: func(state, input, output any) (bool, any) {
		out, known := output.(registerOutput)
		return state.(reference).step(input.(refInput), out, known)
	},
	DescribeOperation: func(input, output any) string {
		in := input.(refInput)
		names := []string{"", "get", "set", "swap", "set if absent", "replace", "compare and set", "delete", "roll back"}
		return fmt.Sprintf("%s(%q, %q, %d) -> %+v", names[in.op], in.old, in.value, in.version, output)
	},
}

func (s reference) step(in refInput, out registerOutput, known bool) (bool, any) {
	before := !known || out.existed == s.exists && (!out.hasValue || out.value == s.value)
	holds := true // what a conditional operation asks for
	value := in.value
	switch in.op {
	case refGet:
		if !before || !s.exists {
			return before, s
		}
		return s.saw(out.version)
	case refSet:
		return true, s.set(value)
	case refSwap:
		return before, s.set(value)
	case refSetIfAbsent:
		if s.exists {
			return before, s
		}
		return before, s.set(value)
	case refDelete:
		s.keep()
		s.register = register{last: s.last}
		return before, s
	case refReplace:
		holds = !s.exists && in.version == 0 || s.exists && in.version != 0 && s.version == in.version
	case refCompare:
		holds = s.exists && s.value == in.old
	case refRollback:
		value, holds = s.at(in.version)
	}
	switch {
	case !holds:
		return !known || out.conflict, s
	case known && out.conflict:
		return false, s
	case !known || in.op == refCompare:
		return true, s.set(value)
	}
	return s.set(value).saw(out.version)
}

// saw returns the state after its version was seen, and whether it can be it.
func (s reference) saw(v dref.Version) (bool, any) {
	ok, now := s.see(v)
	s.register = now.(register)
	return ok, s
}

// set returns the state with another value.
func (s reference) set(value string) reference {
	s.keep()
	s.register = register{exists: true, value: value, last: s.last}
	return s
}

// keep moves the value of now to those before it.
func (s *reference) keep() {
	if s.exists {
		copy(s.kept[1:], s.kept[:RefKept-1])
		s.kept[0] = keptValue{s.value, s.version}
	}
}

// at returns the value that has or had a version, and whether there is one.
func (s reference) at(v dref.Version) (string, bool) {
	if s.exists && s.version == v {
		return s.value, true
	}
	for _, k := range s.kept {
		if k.version == v {
			return k.value, true
		}
	}
	return "", false
}
