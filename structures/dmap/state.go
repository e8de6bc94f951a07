package dmap

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind describes maps.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 1, Name: "map", Level: 1, Machine: machine{}, Cost: cost,
		Doc:  "Keys with values, spread over the partitions, each with a version and, if wanted, a time to live",
		Unit: "entries", Keyed: true, Watch: structures.WatchEntries, FirstEntry: firstEntry,
		Ops: ops, Rules: rules, Codes: codes, Settings: settingInfos, Tests: tests,
	}
}

// cost: each key is looked at twice, as an entry and as one that is due, its row
// is written, and there are up to two events.
func cost(op protocol.Op, body []byte) int {
	r := protocol.NewReader(body)
	switch op {
	case opPutAll, opAddAll:
		return 5 * (r.ArrayLen() / 2)
	case opDeleteAll:
		return 5 * r.ArrayLen()
	case opClear:
		return 5 * maxPart
	}
	return 0
}

// kind is that of the handles.
var kind = Kind()

// machine keeps one row per entry, under its encoded key, whose first byte is
// the tag: 1 to 127. What else a map keeps is under keys that begin with 0, now
// the number of its entries.
//
// Invariant: the count row is the number of entry rows, due ones included; there is no
// count row if that is 0.
type machine struct{ structures.Base }

var (
	countKey   = []byte{0, 'n'}
	firstEntry = []byte{1}
)

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	var err error
	r := protocol.NewReader(body)
	switch op {
	case opGet, opPut, opSwap, opPutIfAbsent, opReplace, opDelete, opRemove, opDeleteVersion, opSetTTL, opAdd,
		opPutEphemeral, opSwapEphemeral, opPutIfAbsentEphemeral, opReplaceEphemeral, opPutSequential, opPutSequentialEphemeral:
		_, err = readArgs(op, body)
	case opGetAll, opPutAll, opDeleteAll, opAddAll:
		_, _, err = readMany(op, body)
	case opScan, opScanKeys:
		_, err = readScan(body)
	case opClear:
		r.Array(1)
		r.Bytes()
		err = r.Done()
	default:
		err = fmt.Errorf("%w: operation %d of a map", quorate.ErrUnsupported, op)
	}
	return err
}

// CheckSettings implements structures.Configurer.
func (machine) CheckSettings(s *structures.Settings) error {
	if n := s.Value(oldSetting).Int; n != 0 && n != 1 {
		return fmt.Errorf("%w: keep-old is 0 or 1, not %d", quorate.ErrInvalid, n)
	}
	switch ms := s.Value(ttlSetting).Int; {
	case ms == ttlDefault, ms >= minTTL.Milliseconds() && ms <= maxTTL.Milliseconds():
		return nil
	default:
		return fmt.Errorf("%w: a TTL of %d ms is not within %d to %d", quorate.ErrInvalid, ms, minTTL.Milliseconds(), maxTTL.Milliseconds())
	}
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	switch op {
	case opPutAll, opDeleteAll, opAddAll:
		return applyMany(env, op, body)
	case opClear:
		return clearSome(env, body)
	}
	a, _ := readArgs(op, body)
	if as, _ := ordinary(op); as == opPutSequential {
		a.key = sequentialKey(a.key, env.Version())
	}
	if r := tooLarge(env, a.key, a.value); r.Code != protocol.CodeOK {
		return r
	}
	return applyOne(env, op, a)
}

// Read implements structures.Machine.
func (machine) Read(view structures.View, op protocol.Op, body []byte) structures.Result {
	switch op {
	case opGet:
		a, _ := readArgs(op, body)
		return get(view, a.key)
	case opGetAll:
		_, items, _ := readMany(op, body)
		return getMany(view, items)
	case opScan, opScanKeys:
		a, _ := readScan(body)
		return scan(view, op, a)
	}
	panic("dmap: bug: unchecked operation")
}

// CheckTest implements structures.Tester.
func (machine) CheckTest(test structures.Test, body []byte) error {
	_, err := readTest(test, body)
	return err
}

// Test implements structures.Tester.
func (machine) Test(view structures.View, test structures.Test, body []byte) bool {
	a, _ := readTest(test, body)
	row, ok := view.Get(a.key)
	switch test {
	case testAbsent:
		return !ok
	case testVersion:
		return ok && row.Version == a.version
	case testValue:
		return ok && bytes.Equal(row.Value, a.value)
	}
	return ok
}

// Due removes an entry whose time has passed.
func (machine) Due(env structures.Env, key []byte, row structures.Row) {
	n := stored(env)
	env.Delete(key)
	putCount(env, n-1)
	env.Emit(structures.Event{Type: structures.EventExpired, Key: key, Previous: row.Version})
}

