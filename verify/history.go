package verify

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Pending is the Return of an operation that may still take effect.
const Pending = math.MaxInt64

// Operation is one operation of a history. Calls and returns are nanoseconds
// since the history began.
type Operation struct {
	Client int
	Object object // of which structure, and of a map also which key
	Call   int64
	Return int64 // Pending: the outcome is unknown
	Input  any
	Output any // nil if the outcome is unknown
}

// object is what is linearizable by itself.
type object struct {
	kind kind
	name string
	key  string // of a map
}

// kind says which model an object has.
type kind uint8

const (
	counters kind = iota + 1
	registers
	semaphores
	queues
	transactions
	latches
	refs
	services
	presences
	locks
	rwlocks
	elections
)

// History is what clients of one process did and saw. It is safe for concurrent
// use.
type History struct {
	start time.Time

	mu    sync.Mutex // guards what is below
	ops   []Operation
	next  int // number of the next grant, or of the next Take
	line  []wait
	held  map[*Held]bool // grants that were not released
	leads map[*Lead]bool // leaderships that were not resigned
	// revoked has when a hold was first revoked; 0: somebody may have, at any time.
	revoked map[revoked]int64
}

// revoked is a hold that was revoked.
type revoked struct {
	object object
	hold   protocol.HoldID
}

// wait is a span in which a call may have stood in an object's line, so that
// others could not pass. Those that came to nothing count too.
type wait struct {
	object    object
	puts      bool // of a queue: a Put, not a Take
	call, end int64
}

// NewHistory returns an empty history that begins now.
func NewHistory() *History {
	return &History{start: time.Now(), held: map[*Held]bool{}, revoked: map[revoked]int64{}}
}

// Len returns how many operations were recorded.
func (h *History) Len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops)
}

// Operations returns a copy of the operations.
func (h *History) Operations() []Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.operations()
}

// operations returns the operations, with the return of what sessions held that have
// ended, and of what was revoked. h.mu is held.
func (h *History) operations() []Operation {
	ops := append([]Operation(nil), h.ops...)
	for held := range h.held {
		if held.Context().Err() != nil {
			ops = append(ops, held.pending(h.since(held.object, held.Held, held.call)))
		}
	}
	for l := range h.leads {
		if l.Context().Err() != nil {
			ops = append(ops, l.election.ends(h.since(l.election.object, l.Held, l.call), l.grant))
		}
	}
	return ops
}

// since returns from when on a hold of an object, which was asked for by a call, may have
// come back without a release: when a session has ended no client can tell, but what was
// revoked was held until then. h.mu is held.
func (h *History) since(o object, held *structures.Held, call int64) int64 {
	at, ok := h.revoked[revoked{o, held.ID()}]
	if cause := context.Cause(held.Context()); !ok || !errors.Is(cause, structures.ErrRevoked) && !errors.Is(cause, structures.ErrReleased) {
		return call
	}
	return max(at, call)
}

// revoke notes that a hold was revoked at a time.
func (h *History) revoke(o object, hold protocol.HoldID, at int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := revoked{o, hold}
	if first, ok := h.revoked[r]; ok {
		at = min(at, first)
	}
	h.revoked[r] = at
}

func (h *History) now() int64 { return int64(time.Since(h.start)) }

func (h *History) add(ops ...Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, ops...)
}

func (h *History) waited(w wait) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.line = append(h.line, w)
}

func (h *History) number() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.next++
	return h.next
}

// recorder is what the recorders of all structures have.
type recorder struct {
	history *History
	client  int
	object  object
}

// record notes an operation that was called at call and has come back with err.
// Output is what it returned, or answered by a condition of its own; nil with an
// error means that there is no answer.
func (r *recorder) record(call int64, input, output any, err error) {
	op := Operation{Client: r.client, Object: r.object, Call: call, Return: r.history.now(), Input: input, Output: output}
	switch {
	case errors.Is(err, quorate.ErrOutcomeUnknown):
		op.Return, op.Output = Pending, nil
	case output == nil:
		return // it had no effect
	}
	r.history.add(op)
}

// unknown reports whether an operation may have taken effect although it failed.
func unknown(err error) bool { return errors.Is(err, quorate.ErrOutcomeUnknown) }

// is returns the condition that err Is, nil if it Is none of them.
func is(err error, conditions ...error) error {
	for _, c := range conditions {
		if errors.Is(err, c) && !unknown(err) {
			return c
		}
	}
	return nil
}
