package structures

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// OpCommit is the operation of [protocol.KindTxn]: a transaction inside one partition.
const OpCommit protocol.Op = 1

// OpTest is the number under which the conditions of a transaction stand in it, whatever
// the kind that they look at. It is no request by itself.
const OpTest protocol.Op = 246

// MaxTxnOps is how many conditions and operations a transaction may have, those of both
// branches counted.
const MaxTxnOps = 128

// Test numbers a condition of a kind, for ever. Those from FirstGeneric on are of all
// kinds that have them.
type Test uint8

// TestHeld is the condition that a hold is there, and that its owner is the session of
// the caller: [test, hold]. All kinds with operations that hold have it.
const TestHeld Test = 240

// TestInfo describes a condition of a kind. If the kind is keyed, the key is item 1 of the
// body.
type TestInfo struct {
	Test Test
	Name string // as commands have it, for example "version"
	Body string // an array in CDDL that begins with the number
	Help string // in a sentence without its full stop
}

// Tester is what the Machine of a kind with Tests implements besides.
type Tester interface {
	// CheckTest reports whether the body of a condition is well formed, as
	// Machine.Check does for operations.
	CheckTest(test Test, body []byte) error
	// Test reports whether a checked condition holds.
	Test(view View, test Test, body []byte) bool
}

// ReadTest reads the number of a condition, which its body begins with.
func ReadTest(body []byte) (Test, error) {
	r := protocol.NewReader(body)
	if r.ArrayLen() == 0 {
		r.Fail()
	}
	n := r.Uint()
	if n == 0 || n > 255 {
		r.Fail()
	}
	return Test(n), r.Err()
}

// TestOf returns the description of a condition; nil: there is none.
func (k *Kind) TestOf(test Test) *TestInfo {
	if test == TestHeld && k.Holds() {
		return &testHeld
	}
	for i := range k.Tests {
		if k.Tests[i].Test == test {
			return &k.Tests[i]
		}
	}
	return nil
}

var testHeld = TestInfo{Test: TestHeld, Name: "held", Body: "[test: 240, hold]", Help: "the session of the caller has the hold"}

// AllTests returns the conditions of a kind, those that it shares with others last.
func (k *Kind) AllTests() []TestInfo {
	tests := append([]TestInfo(nil), k.Tests...)
	if k.Holds() {
		tests = append(tests, testHeld)
	}
	return tests
}

// TestRoute says which partition a condition of the kind belongs to.
func (k *Kind) TestRoute() Route {
	if k.Keyed {
		return RouteKey(1)
	}
	return Route{}
}

// Transactions describes kind 255, which is no structure: its operation carries out
// operations of structures, all or none.
func Transactions() Kind {
	return Kind{
		ID: protocol.KindTxn, Name: "transaction", Level: 1,
		Doc: "Operations inside one partition that are carried out together, or not at all",
		Ops: []OpInfo{{
			Op: OpCommit, Name: "commit", Route: RoutePart(),
			Body: "[if: [* op], then: [* op], else: [* op]]", Result: "[outcome: 0..3, index: uint, [* (code: uint, result: bstr)]]",
		}},
		Rules: []Rule{
			{"op", "[kind: u8, op: u8, name: tstr, body: bstr]", "of an operation what a request has; of a condition the operation is 246"},
			{"outcome", "0..3", "0 all conditions hold, and `then` was carried out; 1 condition `index` does not hold, and `else` was carried out; 2, 3 operation `index` of `then`, of `else`, was refused, and nothing has changed"},
		},
	}
}

// TxnItem is an operation or a condition of a transaction on the wire.
type TxnItem struct {
	Kind protocol.KindID
	Op   protocol.Op
	Name string // of the structure
	Body []byte
}

// TxnBody is the body of a transaction.
type TxnBody struct{ If, Then, Else []TxnItem }