// Ended removes an ephemeral entry whose owner's session has ended (EPHEMERAL-2). One that
// was due before has expired.
func (machine) Ended(env structures.Env, key []byte, row structures.Row) {
	n := stored(env)
	if mutants.On(mutants.EphemeralSurvives) {
		env.Put(key, structures.Row{Value: row.Value, Deadline: row.Deadline})
		return
	}
	event := structures.Event{Type: structures.EventSessionEnded, Key: key, Previous: row.Version}
	if row.Deadline != 0 && row.Deadline <= env.Now() {
		event.Type = structures.EventExpired
	} else if set := env.Settings(); set != nil && set.Value(oldSetting).Int != 0 && len(row.Value) <= maxOld {
		event.Old = row.Value
	}
	env.Delete(key)
	putCount(env, n-1)
	env.Emit(event)
}

// sequentialKey returns the key of an entry that a mutation stores under a prefix. Versions
// grow, and have 20 digits at most, so the keys of a prefix have the order of the mutations.
func sequentialKey(prefix []byte, version protocol.Version) []byte {
	return fmt.Appendf(slices.Clone(prefix), "%020d", uint64(version))
}

// Len returns the number of entries.
func (machine) Len(view structures.View) int64 { return length(view) }

// applyOne carries out a mutation of one key.
func applyOne(env structures.Env, op protocol.Op, a args) structures.Result {
	e := edit{env: env}
	s := e.look(a.key)
	op, isEphemeral := ordinary(op)
	switch op {
	case opPut, opSwap, opPutIfAbsent, opReplace, opPutSequential:
		return e.write(op, s, a, isEphemeral)
	case opDelete, opRemove, opDeleteVersion:
		return e.delete(op, s, a)
	case opSetTTL:
		if s.live {
			e.put(s, s.row.Value, deadline(env, a.ttl, s), s.owner())
		}
		return structures.OK(protocol.AppendBool(protocol.AppendArray(nil, 1), s.live))
	case opAdd:
		sum, code, why := add(s, a.delta, a.bits)
		if code != protocol.CodeOK {
			return structures.Refuse(code, why)
		}
		e.put(s, appendInteger(sum), deadline(env, ttlKeep, s), s.owner())
		e.finish()
		return structures.OK(protocol.AppendInt(protocol.AppendArray(nil, 1), sum))
	}
	panic("dmap: bug: unchecked operation")
}

// write carries out the operations that store a value. Those that say everything make the
// entry ordinary unless it is to be ephemeral; Replace keeps its owner (EPHEMERAL-1).
func (e *edit) write(op protocol.Op, s slot, a args, isEphemeral bool) structures.Result {
	result := nothing
	owner := protocol.SessionID(0)
	switch {
	case isEphemeral:
		owner = e.env.Caller().Session
	case op == opReplace:
		owner = s.owner()
	}
	switch {
	case op == opSwap && s.live:
		result = appendValue(s.row.Value)
	case op == opPutIfAbsent && s.live:
		return structures.OK(appendValue(s.row.Value))
	case op == opReplace:
		if r := conflict(s, a.version); r.Code != protocol.CodeOK {
			return r
		}
		result = appendUints(nil, uint64(e.env.Version()))
	case op == opPutSequential:
		result = appendUints(nil, uint64(e.env.Version()))
	}
	e.put(s, a.value, deadline(e.env, a.ttl, s), owner)
	e.finish()
	return structures.OK(result)
}

// delete carries out the operations that remove an entry.
func (e *edit) delete(op protocol.Op, s slot, a args) structures.Result {
	result := nothing
	switch op {
	case opDelete:
		result = protocol.AppendBool(protocol.AppendArray(nil, 1), s.live)
	case opRemove:
		if s.live {
			result = appendValue(s.row.Value)
		}
	case opDeleteVersion:
		if r := conflict(s, a.version); r.Code != protocol.CodeOK {
			return r
		}
	}
	if s.live {
		e.load()
		e.remove(s)
		e.finish()
	}
	return structures.OK(result)
}

// slot is what is known of a key before it is written.
type slot struct {
	key  []byte
	row  structures.Row
	live bool // there is an entry: row
	due  bool // there was one that has expired, and has no event for that yet
}

// owner returns the session that the entry ends with; 0: there is none.
func (s slot) owner() protocol.SessionID {
	if !s.live || mutants.On(mutants.OwnerDropped) {
		return 0
	}
	return s.row.Owner
}

// edit is one mutation of entries: it looks at all of them first, then puts and removes,
// then finishes.
type edit struct {
	env    structures.Env
	loaded bool
	count  uint64 // of rows before, once loaded
	more   int64  // rows put less rows removed
	old    int    // bytes of old values that events have
}

// maxOld bounds the old values of the events of a mutation, in bytes.
const maxOld = 1 << 20

// before returns the value of an entry for the event of its change, if the map keeps it.
func (e *edit) before(s slot) []byte {
	if set := e.env.Settings(); set == nil || !s.live || set.Value(oldSetting).Int == 0 || e.old+len(s.row.Value) > maxOld {
		return nil
	}
	e.old += len(s.row.Value)
	return s.row.Value
}

