package dmap

import (
	"bytes"
	"math"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// The operations of a map. Numbers are never used again. Every body and every
// result is an array. Keys are as structures.AppendKey encodes them, values as
// structures.AppendValue does. Where several keys are in one body they ascend.
const (
	opGet           protocol.Op = 1  // [key] -> [] or [value, version, left], of an ephemeral entry and its owner
	opPut           protocol.Op = 2  // [key, value, ttl] -> []
	opSwap          protocol.Op = 3  // [key, value, ttl] -> [] or [old value]
	opPutIfAbsent   protocol.Op = 4  // [key, value, ttl] -> [] or [existing value]
	opReplace       protocol.Op = 5  // [key, value, ttl, version] -> [new version]
	opDelete        protocol.Op = 6  // [key] -> [deleted]
	opRemove        protocol.Op = 7  // [key] -> [] or [old value]
	opDeleteVersion protocol.Op = 8  // [key, version] -> []
	opSetTTL        protocol.Op = 9  // [key, ttl] -> [existed]
	opAdd           protocol.Op = 10 // [key, delta, bits] -> [sum]

	opGetAll    protocol.Op = 11 // [key, ...] -> [next, (index, value, version, left), ...]; next: the first key not looked at
	opPutAll    protocol.Op = 12 // [ttl, (key, value), ...] -> []
	opDeleteAll protocol.Op = 13 // [key, ...] -> [deleted]
	opAddAll    protocol.Op = 14 // [bits, (key, delta), ...] -> []

	opScan     protocol.Op = 15 // [from, to, max bytes] -> [next, (key, value, version, left), ...]; next: where to go on, empty: done
	opScanKeys protocol.Op = 16 // [from, to, max bytes] -> [next, key, ...]
	opClear    protocol.Op = 18 // [from] -> [next]; empty: done

	// What follows stores an ephemeral entry: it ends with the caller's session.
	opPutEphemeral           protocol.Op = 19 // as opPut
	opSwapEphemeral          protocol.Op = 20 // as opSwap
	opPutIfAbsentEphemeral   protocol.Op = 21 // as opPutIfAbsent
	opReplaceEphemeral       protocol.Op = 22 // as opReplace
	opPutSequential          protocol.Op = 23 // [prefix, value, ttl] -> [version]; the key is the prefix and 20 digits of the version
	opPutSequentialEphemeral protocol.Op = 24 // as opPutSequential
)

// ephemeral are the operations that store an ephemeral entry, by those that store an
// ordinary one.
var ephemeral = map[protocol.Op]protocol.Op{
	opPut: opPutEphemeral, opSwap: opSwapEphemeral, opPutIfAbsent: opPutIfAbsentEphemeral,
	opReplace: opReplaceEphemeral, opPutSequential: opPutSequentialEphemeral,
}

// ordinary returns the operation that does what op does with an ordinary entry.
func ordinary(op protocol.Op) (as protocol.Op, isEphemeral bool) {
	switch op {
	case opPutEphemeral:
		return opPut, true
	case opSwapEphemeral:
		return opSwap, true
	case opPutIfAbsentEphemeral:
		return opPutIfAbsent, true
	case opReplaceEphemeral:
		return opReplace, true
	case opPutSequentialEphemeral:
		return opPutSequential, true
	}
	return op, false
}

// ops describes the operations.
var ops = []structures.OpInfo{
	{Op: opGet, Name: "get", Body: "[key]", Result: "[] / [value, version, left, ? owner]", Read: true, Txn: true, Right: structures.RightRead, Route: structures.RouteKey(0)},
	{Op: opPut, Name: "put", Body: "[key, value, ttl]", Result: "[]", Grows: true, Txn: true, Right: structures.RightWrite, Route: structures.RouteKey(0)},
	{Op: opSwap, Name: "swap", Body: "[key, value, ttl]", Result: "[] / [old: value]", Grows: true, Txn: true, Right: structures.RightRead | structures.RightWrite, Route: structures.RouteKey(0)},
	{Op: opPutIfAbsent, Name: "put_if_absent", Body: "[key, value, ttl]", Result: "[] / [existing: value]", Grows: true, Txn: true, Right: structures.RightRead | structures.RightWrite, Route: structures.RouteKey(0)},
	{Op: opReplace, Name: "replace", Body: "[key, value, ttl, version]", Result: "[new: version]", Codes: conflicts, Grows: true, Txn: true, Right: structures.RightWrite, Route: structures.RouteKey(0)},
	{Op: opDelete, Name: "delete", Body: "[key]", Result: "[deleted: bool]", Txn: true, Right: structures.RightWrite, Route: structures.RouteKey(0)},
	{Op: opRemove, Name: "remove", Body: "[key]", Result: "[] / [old: value]", Txn: true, Right: structures.RightRead | structures.RightWrite, Route: structures.RouteKey(0)},
	{Op: opDeleteVersion, Name: "delete_version", Body: "[key, version]", Result: "[]", Codes: conflicts, Txn: true, Right: structures.RightWrite, Route: structures.RouteKey(0)},
	{Op: opSetTTL, Name: "set_ttl", Body: "[key, ttl]", Result: "[existed: bool]", Txn: true, Right: structures.RightWrite, Route: structures.RouteKey(0)},
	{Op: opAdd, Name: "add", Body: "[key, delta, bits]", Result: "[sum: int]", Codes: additions, Grows: true, Txn: true, Right: structures.RightRead | structures.RightWrite, Route: structures.RouteKey(0)},
	{Op: opGetAll, Name: "get_all", Body: "[*1000 key]", Result: "[next: uint, * (index: uint, value, version, left)]", Read: true, Right: structures.RightRead, Route: structures.RouteKeys(0, 1)},
	{Op: opPutAll, Name: "put_all", Body: "[ttl, *1000 (key, value)]", Result: "[]", Grows: true, Right: structures.RightWrite, Route: structures.RouteKeys(1, 2)},
	{Op: opDeleteAll, Name: "delete_all", Body: "[*1000 key]", Result: "[deleted: uint]", Right: structures.RightWrite, Route: structures.RouteKeys(0, 1)},
	{Op: opAddAll, Name: "add_all", Body: "[bits, *1000 (key, delta)]", Result: "[]", Codes: additions, Grows: true, Right: structures.RightWrite, Route: structures.RouteKeys(1, 2)},
	{Op: opScan, Name: "scan", Body: "[from: bstr, to: bstr, most-bytes: uint]", Result: "[next: bstr, * (key, value, version, left)]", Read: true, Right: structures.RightRead, Route: structures.RoutePart()},
	{Op: opScanKeys, Name: "scan_keys", Body: "[from: bstr, to: bstr, most-bytes: uint]", Result: "[next: bstr, * key]", Read: true, Right: structures.RightRead, Route: structures.RoutePart()},
	{Op: opClear, Name: "clear", Body: "[from: bstr]", Result: "[next: bstr]", Right: structures.RightManage, Route: structures.RoutePart()},
	{Op: opPutEphemeral, Name: "put_ephemeral", Body: "[key, value, ttl]", Result: "[]", Grows: true, Owns: true, Right: owned, Route: structures.RouteKey(0)},
	{Op: opSwapEphemeral, Name: "swap_ephemeral", Body: "[key, value, ttl]", Result: "[] / [old: value]", Grows: true, Owns: true, Right: owned | structures.RightRead, Route: structures.RouteKey(0)},
	{Op: opPutIfAbsentEphemeral, Name: "put_if_absent_ephemeral", Body: "[key, value, ttl]", Result: "[] / [existing: value]", Grows: true, Owns: true, Right: owned | structures.RightRead, Route: structures.RouteKey(0)},
	{Op: opReplaceEphemeral, Name: "replace_ephemeral", Body: "[key, value, ttl, version]", Result: "[new: version]", Codes: conflicts, Grows: true, Owns: true, Right: owned, Route: structures.RouteKey(0)},
	{Op: opPutSequential, Name: "put_sequential", Body: "[prefix, value, ttl]", Result: "[new: version]", Grows: true, Right: structures.RightWrite, Route: structures.RouteKey(0)},
	{Op: opPutSequentialEphemeral, Name: "put_sequential_ephemeral", Body: "[prefix, value, ttl]", Result: "[new: version]", Grows: true, Owns: true, Right: owned, Route: structures.RouteKey(0)},
}

// owned is the right that ephemeral entries need.
const owned = structures.RightWrite | structures.RightHold

// The conditions of transactions about a key. Numbers are never used again.
const (
	testVersion structures.Test = 1 // [test, key, version]
	testAbsent  structures.Test = 2 // [test, key]
	testPresent structures.Test = 3 // [test, key]
	testValue   structures.Test = 4 // [test, key, value]
)

var tests = []structures.TestInfo{
	{Test: testVersion, Name: "version", Body: "[test: 1, key, version]", Help: "there is an entry, and it has the version"},
	{Test: testAbsent, Name: "absent", Body: "[test: 2, key]", Help: "there is no entry"},
	{Test: testPresent, Name: "present", Body: "[test: 3, key]", Help: "there is an entry"},
	{Test: testValue, Name: "value", Body: "[test: 4, key, value]", Help: "there is an entry, and its value has these bytes"},
}

// rules are what names in the operations are.
var rules = []structures.Rule{
	{Name: "bits", Type: "32 / 64", Help: "of the integer that is added to"},
	{Name: "delta", Type: "int", Help: "what is added"},
	{Name: "key", Type: "bstr", Help: "encoded as in section 3; several ascend, and are of one partition"},
	{Name: "left", Type: "int", Help: "milliseconds that the entry has left, 0: no end"},
	{Name: "owner", Type: "uint", Help: "the session that an ephemeral entry ends with"},
	{Name: "prefix", Type: "bstr", Help: "a text key, encoded as in section 3. It, or the name of the map, has a tag. The key of the entry is this and the 20 decimal digits of its version"},
	{Name: "ttl", Type: "int", Help: "milliseconds, 100 or more; 0: the map's default, -1: what the entry has, -2: never ends"},
}

var (
	conflicts = []protocol.Code{codeConflict}
	additions = []protocol.Code{codeNotInteger, codeOverflow}
)

// The codes of a map's own.
const (
	codeConflict   = protocol.CodeKindBase + 0
	codeNotInteger = protocol.CodeKindBase + 1
	codeOverflow   = protocol.CodeKindBase + 2
)

var codes = []structures.CodeInfo{
	{Code: codeConflict, Name: "conflict", Err: ErrConflict, Help: "the entry has another version, or does not exist"},
	{Code: codeNotInteger, Name: "not_integer", Err: ErrNotInteger, Help: "the value is not an integer that the CBOR codec wrote"},
	{Code: codeOverflow, Name: "overflow", Err: ErrOverflow, Help: "the sum does not fit"},
}

var settingInfos = []structures.SettingInfo{
	{Name: "keep-old", Type: structures.SettingInt, Help: "1: watches can ask for the values before; 0: they are not kept"},
	{Name: "ttl", Type: structures.SettingDuration, Help: "time to live of entries that are written without one; 0: they do not end"},
}

var oldSetting, ttlSetting = &settingInfos[0], &settingInfos[1]

// A TTL on the wire is milliseconds, or one of these. Times left are
// milliseconds, 0: no end.
const (
	ttlDefault = 0
	ttlKeep    = -1
	ttlNever   = -2
)

const (
	minTTL = 100 * time.Millisecond
	maxTTL = 100 * 365 * 24 * time.Hour // a longer one is never
)

// maxPart bounds how many keys one call names or changes.
const maxPart = 1000

// args are the arguments of an operation on one key, those it has.
type args struct {
	key, value []byte
	ttl        int64
	version    Version
	delta      int64
	bits       uint8 // 32 or 64: of the integer that is added to
}

// readArgs reads and checks the body of an operation on one key.
func readArgs(op protocol.Op, body []byte) (args, error) {
	var a args
	r := protocol.NewReader(body)
	op, _ = ordinary(op)
	switch op {
	case opGet, opDelete, opRemove:
		r.Array(1)
		a.key = readKey(&r)
	case opPut, opSwap, opPutIfAbsent:
		r.Array(3)
		a.key, a.value, a.ttl = readKey(&r), readValue(&r), readTTL(&r, ttlNever)
	case opPutSequential:
		r.Array(3)
		a.key, a.value, a.ttl = readKey(&r), readValue(&r), readTTL(&r, ttlNever)
		if len(a.key) > 0 && a.key[0] != protocol.KeyText {
			r.Fail()
		}
	case opReplace:
		r.Array(4)
		a.key, a.value, a.ttl = readKey(&r), readValue(&r), readTTL(&r, ttlNever)
		a.version = Version(r.Uint())
	case opDeleteVersion:
		r.Array(2)
		a.key, a.version = readKey(&r), Version(r.Uint())
	case opSetTTL:
		r.Array(2)
		a.key, a.ttl = readKey(&r), readTTL(&r, ttlNever)
	case opAdd:
		r.Array(3)
		a.key, a.delta, a.bits = readKey(&r), r.Int(), readBits(&r)
	}
	return a, r.Done()
}

// readTest reads and checks the body of a condition.
func readTest(test structures.Test, body []byte) (args, error) {
	var a args
	r := protocol.NewReader(body)
	fields := 2
	if test == testVersion || test == testValue {
		fields = 3
	}
	r.Array(fields)
	r.Uint()
	a.key = readKey(&r)
	switch test {
	case testVersion:
		a.version = Version(r.Uint())
	case testValue:
		a.value = readValue(&r)
	}
	return a, r.Done()
}

// item is what an operation over many keys says of one of them.
type item struct {
	key, value []byte
	delta      int64
}

// readMany reads and checks the body of an operation over many keys. The args
// are what stands before the items.
func readMany(op protocol.Op, body []byte) (args, []item, error) {
	var a args
	r := protocol.NewReader(body)
	n := r.ArrayLen()
	switch op {
	case opPutAll:
		a.ttl = readTTL(&r, ttlNever)
	case opAddAll:
		a.bits = readBits(&r)
	}
	if op == opPutAll || op == opAddAll {
		if n%2 == 0 {
			r.Fail()
		}
		n /= 2
	}
	if n > maxPart {
		r.Fail()
	}
	if r.Err() != nil {
		return a, nil, r.Err()
	}
	items := make([]item, n)
	for i := range items {
		it := &items[i]
		it.key = readKey(&r)
		if i > 0 && bytes.Compare(items[i-1].key, it.key) >= 0 {
			r.Fail()
		}
		switch op {
		case opPutAll:
			it.value = readValue(&r)
		case opAddAll:
			it.delta = r.Int()
		}
	}
	return a, items, r.Done()
}

// scanArgs are the arguments of a scan: the entries of [from, to), an empty to
// for no end.
type scanArgs struct {
	from, to []byte
	maxBytes uint64
}

func (a scanArgs) append(dst []byte) []byte {
	dst = protocol.AppendArray(dst, 3)
	dst = protocol.AppendBytes(dst, a.from)
	dst = protocol.AppendBytes(dst, a.to)
	return protocol.AppendUint(dst, a.maxBytes)
}

func readScan(body []byte) (scanArgs, error) {
	r := protocol.NewReader(body)
	r.Array(3)
	a := scanArgs{from: r.Bytes(), to: r.Bytes(), maxBytes: r.Uint()}
	return a, r.Done()
}

// readKey reads an encoded key and checks its form.
func readKey(r *protocol.Reader) []byte {
	key := r.Bytes()
	if len(key) == 0 {
		r.Fail()
		return nil
	}
	switch key[0] {
	case protocol.KeyText, protocol.KeyBytes:
	case protocol.KeyInt, protocol.KeyUint:
		if len(key) != 9 {
			r.Fail()
		}
	case protocol.KeyCBOR:
		if len(key) == 1 {
			r.Fail()
		}
	default:
		r.Fail()
	}
	return key
}

// readValue reads an encoded value, which names its codec.
func readValue(r *protocol.Reader) []byte {
	v := r.Bytes()
	if len(v) == 0 {
		r.Fail()
	}
	return v
}

func readTTL(r *protocol.Reader, lowest int64) int64 {
	ttl := r.Int()
	if ttl < lowest || ttl > maxTTL.Milliseconds() || (ttl > 0 && ttl < minTTL.Milliseconds()) {
		r.Fail()
	}
	return ttl
}

func readBits(r *protocol.Reader) uint8 {
	bits := r.Uint()
	if bits != 32 && bits != 64 {
		r.Fail()
	}
	return uint8(bits)
}

// fits reports whether n is an integer of that many bits.
func fits(n int64, bits uint8) bool {
	return bits == 64 || (n >= math.MinInt32 && n <= math.MaxInt32)
}

// wireTTL returns a checked TTL as it is on the wire.
func wireTTL(d time.Duration) int64 {
	if d > maxTTL {
		return ttlNever
	}
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// readOptional reads an array of nothing or of one value.
func readOptional(body []byte) (value []byte, ok bool, err error) {
	r := protocol.NewReader(body)
	if n := r.ArrayLen(); n > 0 {
		value, ok = r.Bytes(), true
		if n > 1 {
			r.Fail()
		}
	}
	return value, ok, r.Done()
}

// openItem and closeItem write a byte string whose length is not known before
// it is written: its bytes are appended between the two.
func openItem(dst []byte) []byte { return append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0) }

// closeItem moves the bytes behind their head. It returns dst and where in it
// they begin; start is the length that dst had before openItem.
func closeItem(dst []byte, start int) ([]byte, int) {
	const headBytes, majorBytes = 9, 2 << 5
	n := len(dst) - start - headBytes
	head := protocol.AppendUint(dst[:start], uint64(n)) // at most headBytes: in place
	head[start] |= majorBytes
	copy(dst[len(head):], dst[start+headBytes:])
	return dst[:len(head)+n], len(head)
}

// nothing is the array of no results. Its capacity is its length, so an append copies.
var nothing = protocol.AppendArray(make([]byte, 0, 1), 0)
