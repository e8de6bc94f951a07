package dref

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind describes references.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 10, Name: "ref", Level: 1, Machine: machine{}, Cost: cost,
		Doc:  "One value of any type with a version, and the values before it if they are kept",
		Unit: "values", Watch: structures.WatchRow,
		Ops: ops, Rules: rules, Codes: codes, Settings: settingInfos, Tests: tests,
	}
}

// cost: a page of the history has all values that are kept. Writes are plain, since one
// value at most is dropped for the one that is kept more.
func cost(op protocol.Op, _ []byte) int {
	if op == opHistory {
		return MaxKept + 1
	}
	return 0
}

// kind is that of the handles.
var kind = Kind()

// machine keeps these rows:
//
//	"v"              value    the value of now; its version is that of the row
//	"p" and version  value    a value before it, under the version that it had
//	"n"              [count]  how many "p" rows there are; not there without any
//
// Invariant: there are at most as many "p" rows as the setting says, and all their versions
// are below that of "v".
type machine struct{ structures.Base }

var (
	valueKey = []byte("v")
	countKey = []byte("n")
)

const keptPrefix = 'p'

func keptKey(v Version) []byte {
	return binary.BigEndian.AppendUint64([]byte{keptPrefix}, uint64(v))
}

func versionOf(key []byte) Version { return Version(binary.BigEndian.Uint64(key[1:])) }

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	_, err := readArgs(op, body)
	return err
}

// CheckSettings implements structures.Configurer.
func (machine) CheckSettings(s *structures.Settings) error {
	if n := s.Value(keepSetting).Int; n < 0 || n > MaxKept {
		return fmt.Errorf("%w: %d values to keep, not within 0 to %d", quorate.ErrInvalid, n, MaxKept)
	}
	return nil
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	a, _ := readArgs(op, body)
	if most := env.Limits().Value; len(a.value) > int(most) {
		return structures.Refuse(protocol.CodeTooLarge, tooLarge(len(a.value), most))
	}
	s := look(env)
	switch op {
	case opSet:
		return s.set(env, a.value, nothing)
	case opSwap:
		return s.set(env, a.value, s.shown())
	case opSetIfAbsent:
		if s.exists {
			return structures.OK(s.shown())
		}
		return s.set(env, a.value, nothing)
	case opReplace: // the version, not the value (REF-2)
		if s.row.Version != a.version && !mutantVersions(&s, a.version) {
			return structures.Refuse(codeConflict, s.conflict())
		}
		return s.set(env, a.value, appendVersion(nil, env.Version()))
	case opCompare:
		return s.compare(env, a)
	case opDelete:
		if s.exists {
			s.remember(env)
			env.Delete(valueKey)
		}
		return structures.OK(protocol.AppendBool(protocol.AppendArray(nil, 1), s.exists))
	case opRollback:
		value, ok := s.kept(env, a.version)
		if !ok {
			return structures.Refuse(codeNotKept, fmt.Sprintf("version %d", a.version))
		}
		mutantRollback(&s)
		// A new version, for whoever follows it (REF-3).
		return s.set(env, value, appendVersion(nil, env.Version()))
	}
	panic("dref: bug: unchecked operation")
}

// Read implements structures.Machine.
func (machine) Read(view structures.View, op protocol.Op, body []byte) structures.Result {
	if op == opHistory {
		a, _ := readArgs(op, body)
		return history(view, a)
	}
	row, ok := view.Get(valueKey)
	if !ok {
		return structures.OK(nothing)
	}
	b := protocol.AppendArray(make([]byte, 0, len(row.Value)+16), 2)
	b = protocol.AppendBytes(b, row.Value)
	return structures.OK(protocol.AppendUint(b, uint64(row.Version)))
}

// CheckTest implements structures.Tester.
func (machine) CheckTest(test structures.Test, body []byte) error {
	_, err := readTest(test, body)
	return err
}

// Test implements structures.Tester.
func (machine) Test(view structures.View, test structures.Test, body []byte) bool {
	a, _ := readTest(test, body)
	row, ok := view.Get(valueKey)
	switch test {
	case testVersion:
		return ok && row.Version == a.version
	case testValue:
		return ok && bytes.Equal(row.Value, a.value)
	}
	return !ok
}

