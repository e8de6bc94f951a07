package txn_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/structurestest"
	"github.com/quorate/quorate/structures/txn"
)

// order is a set of structures of one tag.
type order struct {
	users *dmap.Map[string, string]
	sums  *dmap.Map[string, int64]
	stock *dcounter.Counter
	jobs  *dqueue.Queue[string]
	gate  *dsemaphore.Semaphore
}

func orderOf(c structures.Invoker) order {
	return order{
		dmap.New[string, string](c, "{o}users"), dmap.New[string, int64](c, "{o}sums"), dcounter.New(c, "{o}stock"),
		dqueue.New[string](c, "{o}jobs"), dsemaphore.New(c, "{o}gate"),
	}
}

func newLocal(t testing.TB) *structurestest.Local {
	return structurestest.NewLocal(t, dmap.Kind(), dcounter.Kind(), dsemaphore.Kind(), dqueue.Kind())
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// got compares what an operation found, in a form that all have.
func got(t *testing.T, what, want string, result ...any) {
	t.Helper()
	if s := fmt.Sprint(result...); s != want {
		t.Errorf("%s: %s, want %s", what, s, want)
	}
}

// results are those of the operations of each kind.
func found[T any](o *structures.TxnFound[T]) string {
	v, ok, err := o.Result()
	return fmt.Sprintf("%v %t %v", v, ok, err)
}

func result[T any](o *structures.TxnOp[T]) string {
	v, err := o.Result()
	return fmt.Sprintf("%v %v", v, err)
}

// TestTxn carries out every operation, in one transaction or after another, and each
// condition.
func TestTxn(t *testing.T) {
	ctx, c := within(t), newLocal(t).Client()
	o := orderOf(c)
	must(t, o.gate.Init(ctx, 3))
	u, s, n, q, g := o.users.Txn(), o.sums.Txn(), o.stock.Txn(), o.jobs.Txn(), o.gate.Txn()

	get, swap, absent, add := u.Get("ada"), u.Swap("ada", "Byron", dmap.KeepTTL()), u.PutIfAbsent("ada", "x"), dmap.TxnAdd(s, "n", int64(4))
	sum, peek, length, free := n.Add(-7), q.Peek(), q.Len(), g.Available()
	yes, err := txn.New(c).
		If(u.IfAbsent("ada"), n.IfEqual(0), n.IfAtLeast(0), n.IfAtMost(0), q.IfEmpty(), q.IfLen(0), g.IfAvailable(3)).
		Then(u.Put("ada", "Lovelace", dmap.TTL(time.Hour)), get, swap, absent, add, n.Set(10), sum, q.Offer("job"), peek, length, g.AddPermits(-1), free).
		Else(u.Delete("ada")).
		Commit(ctx)
	if !yes || err != nil {
		t.Fatal(yes, err)
	}
	got(t, "get", "Lovelace true <nil>", found(get))
	got(t, "swap", "Lovelace true <nil>", found(swap))
	got(t, "put if absent", "Byron true <nil>", found(absent))
	got(t, "add to a map", "4 <nil>", result(add))
	got(t, "add", "3 <nil>", result(sum))
	got(t, "peek", "job true <nil>", found(peek))
	got(t, "len", "1 <nil>", result(length))
	got(t, "available", "2 <nil>", result(free))

	e, _, err := o.users.Entry(ctx, "ada")
	must(t, err)
	entry, replaced, ttl := u.Entry("ada"), u.Replace("ada", e.Version, "King", dmap.KeepTTL()), u.SetTTL("ada", dmap.Never)
	removed, gone, poll, empty, none := u.Remove("ada"), u.Delete("ada"), q.Poll(), q.Poll(), q.Peek()
	yes, err = txn.New(c).
		If(u.IfVersion("ada", e.Version), u.IfPresent("ada"), u.IfValue("ada", "Byron")).
		Then(entry, replaced, ttl, removed, gone, poll, empty, none).
		Commit(ctx)
	if !yes || err != nil {
		t.Fatal(yes, err)
	}
	if was, ok, err := entry.Result(); !ok || err != nil || was.Version != e.Version || was.Value != "Byron" || was.Left < 59*time.Minute {
		t.Errorf("entry: %+v %t %v", was, ok, err)
	}
	if v, err := replaced.Result(); err != nil || v <= e.Version {
		t.Errorf("replace: %d %v", v, err)
	}
	got(t, "set TTL", "true <nil>", result(ttl))
	got(t, "remove", "King true <nil>", found(removed))
	got(t, "delete what is gone", "false <nil>", result(gone))
	got(t, "poll", "job true <nil>", found(poll))
	got(t, "poll again", " false <nil>", found(empty))
	got(t, "peek at nothing", " false <nil>", found(none))

	// Else, and the results of the other branch.
	then, or := n.Add(1), n.Add(100)
	yes, err = txn.New(c).If(u.IfPresent("ada")).Then(then).Else(or).Commit(ctx)
	if yes || err != nil {
		t.Fatal(yes, err)
	}
	got(t, "add of Else", "103 <nil>", result(or))
	if _, err := then.Result(); !errors.Is(err, structures.ErrNotRun) {
		t.Errorf("the result of the other branch: %v", err)
	}
}

// TestRefused: a refused operation refuses all, is named, and its own error Is there.
func TestRefused(t *testing.T) {
	ctx, c := within(t), newLocal(t).Client()
	o := orderOf(c)
	u, s, n, q, g := o.users.Txn(), o.sums.Txn(), o.stock.Txn(), o.jobs.Txn(), o.gate.Txn()
	must(t, o.jobs.Configure(ctx, dqueue.Capacity(1)))
	must(t, o.users.Put(ctx, "text", "x"))
	must(t, o.stock.Set(ctx, 1<<62))
	held := func() structures.TxnStep { return g.AddPermits(1) } // before Init
	other := dqueue.New[string](c, "{o}other", dqueue.Codec(structures.JSON))
	must(t, dqueue.New[string](c, "{o}other").Put(ctx, "x"))
	for what, test := range map[string]struct {
		step structures.TxnStep
		want error
	}{
		"replace":         {u.Replace("ada", 1, "x"), dmap.ErrConflict},
		"delete version":  {u.DeleteVersion("ada", 1), dmap.ErrConflict},
		"no integer":      {dmap.TxnAdd(s, "text", int64(1)), nil},
		"overflow":        {n.Add(1 << 62), dcounter.ErrOverflow},
		"full":            {q.Offer("2"), quorate.ErrNotInTime},
		"not initialized": {held(), dsemaphore.ErrNotInitialized},
		"another codec":   {other.Txn().Poll(), quorate.ErrCodec},
	} {
		if what == "no integer" {
			test.step, test.want = dmap.TxnAdd(dmap.New[string, int64](c, "{o}users").Txn(), "text", int64(1)), dmap.ErrNotInteger
		}
		for _, inElse := range []bool{false, true} {
			put := u.Put("ada", "Ada")
			tx := txn.New(c)
			steps := []structures.TxnStep{put, q.Offer("1"), test.step}
			if inElse {
				tx.If(u.IfPresent("ada")).Else(steps...)
			} else {
				tx.Then(steps...)
			}
			_, err := tx.Commit(ctx)
			var refused *txn.OpError
			if !errors.As(err, &refused) || refused.Else != inElse || refused.Index != 2 || !errors.Is(err, test.want) || !quorate.SafeToRetry(err) {
				t.Errorf("%s: %v", what, err)
			}
			if _, ok, err := o.users.Get(ctx, "ada"); ok || err != nil {
				t.Errorf("%s: half of it is done: %v", what, err)
			}
			if n, err := o.jobs.Len(ctx); n != 0 || err != nil {
				t.Errorf("%s: half of it is done: %d %v", what, n, err)
			}
		}
	}
}

// TestMistakes are refused before anything is sent.
func TestMistakes(t *testing.T) {
	ctx, l := within(t), newLocal(t)
	c, stranger := l.Client(), l.Client()
	o := orderOf(c)
	u, n := o.users.Txn(), o.stock.Txn()
	l.Observe(func(q *protocol.Request, _ structures.Result) { t.Errorf("sent: kind %d operation %d", q.Kind, q.Op) })
	committed := txn.New(c).Then(n.Add(1), dcounter.New(c, "apart").Txn().Add(1))
	_, _ = committed.Commit(ctx)
	many := make([]structures.TxnStep, 129)
	for i := range many {
		many[i] = n.Add(1)
	}
	for what, test := range map[string]struct {
		txn  *txn.Txn
		want error
		says string
	}{
		"nothing":                 {txn.New(c), quorate.ErrInvalid, "no operation"},
		"conditions only":         {txn.New(c).If(u.IfAbsent("a")), quorate.ErrInvalid, "no operation"},
		"too many":                {txn.New(c).Then(many...), quorate.ErrTooLarge, "129 conditions and operations, at most 128"},
		"too large":               {txn.New(c).Then(u.Put("a", strings.Repeat("x", 600<<10)), u.Put("b", strings.Repeat("x", 600<<10))), quorate.ErrTooLarge, "bytes, at most"},
		"a value too large":       {txn.New(c).Then(u.Put("a", strings.Repeat("x", 2<<20))), quorate.ErrTooLarge, "put map {o}users"},
		"a TTL too short":         {txn.New(c).Then(u.Put("a", "x", dmap.TTL(time.Millisecond))), quorate.ErrInvalid, "a TTL of 1ms"},
		"a bad name":              {txn.New(c).Then(dcounter.New(c, "").Txn().Add(1)), quorate.ErrInvalid, "name"},
		"a nil operation":         {txn.New(c).Then(nil), quorate.ErrInvalid, "operation 0 is nil"},
		"the zero condition":      {txn.New(c).If(structures.TxnTest{}).Then(n.Add(1)), quorate.ErrInvalid, "not made by a handle"},
		"no hold":                 {txn.New(c).If(o.gate.Txn().IfHeld(nil)).Then(n.Add(1)), quorate.ErrInvalid, "no hold was given"},
		"no hold to release":      {txn.New(c).Then(o.gate.Txn().Release(nil)), quorate.ErrInvalid, "no hold was given"},
		"another client's handle": {txn.New(stranger).Then(n.Add(1)), quorate.ErrInvalid, "counter {o}stock is of another client's handle"},
		"no client":               {txn.New(nil).Then(n.Add(1)), quorate.ErrInvalid, "another client's handle"},
		"not ready":               {txn.New(nil).Then(dcounter.New(nil, "c").Txn().Add(1)), quorate.ErrUnavailable, "not ready"},
		"committed before":        {committed, quorate.ErrInvalid, "committed before"},
		"apart": {
			txn.New(c).If(dmap.New[string, int](c, "m").Txn().IfAbsent("one")).Then(dcounter.New(c, "two").Txn().Add(1), dcounter.New(c, "{o}three").Txn().Add(1)),
			structures.ErrNotCollocated, `map m "one" is in partition`,
		},
	} {
		yes, err := test.txn.Commit(ctx)
		if yes || !errors.Is(err, test.want) || !strings.Contains(fmt.Sprint(err), test.says) || !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	step := n.Add(1)
	if _, err := step.Result(); !errors.Is(err, structures.ErrNotRun) {
		t.Errorf("the result of what was not committed: %v", err)
	}
	_, err := txn.New(c).Then(step, dcounter.New(c, "apart").Txn().Add(1)).Commit(ctx)
	if _, why := step.Result(); !errors.Is(err, structures.ErrNotCollocated) || !errors.Is(why, structures.ErrNotRun) || !errors.Is(why, structures.ErrNotCollocated) {
		t.Errorf("commit: %v, result: %v", err, why)
	}
}

// TestIfValue_Codec: values are compared by their bytes, so a codec has to encode equal values
// alike.
func TestIfValue_Codec(t *testing.T) {
	ctx := t.Context()
	c := structurestest.NewLocal(t, dmap.Kind()).Client()
	for _, test := range []struct {
		codec structures.Codec
		want  error
	}{{structures.JSON, nil}, {randomly{structures.JSON}, quorate.ErrCodec}, {sorted{randomly{structures.JSON}}, nil}} {
		m := dmap.New[string, string](c, fmt.Sprintf("m%d", test.codec.ID()), dmap.Codec(test.codec))
		if err := m.Put(ctx, "a", "x"); err != nil {
			t.Fatal(err)
		}
		held, err := txn.New(c).If(m.Txn().IfValue("a", "x")).Then(m.Txn().Put("a", "y")).Commit(ctx)
		if !errors.Is(err, test.want) || held != (test.want == nil) {
			t.Errorf("%T: %t, %v, want %v", test.codec, held, err, test.want)
		}
	}
}

// randomly is a codec that says nothing about equal values.
type randomly struct{ structures.Codec }

func (randomly) ID() byte { return 200 }

// sorted is one that says that it encodes equal values alike.
type sorted struct{ randomly }

func (sorted) Deterministic() bool { return true }

// TestSameKey: one key of two maps is in one partition, without a tag.
func TestSameKey(t *testing.T) {
	ctx, c := within(t), newLocal(t).Client()
	a, b := dmap.New[int, string](c, "a"), dmap.New[int, string](c, "b")
	for k := range 20 {
		if yes, err := txn.New(c).If(a.Txn().IfAbsent(k)).Then(a.Txn().Put(k, "x"), b.Txn().Put(k, "y")).Commit(ctx); !yes || err != nil {
			t.Fatal(k, yes, err)
		}
	}
}

// TestIfHeld: a mutation with IfHeld is carried out while the hold is there, and never
// after it: in every structure, whether it was released, revoked, or its session has ended.
func TestIfHeld(t *testing.T) {
	ctx, l := within(t), newLocal(t)
	c := l.Client()
	o := orderOf(c)
	must(t, o.gate.Init(ctx, 5))
	// writes are all mutations that take the option.
	writes := func(o order, h *structures.Held) map[string]error {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		all := map[string]error{}
		all["put"] = o.users.Put(ctx, "a", "x", dmap.IfHeld(h), dmap.TTL(time.Hour))
		_, _, all["swap"] = o.users.Swap(ctx, "a", "y", dmap.IfHeld(h))
		_, _, all["put if absent"] = o.users.PutIfAbsent(ctx, "b", "x", dmap.IfHeld(h))
		e, _, err := o.users.Entry(ctx, "a")
		must(t, err)
		_, all["replace"] = o.users.Replace(ctx, "a", e.Version, "z", dmap.IfHeld(h))
		_, all["update"] = o.users.Update(ctx, "a", func(string, bool) (string, error) { return "u", nil }, dmap.IfHeld(h))
		_, all["update: create"] = o.users.Update(ctx, "c", func(string, bool) (string, error) { return "u", nil }, dmap.IfHeld(h))
		if _, ok, _ := o.users.Get(ctx, "c"); ok {
			_, all["update: delete"] = o.users.Update(ctx, "c", func(string, bool) (string, error) { return "", dmap.DeleteEntry }, dmap.IfHeld(h))
		}
		_, all["set TTL"] = o.users.SetTTL(ctx, "a", time.Hour, dmap.IfHeld(h))
		e, _, err = o.users.Entry(ctx, "a")
		must(t, err)
		all["delete version"] = o.users.DeleteVersion(ctx, "a", e.Version, dmap.IfHeld(h))
		_, all["delete"] = o.users.Delete(ctx, "b", dmap.IfHeld(h))
		_, _, all["remove"] = o.users.Remove(ctx, "a", dmap.IfHeld(h))
		_, all["add to a map"] = dmap.Add(ctx, o.sums, "n", 1, dmap.IfHeld(h))
		all["set"] = o.stock.Set(ctx, 1, dcounter.IfHeld(h))
		_, all["add"] = o.stock.Add(ctx, 1, dcounter.IfHeld(h))
		_, all["get and add"] = o.stock.GetAndAdd(ctx, -1, dcounter.IfHeld(h))
		_, all["compare and set"] = o.stock.CompareAndSet(ctx, 1, 0, dcounter.IfHeld(h))
		_, all["offer"] = o.jobs.Offer(ctx, "j", dqueue.IfHeld(h))
		_, _, all["poll"] = o.jobs.Poll(ctx, dqueue.IfHeld(h))
		_, _, all["poll an empty queue"] = o.jobs.Poll(ctx, dqueue.IfHeld(h))
		all["add permits"] = o.gate.AddPermits(ctx, 1, dsemaphore.IfHeld(h))
		return all
	}
	acquire := func() *structures.Held {
		h, err := o.gate.Acquire(ctx, 1)
		must(t, err)
		return h
	}
	all := func(when string, want error, h *structures.Held, o order) {
		t.Helper()
		for what, err := range writes(o, h) {
			if !errors.Is(err, want) || want != nil && !quorate.SafeToRetry(err) {
				t.Errorf("%s: %s: %v, want %v", when, what, err, want)
			}
		}
	}
	held := acquire()
	all("held", nil, held, o)
	must(t, o.users.Put(ctx, "a", "kept"))
	must(t, o.users.Put(ctx, "b", "kept"))
	all("by another client", quorate.ErrInvalid, held, orderOf(l.Client()))
	must(t, held.Release(ctx))
	all("released", structures.ErrNotHeld, held, o)
	all("no hold", quorate.ErrInvalid, nil, o)

	revoked := acquire()
	if existed, err := o.gate.Revoke(ctx, revoked.ID(), structures.Grace(0)); !existed || err != nil {
		t.Fatal(existed, err)
	}
	all("revoked", structures.ErrNotHeld, revoked, o)
	next := acquire()
	all("another hold of the session", structures.ErrNotHeld, revoked, o)
	must(t, next.Release(ctx))

	apart := order{dmap.New[string, string](c, "users"), dmap.New[string, int64](c, "sums"), dcounter.New(c, "stock"), dqueue.New[string](c, "jobs"), dsemaphore.New(c, "gate")}
	held = acquire()
	h := structures.NewHandle(c, new(structures.Kind), "{o}x", nil)
	home := h.Partition(nil)
	if err := apart.stock.Set(ctx, 1, dcounter.IfHeld(held)); c.Partition("stock", nil) != home && (!errors.Is(err, structures.ErrNotCollocated) || !strings.Contains(err.Error(), "{tag}")) {
		t.Errorf("apart: %v", err)
	}
	if _, err := o.stock.Add(ctx, 1<<62, dcounter.IfHeld(held)); err != nil {
		t.Error(err)
	}
	if _, err := o.stock.Add(ctx, 1<<62, dcounter.IfHeld(held)); !errors.Is(err, dcounter.ErrOverflow) || !quorate.SafeToRetry(err) {
		t.Errorf("a refused operation: %v", err)
	}
	if set, err := o.stock.CompareAndSet(ctx, 7, 8, dcounter.IfHeld(held)); set || err != nil {
		t.Errorf("compare and set, which differs: %t %v", set, err)
	}
	if _, err := o.users.Replace(ctx, "a", 1, "x", dmap.IfHeld(held)); !errors.Is(err, dmap.ErrConflict) {
		t.Errorf("a conflict: %v", err)
	}
}

// TestIfHeld_InTransactions: the condition, and a release as a part of a transaction.
func TestIfHeld_InTransactions(t *testing.T) {
	ctx, l := within(t), newLocal(t)
	c := l.Client()
	o := orderOf(c)
	must(t, o.gate.Init(ctx, 1))
	n, g := o.stock.Txn(), o.gate.Txn()
	held, err := o.gate.Acquire(ctx, 1)
	must(t, err)
	if yes, err := txn.New(c).If(g.IfHeld(held)).Then(n.Add(1)).Else(n.Add(100)).Commit(ctx); !yes || err != nil {
		t.Fatal(yes, err)
	}
	if _, err := txn.New(c).If(dsemaphore.New(c, "{o}other").Txn().IfHeld(held)).Then(n.Add(1)).Commit(ctx); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("a hold of another semaphore: %v", err)
	}
	// A transaction that is refused releases nothing but the holder's work with it.
	_, err = txn.New(c).Then(g.Release(held), n.Add(1<<62), n.Add(1<<62)).Commit(ctx)
	if !errors.Is(err, dcounter.ErrOverflow) || !errors.Is(context.Cause(held.Context()), structures.ErrReleased) {
		t.Errorf("refused: %v, the context's cause %v", err, context.Cause(held.Context()))
	}
	if free, err := o.gate.Available(ctx); free != 0 || err != nil {
		t.Errorf("free after a refused release: %d %v", free, err)
	}
	must(t, held.Release(ctx))
	held, err = o.gate.Acquire(ctx, 1)
	must(t, err)
	waits := make(chan error)
	go func() {
		h, err := dsemaphore.New(l.Client(), "{o}gate").Acquire(ctx, 1)
		if err == nil && held.Context().Err() == nil {
			err = errors.New("the context of the hold before lives")
		}
		if err == nil {
			err = h.Release(ctx)
		}
		waits <- err
	}()
	l.AwaitWaiting(1)
	if yes, err := txn.New(c).If(g.IfHeld(held)).Then(n.Add(1), g.Release(held), n.Add(1)).Commit(ctx); !yes || err != nil {
		t.Fatal(yes, err)
	}
	must(t, <-waits)
	must(t, held.Release(ctx)) // it has been: nothing is sent
	if yes, err := txn.New(c).If(g.IfHeld(held)).Then(n.Add(1)).Commit(ctx); yes || err != nil {
		t.Errorf("after its release: %t %v", yes, err)
	}
	if got, err := o.stock.Get(ctx); got != 3 || err != nil {
		t.Errorf("the counter is %d, %v", got, err)
	}
}

// TestLost: what a session held is no condition that holds after its end.
func TestLost(t *testing.T) {
	ctx, l := within(t), newLocal(t)
	c := l.Client()
	o := orderOf(c)
	must(t, o.gate.Init(ctx, 1))
	held, err := o.gate.Acquire(ctx, 1)
	must(t, err)
	c.End()
	if err := o.users.Put(ctx, "a", "x", dmap.IfHeld(held)); !errors.Is(err, quorate.ErrSessionLost) {
		t.Errorf("after the session's end: %v", err)
	}
	if _, err := txn.New(c).If(o.gate.Txn().IfHeld(held)).Then(o.stock.Txn().Add(1)).Commit(ctx); !errors.Is(err, quorate.ErrSessionLost) {
		t.Errorf("after the session's end: %v", err)
	}
	next := orderOf(l.Client())
	if _, ok, err := next.users.Get(ctx, "a"); ok || err != nil {
		t.Errorf("it was written: %t %v", ok, err)
	}
}

// FuzzResult: no answer of a member, however wrong, makes a transaction or a mutation with
// IfHeld panic.
func FuzzResult(f *testing.F) {
	for _, r := range []structures.TxnResult{
		{},
		{Answers: []structures.TxnAnswer{{Body: protocol.AppendInts(nil, 5)}, {Code: protocol.CodeKindBase}}},
		{Outcome: structures.TxnElse},
		{Outcome: structures.TxnThenRefused, Index: 1, Answers: []structures.TxnAnswer{{Code: protocol.CodeKindBase}}},
		{Outcome: structures.TxnElseRefused, Index: 9, Answers: []structures.TxnAnswer{{Code: protocol.CodeInvalid}}},
	} {
		f.Add(r.Append(nil))
	}
	f.Add([]byte{0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		c := structurestest.Echo{Body: body, Lease: t.Context()}
		o := orderOf(c)
		n, u, q := o.stock.Txn().Add(1), o.users.Txn().Get("a"), o.jobs.Txn().Poll()
		_, err := txn.New(c).Then(n, q).Else(u).Commit(t.Context())
		_, one := n.Result()
		_, _, two := q.Result()
		if err == nil && one != nil && two != nil {
			_, _, _ = u.Result()
		}
		if held, err := o.gate.Acquire(t.Context(), 1); err == nil {
			_, _ = o.stock.Add(t.Context(), 1, dcounter.IfHeld(held))
		}
	})
}
