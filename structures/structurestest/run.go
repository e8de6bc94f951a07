package structurestest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// Run runs the conformance suite for a kind. New returns a fresh model.
func Run(t *testing.T, kind structures.Kind, fresh func() Model) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := start(t, kind, fresh())
		if err != nil {
			t.Fatal(err)
		}
		actions := map[string]func(*rapid.T){
			"mutate":  r.mutate,
			"mutate2": r.mutate, // drawn more often
			"mutate3": r.mutate,
			"read":    r.read,
			"flush":   r.flush,
			"repeat":  r.repeat,
			"cancel":  r.cancel,
			"confirm": r.confirm,
			"advance": r.advance,
			"end":     r.end,
		}
		for range lengths {
			t.Repeat(actions)
		}
		r.finish(t)
	})
}

// lengths makes histories longer than those rapid draws by itself: lines of
// waiting calls take a while to build up.
const lengths = 3

// maxGrantCost is what a grant beside those that a request declares costs at
// most.
const maxGrantCost = 8

// sessions is how many sessions call at once.
const sessions = 3

// call is a mutation as the suite knows it.
type call struct {
	Call
	caller   protocol.Caller
	raw      []byte
	txn      bool // it is a transaction of its own
	answered bool // what is the model's answer, or was the reply
	answer   Answer
	reply    reply
	over     bool // confirmed, cancelled, or its session has ended

	began, answeredAt protocol.LogTime
}

func (c *call) String() string {
	return fmt.Sprintf("call %d of session %d: %s", c.ID, c.Session, c.Text)
}

// run is one drawn history.
type run struct {
	kind    structures.Kind
	model   Model
	generic generic

	steady  *replica // applies entries one after the other
	restart *replica // is restored from its own snapshot after each

	now      protocol.LogTime
	elapsed  int64
	sessions []protocol.SessionID
	next     protocol.SessionID
	ended    uint64
	slots    map[protocol.SessionID][]uint64 // sequence by slot
	calls    []*call                         // by ID-1

	entry   groupstate.Builder
	answers []Answer // that the entry must give
	repeats []*call  // requests of the entry that were sent before
	cost    int      // that the entry's requests may have at most
	ending  protocol.SessionID
}

func start(t *rapid.T, kind structures.Kind, model Model) (*run, error) {
	r := &run{kind: kind, model: model, next: 1, slots: map[protocol.SessionID][]uint64{}}
	var err error
	if r.steady, err = newReplica(kind); err != nil {
		return nil, err
	}
	if r.restart, err = newReplica(kind); err != nil {
		return nil, err
	}
	if m, ok := model.(Marking); ok {
		m.Marks(func(id protocol.HoldID) (structures.HoldMark, protocol.LogTime) {
			mark := r.generic.mark(id)
			return mark.is, mark.until
		})
	}
	if m, ok := model.(Revoking); ok {
		m.Revokes(r.revoked)
	}
	r.reset()
	for range sessions {
		r.attach()
	}
	r.flush(t)
	return r, nil
}

// reset begins the next entry.
func (r *run) reset() {
	r.entry.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: r.elapsed}, 64)
	r.answers, r.repeats, r.ending, r.cost = nil, nil, 0, 0
}

// request adds a request to the entry.
func (r *run) request(raw []byte) {
	var q protocol.Request
	if err := q.Decode(raw); err != nil {
		panic("structurestest: bug: " + err.Error())
	}
	r.cost += groupstate.Cost(r.steady.state.Kinds(), &q)
	r.entry.Request(raw)
}

func (r *run) attach() {
	r.entry.Attach(r.next, r.ended)
	r.sessions = append(r.sessions, r.next)
	r.next++
}