// Append appends the body.
func (b *TxnBody) Append(dst []byte) []byte {
	dst = protocol.AppendArray(dst, 3)
	for _, items := range [][]TxnItem{b.If, b.Then, b.Else} {
		dst = protocol.AppendArray(dst, len(items))
		for i := range items {
			it := &items[i]
			dst = protocol.AppendUint(protocol.AppendArray(dst, 4), uint64(it.Kind))
			dst = protocol.AppendUint(dst, uint64(it.Op))
			dst = protocol.AppendBytes(protocol.AppendString(dst, it.Name), it.Body)
		}
	}
	return dst
}

// Read reads what Append wrote. Names and bodies alias it. It takes the memory that b
// has.
func (b *TxnBody) Read(body []byte) error {
	r := protocol.NewReader(body)
	r.Array(3)
	left := MaxTxnOps
	for _, into := range []*[]TxnItem{&b.If, &b.Then, &b.Else} {
		n := r.ArrayLen()
		if left -= n; left < 0 {
			return fmt.Errorf("%w: a transaction has at most %d conditions and operations", quorate.ErrTooLarge, MaxTxnOps)
		}
		*into = (*into)[:0]
		for range n {
			r.Array(4)
			*into = append(*into, TxnItem{kindOf(&r), opOf(&r), r.String(), r.Bytes()})
		}
	}
	if r.Err() == nil && len(b.Then)+len(b.Else) == 0 {
		return fmt.Errorf("%w: a transaction without an operation", quorate.ErrInvalid)
	}
	return r.Done()
}

func kindOf(r *protocol.Reader) protocol.KindID { return protocol.KindID(readByte(r)) }

func opOf(r *protocol.Reader) protocol.Op { return protocol.Op(readByte(r)) }

func readByte(r *protocol.Reader) uint8 {
	n := r.Uint()
	if n > 255 {
		r.Fail()
		return 0
	}
	return uint8(n)
}

// TxnOutcome says which branch of a transaction was carried out.
type TxnOutcome uint8

// The outcomes of transactions.
const (
	TxnThen        TxnOutcome = iota
	TxnElse                   // a condition does not hold
	TxnThenRefused            // nothing has changed
	TxnElseRefused            // nothing has changed
)

// String names the outcome: "then", "else", "then_refused", "else_refused".
func (o TxnOutcome) String() string {
	switch o {
	case TxnThen:
		return "then"
	case TxnElse:
		return "else"
	case TxnThenRefused:
		return "then_refused"
	}
	return "else_refused"
}

// TxnOutcomeOf returns the outcome in the result of a transaction, and false if there is
// none.
func TxnOutcomeOf(result []byte) (TxnOutcome, bool) {
	r := protocol.NewReader(result)
	r.Array(3)
	n := r.Uint()
	return TxnOutcome(n), r.Err() == nil && n <= uint64(TxnElseRefused)
}

// TxnOperations returns how many operations a transaction has carried out, by its result;
// 0 if it was refused, or is no result.
func TxnOperations(result []byte) int {
	r := protocol.NewReader(result)
	r.Array(3)
	outcome := TxnOutcome(r.Uint())
	_ = r.Uint()
	n := r.ArrayLen()
	if r.Err() != nil || outcome != TxnThen && outcome != TxnElse {
		return 0
	}
	return n / 2
}

// TxnAnswer is what an operation of a transaction was answered.
type TxnAnswer struct {
	Code protocol.Code
	Body []byte
}

// TxnResult is the result of a transaction: the answers of the branch that was carried
// out, or that of the operation which was refused.
type TxnResult struct {
	Outcome TxnOutcome
	Index   int // of the condition that does not hold, or of the operation that was refused
	Answers []TxnAnswer
}

// Append appends the result.
func (t *TxnResult) Append(dst []byte) []byte {
	dst = protocol.AppendUint(protocol.AppendArray(dst, 3), uint64(t.Outcome))
	dst = protocol.AppendUint(dst, uint64(t.Index))
	dst = protocol.AppendArray(dst, 2*len(t.Answers))
	for _, a := range t.Answers {
		dst = protocol.AppendBytes(protocol.AppendUint(dst, uint64(a.Code)), a.Body)
	}
	return dst
}

