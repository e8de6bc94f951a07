package dref

import (
	"bytes"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestConformance(t *testing.T) {
	structurestest.Run(t, Kind(), func() structurestest.Model { return new(model) })
}

func FuzzMachine(f *testing.F) {
	v := testValues[0]
	structurestest.Fuzz(f, Kind(),
		op(opGet), op(opSet, v), op(opSwap, v), op(opSetIfAbsent, v), op(opReplace, v, uint64(1)), op(opCompare, v, v),
		op(opDelete), op(opHistory, uint64(0), uint64(100)), op(opRollback, uint64(2)))
}

var testValues = [][]byte{{1, 0x01}, {1, 0x02}, {1, 0x61, 'x'}, {2, '1'}, {3}}

// op returns an operation: []byte for values and uint64 for versions and sizes.
func op(code protocol.Op, fields ...any) structurestest.Op {
	o := structurestest.Op{Op: code, Body: protocol.AppendArray(nil, len(fields)), Text: fmt.Sprintf("op %d %v", code, fields)}
	for _, f := range fields {
		switch f := f.(type) {
		case []byte:
			o.Body = protocol.AppendBytes(o.Body, f)
		case uint64:
			o.Body = protocol.AppendUint(o.Body, f)
		case bool:
			o.Body = protocol.AppendBool(o.Body, f)
		}
	}
	if code == opGet || code == opHistory {
		o.Flags = protocol.FlagRead
	}
	return o
}

// model is a list of values, the last of which is that of now, unless it was deleted. The
// version of a write is known only when its answer has come: until then it is 0, and nobody
// can name it.
type model struct {
	structurestest.Plain
	now  *modelValue // nil: there is none
	kept []*modelValue
	keep int64
	seen []Version // that values have had
}

type modelValue struct {
	value   []byte
	version Version
}

// Settings implements structurestest.Configured.
func (m *model) Settings(t *rapid.T) []structures.Setting {
	return []structures.Setting{Keep(rapid.SampledFrom([]int{0, 1, 3, MaxKept}).Draw(t, "keep"))}
}

// Configure implements structurestest.Configured.
func (m *model) Configure(s *structures.Settings) { m.keep = s.Value(keepSetting).Int }

func (m *model) Destroy() { m.now, m.kept, m.keep = nil, nil, 0 }

func (m *model) Generate(t *rapid.T) structurestest.Op {
	value := rapid.SampledFrom(testValues).Draw(t, "value")
	old := rapid.SampledFrom(testValues).Draw(t, "old")
	if m.now != nil && rapid.Bool().Draw(t, "right value") {
		old = m.now.value
	}
	version := uint64(0)
	switch {
	case m.now != nil && rapid.Bool().Draw(t, "right version"):
		version = uint64(m.now.version)
	case len(m.seen) > 0 && rapid.IntRange(0, 3).Draw(t, "none") > 0:
		version = uint64(rapid.SampledFrom(m.seen).Draw(t, "old version"))
	}
	size := rapid.SampledFrom([]uint64{0, 3, 1 << 20}).Draw(t, "bytes")
	return rapid.SampledFrom([]structurestest.Op{
		op(opGet), op(opSet, value), op(opSwap, value), op(opSetIfAbsent, value), op(opReplace, value, version),
		op(opCompare, old, value), op(opDelete), op(opHistory, version, size), op(opRollback, version),
	}).Draw(t, "operation")
}

func (m *model) Read(o structurestest.Op, _ protocol.LogTime) structurestest.Answer {
	if o.Op == opHistory {
		return structurestest.Answer{Match: func(body []byte, _ protocol.Version) error { return m.matchHistory(o, body) }}
	}
	if m.now == nil {
		return structurestest.OK(0, nothing)
	}
	return structurestest.OK(0, op(0, m.now.value, uint64(m.now.version)).Body)
}

// matchHistory asks that a page has the first values from a version on: all of them, or as
// many as fit and at least one.
func (m *model) matchHistory(o structurestest.Op, body []byte) error {
	a, err := readArgs(o.Op, o.Body)
	must(err)
	all := m.kept
	if m.now != nil {
		all = append(all[:len(all):len(all)], m.now)
	}
	var want []*modelValue
	for _, v := range all {
		if v.version >= a.version {
			want = append(want, v)
		}
	}
	n, size := 0, 0
	for _, v := range want {
		if size += len(v.value); n > 0 && size > int(a.maxBytes) && a.maxBytes < 100 {
			break
		}
		n++
		size += 3 // at most what is around it
	}
	r := protocol.NewReader(body)
	got := (r.ArrayLen() - 1) / 2
	if next := r.Uint(); got > len(want) || got < min(n, 1) || a.maxBytes > 100 && got < len(want) || (next == 0) != (got == len(want)) || next != 0 && next != uint64(want[got].version) {
		return fmt.Errorf("%d values of %d, and %d is next", got, len(want), next)
	}
	for _, v := range want[:got] {
		if version, value := r.Uint(), r.Bytes(); version != uint64(v.version) || !bytes.Equal(value, v.value) {
			return fmt.Errorf("version %d %x, want %d %x", version, value, v.version, v.value)
		}
	}
	return r.Done()
}

func (m *model) Apply(call structurestest.Call, _ protocol.LogTime) []structurestest.Answer {
	return []structurestest.Answer{m.apply(call)}
}

func (m *model) apply(call structurestest.Call) structurestest.Answer {
	a, err := readArgs(call.Op.Op, call.Body)
	must(err)
	shown := nothing
	if m.now != nil {
		shown = op(0, m.now.value).Body
	}
	switch call.Op.Op {
	case opSet:
		return m.set(call, a.value, nothing)
	case opSwap:
		return m.set(call, a.value, shown)
	case opSetIfAbsent:
		if m.now != nil {
			return structurestest.OK(call.ID, shown)
		}
		return m.set(call, a.value, nothing)
	case opReplace:
		if m.now == nil && a.version != 0 || m.now != nil && (a.version == 0 || m.now.version != a.version) {
			return structurestest.Refused(call.ID, codeConflict)
		}
		return m.set(call, a.value, nil)
	case opCompare:
		switch {
		case m.now == nil:
			return structurestest.Refused(call.ID, codeDiffers)
		case m.now.value[0] != a.old[0]:
			return structurestest.Refused(call.ID, codeCodec)
		case !bytes.Equal(m.now.value, a.old):
			return structurestest.Refused(call.ID, codeDiffers)
		}
		return m.set(call, a.value, nothing)
	case opDelete:
		existed := m.now != nil
		m.remember()
		m.now = nil
		return structurestest.OK(call.ID, op(0, existed).Body)
	}
	all := m.kept
	if m.now != nil {
		all = append(all[:len(all):len(all)], m.now)
	}
	for _, v := range all {
		if v.version == a.version && a.version != 0 {
			return m.set(call, v.value, nil)
		}
	}
	return structurestest.Refused(call.ID, codeNotKept)
}

func (m *model) remember() {
	if m.now == nil {
		return
	}
	m.kept = append(m.kept, m.now)
	m.kept = m.kept[max(len(m.kept)-int(m.keep), 0):]
}

// set gives the reference a value whose version its answer says; a nil body means that
// version.
func (m *model) set(call structurestest.Call, value, body []byte) structurestest.Answer {
	m.remember()
	now := &modelValue{value: value}
	m.now = now
	return structurestest.Answer{Call: call.ID, Match: func(got []byte, at protocol.Version) error {
		now.version = Version(at)
		m.seen = append(m.seen, now.version)
		if body == nil {
			body = op(0, uint64(at)).Body
		}
		if !bytes.Equal(got, body) {
			return fmt.Errorf("body %x, the model says %x", got, body)
		}
		return nil
	}}
}

func (m *model) Len(protocol.LogTime) int64 {
	n := int64(len(m.kept))
	if m.now != nil {
		n++
	}
	return n
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
