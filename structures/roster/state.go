package roster

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind completes the description of a kind whose structures are rosters: it has their
// Machine, operations and codes.
func Kind(k structures.Kind) structures.Kind {
	k.Machine, k.Ops, k.Rules, k.Codes, k.Cost = machine{}, ops, rules, codes, cost
	k.Watch, k.FirstEntry = structures.WatchEntries, firstEntry
	k.Counted = &structures.Counted{
		Key: countKey, States: []string{Passing.String(), Warning.String(), Critical.String(), "drained"},
	}
	return k
}

// cost: the data of an entry is written again with its health and its drain.
func cost(op protocol.Op, _ []byte) int {
	if op == opReport || op == opDrain {
		return MaxData>>10 + 1
	}
	return 0
}

// machine keeps these rows:
//
//	entryKey  row                                    one entry; the owner is its session, or nobody
//	timerKey  [phase]                                due when the entry becomes critical, or is removed
//	drainKey  [reason]                               the ID is drained, registered or not
//	"n"       [passing, warning, critical, drained]  how many there are
//
// Invariant: an entry has no deadline (ROSTER-1).
// Invariant: a timer belongs to an entry.
// Invariant: every change that watchers see writes "n", whose version is that of the last
// change.
// Invariant: "n" is not all 0: when nothing is left the instance ends.
type machine struct{ structures.Base }

// The phases of a timer.
const (
	untilCritical = 0 // it is passing or warning
	untilRemoved  = 1 // it is critical
)

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	if op == opList {
		r := protocol.NewReader(body)
		r.Array(2)
		_, _ = r.String(), r.Uint()
		return r.Done()
	}
	_, err := readRequest(op, body)
	return err
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	q, _ := readRequest(op, body)
	e := look(env, q.id)
	switch op {
	case opRegister:
		return e.register(&q)
	case opDrain:
		return e.drain(&q)
	case opRemove:
		if e.is {
			e.remove(structures.EventRemoved)
		}
		return truth(e.is)
	}
	if r := e.named(&q, op); r.Code != protocol.CodeOK {
		return r
	}
	switch op {
	case opReport:
		e.report(&q)
	case opUpdate:
		e.now.data = q.data
		e.put(e.owner)
	case opDeregister:
		e.remove(structures.EventRemoved)
	}
	return done
}

// Read implements structures.Machine.
func (machine) Read(view structures.View, _ protocol.Op, body []byte) structures.Result {
	r := protocol.NewReader(body)
	r.Array(2)
	return list(view, r.String(), r.Uint())
}

// Due makes an entry critical, or removes it. That is one change for everybody: what an
// entry's health is only its row says (ROSTER-1).
func (machine) Due(env structures.Env, key []byte, timer structures.Row) {
	if key[0] != 0 { // only in a mutant have entries a deadline
		env.Delete(key)
		return
	}
	e := look(env, string(key[2:]))
	var phase int64
	_ = protocol.ReadInts(timer.Value, &phase)
	switch {
	case !e.is:
		env.Delete(key)
	case phase == untilRemoved:
		e.remove(structures.EventExpired)
	default:
		e.set(Critical, fmt.Sprintf("no report within %v", time.Duration(e.now.ttl)*time.Millisecond))
		e.timer()
		e.put(e.owner)
	}
}

// Ended removes the entry of a session that has ended.
func (machine) Ended(env structures.Env, key []byte, _ structures.Row) {
	look(env, string(key[1:])).remove(structures.EventSessionEnded)
}

// Len returns how many entries there are.
func (machine) Len(view structures.View) int64 {
	c := load(view)
	return c.entries()
}

var done = structures.OK(protocol.AppendArray(nil, 0))

func truth(v bool) structures.Result {
	return structures.OK(protocol.AppendBool(protocol.AppendArray(nil, 1), v))
}

// count is the "n" row.
type count struct {
	health  [3]int64 // entries by their health
	drained int64    // IDs that are drained
}

