package structures

import (
	"slices"
	"strings"

	"github.com/quorate/quorate/protocol"
)

// Kind describes one kind of structure. Its package exports it, and package kinds lists
// it. Members, handles, commands, metrics and the documentation have no other source
// of what a kind can do.
type Kind struct {
	ID      protocol.KindID
	Name    string // as commands and errors print it, for example "counter"
	Level   uint32 // the level of group state from which it exists; the first is 1
	Machine Machine

	Doc  string // what it is, in a sentence without its full stop
	Unit string // what Machine.Len counts, in the plural: "entries"
	// Keyed says that it is spread over the partitions by its keys. A structure that is
	// not keyed is in the partition of its name.
	Keyed bool
	// Lasting says that it cannot be destroyed, as what it has given out must not be given
	// out again: it has no OpDestroy.
	Lasting bool

	Ops      []OpInfo      // its own, by number, ascending; Generic has the others
	Rules    []Rule        // what names in the operations mean, beyond CommonRules
	Codes    []CodeInfo    // of its own, by number, ascending
	Settings []SettingInfo // by name, ascending
	Tests    []TestInfo    // conditions of transactions, by number, ascending; AllTests has the others
	Watch    WatchMode
	// FirstEntry is, of a kind whose Watch is WatchEntries, the key of the first row
	// that can be an entry: those before are the structure's own.
	FirstEntry []byte
	// Counted is the row that counts what a structure has by state, which members show as
	// a metric; nil: there is none.
	Counted *Counted

	// Cost returns what an operation with a checked body may cost at most beyond a
	// plain one: one for each row that it reads or writes, and for each event. A plain
	// operation reads and writes a few rows and grants one waiting call at most;
	// Env.GrantsLeft bounds further grants. Nil: all operations are plain.
	Cost func(op protocol.Op, body []byte) int
}

// Counted is a row of a structure: an array of as many integers as there are states.
type Counted struct {
	Key    []byte
	States []string // as metrics print them
}

// OpInfo describes one operation. An operation that is not marked Read is a
// mutation.
type OpInfo struct {
	Op    protocol.Op
	Name  string // as logs and metrics print it, for example "put_if_absent"
	Level uint32 // the level of group state from which it exists; 0: that of its kind
	Route Route

	// Body and Result are arrays in CDDL (RFC 8610). Names without a type are rules
	// of the kind, or common ones.
	Body, Result string
	Codes        []protocol.Code // that refuse this operation, beyond those that may refuse any

	Read  bool // changes nothing
	Waits bool // the answer may come with a later grant
	// Grows says that it may add to what is stored: it is refused while a member is
	// short of memory or disk. Removals do not grow, nor do operations that take or
	// give back something that exists.
	Grows bool
	// Holds says that it grants something that the caller holds from then on, such as
	// permits. Its reply is small, and is kept until the slot is used again, so that
	// the grant can be given back. A group that has lost its majority's data refuses
	// it, not entered, until no holder can believe any more that it holds what was
	// lost.
	Holds bool
	// Owns says that it stores something that ends with the caller's session, as an
	// ephemeral entry does. It is refused where one that holds is: in the grace period,
	// and in a session that members keep.
	Owns  bool
	Admin bool // for operators: it takes something from others
	// Txn says that it may be part of a transaction. Such an operation is plain, neither
	// waits nor holds, and is about one key at most: the work of a transaction is bounded
	// by the number of its operations (TXN-5).
	Txn   bool
	Right Right
}

// Rule says what a name in the CDDL of operations is.
type Rule struct {
	Name string
	Type string // in CDDL
	Help string // in a sentence without its full stop; sections are those of docs/protocol.md
}

// CommonRules returns the rules that the operations of any kind use, by name,
// ascending.
func CommonRules() []Rule { return slices.Clone(commonRules) }

