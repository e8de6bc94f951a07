package groupstate

import (
	"fmt"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// A transaction is one request, with one record: its operations run one after the other,
// each through the Machine of its structure, as by itself, and each sees in the trees what
// those before it have written (TXN-2). Until the last has succeeded the partition keeps a
// journal of what has changed, and what would be said to others is held back: the answers
// to calls that waited, and the events. If an operation is refused, the journal is played
// back, and nothing was ever said (decision 0026). These are the interleavings:
//
//   - An Offer gives its element to a Take that waits, then a counter overflows. The Take's
//     row and its record have changed with the Offer, so that a second Offer does not
//     reserve for it again; both change back, and its caller was told nothing.
//   - Two operations create two structures. Each has a revision of its own, so they have
//     instances, versions, tokens and orders of their own. All events have one end, the
//     revision of the last: watchers take them as one.
//   - A repeat arrives when the conditions no longer hold. It is answered from the record.
type txn struct {
	body    structures.TxnBody
	journal journal
	granted []granted // answers to calls that waited
	events  []event
	result  structures.TxnResult
	view    reader
}

// granted is an answer to a call that waited, held back.
type granted struct {
	caller  protocol.Caller
	result  structures.Result
	version protocol.Version
}

// Replied implements Sink; requests of a transaction are answered together.
func (x *txn) Replied(int, *protocol.Request, structures.Result, protocol.Version) {}

// Granted implements Sink.
func (x *txn) Granted(_ protocol.PartitionID, c protocol.Caller, r structures.Result, v protocol.Version) {
	x.granted = append(x.granted, granted{c, r, v})
}

// transact carries out a transaction.
func (s applying) transact(p *partition, q *protocol.Request) structures.Result {
	x := &s.txn
	defer x.forget()
	if x.body.Read(q.Body) != nil || !s.carriesOut(x.body.Then) || !s.carriesOut(x.body.Else) {
		return structures.Refuse(protocol.CodeUnsupported, "a transaction that no leader has checked")
	}
	branch := x.body.Then
	switch first, code := s.test(p, q.Caller); {
	case code == protocol.CodePanic:
		return panicked()
	case mutantTested(q.Caller, first) < len(x.body.If):
		x.result.Outcome, x.result.Index = structures.TxnElse, first
		branch = x.body.Else
	}
	r, done := s.carryOut(p, q, branch)
	if done {
		s.publish(p)
	}
	return r
}

// carriesOut reports whether all operations are known, as a leader has checked.
func (s *State) carriesOut(ops []structures.TxnItem) bool {
	for i := range ops {
		k := s.kinds[ops[i].Kind]
		if k == nil {
			return false
		}
		if op := k.Op(ops[i].Op); op == nil || !op.Txn {
			return false
		}
	}
	return true
}

// forget keeps the memory, and nothing that is in it.
func (x *txn) forget() {
	for _, items := range [][]structures.TxnItem{x.body.If, x.body.Then, x.body.Else} {
		clear(items)
	}
	clear(x.granted)
	clear(x.events)
	clear(x.result.Answers)
	x.granted, x.events = x.granted[:0], x.events[:0]
	x.result = structures.TxnResult{Answers: x.result.Answers[:0]}
}

// test returns the first condition that does not hold in the state before any operation, or
// how many there are (TXN-1).
func (s applying) test(p *partition, caller protocol.Caller) (first int, code protocol.Code) {
	v := &s.txn.view
	var c *structures.TxnItem
	defer func() {
		if e := recover(); e != nil {
			s.report(Panic{c.Kind, c.Name, c.Op, e})
			code = protocol.CodePanic
		}
	}()
	for first = range s.txn.body.If {
		c = &s.txn.body.If[first]
		v.cost = 1
		v.open(s.State, p, c.Kind, c.Name)
		holds := v.test(s.kinds[c.Kind], caller, c.Body)
		s.work.spent += v.cost
		if !holds {
			return first, protocol.CodeOK
		}
	}
	return len(s.txn.body.If), protocol.CodeOK
}

// test reports whether a checked condition holds.
func (v *reader) test(k *structures.Kind, caller protocol.Caller, body []byte) bool {
	test, _ := structures.ReadTest(body)
	if test == structures.TestHeld { // TXN-6
		id, _ := structures.ReadTestHeld(body)
		row, ok := v.Get(structures.HoldKey(id))
		return ok && row.Owner == caller.Session || mutants.On(mutants.GuardUnchecked)
	}
	return k.Machine.(structures.Tester).Test(v, test, body)
}

// carryOut carries the operations of a branch out, or undoes them and returns why it
// could not.
func (s applying) carryOut(p *partition, q *protocol.Request, branch []structures.TxnItem) (structures.Result, bool) {
	x, before := &s.txn, s.work
	x.journal.begin(p)
	size, largest := 0, 0
	for i := range branch {
		r := s.step(p, q.Caller, &branch[i])
		switch {
		case r.Code == protocol.CodePanic:
			s.undo(p, before)
			return r, false
		case r.Code.Class() != protocol.ClassDone && !s.answers(branch[i].Kind, r.Code):
			s.undo(p, before)
			x.result.Outcome += structures.TxnThenRefused
			x.result.Index = i
			x.result.Answers = append(x.result.Answers[:0], structures.TxnAnswer{Code: r.Code, Body: r.Body})
			return structures.OK(x.result.Append(nil)), false
		}
		size, largest = size+len(r.Body), max(largest, len(r.Body))
		if most := int(s.limits.PageBytes); size-largest > most {
			s.undo(p, before)
			return structures.Refuse(protocol.CodeTooLarge, fmt.Sprintf("the results have more than %d bytes beside the largest; nothing was changed", most)), false
		}
		x.result.Answers = append(x.result.Answers, structures.TxnAnswer{Code: r.Code, Body: r.Body})
	}
	return structures.OK(x.result.Append(make([]byte, 0, size+8*len(branch)+16))), true
}

// step carries one operation out.
func (s applying) step(p *partition, caller protocol.Caller, op *structures.TxnItem) structures.Result {
	k := s.kinds[op.Kind]
	q := protocol.Request{Partition: p.id, Kind: op.Kind, Op: op.Op, Name: op.Name, Caller: caller, Body: op.Body}
	if k.Op(op.Op).Read {
		v := &s.txn.view
		v.cost = 0
		r := s.look(v, p, k, &q)
		s.work.spent += v.cost + kib(len(r.Body))
		return r
	}
	t := &s.tx
	t.begin(caller, op.Op, 0)
	t.open(s.State, p, op.Kind, op.Name)
	if t.id != 0 {
		p.lastID, p.last = t.id, t.instance
	}
	r := s.runMachine(t, &q)
	s.work.spent += t.cost + kib(len(r.Body))
	if r.Code == protocol.CodeOK {
		t.commit(s.told())
	}
	return r
}

// told returns who is told of grants while the transaction goes on.
func (s applying) told() Sink {
	if mutants.On(mutants.TxnGrantedEarly) {
		return s.sink
	}
	return &s.txn
}

// look answers a read in the state between two operations.
func (s applying) look(v *reader, p *partition, k *structures.Kind, q *protocol.Request) (r structures.Result) {
	defer func() {
		if e := recover(); e != nil {
			s.report(Panic{q.Kind, q.Name, q.Op, e})
			r = panicked()
		}
	}()
	v.open(s.State, p, q.Kind, q.Name)
	if q.Op >= structures.FirstGeneric {
		return v.readGeneric(k, q.Op, q.Body)
	}
	return k.Machine.Read(v, q.Op, q.Body)
}

// answers reports whether a code of a kind says what was found, and refuses nothing.
func (s *State) answers(kind protocol.KindID, code protocol.Code) bool {
	k := s.kinds[kind]
	for i := range k.Codes {
		if k.Codes[i].Code == code {
			return k.Codes[i].Answer
		}
	}
	return false
}

// undo plays the journal back (TXN-3). What it cost counts all the same.
func (s applying) undo(p *partition, before work) {
	x := &s.txn
	spent := s.work.spent + len(x.journal.entries)
	s.work = before
	s.work.spent = spent
	if mutants.On(mutants.TxnHalfUndone) {
		x.journal.end(p)
		return
	}
	s.garbage -= x.journal.undo(p)
}

// publish says what the operations have brought about (TXN-4).
func (s applying) publish(p *partition) {
	x := &s.txn
	x.journal.end(p)
	if mutants.On(mutants.TxnOneRevision) {
		p.revision++
	}
	if len(x.events) > 0 {
		before := p.history.bytes
		for i := range x.events {
			e := &x.events[i]
			e.end = p.current()
			p.history.append(e)
		}
		s.appended(p, p.history.bytes-before)
	}
	for i := range x.granted {
		g := &x.granted[i]
		s.sink.Granted(p.id, g.caller, g.result, g.version)
	}
}

// journal is what a partition was before the operations of a transaction changed it.
type journal struct {
	entries  []change
	revision protocol.Revision
}

// change is one thing as it was.
type change struct {
	what     changed
	had      bool   // it was there
	key      string // of a row, or a name
	id       uint64 // of an instance, or the key of a record
	row      structures.Row
	instance instance
	record   record
	line     uint64
}

// changed says what a change is of.
type changed uint8

const (
	changedRow changed = iota
	changedName
	changedInstance
	changedRecord
	changedGarbage
	changedLine
)

// begin begins to note what is changed.
func (j *journal) begin(p *partition) {
	j.revision = p.revision
	p.journal = j
}

// end forgets what was changed.
func (j *journal) end(p *partition) {
	p.journal = nil
	clear(j.entries)
	j.entries = j.entries[:0]
}

// undo makes the partition what it was, and returns how many instances fewer have
// garbage. What is derived need not be: deadlines that are looked for too early, and
// sessions that are looked for here, are not found, once.
func (j *journal) undo(p *partition) (garbage int) {
	entries := j.entries
	p.journal, p.lastID = nil, 0
	for i := len(entries) - 1; i >= 0; i-- {
		c := &entries[i]
		switch c.what {
		case changedRow:
			if c.had {
				p.setRow(c.key, c.row)
			} else {
				p.deleteRow(c.key)
			}
		case changedName:
			if c.had {
				p.setName(c.key, c.id)
			} else {
				p.deleteName(c.key)
			}
		case changedInstance:
			p.lastID = 0
			if c.had {
				if _, is := p.instances.Set(c.id, c.instance); !is {
					p.counts.instance(p, c.id, c.instance.kind, 1)
				}
			} else {
				p.instances.Delete(c.id)
			}
		case changedRecord:
			if c.had {
				p.putRecord(c.id, c.record)
			} else {
				p.deleteRecord(c.id)
			}
		case changedGarbage:
			p.garbage.Delete(c.id)
			garbage++
		case changedLine:
			if c.had {
				p.lines[c.id] = c.line
			} else {
				delete(p.lines, c.id)
			}
		}
	}
	p.revision = j.revision
	p.lastID = 0
	j.end(p)
	return garbage
}

// note adds a change.
func (j *journal) note(c change) { j.entries = append(j.entries, c) }

// checkTransaction checks the conditions and operations of a transaction: each as if it
// came by itself.
func (g *Gate) checkTransaction(q *protocol.Request) structures.Result {
	var body structures.TxnBody
	if err := body.Read(q.Body); err != nil {
		return refuseError(err)
	}
	for _, part := range []struct {
		name  string
		items []structures.TxnItem
	}{{"if", body.If}, {"then", body.Then}, {"else", body.Else}} {
		for i := range part.items {
			it := &part.items[i]
			of := protocol.Request{Partition: q.Partition, Kind: it.Kind, Op: it.Op, Name: it.Name, Body: it.Body}
			r := g.checkItem(&of, part.name == "if")
			if r.Code == protocol.CodeOK || r.Code == protocol.CodePanic {
				if r.Code == protocol.CodePanic {
					return r
				}
				continue
			}
			var p protocol.Problem
			_ = p.Decode(r.Body)
			return structures.Refuse(r.Code, fmt.Sprintf("item %d of %q: %s", i, part.name, p.Detail))
		}
	}
	return structures.Result{}
}

// checkItem checks a condition or an operation of a transaction.
func (g *Gate) checkItem(q *protocol.Request, condition bool) structures.Result {
	k := g.Kinds[q.Kind]
	if k == nil || q.Kind == protocol.KindTxn {
		return structures.Refuse(protocol.CodeUnsupported, fmt.Sprintf("unknown kind of structure %d", q.Kind))
	}
	if k.Level > g.Level {
		return structures.Refuse(protocol.CodeUnsupported, "not every member knows this kind of structure yet")
	}
	if condition {
		test, err := structures.ReadTest(q.Body)
		if err != nil {
			return refuseError(err)
		}
		if q.Op != structures.OpTest || k.TestOf(test) == nil {
			return structures.Refuse(protocol.CodeUnsupported, fmt.Sprintf("unknown condition %d of a %s, in operation %d", test, k.Name, q.Op))
		}
		return g.checkContent(k, k.TestRoute(), q)
	}
	op := k.Op(q.Op)
	switch {
	case op == nil:
		return structures.Refuse(protocol.CodeUnsupported, fmt.Sprintf("unknown operation %d of a %s", q.Op, k.Name))
	case !op.Txn:
		return structures.Refuse(protocol.CodeUnsupported, fmt.Sprintf("%s of a %s cannot be part of a transaction", op.Name, k.Name))
	case op.Level > g.Level:
		return structures.Refuse(protocol.CodeUnsupported, "not every member knows this operation yet")
	}
	return g.checkContent(k, op.Route, q)
}

// checkContent checks the name, the body and the partition of an item.
func (g *Gate) checkContent(k *structures.Kind, route structures.Route, q *protocol.Request) structures.Result {
	if err := structures.CheckName(q.Name, g.Limits); err != nil {
		return refuseError(err)
	}
	if r := g.checkBody(k, q); r.Code != protocol.CodeOK {
		return r
	}
	return g.checkPartition(route, q)
}

// checkTest checks the body of a condition.
func checkTest(k *structures.Kind, body []byte) error {
	test, err := structures.ReadTest(body)
	switch {
	case err != nil:
		return err
	case test == structures.TestHeld:
		_, err = structures.ReadTestHeld(body)
		return err
	}
	return k.Machine.(structures.Tester).CheckTest(test, body)
}

// eachOperation calls f for the operations of a transaction, those of both branches, until it
// returns false. A body that is malformed has none.
func eachOperation(body []byte, f func(op *structures.TxnItem) bool) {
	var b structures.TxnBody
	if b.Read(body) != nil {
		return
	}
	for _, branch := range [][]structures.TxnItem{b.Then, b.Else} {
		for i := range branch {
			if !f(&branch[i]) {
				return
			}
		}
	}
}

// Grows reports whether a request may add to what is stored: of a transaction whether any
// of its operations does.
func (k *Kinds) Grows(q *protocol.Request) (grows bool) {
	if q.Kind != protocol.KindTxn || mutants.On(mutants.TxnGrowsUnseen) {
		return k.grows(q.Kind, q.Op)
	}
	eachOperation(q.Body, func(op *structures.TxnItem) bool {
		grows = k.grows(op.Kind, op.Op)
		return !grows
	})
	return grows
}

func (k *Kinds) grows(kind protocol.KindID, op protocol.Op) bool {
	if k[kind] == nil {
		return false
	}
	info := k[kind].Op(op)
	return info != nil && info.Grows
}

// costOfTransaction returns what a checked transaction may cost at most: its conditions,
// the larger branch, and to undo that.
func costOfTransaction(kinds *Kinds, body []byte) int {
	var b structures.TxnBody
	if b.Read(body) != nil {
		return 0
	}
	of := func(branch []structures.TxnItem) (cost int) {
		for i := range branch {
			cost += plainCost
			if k := kinds[branch[i].Kind]; k != nil && k.Cost != nil {
				cost += k.Cost(branch[i].Op, branch[i].Body)
			}
		}
		return 2 * cost
	}
	return 2*len(b.If) + max(of(b.Then), of(b.Else))
}

// partitionOf returns the partition of the first operation or condition that belongs to
// one.
func (k *Kinds) partitionOf(q *protocol.Request, partitions int) protocol.PartitionID {
	var b structures.TxnBody
	if b.Read(q.Body) != nil {
		return q.Partition
	}
	for _, items := range [][]structures.TxnItem{b.If, b.Then, b.Else} {
		for i := range items {
			it := &items[i]
			of := protocol.Request{Partition: q.Partition, Kind: it.Kind, Op: it.Op, Name: it.Name, Body: it.Body}
			if kind := k[it.Kind]; kind != nil && it.Kind != protocol.KindTxn && it.Op == structures.OpTest {
				return kind.TestRoute().Partition(q.Partition, it.Body, routeIn(partitions, it.Name))
			} else if kind != nil && it.Kind != protocol.KindTxn {
				return k.PartitionOf(&of, partitions)
			}
		}
	}
	return q.Partition
}
