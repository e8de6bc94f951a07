package conform

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// slot is where a call keeps its sequence.
type slot struct {
	session   protocol.SessionID
	partition protocol.PartitionID
	number    uint16
}

// call is a mutation of the client under one identity, as the member sees it.
type call struct {
	first    protocol.Request
	attempts int
	answered bool // with a definite answer, on a connection that was whole
	settled  bool // its cancel was answered
	mayEnter bool // an attempt may have entered, as far as the client can know
	reserved bool // answered with a condition
	cancels  int
	confirms int
	began    time.Time // the first attempt
	at       time.Time // the last
	on       *conn     // its connection
	id       uint64    // its ID
}

// open reports whether the client cannot know yet what became of the call.
func (c *call) open() bool { return !c.answered && !c.settled }

// soon is a time within which no attempt is given up.
const soon = 20 * time.Millisecond

// verdict is what becomes of an attempt.
type verdict struct {
	lost    bool             // it is not carried out, and not answered
	mute    bool             // it is carried out, and not answered
	code    protocol.Code    // it is not carried out: this is the answer
	problem protocol.Problem // of that answer
	part    int              // so many bytes of the answer are sent, then the connection ends; whole: all
	delay   time.Duration    // of the answer
	after   func()           // called before the answer is sent, under mu
}

// request handles one request. mu is held.
func (r *run) request(c *conn, q *protocol.Request) {
	r.check(c, q)
	if c.hello.Flags&protocol.HelloRoute != 0 {
		q.Partition = kindsOf.PartitionOf(q, partitions)
	}
	c.flight[q.ID] = true
	var of *call
	if q.Flags&protocol.FlagRead == 0 {
		of = r.note(c, q)
	}
	v := verdict{part: whole}
	leader := r.leaders[r.groupOf(q.Partition)]
	switch {
	case leader == c.m.id || c.hello.Flags&protocol.HelloForward != 0 || q.Flags&protocol.FlagStale != 0:
		if r.c.on != nil {
			v = r.c.on(r, c, q, of)
		}
	case r.moves > 0: // it leads the group that had the partition
		v.code = protocol.CodeNotOwner
	default:
		v.code, v.problem = protocol.CodeNotLeader, protocol.Problem{Leader: leader}
	}
	s := r.sessions[q.Caller.Session]
	if of != nil && v.code == 0 && !v.lost {
		switch {
		case s == nil:
			v.code = protocol.CodeSessionUnknown
		case s.ended:
			v.code = protocol.CodeSessionEnded
		case !s.kept && gives(q):
			v.code = protocol.CodeNotKept
		}
	}
	if of != nil && q.Kind != protocol.KindControl && (v.lost || v.code == 0 || v.code.Class() == protocol.ClassUnknown) {
		of.mayEnter = true
	}
	switch {
	case v.lost:
		if v.part != whole {
			c.close()
		}
	case v.code != 0:
		r.reply(c, q, of, protocol.Reply{Code: v.code, Body: r.problem(v.problem)}, v)
	default:
		r.state.carryOut(q, func(p protocol.Reply) { r.reply(c, q, of, p, v) })
	}
}

// reply answers an attempt. mu is held.
func (r *run) reply(c *conn, q *protocol.Request, of *call, p protocol.Reply, v verdict) {
	if v.mute {
		if v.part != whole {
			c.close()
		}
		return
	}
	p.ID = q.ID
	send := func() {
		if v.after != nil {
			v.after()
		}
		if !c.flight[q.ID] {
			return // a later attempt of a call that waits is answered in its place
		}
		c.answer(p, v.part)
		if of == nil || c.closed {
			return
		}
		switch class := p.Code.Class(); {
		case q.Kind == protocol.KindControl && q.Op == protocol.OpCancel && (class == protocol.ClassDone || class == protocol.ClassRefused):
			of.settled = true
		case q.Kind == protocol.KindControl:
			of.answered = of.answered || class == protocol.ClassDone || class == protocol.ClassRefused
		case p.Code == protocol.CodeReserved:
			of.reserved = true
		case class == protocol.ClassDone, class == protocol.ClassRefused, p.Code == protocol.CodeReplyDropped:
			of.answered = true
		}
	}
	if v.delay == 0 {
		send()
		return
	}
	r.wg.Add(1)
	time.AfterFunc(v.delay, func() {
		defer r.wg.Done()
		r.lock(send)
	})
}

var kindsOf = groupstate.KindsOf(kinds.All())

// check holds an attempt against the rules that concern it alone. mu is held.
func (r *run) check(c *conn, q *protocol.Request) {
	if c.goodbye {
		r.broke(RuleGoodbye, "a request on a connection after the member's goodbye was read")
	}
	r.must(!c.flight[q.ID], RuleForm, "two requests in flight on one connection have the ID %d", q.ID)
	r.must(len(c.flight) < int(limits.InFlight), RuleLimits, "%d requests in flight on a connection, at most %d may be", len(c.flight)+1, limits.InFlight)
	r.must(len(q.Body) <= int(limits.Body()), RuleLimits, "a body of %d bytes, at most %d are allowed", len(q.Body), limits.Body())
	if n := len(q.Name); q.Kind != protocol.KindControl {
		r.must(n > 0 && n <= int(limits.Name), RuleLimits, "a name of %d bytes, 1 to %d are allowed", n, limits.Name)
	}
	if at := kindsOf.PartitionOf(q, partitions); c.hello.Flags&protocol.HelloRoute == 0 {
		r.must(at == q.Partition, RuleRouting, "a request on %q came with partition %d, and belongs to %d", q.Name, q.Partition, at)
	}
	if q.Flags&protocol.FlagRead != 0 {
		r.must(q.Caller == protocol.Caller{} && q.Highest == 0, RuleIdentity, "a read has an identity: %+v", q.Caller)
		return
	}
	if q.Caller.Session == 0 || q.Caller.Sequence == 0 {
		r.broke(RuleIdentity, "a mutation without session or sequence: %+v", q.Caller)
		return
	}
	r.must(r.sessions[q.Caller.Session] != nil, RuleSession, "a mutation under session %d, which the client was not given", q.Caller.Session)
	r.must(uint32(q.Caller.Slot) < limits.Slots, RuleLimits, "slot %d, the highest is %d", q.Caller.Slot, limits.Slots-1)
	r.must(q.Highest >= q.Caller.Slot, RuleHighest, "highest is %d in a request with slot %d", q.Highest, q.Caller.Slot)
}