func (r *run) mutate(t *rapid.T) {
	op := r.generate(t)
	if op.Flags&protocol.FlagRead != 0 {
		r.compareRead(t, op)
		return
	}
	c := &call{began: r.now, Call: Call{
		ID: CallID(len(r.calls) + 1), Session: r.drawSession(t, op), Op: op,
	}}
	c.caller = r.identity(c.Session)
	q := protocol.Request{
		Partition: home, Flags: op.Flags, Kind: r.kind.ID, Op: op.Op, Name: name,
		Caller: c.caller, Highest: groupstate.MaxSlots - 1, Body: op.Body,
	}
	if c.txn = drawTxn(t, r, op); c.txn {
		q.Kind, q.Op, q.Body = protocol.KindTxn, structures.OpCommit, txnOf(itemOf(r, op))
	}
	gate := r.steady.state.Gate()
	if res := gate.Check(&q); res.Code != protocol.CodeOK {
		t.Fatalf("%v: the Machine's Check refuses it: %d %s", c, res.Code, res.Body)
	}
	c.raw = q.Append(nil)
	r.calls = append(r.calls, c)
	r.planted(t, c)
	undone(t, r, c)
	r.request(c.raw)
	r.expect(t, r.apply(c.Call))
	if !c.answered {
		t.Logf("%v: waits", c)
	} else {
		t.Logf("%v: code %d", c, c.answer.Code)
	}
}

// identity returns the identity of a session's next call, in a slot whose call
// is over or in a new one.
func (r *run) identity(session protocol.SessionID) protocol.Caller {
	used := r.slots[session]
	for slot := range used {
		last := protocol.Caller{Session: session, Slot: uint16(slot), Sequence: used[slot]}
		i := slices.IndexFunc(r.calls, func(c *call) bool { return c.caller == last })
		if c := r.calls[i]; c.reply.caller == c.caller && (c.over || c.answer.Code != protocol.CodeReserved) {
			used[slot]++
			last.Sequence++
			return last
		}
	}
	r.slots[session] = append(used, 1)
	return protocol.Caller{Session: session, Slot: uint16(len(used)), Sequence: 1}
}

// expect notes answers of the model for the entry that is being made.
func (r *run) expect(t *rapid.T, answers []Answer) {
	destroyed := false
	for _, a := range answers {
		c := r.calls[a.Call-1]
		if c.over {
			continue
		}
		if c.answered {
			t.Fatalf("the model answers %v twice", c)
		}
		c.answered, c.answer, c.answeredAt = true, a, r.now
		r.answers = append(r.answers, a)
		destroyed = destroyed || a.Code == protocol.CodeDestroyed
	}
	if destroyed {
		// Their answers come with the clean-up after the entry.
		r.flush(t)
	}
}

func (r *run) read(t *rapid.T) {
	for range 20 {
		if op := r.generate(t); op.Flags&protocol.FlagRead != 0 {
			r.compareRead(t, op)
			return
		}
	}
	t.Skip("no read drawn")
}

func (r *run) compareRead(t *rapid.T, op Op) {
	r.flush(t)
	want := r.readModel(op)
	for _, rep := range []*replica{r.steady, r.restart} {
		got := rep.read(r.kind, op)
		if err := want.compare(got.code, got.body, got.at); err != nil {
			t.Fatalf("%s: %v", op.Text, err)
		}
	}
	readInTxn(t, r, op, r.steady.read(r.kind, op))
}

// repeat sends a call again, which must change nothing.
func (r *run) repeat(t *rapid.T) {
	var known []*call
	for _, c := range r.calls {
		if !c.over && r.slots[c.Session][c.caller.Slot] == c.caller.Sequence {
			known = append(known, c)
		}
	}
	if len(known) == 0 {
		t.Skip("no call to repeat")
	}
	c := rapid.SampledFrom(known).Draw(t, "call")
	t.Logf("repeat %v", c)
	r.request(c.raw)
	r.repeats = append(r.repeats, c)
}

// control sends an operation on the record of a call.
func (r *run) control(c *call, op protocol.Op) {
	q := protocol.Request{Partition: home, Op: op, Caller: c.caller, Highest: groupstate.MaxSlots - 1}
	r.request(q.Append(nil))
	r.repeats = append(r.repeats, c)
}