// Read reads what Append wrote; the bodies alias it.
func (t *TxnResult) Read(body []byte) error {
	r := protocol.NewReader(body)
	r.Array(3)
	outcome, index := r.Uint(), r.Uint()
	n := r.ArrayLen()
	if outcome > uint64(TxnElseRefused) || index >= MaxTxnOps || n%2 != 0 {
		r.Fail()
	}
	*t = TxnResult{Outcome: TxnOutcome(outcome), Index: int(index), Answers: make([]TxnAnswer, 0, n/2)}
	for range n / 2 {
		t.Answers = append(t.Answers, TxnAnswer{protocol.Code(r.Uint16()), r.Bytes()})
	}
	return r.Done()
}

var (
	// ErrNotCollocated is the error of a transaction, or of a mutation with [IfHeld],
	// about keys or structures of different partitions. A {tag} in their names or keys
	// puts them into one. It Is [quorate.ErrInvalid].
	ErrNotCollocated = fmt.Errorf("%w: not in one partition", quorate.ErrInvalid)
	// ErrNotRun is the error of the result of an operation that was not carried out: its
	// transaction was not committed, was refused, or has taken the other branch.
	ErrNotRun = errors.New("the operation was not carried out")
)

// TxnPart is what package txn knows of a condition or an operation: the call that it
// would be by itself, and who makes it.
type TxnPart struct {
	Handle Handle
	Call   Call
	Key    string // as errors show it; "": of a structure without keys
	Err    error  // why it cannot be made
	Begin  func() // called before the transaction is sent; nil: nothing is to be done
}

// Object names what the part is about.
func (p *TxnPart) Object() string {
	if p.Key == "" {
		return p.Call.Object()
	}
	return p.Call.Object() + " " + p.Key
}

// Item returns the part as it is on the wire.
func (p *TxnPart) Item() TxnItem {
	return TxnItem{Kind: p.Call.Kind, Op: p.Call.Op, Name: p.Call.Name, Body: p.Call.Body}
}

// Uses reports whether the handle that made the part uses an invoker. Invokers that
// cannot be compared are taken for one.
func (p *TxnPart) Uses(inv Invoker) bool {
	if inv == nil || !reflect.TypeOf(inv).Comparable() {
		return inv != nil
	}
	return p.Handle.inv == inv
}

// TxnTest is a condition of a transaction. Handles make it, for example by
// dmap.Txn.IfVersion. The zero TxnTest is [quorate.ErrInvalid].
type TxnTest struct{ part TxnPart }

// Part is for package txn.
func (t *TxnTest) Part() *TxnPart { return &t.part }

// TxnStep is an operation of a transaction. Handles make it, for example by
// dmap.Txn.Put: a step is part of one transaction, once.
type TxnStep interface {
	// Part is for package txn.
	Part() *TxnPart
	// Settle is for package txn: it gives the step what it was answered, or why it
	// was not carried out.
	Settle(Reply, error)
}

// TxnOp is a step with a result.
type TxnOp[T any] struct {
	part  TxnPart
	read  func(Reply) (T, error)
	value T
	err   error
}

// NewTxnOp returns a step whose answer is read by a function.
func NewTxnOp[T any](part TxnPart, read func(Reply) (T, error)) *TxnOp[T] {
	return &TxnOp[T]{part: part, read: read, err: ErrNotRun}
}

// Result returns the result, once the transaction was committed. The error is [ErrNotRun]
// if the operation was not carried out. One that Is [quorate.ErrCodec] says that the
// result cannot be read, though the transaction was carried out.
func (o *TxnOp[T]) Result() (T, error) { return o.value, o.err }

// Part is for package txn.
func (o *TxnOp[T]) Part() *TxnPart { return &o.part }

// Settle is for package txn.
func (o *TxnOp[T]) Settle(r Reply, err error) {
	if o.err = err; err == nil && o.read != nil {
		o.value, o.err = o.read(r)
	}
}

