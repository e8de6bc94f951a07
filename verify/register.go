package verify

import (
	"context"
	"fmt"

	"github.com/anishathalye/porcupine"

	"github.com/quorate/quorate/structures/dmap"
)

// Map records what a map's handle does. Each key is an object of its own.
// Entries that expire are not modelled.
type Map struct {
	history *History
	client  int
	name    string
	m       *dmap.Map[string, string]
}

// NewMap returns a recorder of a map for one client.
func NewMap(h *History, client int, name string, m *dmap.Map[string, string]) *Map {
	return &Map{h, client, name, m}
}

func (m *Map) recorder(key string) *recorder {
	return &recorder{m.history, m.client, object{kind: registers, name: m.name, key: key}}
}

type registerOp uint8

const (
	registerGet registerOp = iota + 1
	registerPut
	registerSwap
	registerPutIfAbsent
	registerReplace
	registerDelete // also Remove
	registerDeleteVersion
)

type registerInput struct {
	op      registerOp
	value   string
	version dmap.Version // of replace and delete version
}

type registerOutput struct {
	existed  bool // before
	value    string
	hasValue bool         // whether value was returned
	version  dmap.Version // 0: not returned
	conflict bool
}

// Get records dmap.Map.Entry, which returns the version too.
func (m *Map) Get(ctx context.Context, key string) (dmap.Entry[string, string], bool, error) {
	call := m.history.now()
	e, ok, err := m.m.Entry(ctx, key)
	if err == nil {
		m.recorder(key).record(call, registerInput{op: registerGet},
			registerOutput{existed: ok, value: e.Value, hasValue: ok, version: e.Version}, nil)
	}
	return e, ok, err
}

// Put records dmap.Map.Put.
func (m *Map) Put(ctx context.Context, key, value string) error {
	call := m.history.now()
	err := m.m.Put(ctx, key, value)
	m.recorder(key).answer(call, registerInput{op: registerPut, value: value}, registerOutput{}, err)
	return err
}

// Swap records dmap.Map.Swap.
func (m *Map) Swap(ctx context.Context, key, value string) (string, bool, error) {
	call := m.history.now()
	old, existed, err := m.m.Swap(ctx, key, value)
	m.recorder(key).answer(call, registerInput{op: registerSwap, value: value},
		registerOutput{existed: existed, value: old, hasValue: existed}, err)
	return old, existed, err
}

// PutIfAbsent records dmap.Map.PutIfAbsent.
func (m *Map) PutIfAbsent(ctx context.Context, key, value string) (string, bool, error) {
	call := m.history.now()
	existing, stored, err := m.m.PutIfAbsent(ctx, key, value)
	m.recorder(key).answer(call, registerInput{op: registerPutIfAbsent, value: value},
		registerOutput{existed: !stored, value: existing, hasValue: !stored}, err)
	return existing, stored, err
}

// Replace records dmap.Map.Replace.
func (m *Map) Replace(ctx context.Context, key string, version dmap.Version, value string) (dmap.Version, error) {
	call := m.history.now()
	next, err := m.m.Replace(ctx, key, version, value)
	m.versioned(key, call, registerInput{op: registerReplace, value: value, version: version}, next, err)
	return next, err
}

// DeleteVersion records dmap.Map.DeleteVersion.
func (m *Map) DeleteVersion(ctx context.Context, key string, version dmap.Version) error {
	call := m.history.now()
	err := m.m.DeleteVersion(ctx, key, version)
	m.versioned(key, call, registerInput{op: registerDeleteVersion, version: version}, 0, err)
	return err
}

func (m *Map) versioned(key string, call int64, in registerInput, version dmap.Version, err error) {
	if is(err, dmap.ErrConflict) != nil {
		m.recorder(key).record(call, in, registerOutput{conflict: true}, nil)
		return
	}
	m.recorder(key).answer(call, in, registerOutput{version: version}, err)
}

// Delete records dmap.Map.Delete.
func (m *Map) Delete(ctx context.Context, key string) (bool, error) {
	call := m.history.now()
	existed, err := m.m.Delete(ctx, key)
	m.recorder(key).answer(call, registerInput{op: registerDelete}, registerOutput{existed: existed}, err)
	return existed, err
}

// Remove records dmap.Map.Remove.
func (m *Map) Remove(ctx context.Context, key string) (string, bool, error) {
	call := m.history.now()
	old, existed, err := m.m.Remove(ctx, key)
	m.recorder(key).answer(call, registerInput{op: registerDelete},
		registerOutput{existed: existed, value: old, hasValue: existed}, err)
	return old, existed, err
}

// register is the state of one key.
type register struct {
	exists  bool
	value   string
	version dmap.Version // 0: nobody has seen it since the last write
	last    dmap.Version // the largest that was seen
}

var registerChecker = checker{name: "map", keyed: true, model: registerModel}

// registerModel is one entry. A version is learned by the first operation that
// returns it; it must be larger than all seen before, also over a deletion. A
// version that nobody has seen since the last write is no client's, so what
// names a version conflicts with it.
var registerModel = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, input, output any) (bool, any) {
		now, in := state.(register), input.(registerInput)
		out, known := output.(registerOutput)
		before := !known || out.existed == now.exists && (!out.hasValue || out.value == now.value)
		write := register{exists: true, value: in.value, last: now.last}
		destroyed := register{last: now.last}
		switch in.op {
		case registerGet:
			if !before || !now.exists {
				return before, now
			}
			return now.see(out.version)
		case registerPut:
			return true, write
		case registerSwap:
			return before, write
		case registerPutIfAbsent:
			if now.exists {
				write = now
			}
			return before, write
		case registerDelete:
			return before, destroyed
		}
		matches := now.exists && now.version != 0 && now.version == in.version
		switch {
		case !matches:
			return !known || out.conflict, now
		case known && out.conflict:
			return false, now
		case in.op == registerDeleteVersion:
			return true, destroyed
		case !known:
			return true, write
		}
		return write.see(out.version)
	},
	DescribeOperation: func(input, output any) string {
		in := input.(registerInput)
		names := []string{"", "get", "put", "swap", "put if absent", "replace", "delete", "delete version"}
		return fmt.Sprintf("%s(%q, %d) -> %+v", names[in.op], in.value, in.version, output)
	},
}

// see returns the state after its version was seen, and whether it can be it.
func (r register) see(v dmap.Version) (bool, any) {
	if r.version == 0 && v > r.last {
		r.version, r.last = v, v
	}
	return r.version == v, r
}