func load(view structures.View) (c count) {
	if row, ok := view.Get(countKey); ok {
		_ = protocol.ReadInts(row.Value, &c.health[0], &c.health[1], &c.health[2], &c.drained)
	}
	return c
}

func (c *count) entries() int64 { return c.health[0] + c.health[1] + c.health[2] }

// finish writes the counts, or deletes the last row, and the instance ends with it, so that
// a name that is free costs nothing. Nothing is destroyed by that: watchers have been told
// of the last entry, and of a drain without an entry there is nothing to tell.
func (c *count) finish(env structures.Env) {
	if c.entries() == 0 && c.drained == 0 {
		env.Delete(countKey)
		return
	}
	env.Put(countKey, structures.Row{Value: protocol.AppendInts(nil, c.health[0], c.health[1], c.health[2], c.drained)})
}

// edit is one mutation of one entry: all of it was read before anything is written.
type edit struct {
	env     structures.Env
	id      string
	is      bool // there is an entry
	was     row
	now     row // as it will be
	owner   protocol.SessionID
	version protocol.Version // of the entry before; 0: there was none
	drained bool
	reason  string
	count   count
	retime  bool // the timer begins anew
}

func look(env structures.Env, id string) *edit {
	e := &edit{env: env, id: id, count: load(env)}
	if got, ok := env.Get(entryKey(id)); ok {
		_ = e.was.read(got.Value)
		e.is, e.now, e.owner, e.version = true, e.was, got.Owner, got.Version
	}
	if got, ok := env.Get(drainKey(id)); ok {
		r := protocol.NewReader(got.Value)
		r.Array(1)
		e.drained, e.reason = true, r.String()
	}
	return e
}

// named refuses an operation of a registration that is not the one that is there
// (ROSTER-3).
func (e *edit) named(q *request, op protocol.Op) structures.Result {
	switch {
	case !e.is:
		return structures.Refuse(codeUnknown, "")
	case e.was.nonce != q.nonce && !(op == opDeregister && mutants.On(mutants.DeregisterByID)):
		return structures.Refuse(codeReplaced, "")
	}
	return structures.Result{}
}

// register puts an entry. The last registration of an ID wins (ROSTER-2), but one that
// was registered before and comes again, after its session was lost, takes nothing from
// another (ROSTER-4).
func (e *edit) register(q *request) structures.Result {
	again, other := q.flags&flagAgain != 0, e.is && e.was.nonce != q.nonce
	switch {
	case other && (again && !mutants.On(mutants.Flapping) || mutants.On(mutants.NodeExists)):
		return structures.Refuse(codeReplaced, "")
	case !e.is && e.count.entries() >= MaxEntries:
		return structures.Refuse(protocol.CodeWaiters, fmt.Sprintf("%d are registered under this name, and no more can be", MaxEntries))
	}
	owner := protocol.SessionID(0)
	if q.flags&flagPermanent == 0 {
		owner = mutantOwner(e, again, e.env.Caller().Session)
	}
	e.now = row{nonce: q.nonce, ttl: q.ttl, remove: q.remove, flags: q.flags & flagPermanent, data: q.data, since: e.env.Now()}
	if again && e.is && e.was.health == q.health {
		e.now.since = e.was.since
	}
	if e.drained && !mutants.On(mutants.DrainForgotten) { // the drain outlives registrations (ROSTER-5)
		e.now.flags, e.now.reason = e.now.flags|flagDrained, e.reason
	}
	e.now.health, e.now.note = q.health, q.note
	e.retime = true
	e.timer()
	e.put(owner)
	return done
}

// report takes a report of health. One that says nothing new only starts the timer anew.
func (e *edit) report(q *request) {
	same := e.was.health == q.health && e.was.note == q.note
	e.set(q.health, q.note)
	// The time until an entry is removed runs from when it became critical.
	e.retime = e.retime || q.health != Critical
	e.timer()
	if !same {
		e.put(e.owner)
	}
}

