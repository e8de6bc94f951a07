package delection

import (
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind describes elections.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 9, Name: "election", Level: 1, Machine: machine{},
		Doc:  "One leader at a time, with the value that it proclaims, and candidates that wait",
		Unit: "leaders", Watch: structures.WatchRow,
		Ops: ops, Rules: rules, Codes: codes, Cost: cost,
	}
}

// kind is that of the handles.
var kind = Kind()

// cost is what operations look at: who is the next leader depends on all that wait.
func cost(op protocol.Op, _ []byte) int {
	if op == opResign || op == opTransfer {
		return MaxCandidates
	}
	return 0
}

// machine keeps these rows:
//
//	HoldKey and hold  structures.Hold                      the leadership; the owner is the leader's session
//	"l"               [hold, token, session, note, value]  the leader, as observers see it
//	"n"               [hold, candidate]                    who succeeds that leader, by a Transfer
//
// A hold has the number of the call that campaigned, its token that of the mutation that
// elected: with priorities, who came early can be elected late, and its arrival as token
// would be smaller than one already used.
//
// Invariant: "l" is there if and only if a row of a hold is, and names the newest.
// Invariant: while a campaign waits that is not hidden there is a hold, due or not.
type machine struct{ structures.Base }

var (
	leaderKey = []byte("l")
	namedKey  = []byte("n")
)

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	switch op {
	case opCampaign, opTry:
		return new(campaign).read(op, body)
	case opProclaim:
		return new(proclamation).read(body)
	case opResign:
		_, err := structures.ReadHold(body)
		return err
	case opLeader:
		return protocol.ReadInts(body)
	case opCandidates:
		return new(structures.InspectRequest).Read(body)
	case opTransfer:
		return new(transfer).read(body)
	}
	return fmt.Errorf("%w: operation %d of an election", quorate.ErrUnsupported, op)
}

// Apply implements structures.Machine.
func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	e := load(env)
	switch op {
	case opCampaign, opTry:
		var c campaign
		_ = c.read(op, body)
		return e.campaign(env, op, &c)
	case opProclaim:
		var p proclamation
		_ = p.read(body)
		return e.proclaim(env, &p)
	case opResign:
		id, _ := structures.ReadHold(body)
		if _, _, ok := structures.OwnHold(env, id); !ok {
			return notHeld()
		}
		e.succeed(env, id, 0)
		return structures.OK(protocol.AppendInts(nil))
	case opTransfer:
		var t transfer
		_ = t.read(body)
		return e.transfer(env, &t)
	}
	panic("delection: bug: unchecked operation")
}

// Read implements structures.Machine.
func (machine) Read(view structures.View, op protocol.Op, body []byte) structures.Result {
	if op == opCandidates {
		var q structures.InspectRequest
		_ = q.Read(body)
		return candidates(view, q)
	}
	e := load(view)
	if !e.led {
		return structures.Refuse(codeNone, "")
	}
	e.last.since = time.Duration(view.Time() - e.since)
	return structures.OK(e.last.append(nil, true))
}

// Ended elects the next leader when a leadership has ended: with its session, or because
// it was revoked. By then its context has ended (ELECT-7).
func (machine) Ended(env structures.Env, key []byte, _ structures.Row) {
	id, _ := structures.HoldOf(key)
	e := load(env)
	if e.known && e.last.hold != id && !mutants.On(mutants.OldEndsNewer) {
		// It was due, so that nobody led, and somebody else was elected before this
		// clean-up (ELECT-3).
		env.Delete(key)
		return
	}
	e.succeed(env, id, 0)
}

// Withdrawn elects nobody: it takes nothing from the leader, and without one nobody waits,
// but for the moment until the Ended of a leadership that is due.
func (machine) Withdrawn(structures.Env) {}

// Len returns 1 if there is a leader.
func (machine) Len(view structures.View) int64 {
	if load(view).led {
		return 1
	}
	return 0
}

// election is what a mutation or a read finds.
type election struct {
	last  leader // the "l" row
	known bool   // it is there
	led   bool   // and its hold is live: it is not due
	since protocol.LogTime
}

func load(view structures.View) (e election) {
	row, ok := view.Get(leaderKey)
	if !ok {
		return e
	}
	_ = e.last.read(row.Value, false)
	e.known = true
	if row, ok = view.Get(structures.HoldKey(e.last.hold)); ok {
		var h structures.Hold
		_ = h.Read(row.Value)
		e.led, e.since = true, h.Since
	}
	return e
}

// campaign elects the caller, or has it wait.
func (e *election) campaign(env structures.Env, op protocol.Op, c *campaign) structures.Result {
	if _, waits := structures.FirstWaiter(env); !e.led && !waits {
		env.Delete(namedKey)
		return elect(env, &candidate{
			hold: protocol.HoldID(env.Version()), session: env.Caller().Session, note: c.note, value: c.value,
		})
	}
	if op == opTry {
		return structures.Refuse(codeLed, "")
	}
	if env.Waiting() >= MaxCandidates {
		return structures.Refuse(protocol.CodeWaiters, fmt.Sprintf("%d candidates wait already", MaxCandidates))
	}
	return env.Wait(wanted(c), c.wait)
}

// wanted is the payload of a campaign that waits: what every call has that holds, and what
// the election needs besides.
func wanted(c *campaign) []byte {
	b := protocol.AppendInt(structures.AppendWanted(nil, 1, "", c.note), c.priority)
	return protocol.AppendBytes(b, c.value)
}

