package dmap

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestConformance(t *testing.T) {
	structurestest.Run(t, Kind(), func() structurestest.Model { return newModel() })
}

func FuzzMachine(f *testing.F) {
	k, v := testKeys[1], testValues[0]
	structurestest.Fuzz(f, Kind(),
		op(opGet, k), op(opPut, k, v, ttlDefault), op(opSwap, k, v, 1000), op(opPutIfAbsent, k, v, ttlKeep),
		op(opReplace, k, v, ttlNever, uint64(1)), op(opDelete, k), op(opRemove, k), op(opDeleteVersion, k, uint64(1)),
		op(opSetTTL, k, 100), op(opAdd, k, -1, uint64(64)), op(opGetAll, k), op(opPutAll, 0, k, v), op(opDeleteAll, k),
		op(opAddAll, uint64(32), k, 5), op(opScan, []byte(nil), []byte(nil), uint64(100)),
		op(opScanKeys, k, []byte(nil), uint64(0)), op(opClear, []byte(nil)),
		op(opPutEphemeral, k, v, ttlDefault), op(opSwapEphemeral, k, v, 1000), op(opPutIfAbsentEphemeral, k, v, ttlKeep),
		op(opReplaceEphemeral, k, v, ttlNever, uint64(1)), op(opPutSequential, k, v, ttlDefault), op(opPutSequentialEphemeral, k, v, 1000))
}

var testKeys = func() (keys [][]byte) {
	for _, k := range []string{"", "a", "aa", "b"} {
		b, _ := structures.AppendKey(nil, k)
		keys = append(keys, b)
	}
	n, _ := structures.AppendKey(nil, -7)
	return append(keys, n)
}()

var testValues = [][]byte{
	appendInteger(0), appendInteger(7), appendInteger(math.MaxInt32), appendInteger(math.MaxInt64),
	appendInteger(math.MinInt64),
	{1, 0x61, 'x'},
	{2, '1'},
	{3},
}

// op returns an operation: []byte for keys and values, int for signed and
// uint64 for unsigned integers.
func op(code protocol.Op, fields ...any) structurestest.Op {
	o := structurestest.Op{Op: code, Body: protocol.AppendArray(nil, len(fields)), Text: fmt.Sprintf("op %d %v", code, fields)}
	for _, f := range fields {
		switch f := f.(type) {
		case []byte:
			o.Body = protocol.AppendBytes(o.Body, f)
		case int:
			o.Body = protocol.AppendInt(o.Body, int64(f))
		case int64:
			o.Body = protocol.AppendInt(o.Body, f)
		case uint64:
			o.Body = protocol.AppendUint(o.Body, f)
		}
	}
	switch code {
	case opGet, opGetAll, opScan, opScanKeys:
		o.Flags = protocol.FlagRead
	}
	return o
}

// model is a map of Go. The version of a write is known only when its answer
// has come: until then it is 0, and nobody can name it.
type model struct {
	structurestest.Plain
	entries map[string]*modelEntry
	ttl     int64     // by default
	seen    []Version // that entries have had
}

type modelEntry struct {
	value    []byte
	deadline protocol.LogTime
	version  Version
	owner    protocol.SessionID
}

func newModel() *model { return &model{entries: map[string]*modelEntry{}} }

// Settings implements structurestest.Configured.
func (m *model) Settings(t *rapid.T) []structures.Setting {
	return []structures.Setting{DefaultTTL(rapid.SampledFrom([]time.Duration{0, 100 * time.Millisecond, 2 * time.Second}).Draw(t, "default TTL"))}
}

// Configure implements structurestest.Configured.
func (m *model) Configure(s *structures.Settings) { m.ttl = s.Value(ttlSetting).Int }

func (m *model) Destroy() { m.entries, m.ttl = map[string]*modelEntry{}, 0 }