// set changes the health.
func (e *edit) set(h Health, note string) {
	if e.now.health != h {
		e.now.since, e.retime = e.env.Now(), true
	}
	e.now.health, e.now.note = h, note
}

// timer starts the timer of the entry as it will be anew, if it must.
func (e *edit) timer() {
	if !e.retime {
		return
	}
	ms, phase := e.now.ttl, int64(untilCritical)
	if e.now.health == Critical {
		ms, phase = e.now.remove, untilRemoved
	}
	key := timerKey(e.id)
	if ms == 0 {
		e.env.Delete(key)
		return
	}
	e.env.Put(key, structures.Row{
		Value: protocol.AppendInts(nil, phase), Deadline: e.env.Now().Add(time.Duration(ms) * time.Millisecond),
	})
}

// put writes the entry as it will be, counts it, and tells watchers.
func (e *edit) put(owner protocol.SessionID) {
	key, value := entryKey(e.id), e.now.append(nil)
	if e.is {
		e.count.health[e.was.health]--
	}
	e.count.health[e.now.health]++
	e.env.Put(key, structures.Row{Value: value, Owner: owner, Deadline: mutantDeadline(e.env, e.now.ttl)})
	e.env.Emit(structures.Event{Type: structures.EventPut, Key: key, Value: value, Previous: e.version})
	e.count.finish(e.env)
}

// remove removes the entry, and tells watchers why. Drain stays.
func (e *edit) remove(why structures.EventType) {
	if !e.is {
		return
	}
	e.count.health[e.was.health]--
	e.env.Delete(entryKey(e.id))
	e.env.Delete(timerKey(e.id))
	e.env.Emit(structures.Event{Type: why, Key: entryKey(e.id), Previous: e.version})
	e.count.finish(e.env)
}

// drain sets or takes off that an ID is drained. The entry says so, too.
func (e *edit) drain(q *request) structures.Result {
	changed := e.drained != q.on || q.on && e.reason != q.note
	switch {
	case !changed:
		return truth(false)
	case q.on && !e.drained && e.count.drained >= MaxEntries:
		return structures.Refuse(protocol.CodeWaiters, fmt.Sprintf("%d IDs are drained, and no more can be", MaxEntries))
	case q.on:
		e.env.Put(drainKey(e.id), structures.Row{Value: protocol.AppendString(protocol.AppendArray(nil, 1), q.note)})
		e.now.flags, e.now.reason = e.now.flags|flagDrained, q.note
	default:
		e.env.Delete(drainKey(e.id))
		e.now.flags, e.now.reason = e.now.flags&^flagDrained, ""
	}
	e.count.drained += step(q.on) - step(e.drained)
	if e.is {
		e.put(e.owner)
	} else {
		e.count.finish(e.env)
	}
	return truth(true)
}

func step(on bool) int64 {
	if on {
		return 1
	}
	return 0
}

// list answers a page of entries, by ID, from one on.
func list(view structures.View, from string, maxBytes uint64) structures.Result {
	limits := view.Limits()
	changed := protocol.Version(0)
	if row, ok := view.Get(countKey); ok {
		changed = row.Version
	}
	most, size := int(min(maxBytes, uint64(limits.PageBytes))), 0
	var items []byte
	next, n := "", 0
	rest := view.Ascend(entryKey(from), func(key []byte, row structures.Row) bool {
		if n == int(limits.PageEntries) || n > 0 && size+len(row.Value) > most {
			next = string(key[1:])
			return false
		}
		n++
		size += len(key) + len(row.Value)
		items = protocol.AppendString(items, string(key[1:]))
		items = protocol.AppendUint(protocol.AppendUint(items, uint64(row.Owner)), uint64(row.Version))
		items = protocol.AppendBytes(items, row.Value)
		return true
	})
	if rest != nil {
		next = string(rest[1:])
	}
	b := protocol.AppendUint(protocol.AppendArray(nil, 3+4*n), uint64(changed))
	b = protocol.AppendString(protocol.AppendUint(b, uint64(view.Time())), next)
	return structures.OK(append(b, items...))
}