// TxnFound is a step that may find nothing.
type TxnFound[T any] struct{ TxnOp[found[T]] }

type found[T any] struct {
	value T
	ok    bool
}

// NewTxnFound returns a step whose answer is read by a function, which reports whether
// anything was found.
func NewTxnFound[T any](part TxnPart, read func(Reply) (T, bool, error)) *TxnFound[T] {
	return &TxnFound[T]{TxnOp[found[T]]{part: part, err: ErrNotRun, read: func(r Reply) (found[T], error) {
		v, ok, err := read(r)
		return found[T]{v, ok}, err
	}}}
}

// Result returns what was found and whether anything was. Its errors are those of
// [TxnOp.Result].
func (o *TxnFound[T]) Result() (T, bool, error) { return o.value.value, o.value.ok, o.err }

// TxnPart returns the part that a call is. The error is that of making it.
func (h *Handle) TxnPart(call Call, key string, err error) TxnPart {
	if h.bad != nil {
		err = h.Fail(call.Verb, h.bad, "")
	}
	return TxnPart{Handle: *h, Call: call, Key: key, Err: err}
}

// TxnTest returns a condition of the structure. Its body begins with its number; the
// partition is that of the key in it.
func (h *Handle) TxnTest(body []byte, p protocol.PartitionID, key string, err error) TxnTest {
	return TxnTest{h.TxnPart(h.Call("test", OpTest, protocol.FlagRead, p, body), key, err)}
}

// IfHeld is the condition that a hold of the structure is live, in the state that the
// transaction is applied to, and belongs to the session that carries it out.
func (h *Handle) IfHeld(held *Held) TxnTest {
	if err := h.owns("test", held); err != nil {
		return h.TxnTest(nil, 0, "", err)
	}
	return held.test()
}

// owns returns an error for a hold of another structure.
func (h *Handle) owns(verb string, held *Held) error {
	switch {
	case held == nil:
		return h.Fail(verb, quorate.ErrInvalid, "no hold was given")
	case held.handle.kind.ID != h.kind.ID || held.handle.name != h.name:
		return h.Fail(verb, quorate.ErrInvalid, "the hold is one of "+held.handle.Object())
	}
	return nil
}

// TxnRelease is a step that gives back a hold of the structure. The hold's contexts end
// before the transaction is sent, as in [Held.Release]: once it is applied, others can be
// granted what was held. If the transaction is not carried out, [Held.Release] gives it
// back.
func (h *Handle) TxnRelease(held *Held) TxnStep {
	const verb = "release"
	if err := h.owns(verb, held); err != nil {
		return NewTxnOp[struct{}](h.TxnPart(h.Call(verb, 0, 0, 0, nil), "", err), nil)
	}
	call := h.Call(verb, held.op, 0, held.partition, AppendHold(nil, held.id))
	call.Lease = held.lease
	part := h.TxnPart(call, "", nil)
	part.Begin = func() { held.cancel(ErrReleased) }
	return NewTxnOp(part, func(Reply) (struct{}, error) {
		held.once.Do(func() {
			close(held.releasing)
			keeperOf(held.lease).remove(held)
			close(held.done)
		})
		return struct{}{}, nil
	})
}

// test is the condition that it is held.
func (h *Held) test() TxnTest {
	t := h.handle.TxnTest(AppendTestHeld(nil, h.id), h.partition, "", nil)
	t.part.Call.Lease = h.lease
	return t
}

// AppendTestHeld appends the body of the condition [TestHeld].
func AppendTestHeld(dst []byte, id protocol.HoldID) []byte {
	dst = protocol.AppendUint(protocol.AppendArray(dst, 2), uint64(TestHeld))
	return protocol.AppendUint(dst, uint64(id))
}

// ReadTestHeld reads it.
func ReadTestHeld(body []byte) (protocol.HoldID, error) {
	r := protocol.NewReader(body)
	r.Array(2)
	test, id := r.Uint(), r.Uint()
	if test != uint64(TestHeld) || id == 0 {
		r.Fail()
	}
	return protocol.HoldID(id), r.Done()
}

