package structurestest

import (
	"bytes"
	"fmt"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// refuser is a kind beside the one that is tested: its operations do nothing, or are
// refused, so that a transaction has a last operation.
var refuser = structures.Kind{
	ID: 254, Name: "refuser", Level: 1, Machine: refusing{},
	Ops: []structures.OpInfo{{Op: opNothing, Name: "nothing", Txn: true}, {Op: opRefused, Name: "refused", Txn: true}},
}

const (
	opNothing protocol.Op = 1
	opRefused protocol.Op = 2
)

type refusing struct{ structures.Base }

// Check implements structures.Machine.
func (refusing) Check(protocol.Op, []byte) error { return nil }

// Apply implements structures.Machine.
func (refusing) Apply(_ structures.Env, op protocol.Op, _ []byte) structures.Result {
	if op == opRefused {
		return structures.Refuse(protocol.CodeInvalid, "refused")
	}
	return structures.OK(nil)
}

// Read implements structures.Machine.
func (refusing) Read(structures.View, protocol.Op, []byte) structures.Result {
	return structures.OK(nil)
}

// txnOf returns the body of a transaction of operations.
func txnOf(then ...structures.TxnItem) []byte { return (&structures.TxnBody{Then: then}).Append(nil) }

func itemOf(r *run, op Op) structures.TxnItem {
	return structures.TxnItem{Kind: r.kind.ID, Op: op.Op, Name: name, Body: op.Body}
}

// drawTxn reports whether an operation shall be a transaction of its own: its answer is the
// same.
func drawTxn(t *rapid.T, r *run, op Op) bool {
	info := r.kind.Op(op.Op)
	return info != nil && info.Txn && rapid.IntRange(0, 3).Draw(t, "transaction") == 0
}

// undone carries an operation out in a transaction that is refused after it: nothing may be
// left of it, no more than of an operation that does nothing.
func undone(t *rapid.T, r *run, c *call) {
	if info := r.kind.Op(c.Op.Op); info == nil || !info.Txn || rapid.IntRange(0, 3).Draw(t, "undo") > 0 {
		return
	}
	r.flush(t)
	var hashes []uint64
	for _, first := range []structures.TxnItem{itemOf(r, c.Op), {Kind: refuser.ID, Op: opNothing, Name: name}} {
		rep := alone(t, r, c.caller, txnOf(first, structures.TxnItem{Kind: refuser.ID, Op: opRefused, Name: name}))
		var result structures.TxnResult
		if err := result.Read(rep.replies[0].body); err != nil || result.Outcome != structures.TxnThenRefused {
			t.Fatalf("%v: in a transaction that is refused: %v %+v", c, err, result)
		}
		if result.Index == 0 {
			return // it is refused itself
		}
		hashes = append(hashes, rep.hash())
	}
	if hashes[0] != hashes[1] {
		t.Fatalf("%v: a transaction that is refused leaves something of it", c)
	}
}

// alone applies a transaction at a copy of the replica.
func alone(t *rapid.T, r *run, caller protocol.Caller, body []byte) *replica {
	q := protocol.Request{
		Partition: home, Kind: protocol.KindTxn, Op: structures.OpCommit, Name: name,
		Caller: caller, Highest: groupstate.MaxSlots - 1, Body: body,
	}
	var b groupstate.Builder
	b.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: r.elapsed}, len(body))
	b.Request(q.Append(nil))
	rep, err := r.steady.reborn(r.kind)
	if err == nil {
		err = rep.apply(b.Bytes())
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.replies) != 1 || rep.replies[0].code != protocol.CodeOK {
		t.Fatalf("a transaction: %v", rep.replies)
	}
	return rep
}

// readInTxn compares a read with the same in a transaction.
func readInTxn(t *rapid.T, r *run, op Op, want reply) {
	info := r.kind.Op(op.Op)
	if info == nil || !info.Txn || rapid.IntRange(0, 3).Draw(t, "transaction") > 0 {
		return
	}
	caller := protocol.Caller{Session: r.sessions[0], Slot: groupstate.MaxSlots - 1, Sequence: 1}
	rep := alone(t, r, caller, txnOf(itemOf(r, op)))
	if got := unwrapped(rep.replies[0]); got.code != want.code || !bytes.Equal(got.body, want.body) && want.code == protocol.CodeOK {
		t.Fatalf("%s: in a transaction %v, by itself %v", op.Text, got, want)
	}
}

// unwrapped returns the answer of the one operation of a transaction.
func unwrapped(p reply) reply {
	if p.code != protocol.CodeOK {
		return p
	}
	var result structures.TxnResult
	if err := result.Read(p.body); err != nil || len(result.Answers) != 1 {
		panic(fmt.Sprintf("structurestest: bug: the result %x of a transaction: %v", p.body, err))
	}
	p.code, p.body = result.Answers[0].Code, bytes.Clone(result.Answers[0].Body)
	return p
}