func (e *edit) look(key []byte) slot {
	s := slot{key: key}
	if s.row, s.live = e.env.Get(key); !s.live {
		s.row, s.due = e.env.WasDue(key)
		e.load() // a put will add a row
	}
	return s
}

// load reads the count of rows. Overwriting does without.
func (e *edit) load() {
	if !e.loaded {
		e.loaded, e.count = true, stored(e.env)
	}
}

func (e *edit) put(s slot, value []byte, deadline protocol.LogTime, owner protocol.SessionID) {
	previous := s.row.Version
	if s.due {
		e.env.Emit(structures.Event{Type: structures.EventExpired, Key: s.key, Previous: previous})
		previous = 0
	}
	if !s.live && !s.due {
		e.more++
	}
	old := e.before(s)
	e.env.Put(s.key, structures.Row{Value: value, Deadline: deadline, Owner: owner})
	e.env.Emit(structures.Event{Type: structures.EventPut, Key: s.key, Value: value, Previous: previous, Old: old})
}

func (e *edit) remove(s slot) {
	e.more -= mutantRemoved(1)
	old := e.before(s)
	e.env.Delete(s.key)
	e.env.Emit(structures.Event{Type: structures.EventRemoved, Key: s.key, Previous: s.row.Version, Old: old})
}

func (e *edit) finish() {
	if e.more != 0 {
		putCount(e.env, uint64(int64(e.count)+e.more))
	}
}

// putCount writes the number of rows.
func putCount(env structures.Env, n uint64) {
	if n == 0 {
		env.Delete(countKey)
		return
	}
	env.Put(countKey, structures.Row{Value: appendUints(nil, n)})
}

// stored returns the number of rows, those that are due included.
func stored(view structures.View) uint64 {
	row, ok := view.Get(countKey)
	if !ok {
		return 0
	}
	r := protocol.NewReader(row.Value)
	r.Array(1)
	return r.Uint()
}

func length(view structures.View) int64 { return int64(stored(view)) - int64(view.Overdue()) }

// deadline returns when an entry that is written now with a TTL ends.
func deadline(view structures.View, ttl int64, s slot) protocol.LogTime {
	if ttl == ttlKeep || mutants.On(mutants.TTLKept) {
		if s.live {
			return s.row.Deadline
		}
		ttl = ttlDefault
	}
	if ttl == ttlDefault {
		ttl = view.Settings().Value(ttlSetting).Int
	}
	if ttl <= 0 {
		return 0
	}
	return view.Now().Add(time.Duration(ttl) * time.Millisecond)
}

// left returns how many milliseconds an entry has, rounded up; 0: no end.
func left(view structures.View, row structures.Row) uint64 {
	if row.Deadline == 0 {
		return 0
	}
	// An entry that still exists has some time left, however little.
	return uint64(max(row.Deadline.Sub(view.Time())+time.Millisecond-1, time.Millisecond) / time.Millisecond)
}

func conflict(s slot, version Version) structures.Result {
	switch {
	case !s.live:
		return structures.Refuse(codeConflict, "there is no entry")
	case s.row.Version != version && !mutants.On(mutants.ReplaceUnchecked):
		return structures.Refuse(codeConflict, fmt.Sprintf("the entry has version %d, not %d", s.row.Version, version))
	}
	return structures.Result{}
}

func tooLarge(view structures.View, key, value []byte) structures.Result {
	limits := view.Limits()
	if err := checkSize(limits, key, value); err != nil {
		return structures.Refuse(protocol.CodeTooLarge, err.Error())
	}
	return structures.Result{}
}

// add returns the value that an entry has with delta added, or why not.
func add(s slot, delta int64, bits uint8) (int64, protocol.Code, string) {
	if !s.live {
		if !fits(delta, bits) {
			return 0, codeOverflow, fmt.Sprintf("%d as int%d", delta, bits)
		}
		return delta, protocol.CodeOK, ""
	}
	old, ok := readInteger(s.row.Value)
	if !ok {
		return 0, codeNotInteger, ""
	}
	sum := old + delta
	if (sum < old) != (delta < 0) || !fits(sum, bits) {
		return 0, codeOverflow, fmt.Sprintf("%d and %d more as int%d", old, delta, bits)
	}
	return sum, protocol.CodeOK, ""
}

// readInteger reads a value that the CBOR codec wrote for an integer of 64 bits.
func readInteger(value []byte) (int64, bool) {
	if len(value) == 0 || value[0] != structures.CBOR.ID() {
		return 0, false
	}
	r := protocol.NewReader(value[1:])
	n := r.Int()
	return n, r.Done() == nil
}

func appendInteger(n int64) []byte { return protocol.AppendInt([]byte{structures.CBOR.ID()}, n) }

func appendUints(dst []byte, ints ...uint64) []byte {
	dst = protocol.AppendArray(dst, len(ints))
	for _, n := range ints {
		dst = protocol.AppendUint(dst, n)
	}
	return dst
}

func appendValue(v []byte) []byte {
	return protocol.AppendBytes(protocol.AppendArray(make([]byte, 0, len(v)+6), 1), v)
}