// note finds the call of an attempt, and holds it against those before. mu is held.
func (r *run) note(c *conn, q *protocol.Request) *call {
	at := place{q.Partition, q.Caller}
	of := r.calls[at]
	if q.Kind == protocol.KindControl {
		if of == nil {
			of = &call{first: *q}
			r.calls[at] = of
		}
		if q.Op == protocol.OpCancel {
			of.cancels++
		} else {
			of.confirms++
		}
		return of
	}
	in := slot{q.Caller.Session, q.Partition, q.Caller.Slot}
	before := r.slots[in]
	if of == nil || of.first.Kind == protocol.KindControl {
		if of == nil {
			of = &call{began: time.Now()}
			r.calls[at] = of
		}
		of.first = *q
		of.first.Body = bytes.Clone(q.Body)
		if before != nil {
			last := before.first.Caller.Sequence
			r.must(last < q.Caller.Sequence, RuleSequence, "slot %d of partition %d: sequence %d after %d", in.number, in.partition, q.Caller.Sequence, last)
			r.must(!before.open() || !before.mayEnter, RuleSequence, "slot %d of partition %d is used for sequence %d, and what became of sequence %d cannot be known yet", in.number, in.partition, q.Caller.Sequence, last)
		}
		r.slots[in] = of
	} else {
		f := &of.first
		r.must(f.Kind == q.Kind && f.Op == q.Op && f.Name == q.Name, RuleIdentity, "session %d, partition %d, slot %d, sequence %d is given to two calls, on %q and %q", in.session, in.partition, in.number, q.Caller.Sequence, f.Name, q.Name)
		r.must(bytes.Equal(f.Body, q.Body), RuleRepeat, "the second attempt of a call on %q has another body: %.60x, not %.60x", q.Name, q.Body, f.Body)
		r.must(q.Flags&protocol.FlagRepeat != 0, RuleRepeat, "the second attempt of a call lacks the flag repeat (%q, slot %d, sequence %d)", q.Name, in.number, q.Caller.Sequence)
		if q.Flags&protocol.FlagWait == 0 {
			r.repeats++
			if of.on == c && c.flight[of.id] && time.Since(of.at) < soon {
				r.hasty++
			}
		}
	}
	for other, last := range r.slots {
		if other.session == in.session && other.partition == in.partition && other.number > q.Highest && last.open() && last.mayEnter {
			r.broke(RuleHighest, "highest is %d while the call in slot %d is not answered", q.Highest, other.number)
		}
	}
	of.on, of.id = c, q.ID
	of.attempts++
	of.at = time.Now()
	if q.Flags&protocol.FlagWait != 0 {
		delete(c.flight, c.seen[at]) // the client forgets the attempt before
		c.seen[at] = q.ID
	}
	return of
}

// entered returns the calls of an operation that may have been carried out.
func (r *run) entered(kind protocol.KindID, op protocol.Op) []*call {
	var all []*call
	for _, c := range r.calls {
		if c.first.Kind == kind && c.first.Op == op && c.mayEnter {
			all = append(all, c)
		}
	}
	return all
}

// maxAttempts is how many attempts of a call are too many: so many, and so many
// more in each second from the first.
const maxAttempts = 100

// judge looks at what has come of the tasks: last is the reply to the last.
func (r *run) judge(last string) {
	want := r.c.want
	if len(want) == 0 {
		want = []string{"ok"}
	}
	word, result, _ := strings.Cut(last, " ")
	if !r.late && last != "" {
		r.must(slices.Contains(want, word), r.c.ruleOf(word), "%.100q: the client replies %.200q, want %s", r.c.task[len(r.c.task)-1], last, strings.Join(want, " or "))
	}
	r.met[r.c.rule] = true
	r.must(r.hellos > 0, RuleHello, "the client has not said hello")
	for _, of := range r.calls {
		if of.attempts > 1 {
			most := maxAttempts * (1 + int(of.at.Sub(of.began)/time.Second))
			r.must(of.attempts <= most, RulePause, "%d attempts of one call within %v", of.attempts, of.at.Sub(of.began).Round(time.Millisecond))
		}
	}
	if r.repeats > 0 { // a single one may have come late
		r.must(r.hasty < 3 || r.hasty*2 < r.repeats, RuleAttempts, "%d of %d repeats were sent within %v, while the attempt before was not answered", r.hasty, r.repeats, soon)
	}
	if r.c.after != nil {
		r.c.after(r, result)
	}
}

// ruleOf returns the rule that is broken if the client replies with a word that is
// not right.
func (c *testCase) ruleOf(word string) Rule {
	switch word {
	case "ok", "none", "refused", "unknown", "lost", "failed":
		return c.rule
	}
	return RuleDriver
}