func (m *model) Generate(t *rapid.T) structurestest.Op {
	key := rapid.SampledFrom(testKeys).Draw(t, "key")
	value := rapid.SampledFrom(testValues).Draw(t, "value")
	ttl := rapid.SampledFrom([]int{ttlDefault, ttlDefault, ttlKeep, ttlNever, 100, 101, 2000, 90_000}).Draw(t, "ttl")
	delta := rapid.SampledFrom([]int64{0, 1, -1, math.MaxInt32, math.MaxInt64, math.MinInt64}).Draw(t, "delta")
	bits := rapid.SampledFrom([]uint64{32, 64}).Draw(t, "bits")
	version := uint64(1 << 50)
	if e := m.entries[string(key)]; e != nil && e.version != 0 && rapid.Bool().Draw(t, "right version") {
		version = uint64(e.version)
	} else if len(m.seen) > 0 {
		version = uint64(rapid.SampledFrom(m.seen).Draw(t, "old version"))
	}
	several := slices.DeleteFunc(slices.Clone(testKeys), func([]byte) bool { return rapid.Bool().Draw(t, "out") })
	slices.SortFunc(several, bytes.Compare)
	var keys, pairs, deltas []any
	pairs, deltas = append(pairs, ttl), append(deltas, bits)
	for _, k := range several {
		keys, pairs, deltas = append(keys, k), append(pairs, k, value), append(deltas, k, delta)
	}
	to := rapid.SampledFrom(append([][]byte{nil}, testKeys...)).Draw(t, "to")
	size := rapid.SampledFrom([]uint64{0, 20, 1 << 20}).Draw(t, "bytes")
	code := rapid.ByteRange(byte(opGet), byte(opReplaceEphemeral)).Draw(t, "operation")
	if code == byte(opClear) && rapid.IntRange(0, 2).Draw(t, "rarely") > 0 {
		code = byte(opPut)
	}
	if kind := Kind(); kind.Op(protocol.Op(code)) == nil {
		code = byte(opGet) // a gap in the numbers
	}
	switch as, _ := ordinary(protocol.Op(code)); as {
	case opPut, opSwap, opPutIfAbsent:
		return op(protocol.Op(code), key, value, ttl)
	case opReplace:
		return op(protocol.Op(code), key, value, ttl, version)
	case opDeleteVersion:
		return op(opDeleteVersion, key, version)
	case opSetTTL:
		return op(opSetTTL, key, ttl)
	case opAdd:
		return op(opAdd, key, delta, bits)
	case opGetAll, opDeleteAll:
		return op(protocol.Op(code), keys...)
	case opPutAll:
		return op(opPutAll, pairs...)
	case opAddAll:
		return op(opAddAll, deltas...)
	case opScan, opScanKeys:
		return op(protocol.Op(code), key, to, size)
	case opClear:
		return op(opClear, key)
	}
	return op(protocol.Op(code), key)
}

func (m *model) Read(o structurestest.Op, now protocol.LogTime) structurestest.Answer {
	switch o.Op {
	case opGet:
		a, err := readArgs(o.Op, o.Body)
		must(err)
		e := m.entries[string(a.key)]
		if e == nil {
			return structurestest.OK(0, op(0).Body)
		}
		fields := e.fields(now)
		if e.owner != 0 {
			fields = append(fields, uint64(e.owner))
		}
		return structurestest.OK(0, op(0, fields...).Body)
	case opGetAll:
		_, items, err := readMany(o.Op, o.Body)
		must(err)
		found := []any{uint64(len(items))}
		for i, it := range items {
			if e := m.entries[string(it.key)]; e != nil {
				found = append(append(found, uint64(i)), e.fields(now)...)
			}
		}
		return structurestest.OK(0, op(0, found...).Body)
	}
	return structurestest.Answer{Match: func(body []byte, _ protocol.Version) error {
		return m.matchScan(o, body, now)
	}}
}

func (e *modelEntry) fields(now protocol.LogTime) []any {
	left := uint64(0)
	if e.deadline != 0 {
		left = uint64(math.Ceil(float64(e.deadline-now) / 1e6))
	}
	return []any{e.value, uint64(e.version), left}
}