// open returns a call that waits, or whose reservation is not confirmed.
func (r *run) open(t *rapid.T, reserved, waiting bool) *call {
	r.flush(t)
	var open []*call
	for _, c := range r.calls {
		isReserved := c.answered && c.answer.Code == protocol.CodeReserved
		if !c.over && (reserved && isReserved || waiting && !c.answered) {
			open = append(open, c)
		}
	}
	if len(open) == 0 {
		t.Skip("no such call")
	}
	return rapid.SampledFrom(open).Draw(t, "call")
}

func (r *run) cancel(t *rapid.T) {
	c := r.open(t, true, true)
	t.Logf("cancel %v", c)
	c.over = true
	c.reply = reply{caller: c.caller, code: protocol.CodeCancelled}
	r.control(c, protocol.OpCancel)
	r.expect(t, r.model.Withdraw(c.ID))
	r.flush(t)
}

func (r *run) confirm(t *rapid.T) {
	c := r.open(t, true, false)
	t.Logf("confirm %v", c)
	c.over = true
	c.reply.code = protocol.CodeOK
	r.control(c, protocol.OpConfirm)
	r.model.Confirm(c.ID)
	r.flush(t)
}

// advance lets time pass, in an entry of its own: what is due goes at the end
// of the entry that moves time.
func (r *run) advance(t *rapid.T) {
	r.flush(t)
	d := rapid.SampledFrom([]time.Duration{time.Millisecond, 50 * time.Millisecond, time.Second, time.Minute}).Draw(t, "time")
	t.Logf("advance %v", d)
	r.elapsed += int64(d)
	r.now = r.now.Add(d)
	r.reset()
	r.expect(t, append(r.model.Advance(r.now), r.dueHolds()...))
	r.send(t)
}

// end ends a session and begins another, in an entry of its own.
func (r *run) end(t *rapid.T) {
	r.flush(t)
	i := rapid.IntRange(0, len(r.sessions)-1).Draw(t, "session")
	id := r.sessions[i]
	t.Logf("end session %d", id)
	r.sessions = slices.Delete(r.sessions, i, i+1)
	for _, c := range r.calls {
		if c.Session == id {
			c.over = true
		}
	}
	r.ending = id
	r.entry.Ends(r.ended, []protocol.SessionID{id})
	r.ended++
	r.expect(t, r.model.End(id))
	r.attach()
	r.send(t)
}

// flush sends the entry, if there is anything in it.
func (r *run) flush(t *rapid.T) {
	if r.entry.Commands() > 0 {
		r.send(t)
	}
}

