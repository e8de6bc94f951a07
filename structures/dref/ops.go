package dref

import (
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a reference. Numbers are never used again. Bodies and the results of
// operations are arrays; values are as structures.AppendValue encodes them.
const (
	opGet         protocol.Op = 1 // [] -> [] or [value, version]
	opSet         protocol.Op = 2 // [value] -> []
	opSwap        protocol.Op = 3 // [value] -> [] or [old value]
	opSetIfAbsent protocol.Op = 4 // [value] -> [] or [existing value]
	opReplace     protocol.Op = 5 // [value, version or 0: there is none] -> [new version]
	opCompare     protocol.Op = 6 // [old value, new value] -> []
	opDelete      protocol.Op = 7 // [] -> [deleted]
	opHistory     protocol.Op = 8 // [from, max bytes] -> [next, (version, value), ...]; next: where to go on, 0: done
	opRollback    protocol.Op = 9 // [version] -> [new version]
)

// ops describes the operations.
var ops = []structures.OpInfo{
	{Op: opGet, Name: "get", Body: "[]", Result: "[] / [value, version]", Read: true, Txn: true, Right: structures.RightRead},
	{Op: opSet, Name: "set", Body: "[value]", Result: "[]", Grows: true, Txn: true, Right: structures.RightWrite},
	{Op: opSwap, Name: "swap", Body: "[value]", Result: "[] / [old: value]", Grows: true, Txn: true, Right: structures.RightRead | structures.RightWrite},
	{Op: opSetIfAbsent, Name: "set_if_absent", Body: "[value]", Result: "[] / [existing: value]", Grows: true, Txn: true, Right: structures.RightRead | structures.RightWrite},
	{Op: opReplace, Name: "replace", Body: "[value, expected]", Result: "[new: version]", Codes: []protocol.Code{codeConflict}, Grows: true, Txn: true, Right: structures.RightWrite},
	{Op: opCompare, Name: "compare_and_set", Body: "[old: value, new: value]", Result: "[]", Codes: []protocol.Code{codeDiffers, codeCodec}, Grows: true, Txn: true, Right: structures.RightRead | structures.RightWrite},
	{Op: opDelete, Name: "delete", Body: "[]", Result: "[deleted: bool]", Txn: true, Right: structures.RightWrite},
	{Op: opHistory, Name: "history", Body: "[from: version, most-bytes: uint]", Result: "[next: version, * (version, value)]", Read: true, Right: structures.RightRead},
	{Op: opRollback, Name: "rollback", Body: "[version]", Result: "[new: version]", Codes: []protocol.Code{codeNotKept}, Grows: true, Right: structures.RightRead | structures.RightWrite},
}

// rules are what names in the operations are.
var rules = []structures.Rule{
	{Name: "expected", Type: "uint", Help: "the version that the value must have, 0: there must be none"},
}

// The codes of a reference's own.
const (
	codeConflict = protocol.CodeKindBase + 0
	codeDiffers  = protocol.CodeKindBase + 1
	codeCodec    = protocol.CodeKindBase + 2
	codeNotKept  = protocol.CodeKindBase + 3
)

var codes = []structures.CodeInfo{
	{Code: codeConflict, Name: "conflict", Err: ErrConflict, Help: "the value has another version, or there is none"},
	{Code: codeDiffers, Name: "differs", Err: errDiffers, Help: "the reference does not have the old value"},
	{Code: codeCodec, Name: "codec", Err: quorate.ErrCodec, Help: "another codec wrote the value, so the two cannot be compared"},
	{Code: codeNotKept, Name: "not_kept", Err: ErrNotKept, Help: "no value of that version is kept"},
}

var settingInfos = []structures.SettingInfo{
	{Name: "keep", Type: structures.SettingInt, Help: "how many values before the present one are kept; 0: none"},
}

var keepSetting = &settingInfos[0]

// The conditions of transactions about a reference. Numbers are never used again.
const (
	testVersion structures.Test = 1 // [test, version]
	testValue   structures.Test = 2 // [test, value]
	testAbsent  structures.Test = 3 // [test]
)

var tests = []structures.TestInfo{
	{Test: testVersion, Name: "version", Body: "[test: 1, version]", Help: "there is a value, and it has the version"},
	{Test: testValue, Name: "value", Body: "[test: 2, value]", Help: "there is a value, and it has these bytes"},
	{Test: testAbsent, Name: "absent", Body: "[test: 3]", Help: "there is no value"},
}

// args are the arguments of an operation, those it has.
type args struct {
	value, old []byte
	version    Version
	maxBytes   uint64
}

// readArgs reads and checks the body of an operation.
func readArgs(op protocol.Op, body []byte) (args, error) {
	var a args
	r := protocol.NewReader(body)
	switch op {
	case opGet, opDelete:
		r.Array(0)
	case opSet, opSwap, opSetIfAbsent:
		r.Array(1)
		a.value = readValue(&r)
	case opReplace:
		r.Array(2)
		a.value, a.version = readValue(&r), Version(r.Uint())
	case opCompare:
		r.Array(2)
		a.old, a.value = readValue(&r), readValue(&r)
	case opHistory:
		r.Array(2)
		a.version, a.maxBytes = Version(r.Uint()), r.Uint()
	case opRollback:
		r.Array(1)
		a.version = Version(r.Uint())
	default:
		return a, fmt.Errorf("%w: operation %d of a reference", quorate.ErrUnsupported, op)
	}
	return a, r.Done()
}

// readTest reads and checks the body of a condition.
func readTest(test structures.Test, body []byte) (args, error) {
	var a args
	r := protocol.NewReader(body)
	fields := 2
	if test == testAbsent {
		fields = 1
	}
	r.Array(fields)
	r.Uint()
	switch test {
	case testVersion:
		a.version = Version(r.Uint())
	case testValue:
		a.value = readValue(&r)
	}
	return a, r.Done()
}

// readValue reads an encoded value, which names its codec.
func readValue(r *protocol.Reader) []byte {
	v := r.Bytes()
	if len(v) == 0 {
		r.Fail()
	}
	return v
}

// appendValues appends an array of values.
func appendValues(dst []byte, values ...[]byte) []byte {
	dst = protocol.AppendArray(dst, len(values))
	for _, v := range values {
		dst = protocol.AppendBytes(dst, v)
	}
	return dst
}

// appendVersion appends an array of one version.
func appendVersion(dst []byte, v Version) []byte {
	return protocol.AppendUint(protocol.AppendArray(dst, 1), uint64(v))
}

// readOptional reads an array of nothing or of one value, which aliases b.
func readOptional(b []byte) (value []byte, ok bool, err error) {
	r := protocol.NewReader(b)
	switch r.ArrayLen() {
	case 0:
	case 1:
		value, ok = r.Bytes(), true
	default:
		r.Fail()
	}
	return value, ok, r.Done()
}

// nothing is the array of no results. Its capacity is its length, so an append copies.
var nothing = protocol.AppendArray(make([]byte, 0, 1), 0)