// matchScan asks that a page is the first entries of the range: all of them, or
// as many as fit and at least one.
func (m *model) matchScan(o structurestest.Op, body []byte, now protocol.LogTime) error {
	a, err := readScan(o.Body)
	must(err)
	var want []string
	for _, k := range slices.Sorted(maps.Keys(m.entries)) {
		if k >= string(a.from) && (len(a.to) == 0 || k < string(a.to)) {
			want = append(want, k)
		}
	}
	fields := 1
	if o.Op == opScan {
		fields = 4
	}
	r := protocol.NewReader(body)
	n := (r.ArrayLen() - 1) / fields
	next := r.Bytes()
	more := len(next) > 0
	if n > len(want) || more != (n < len(want)) || n == 0 && more || more && a.maxBytes > 1000 {
		return fmt.Errorf("%d entries, more %t, of %d", n, more, len(want))
	}
	if more && string(next) != want[n] {
		return fmt.Errorf("goes on at %x, not at %x", next, want[n])
	}
	page := protocol.AppendBytes(protocol.AppendArray(nil, 1+n*fields), next)
	for _, k := range want[:n] {
		page = protocol.AppendBytes(page, []byte(k))
		if o.Op == opScan {
			page = append(page, op(0, m.entries[k].fields(now)...).Body[1:]...)
		}
	}
	if !bytes.Equal(page, body) {
		return fmt.Errorf("page %x, want %x", body, page)
	}
	return nil
}

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	return []structurestest.Answer{m.apply(call, now)}
}

func (m *model) apply(call structurestest.Call, now protocol.LogTime) structurestest.Answer {
	switch call.Op.Op {
	case opPutAll, opDeleteAll, opAddAll:
		return m.many(call, now)
	case opClear:
		r := protocol.NewReader(call.Body)
		r.Array(1)
		from := string(r.Bytes())
		maps.DeleteFunc(m.entries, func(k string, _ *modelEntry) bool { return k >= from })
		return structurestest.OK(call.ID, op(0, []byte(nil)).Body)
	}
	a, err := readArgs(call.Op.Op, call.Body)
	must(err)
	return m.one(call, a, now)
}

func (m *model) one(call structurestest.Call, a args, now protocol.LogTime) structurestest.Answer {
	key := string(a.key)
	old := m.entries[key]
	nothing, yes := op(0).Body, protocol.AppendBool(protocol.AppendArray(nil, 1), old != nil)
	code, isEphemeral := ordinary(call.Op.Op)
	owner := protocol.SessionID(0)
	switch {
	case isEphemeral:
		owner = call.Session
	case old != nil && code != opPut && code != opSwap:
		owner = old.owner
	}
	defer func() {
		if e := m.entries[key]; e != nil && e != old {
			e.owner = owner
		}
	}()
	switch code {
	case opPut:
		return m.wrote(call, nothing, m.put(key, a.value, a.ttl, now))
	case opSwap, opPutIfAbsent:
		body := nothing
		if old != nil {
			body = op(0, old.value).Body
			if code == opPutIfAbsent {
				return structurestest.OK(call.ID, body)
			}
		}
		return m.wrote(call, body, m.put(key, a.value, a.ttl, now))
	case opReplace, opDeleteVersion:
		if old == nil || old.version == 0 || old.version != a.version {
			return structurestest.Refused(call.ID, codeConflict)
		}
		if code == opReplace {
			return m.wrote(call, nil, m.put(key, a.value, a.ttl, now))
		}
		delete(m.entries, key)
		return structurestest.OK(call.ID, nothing)
	case opDelete:
		delete(m.entries, key)
		return structurestest.OK(call.ID, yes)
	case opRemove:
		if old == nil {
			return structurestest.OK(call.ID, nothing)
		}
		delete(m.entries, key)
		return structurestest.OK(call.ID, op(0, old.value).Body)
	case opSetTTL:
		if old == nil {
			return structurestest.OK(call.ID, yes)
		}
		return m.wrote(call, yes, m.put(key, old.value, a.ttl, now))
	}
	sum, refused := m.sum(key, a.delta, a.bits)
	if refused != protocol.CodeOK {
		return structurestest.Refused(call.ID, refused)
	}
	return m.wrote(call, op(0, sum).Body, m.put(key, appendInteger(sum), ttlKeep, now))
}