// candidateOf returns the candidate that a waiting call is.
func candidateOf(w structures.Waiter) candidate {
	c := candidate{hold: protocol.HoldID(w.Version), session: w.Caller.Session, waiter: w}
	r := protocol.NewReader(w.Payload)
	r.Array(3)
	r.Int()
	_, c.note = r.String(), r.String()
	c.priority, c.value = r.Int(), r.Bytes()
	return c
}

// proclaim changes the leader's value. It names the leadership (ELECT-2): what a deposed
// leader proclaims never shows as the value of the next.
func (e *election) proclaim(env structures.Env, p *proclamation) structures.Result {
	_, _, own := structures.OwnHold(env, p.hold)
	if (!own || e.last.hold != p.hold) && !mutants.On(mutants.ProclaimUnchecked) {
		return notHeld()
	}
	e.last.value = p.value
	env.Put(leaderKey, structures.Row{Value: e.last.append(nil, false)})
	return structures.OK(protocol.AppendInts(nil))
}

func notHeld() structures.Result {
	return structures.Refuse(codeNotHeld, "the leadership has ended, or the election was destroyed")
}

// transfer names the next leader, and takes the leadership away, or asks for it.
func (e *election) transfer(env structures.Env, t *transfer) structures.Result {
	key := structures.HoldKey(t.Hold)
	row, ok := env.Get(key)
	var h structures.Hold
	if !ok || h.Read(row.Value) != nil {
		return existed(false)
	}
	if _, ok := choose(env, t.candidate, true); !ok {
		return structures.Refuse(codeNoCandidate, fmt.Sprintf("candidate %d", t.candidate))
	}
	if t.Grace == 0 {
		e.succeed(env, t.Hold, t.candidate)
		return existed(true)
	}
	if h.Revoke(&t.Revocation, env.Now()) {
		row.Value, row.Deadline = h.Append(nil), h.Deadline()
		env.Put(key, row)
	}
	if !mutants.On(mutants.TransferForgotten) {
		named := protocol.AppendUint(protocol.AppendArray(nil, 2), uint64(t.Hold))
		env.Put(namedKey, structures.Row{Value: protocol.AppendUint(named, uint64(t.candidate))})
	}
	return existed(true)
}

func existed(v bool) structures.Result {
	return structures.OK(protocol.AppendBool(protocol.AppendArray(nil, 1), v))
}

// succeed ends a leadership and elects the next leader, if anybody waits. It is the one
// place that decides who is next (ELECT-1): the candidate that is given, else the one that
// a Transfer has named, if it waits; else the one with the highest priority, and of several
// the one that came first.
//
// Observers see one change: "l" goes only if nobody is elected in the same mutation
// (ELECT-4).
func (e *election) succeed(env structures.Env, id protocol.HoldID, given protocol.HoldID) {
	if given == 0 {
		given = named(env, id)
	}
	next, ok := choose(env, given, false)
	env.Delete(structures.HoldKey(id))
	env.Delete(namedKey)
	if !ok {
		env.Delete(leaderKey)
		return
	}
	env.Grant(next.waiter, elect(env, &next))
}

// choose returns the candidate that was given, or, unless it must be that one, who is next
// without it. Hidden calls are passed over: nobody is elected who has gone.
func choose(env structures.Env, given protocol.HoldID, must bool) (next candidate, ok bool) {
	env.Waiters(func(w structures.Waiter) bool {
		c := candidateOf(w)
		if c.hold == given {
			next, ok = c, true
			return false
		}
		if !must && (!ok || c.priority > next.priority && !mutants.On(mutants.PriorityIgnored)) {
			next, ok = c, true
		}
		return true
	})
	return next, ok
}

// named returns the candidate that is to succeed a leader by a Transfer; 0: none.
func named(view structures.View, leader protocol.HoldID) protocol.HoldID {
	row, ok := view.Get(namedKey)
	if !ok {
		return 0
	}
	r := protocol.NewReader(row.Value)
	r.Array(2)
	if protocol.HoldID(r.Uint()) != leader {
		return 0
	}
	return protocol.HoldID(r.Uint())
}

// elect puts the leader's rows, and returns what it is granted.
func elect(env structures.Env, c *candidate) structures.Result {
	token := mutantElected(env.Version(), c.hold)
	structures.PutHold(env, c.hold, c.session, structures.Hold{Amount: 1, Note: c.note})
	l := leader{hold: c.hold, token: token, session: c.session, note: c.note, value: c.value}
	env.Put(leaderKey, structures.Row{Value: l.append(nil, false)})
	return structures.Granted(c.hold, token)
}

// candidates lists who waits, from a hold on.
func candidates(view structures.View, q structures.InspectRequest) structures.Result {
	var p page
	if e := load(view); e.known {
		p.named = named(view, e.last.hold)
	}
	limits := view.Limits()
	most, bytes, now := min(q.Most, uint64(limits.PageEntries)), 0, view.Time()
	view.Waiters(func(w structures.Waiter) bool {
		c := candidateOf(w)
		if c.hold < q.From {
			return true
		}
		if uint64(len(p.list)) == most || len(p.list) > 0 && bytes+len(c.value) > int(limits.PageBytes) {
			p.next = c.hold
			return false
		}
		bytes += len(c.value)
		c.waits = time.Duration(now - w.Since)
		if w.Until != 0 {
			c.left = max(time.Duration(w.Until-now), time.Millisecond)
		}
		p.list = append(p.list, c)
		return true
	})
	return structures.OK(p.append(nil))
}