var commonRules = []Rule{
	{"codec", "int", "the number of the codec that the caller reads (section 3), 0: any. What another wrote is not taken"},
	{"hold", "uint", "the number of what is held: the version of the call that asked for it"},
	{"holder", "[hold, token, session: uint, amount: int, mode: tstr, note: tstr, for: uint, mark, left: uint, reason: tstr]", "who holds something, since how many milliseconds, and of a revoked hold how many of the grace are left"},
	{"mark", "0..4", "of a hold: 0 none, 1 somebody asks for it, 2 revoked, 3 revoked and acknowledged, 4 it is not there"},
	{"setting", "int / tstr", "the value of a setting, by its type: a duration is an integer, in milliseconds"},
	{"token", "uint", "the fencing number of a grant: the version of the mutation that granted, so it never falls"},
	{"value", "bstr", "encoded as in section 3, with the byte of its codec"},
	{"version", "uint", "of the mutation that wrote it"},
	{"wait", "int", "milliseconds, 0: for ever"},
	{"waiting-call", "[session: uint, op: uint, amount: int, mode: tstr, note: tstr, for: uint, left: uint]", "a call that waits, since how many milliseconds, and how many it still waits, 0: for ever"},
}

// Right is a set of rights.
type Right uint8

// The rights that operations need. One whose reply shows what is stored needs
// RightRead, one that changes it RightWrite.
const (
	RightRead   Right = 1 << iota
	RightWrite        // changes what is stored
	RightHold         // takes and gives back what a session holds
	RightManage       // sets up, clears, destroys, or takes from others
)

// String names the rights: "read, write".
func (r Right) String() string { return strings.Join(r.Names(), ", ") }

// Names returns the name of each right.
func (r Right) Names() (names []string) {
	for i, name := range []string{"read", "write", "hold", "manage"} {
		if r&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// CodeInfo describes one code of a kind's own.
type CodeInfo struct {
	Code protocol.Code
	Name string // as commands print it, for example "not_integer"
	Err  error  // that a handle returns, or turns into an answer such as false
	Help string // what it says, in a sentence without its full stop
	// Answer says that it is an answer rather than a refusal: the operation has found
	// nothing. In a transaction it refuses nothing.
	Answer bool
	// Unusable says that the structure cannot be used until something was done to it,
	// such as setting its size. Commands end with a status of its own.
	Unusable bool
}

// WatchMode says what watchers see of the changes of a kind's structures.
type WatchMode uint8

// The modes of watches.
const (
	// WatchNone: nothing.
	WatchNone WatchMode = iota
	// WatchEntries: each change is an event in the partition's history, by key.
	WatchEntries
	// WatchRow: only the present value of a row, so the kind has no events.
	WatchRow
)

// String names the mode: "none", "entries", "row".
func (m WatchMode) String() string {
	switch m {
	case WatchEntries:
		return "entries"
	case WatchRow:
		return "row"
	}
	return "none"
}

// Op returns the description of an operation; nil: there is none.
func (k *Kind) Op(op protocol.Op) *OpInfo {
	if op >= FirstGeneric {
		generic := k.Generic()
		i := slices.IndexFunc(generic, func(o OpInfo) bool { return o.Op == op })
		if i < 0 {
			return nil
		}
		return &generic[i]
	}
	// Numbers begin with 1 and ascend, so an operation is not behind its number.
	for i := min(int(op), len(k.Ops)) - 1; i >= 0 && k.Ops[i].Op >= op; i-- {
		if k.Ops[i].Op == op {
			return &k.Ops[i]
		}
	}
	return nil
}

// Binds reports whether the operation gives its caller something that lasts as long as
// the caller's session.
func (o *OpInfo) Binds() bool { return o.Holds || o.Owns }

// Fits reports whether the flags of a request are right for the operation.
func (o *OpInfo) Fits(flags protocol.Flags) bool {
	flags &^= protocol.FlagRepeat
	switch {
	case o.Read:
		return flags&^protocol.FlagStale == protocol.FlagRead
	case o.Waits:
		return flags == protocol.FlagWait
	}
	return flags == 0
}

// OpName returns the name of an operation; "": there is none.
func (k *Kind) OpName(op protocol.Op) string {
	if info := k.Op(op); info != nil {
		return info.Name
	}
	return ""
}
