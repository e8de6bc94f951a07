package structures

import (
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// Machine is the replicated half of a structure. Every method must be
// deterministic; the package documentation says what that excludes. One Machine
// serves all structures of its kind, so it keeps no state.
//
// Rows passed to a Machine, and slices read from an Env, must not be changed
// and are valid until it returns. APPLY-3 says in which order it decides and writes.
type Machine interface {
	// Check reports whether the body of an operation of the kind is well formed and
	// within the limits. The leader calls it before the request is logged, so Apply
	// and Read meet only bodies that passed it. Its error goes to the caller as it is.
	Check(op protocol.Op, body []byte) error

	// Apply carries out a mutation.
	Apply(env Env, op protocol.Op, body []byte) Result

	// Read answers a read. It runs beside other reads, never beside Apply.
	Read(view View, op protocol.Op, body []byte) Result

	// Due is called for a row whose deadline has come. Reads have not seen the
	// row since; Due deletes it, or puts it again with another deadline.
	Due(env Env, key []byte, row Row)

	// Ended is called for a row whose owner's session has ended, for a hold that
	// was revoked, and for a reserved row whose call was cancelled before it was
	// confirmed. It deletes the row and gives back what the row stands for.
	Ended(env Env, key []byte, row Row)

	// Confirmed is called for a reserved row when the call it was reserved for
	// is confirmed. It deletes the row.
	Confirmed(env Env, key []byte, row Row)

	// Withdrawn is called after a waiting call has ended without a grant, so that the
	// calls behind it can be looked at again.
	Withdrawn(env Env)

	// Len returns how many things the structure holds in this partition, to be shown:
	// entries, elements, permits.
	Len(view View) int64
}

// Row is one row of a structure's state. Rows are replaced, never changed.
type Row struct {
	Value    []byte
	Version  protocol.Version   // of the mutation that wrote the row; set by Put
	Deadline protocol.LogTime   // when the row is due, as View.Now counts; 0: never
	Owner    protocol.SessionID // with whose session the row ends; 0: nobody's
}

// AtOnce is the deadline of a row by which a mutation leaves work for later: Due
// is called for it before anything expires.
const AtOnce protocol.LogTime = 1

// View is what a read sees of one structure inside one partition. A row that
// is due is absent. Keys are the structure's own: other structures, and an earlier
// instance of the same name, are out of sight.
type View interface {
	// Now is the partition's time: log time, which continues from its value when the
	// partition moves to another group.
	Now() protocol.LogTime
	// Time is Now, or later in a read at the leader, where the time since the last
	// entry of the log counts as well. It is for the times left that are shown; Now
	// decides what exists.
	Time() protocol.LogTime
	// Exists reports whether the structure exists in this partition.
	Exists() bool
	// Settings returns the settings that were agreed, nil before.
	Settings() *Settings
	// Limits are the replicated limits of the group.
	Limits() protocol.Limits
	// Get returns the row under key.
	Get(key []byte) (Row, bool)
	// Ascend calls f for the rows from key on, in the order of their keys, until f
	// returns false. After it has passed over many rows that are due it stops and
	// returns the key to go on with; else it returns nil.
	Ascend(from []byte, f func(key []byte, row Row) bool) (rest []byte)
	// Overdue returns how many rows are due and not yet cleaned up: they are out of
	// sight, but still counted by a structure that counts its rows.
	Overdue() int
	// Waiters calls f for the waiting calls of the structure, the oldest first, until
	// f returns false.
	Waiters(f func(w Waiter) bool)
	// Waiting returns how many calls wait.
	Waiting() int
}

// Env is the transaction of one mutation. All reads come first: reading after
// the first write is a defect and panics. Writes cannot fail, and take effect
// together when the Machine has returned. The structure is created by the
// first mutation that writes.
type Env interface {
	View

	// Caller names the call being applied; it is empty outside Apply.
	Caller() protocol.Caller
	// Version is the number of this mutation: larger than every number before
	// it in this partition, those of an earlier instance of the same name included.
	// It serves as entry version and as fencing token.
	Version() protocol.Version
	// WasDue returns a row under key that is due and not yet cleaned up, so that
	// a write onto it can emit its expiry first.
	WasDue(key []byte) (Row, bool)

	// GrantsLeft returns how many waiting calls this mutation may grant, at least one.
	// A Machine that could grant more puts a row that is due AtOnce; its Due goes on.
	GrantsLeft() int

	// Put writes a row. Key and Value are copied. Version is set to Version().
	Put(key []byte, row Row)
	// Delete removes a row; a row that is not there is left alone.
	Delete(key []byte)
	// Destroy ends the structure's instance: its rows are out of sight at once and
	// are cleared later; its waiting calls are answered with CodeDestroyed.
	Destroy()
	// Emit appends an event to the partition's history. Key, Value and Old are
	// copied. A kind whose Watch is not WatchEntries has no events: nothing is done.
	Emit(e Event)

	// Wait makes the call being applied a waiting one. Apply returns what Wait
	// returned, which is a refusal if too many calls wait. Payload is copied. A timeout
	// of 0 waits until the session ends. The call must carry FlagWait.
	Wait(payload []byte, timeout time.Duration) Result
	// Grant answers a waiting call and forgets it.
	Grant(w Waiter, r Result)
	// Reserve answers a waiting call, but its client must confirm: until then the
	// row under key, which this mutation puts with w's session as its Owner, is
	// reserved. Confirmed or Ended is called with the outcome.
	Reserve(w Waiter, r Result, key []byte)
}

// Waiter is a waiting call.
type Waiter struct {
	Caller  protocol.Caller
	Op      protocol.Op // that waits
	Payload []byte
	Order   uint64           // of arrival; names the waiter inside its structure
	Since   protocol.LogTime // when it began to wait, as View.Now counts
	Until   protocol.LogTime // when it times out; 0: never
	Version protocol.Version // of the call that waits: its hold has that number
}

// Result is what a Machine answers. The zero Result is OK without a body.
type Result struct {
	Code protocol.Code
	Body []byte // handed over: the Machine keeps no reference to it

	waiting bool
}

// OK is the result with the given body.
func OK(body []byte) Result { return Result{Body: body} }

// Refuse is the result of an operation that changes nothing, for a reason.
func Refuse(code protocol.Code, detail string) Result {
	p := protocol.Problem{Detail: detail}
	return Result{Code: code, Body: p.Append(nil)}
}

// Waiting is the result of a call that now waits. Only an Env makes it.
func Waiting() Result { return Result{waiting: true} }

// IsWaiting reports whether the reply will come with a later grant.
func (r Result) IsWaiting() bool { return r.waiting }

// EventType says what happened to an entry. Numbers are never used again.
type EventType uint8

// The types of events. 6 to 8 are kept for later, and never emitted.
const (
	EventPut          EventType = 1
	EventRemoved      EventType = 2
	EventExpired      EventType = 3
	EventCleared      EventType = 4
	EventSessionEnded EventType = 5 // the session that owned it has ended
	// EventDestroyed has no key: the structure was destroyed, with all of its entries in
	// this partition. Machines do not emit it: Env.Destroy does.
	EventDestroyed EventType = 9
	EventEvicted   EventType = 10 // to stay within the size of the structure
)

// What only watchers see, and no history has.
const (
	EventCurrent  EventType = 32 // an entry that is there, not a change
	EventSynced   EventType = 33 // all that was there when the watch, or a list of it, began has come
	EventProgress EventType = 34 // all that was acknowledged when its probe was sent has come
	EventGap      EventType = 35 // changes of one partition are missing; its entries come anew
)

var eventNames = map[EventType]string{
	EventPut: "put", EventRemoved: "removed", EventExpired: "expired", EventCleared: "cleared", EventSessionEnded: "ended",
	EventDestroyed: "destroyed", EventEvicted: "evicted", EventCurrent: "current", EventSynced: "synced", EventProgress: "progress", EventGap: "gap",
}

// String names the type: "put", "removed".
func (t EventType) String() string {
	if name := eventNames[t]; name != "" {
		return name
	}
	return fmt.Sprintf("event %d", uint8(t))
}

// Event is one change of an entry, as watchers see it. Its version is that of the
// mutation that emitted it.
type Event struct {
	Type     EventType
	Key      []byte
	Value    []byte           // of a put
	Previous protocol.Version // of the entry before; 0: there was none
	// Old is the value before, if the settings of the structure ask for it.
	Old []byte
}

// Base is embedded by a Machine whose rows have no deadlines and no owners and
// whose calls never wait. The methods that such a Machine never meets panic.
type Base struct{}

// Due panics: no row has a deadline.
func (Base) Due(Env, []byte, Row) { panic("structures: bug: a row is due, none has a deadline") }

// Ended panics: no row has an owner.
func (Base) Ended(Env, []byte, Row) { panic("structures: bug: an owner has ended, no row has one") }

// Confirmed panics: no row is reserved.
func (Base) Confirmed(Env, []byte, Row) { panic("structures: bug: confirmed, no row is reserved") }

// Withdrawn panics: no call waits.
func (Base) Withdrawn(Env) { panic("structures: bug: withdrawn, no call waits") }

// Len returns 0.
func (Base) Len(View) int64 { return 0 }

// MaxWait is the longest wait that has an end.
const MaxWait = 10 * 365 * 24 * time.Hour

// WaitMilliseconds returns d as a wait on the wire, where 0 has no end.
func WaitMilliseconds(d time.Duration) int64 {
	return int64((min(d, MaxWait) + time.Millisecond - 1) / time.Millisecond)
}

// CheckWait returns [quorate.ErrInvalid] for a wait on the wire that is out of range.
func CheckWait(ms int64) error {
	if ms < 0 || ms > WaitMilliseconds(MaxWait) {
		return fmt.Errorf("%w: a wait of %d ms", quorate.ErrInvalid, ms)
	}
	return nil
}

// FirstWaiter returns the call that waits longest, and whether one waits that has not timed
// out.
func FirstWaiter(view View) (first Waiter, ok bool) {
	view.Waiters(func(w Waiter) bool {
		first, ok = w, true
		return false
	})
	return first, ok
}