func (m *model) many(call structurestest.Call, now protocol.LogTime) structurestest.Answer {
	a, items, err := readMany(call.Op.Op, call.Body)
	must(err)
	var entries []*modelEntry
	deleted := uint64(0)
	for _, it := range items {
		if _, code := m.sum(string(it.key), it.delta, a.bits); call.Op.Op == opAddAll && code != protocol.CodeOK {
			return structurestest.Refused(call.ID, code)
		}
	}
	for _, it := range items {
		key := string(it.key)
		switch call.Op.Op {
		case opPutAll:
			entries = append(entries, m.put(key, it.value, a.ttl, now))
		case opAddAll:
			sum, _ := m.sum(key, it.delta, a.bits)
			owner := protocol.SessionID(0)
			if e := m.entries[key]; e != nil {
				owner = e.owner
			}
			entries = append(entries, m.put(key, appendInteger(sum), ttlKeep, now))
			m.entries[key].owner = owner
		case opDeleteAll:
			if m.entries[key] != nil {
				deleted++
			}
			delete(m.entries, key)
		}
	}
	if call.Op.Op == opDeleteAll {
		return structurestest.OK(call.ID, op(0, deleted).Body)
	}
	return m.wrote(call, op(0).Body, entries...)
}

// sum adds as mathematics does.
func (m *model) sum(key string, delta int64, bits uint8) (int64, protocol.Code) {
	var sum big.Int
	if e := m.entries[key]; e != nil {
		var old int64
		if structures.DecodeValue(structures.CBOR, e.value, &old) != nil {
			return 0, codeNotInteger
		}
		sum.SetInt64(old)
	}
	sum.Add(&sum, big.NewInt(delta))
	if !sum.IsInt64() || bits == 32 && int64(int32(sum.Int64())) != sum.Int64() {
		return 0, codeOverflow
	}
	return sum.Int64(), protocol.CodeOK
}

func (m *model) put(key string, value []byte, ttl int64, now protocol.LogTime) *modelEntry {
	e := &modelEntry{value: value}
	old := m.entries[key]
	if ttl == ttlKeep && old != nil {
		e.deadline = old.deadline
	} else {
		if ttl == ttlKeep || ttl == ttlDefault {
			ttl = m.ttl
		}
		if ttl > 0 {
			e.deadline = now.Add(time.Duration(ttl) * time.Millisecond)
		}
	}
	m.entries[key] = e
	return e
}

// wrote is the answer of a write, whose revision is the entries' version; a nil
// body stands for that version.
func (m *model) wrote(call structurestest.Call, body []byte, entries ...*modelEntry) structurestest.Answer {
	return structurestest.Answer{Call: call.ID, Match: func(got []byte, at protocol.Version) error {
		m.seen = append(m.seen, Version(at))
		for _, e := range entries {
			e.version = Version(at)
		}
		if body == nil {
			return same(got, op(0, uint64(at)).Body)
		}
		return same(got, body)
	}}
}

func (m *model) End(session protocol.SessionID) []structurestest.Answer {
	maps.DeleteFunc(m.entries, func(_ string, e *modelEntry) bool { return e.owner == session })
	return nil
}

func (m *model) Advance(now protocol.LogTime) []structurestest.Answer {
	maps.DeleteFunc(m.entries, func(_ string, e *modelEntry) bool { return e.deadline != 0 && e.deadline <= now })
	return nil
}

func (m *model) Len(protocol.LogTime) int64 { return int64(len(m.entries)) }

func same(got, want []byte) error {
	if !bytes.Equal(got, want) {
		return fmt.Errorf("body %x, the model says %x", got, want)
	}
	return nil
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