// send applies the entry at both replicas and compares what they say.
func (r *run) send(t *rapid.T) {
	entry := r.entry.Bytes()
	for _, rep := range []*replica{r.steady, r.restart} {
		if err := rep.apply(entry); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.EqualFunc(r.steady.replies, r.restart.replies, reply.equal) {
		t.Fatalf("after a snapshot the replies differ:\n%v\n%v", r.steady.replies, r.restart.replies)
	}
	if a, b := r.steady.hash(), r.restart.hash(); a != b {
		t.Fatalf("after a snapshot the hashes differ: %x, %x", a, b)
	}
	restart, err := r.restart.reborn(r.kind)
	if err != nil {
		t.Fatal(err)
	}
	restart.replies = r.restart.replies
	r.restart = restart
	if a, b := r.steady.hash(), r.restart.hash(); a != b {
		t.Fatalf("a snapshot has another hash than the state: %x, %x", b, a)
	}
	// Beyond what a kind declares, requests grant calls that wait.
	if cost, most := r.steady.state.Worked().Requests, r.cost+maxGrantCost*len(r.steady.replies); cost > most {
		t.Fatalf("the requests of an entry cost %d, and declare at most %d", cost, most)
	}
	if err := r.settle(); err != nil {
		t.Fatal(err)
	}
	if got, want := r.steady.len(), r.model.Len(r.now); got != want {
		t.Fatalf("Len is %d, the model says %d", got, want)
	}
	if err := r.named(); err != nil {
		t.Fatal(err)
	}
	r.reset()
}

// settle compares the replies of the entry with the model's answers.
func (r *run) settle() error {
	said := map[protocol.Caller][]reply{}
	for _, p := range r.steady.replies {
		if p.caller.Session == r.ending && p.code != protocol.CodeSessionEnded {
			return fmt.Errorf("%v: to an ended session", p)
		}
		if i := slices.IndexFunc(r.calls, func(c *call) bool { return c.caller == p.caller }); i >= 0 && r.calls[i].txn {
			p = unwrapped(p)
		}
		said[p.caller] = append(said[p.caller], p)
	}
	for _, a := range r.answers {
		c := r.calls[a.Call-1]
		got := said[c.caller]
		if len(got) == 0 {
			return fmt.Errorf("%v: no reply, the model says code %d", c, a.Code)
		}
		if err := a.compare(got[0].code, got[0].body, got[0].at); err != nil {
			return fmt.Errorf("%v: %w", c, err)
		}
		c.reply = got[0]
		said[c.caller] = got[1:]
	}
	for _, c := range r.repeats {
		for _, again := range said[c.caller] {
			if again.code != c.reply.code || again.code.Class() == protocol.ClassDone && string(again.body) != string(c.reply.body) {
				return fmt.Errorf("%v: the repeat gets %v, the first attempt got %v", c, again, c.reply)
			}
		}
		delete(said, c.caller)
	}
	for _, c := range r.calls {
		if left := said[c.caller]; len(left) > 0 && !c.over {
			return fmt.Errorf("%v: reply %v, the model says it waits", c, left[0])
		}
	}
	return nil
}

// planted applies a call with a panic at every one of its calls of Env, and
// compares with a Machine that panics before the first.
func (r *run) planted(t *rapid.T, c *call) {
	if rapid.IntRange(0, 3).Draw(t, "plant") > 0 {
		return
	}
	r.flush(t)
	var b groupstate.Builder
	b.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: r.elapsed}, len(c.raw))
	b.Request(c.raw)
	var want uint64
	for at := 0; ; at++ {
		m := &panicking{Machine: r.kind.Machine, left: at}
		kind := r.kind
		kind.Machine = m
		rep, err := r.steady.reborn(kind)
		if err == nil {
			err = rep.apply(b.Bytes())
		}
		if err != nil {
			t.Fatal(err)
		}
		if !m.fired {
			return
		}
		if len(rep.replies) != 1 || rep.replies[0].code != protocol.CodePanic {
			t.Fatalf("%v: a panic at call %d of Env gives %v", c, at, rep.replies)
		}
		hash := rep.hash()
		if at == 0 {
			want = hash
		}
		if hash != want {
			t.Fatalf("%v: a panic at call %d of Env changes the state", c, at)
		}
	}
}

// finish ends all sessions: nothing of theirs may be left.
func (r *run) finish(t *rapid.T) {
	r.flush(t)
	for len(r.sessions) > 0 {
		id := r.sessions[0]
		r.sessions = r.sessions[1:]
		for _, c := range r.calls {
			if c.Session == id {
				c.over = true
			}
		}
		r.entry.Ends(r.ended, []protocol.SessionID{id})
		r.ended++
		r.expect(t, r.model.End(id))
		r.send(t)
	}
	if err := errors.Join(gone(r.steady), gone(r.restart)); err != nil {
		t.Fatal(err)
	}
}

func gone(r *replica) error {
	if n := r.state.Sessions().Len(); n > 0 || r.state.Unfinished() {
		return fmt.Errorf("all sessions have ended, %d are left, unfinished: %t", n, r.state.Unfinished())
	}
	if n := r.state.Totals().Records; n > 0 {
		return fmt.Errorf("all sessions have ended, %d records are left", n)
	}
	return nil
}