// Len returns how many values there are: the one of now, and those that are kept.
func (machine) Len(view structures.View) int64 {
	n := counted(view)
	if _, ok := view.Get(valueKey); ok {
		n++
	}
	return n
}

func counted(view structures.View) int64 {
	var n int64
	if row, ok := view.Get(countKey); ok {
		_ = protocol.ReadInts(row.Value, &n)
	}
	return n
}

// state is what a mutation has read before it writes.
type state struct {
	row    structures.Row
	exists bool
	keep   int64
	count  int64  // of values that are kept
	oldest []byte // the key of the first of them; nil: there is none
}

func look(env structures.Env) (s state) {
	s.row, s.exists = env.Get(valueKey)
	if set := env.Settings(); set != nil {
		s.keep = set.Value(keepSetting).Int
	}
	if s.keep == 0 {
		return s
	}
	if s.count = counted(env); s.count > 0 {
		env.Ascend([]byte{keptPrefix}, func(key []byte, _ structures.Row) bool {
			s.oldest = bytes.Clone(key)
			return false
		})
	}
	return s
}

// remember keeps the value of now, in place of the oldest if there are enough.
func (s *state) remember(env structures.Env) {
	if !s.exists || s.keep == 0 {
		return
	}
	if s.count >= s.keep && !mutants.On(mutants.KeptForEver) {
		env.Delete(s.oldest)
	} else {
		s.count++
	}
	env.Put(keptKey(s.row.Version), structures.Row{Value: s.row.Value})
	env.Put(countKey, structures.Row{Value: protocol.AppendInts(nil, s.count)})
}

// set gives the reference a value.
func (s *state) set(env structures.Env, value, result []byte) structures.Result {
	s.remember(env)
	env.Put(valueKey, structures.Row{Value: value})
	return structures.OK(result)
}

// compare gives the reference a value if it has the old one, as the same codec encodes it
// (REF-1).
func (s *state) compare(env structures.Env, a args) structures.Result {
	switch {
	case !s.exists:
		return structures.Refuse(codeDiffers, "there is no value")
	case s.row.Value[0] != a.old[0]:
		return structures.Refuse(codeCodec, fmt.Sprintf("the value was written by codec %s", structures.Encoded(s.row.Value).Codec()))
	case !bytes.Equal(s.row.Value, a.old):
		return structures.Refuse(codeDiffers, s.conflict())
	}
	return s.set(env, a.value, nothing)
}

// shown is the value of now as a result.
func (s *state) shown() []byte {
	if !s.exists {
		return nothing
	}
	return appendValues(nil, s.row.Value)
}

// conflict says what there is instead of what was expected.
func (s *state) conflict() string {
	if !s.exists {
		return "there is no value"
	}
	return fmt.Sprintf("the value has version %d", s.row.Version)
}

// kept returns the value that has or had a version.
func (s *state) kept(env structures.Env, v Version) ([]byte, bool) {
	if s.exists && s.row.Version == v {
		return s.row.Value, true
	}
	row, ok := env.Get(keptKey(v))
	return row.Value, ok
}

// history answers opHistory: the values that are kept and that of now, from a version on, as
// many as fit a page.
func history(view structures.View, a args) structures.Result {
	most := int(min(a.maxBytes, uint64(view.Limits().PageBytes)))
	var b []byte
	n, next := 0, Version(0)
	add := func(v Version, value []byte) bool {
		if n > 0 && len(b)+len(value) > most {
			next = v
			return false
		}
		b = protocol.AppendBytes(protocol.AppendUint(b, uint64(v)), value)
		n++
		return true
	}
	view.Ascend(keptKey(a.version), func(key []byte, row structures.Row) bool {
		return key[0] == keptPrefix && add(versionOf(key), row.Value)
	})
	if row, ok := view.Get(valueKey); ok && next == 0 && row.Version >= a.version {
		add(row.Version, row.Value)
	}
	head := protocol.AppendUint(protocol.AppendArray(make([]byte, 0, len(b)+16), 1+2*n), uint64(next))
	return structures.OK(append(head, b...))
}

func tooLarge(size int, most uint32) string {
	return fmt.Sprintf("the value has %d bytes, at most %d", size, most)
}