// WriteOption changes how a mutation is done. The zero WriteOption changes nothing.
type WriteOption struct {
	held *Held
	set  bool
}

// IfHeld has a mutation carried out only if a hold, such as the permits of a semaphore, is
// live in the state that the mutation is applied to, and belongs to the session of the
// caller: nobody who has lost it writes any more, however late the mutation arrives. If it
// does not, the error is [ErrNotHeld], or [quorate.ErrSessionLost] if the session has
// ended, and nothing has changed. What is written must be in the partition of the structure
// that is held: else the error is [ErrNotCollocated]. With no hold it is
// [quorate.ErrInvalid]. Of several the last one counts.
func IfHeld(h *Held) WriteOption { return WriteOption{held: h, set: true} }

// Guard is what options say of who must hold what. The zero Guard asks for nothing.
type Guard struct {
	held *Held
	set  bool
}

// WriteWith returns what options ask for.
func WriteWith(opts []WriteOption) (g Guard) {
	for _, o := range opts {
		g = g.With(o)
	}
	return g
}

// With returns the Guard after one more option.
func (g Guard) With(o WriteOption) Guard {
	if o.set {
		return Guard(o)
	}
	return g
}

// Asks reports whether anything must be held.
func (g Guard) Asks() bool { return g.set }

// InvokeIf is Invoke of a mutation that is carried out only if what the guard asks for is
// held.
func (h *Handle) InvokeIf(ctx context.Context, g Guard, call Call) (Reply, error) {
	if !g.set {
		return h.Invoke(ctx, call)
	}
	if h.bad != nil {
		return Reply{}, h.Fail(call.Verb, h.bad, "")
	}
	if g.held == nil {
		return Reply{}, h.Fail(call.Verb, quorate.ErrInvalid, "IfHeld without a hold")
	}
	test, op := g.held.test(), h.TxnPart(call, "", nil)
	if !test.part.Uses(h.inv) {
		return Reply{}, h.Fail(call.Verb, quorate.ErrInvalid, "another client has the hold of "+test.part.Object())
	}
	if p := test.part.Call.Partition; p != call.Partition {
		return Reply{}, h.Fail(call.Verb, ErrNotCollocated,
			fmt.Sprintf("this is in partition %d, and the hold of %s in %d; give them one {tag}", call.Partition, test.part.Object(), p))
	}
	body := TxnBody{If: []TxnItem{test.part.Item()}, Then: []TxnItem{op.Item()}}
	reply, err := h.Invoke(ctx, TxnCall(&call, body.Append(nil), test.part.Call.Lease))
	if err != nil {
		return reply, err
	}
	var result TxnResult
	if result.Read(reply.Body) != nil || len(result.Answers) != 1 && result.Outcome != TxnElse {
		return reply, h.Garbled(call.Verb, reply)
	}
	if result.Outcome == TxnElse {
		return reply, h.Fail(call.Verb, ErrNotHeld, "")
	}
	answer := result.Answers[0]
	reply.Code, reply.Body = answer.Code, answer.Body
	if answer.Code != protocol.CodeOK {
		err = h.Refusal(call.Verb, answer)
	}
	return reply, err
}

// TxnCall returns the call of a transaction with a body, in the name of one that is part
// of it.
func TxnCall(of *Call, body []byte, lease context.Context) Call {
	return Call{
		Kind: protocol.KindTxn, Op: OpCommit, Verb: of.Verb, Label: of.Label, Name: of.Name,
		Partition: of.Partition, Body: body, Lease: lease,
	}
}

// Refusal returns the error of an operation of a transaction that was refused.
func (h *Handle) Refusal(verb string, a TxnAnswer) error {
	if cause := a.Code.Err(); cause != nil {
		var p protocol.Problem
		_ = p.Decode(a.Body) // without a detail that can be read there is none
		return h.Fail(verb, cause, p.Detail)
	}
	return h.refused(verb, Reply{Code: a.Code, Body: a.Body})
}
