package verify

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// op is an operation of a hand-made history. With to 0 its outcome is unknown.
type op struct {
	from, to int64
	in, out  any
}

func check(t *testing.T, k kind, ops []op, lines ...wait) Verdict {
	t.Helper()
	h := NewHistory()
	o := object{kind: k, name: "x"}
	for i, p := range ops {
		rec := Operation{Client: i, Object: o, Call: p.from, Return: p.to, Input: p.in, Output: p.out}
		if p.to == 0 {
			rec.Return, rec.Output = Pending, nil
		}
		h.add(rec)
	}
	for _, w := range lines {
		w.object = o
		h.waited(w)
	}
	return Check(h, 10*time.Second)
}

// history is one hand-made history and what it is.
type history struct {
	name  string
	want  Outcome
	ops   []op
	lines []wait
}

func run(t *testing.T, k kind, tests []history) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := check(t, k, test.ops, test.lines...)
			if v.Outcome != test.want {
				t.Fatalf("%v, want %s", v, test.want)
			}
			if v.Outcome == Illegal {
				if err := v.Visualize(filepath.Join(t.TempDir(), "history.html")); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func TestCounterModel(t *testing.T) {
	add := func(n int64) counterInput { return counterInput{op: counterAdd, n: n} }
	get := counterInput{op: counterGet}
	is := func(n int64) counterOutput { return counterOutput{n: n} }
	run(t, counters, []history{
		{name: "adds in any order", want: Linearizable, ops: []op{
			{1, 9, add(1), is(3)}, {2, 8, add(2), is(2)}, {10, 11, get, is(3)},
		}},
		{name: "lost add", want: Illegal, ops: []op{
			{1, 2, add(1), is(1)}, {3, 4, get, is(0)},
		}},
		{name: "applied twice", want: Illegal, ops: []op{
			{1, 2, add(1), is(1)}, {3, 4, get, is(2)},
		}},
		{name: "unknown add that was applied late", want: Linearizable, ops: []op{
			{1, 0, add(5), nil}, {2, 3, get, is(0)}, {4, 5, get, is(5)},
		}},
		{name: "unknown add that was not applied", want: Linearizable, ops: []op{
			{1, 0, add(5), nil}, {2, 3, get, is(0)}, {4, 5, add(1), is(1)},
		}},
		{name: "unknown add that was applied twice", want: Illegal, ops: []op{
			{1, 0, add(5), nil}, {2, 3, get, is(5)}, {4, 5, get, is(10)},
		}},
		{name: "stale read", want: Illegal, ops: []op{
			{1, 2, add(1), is(1)}, {3, 4, get, is(1)}, {5, 6, add(1), is(2)}, {7, 8, get, is(1)},
		}},
		{name: "compare and set", want: Linearizable, ops: []op{
			{1, 2, counterInput{op: counterSet, n: 3}, counterOutput{}},
			{3, 9, counterInput{op: counterCompareAndSet, old: 3, n: 4}, counterOutput{swapped: true}},
			{3, 9, counterInput{op: counterCompareAndSet, old: 3, n: 5}, counterOutput{}},
			{10, 11, get, is(4)},
		}},
		{name: "both compare and set", want: Illegal, ops: []op{
			{3, 9, counterInput{op: counterCompareAndSet, n: 4}, counterOutput{swapped: true}},
			{3, 9, counterInput{op: counterCompareAndSet, n: 5}, counterOutput{swapped: true}},
		}},
		{name: "overflow without reason", want: Illegal, ops: []op{{1, 2, add(1), counterOutput{overflow: true}}}},
		{name: "overflow", want: Linearizable, ops: []op{
			{1, 2, add(1<<63 - 1), is(1<<63 - 1)}, {3, 4, add(1), counterOutput{overflow: true}},
		}},
	})
}

func TestRegisterModel(t *testing.T) {
	put := func(v string) registerInput { return registerInput{op: registerPut, value: v} }
	get := registerInput{op: registerGet}
	has := func(v string, version dmap.Version) registerOutput {
		return registerOutput{existed: true, hasValue: true, value: v, version: version}
	}
	none, done := registerOutput{}, registerOutput{}
	replace := func(version dmap.Version, v string) registerInput {
		return registerInput{op: registerReplace, version: version, value: v}
	}
	run(t, registers, []history{
		{name: "put, get", want: Linearizable, ops: []op{
			{1, 2, get, none}, {3, 4, put("a"), done}, {5, 6, get, has("a", 7)}, {7, 8, get, has("a", 7)},
		}},
		{name: "put is lost", want: Illegal, ops: []op{{1, 2, put("a"), done}, {3, 4, get, none}}},
		{name: "two versions of one write", want: Illegal, ops: []op{
			{1, 2, put("a"), done}, {3, 4, get, has("a", 7)}, {5, 6, get, has("a", 8)},
		}},
		{name: "a version comes back after a deletion", want: Illegal, ops: []op{
			{1, 2, put("a"), done},
			{3, 4, get, has("a", 7)},
			{5, 6, registerInput{op: registerDelete}, registerOutput{existed: true}},
			{7, 8, put("a"), done},
			{9, 10, get, has("a", 7)},
		}},
		{name: "one of two replaces", want: Linearizable, ops: []op{
			{1, 2, put("a"), done},
			{3, 4, get, has("a", 7)},
			{5, 9, replace(7, "b"), registerOutput{version: 9}},
			{5, 9, replace(7, "c"), registerOutput{conflict: true}},
			{10, 11, get, has("b", 9)},
		}},
		{name: "both replace", want: Illegal, ops: []op{
			{1, 2, put("a"), done},
			{3, 4, get, has("a", 7)},
			{5, 9, replace(7, "b"), registerOutput{version: 9}},
			{5, 9, replace(7, "c"), registerOutput{version: 10}},
		}},
		{name: "unknown put seen, then gone", want: Illegal, ops: []op{
			{1, 0, put("a"), nil}, {2, 3, get, has("a", 4)}, {4, 5, get, none},
		}},
		{name: "unknown put", want: Linearizable, ops: []op{
			{1, 0, put("a"), nil}, {2, 3, get, none}, {4, 5, get, has("a", 4)},
		}},
		{name: "both put if absent", want: Illegal, ops: []op{
			{1, 9, registerInput{op: registerPutIfAbsent, value: "a"}, none},
			{1, 9, registerInput{op: registerPutIfAbsent, value: "b"}, none},
		}},
	})
}

func TestRefModel(t *testing.T) {
	get := refInput{op: refGet}
	set := func(v string) refInput { return refInput{op: refSet, value: v} }
	replace := func(version int, v string) refInput {
		return refInput{op: refReplace, value: v, version: dref.Version(version)}
	}
	back := func(version int) refInput { return refInput{op: refRollback, version: dref.Version(version)} }
	has := func(v string, version int) registerOutput {
		return registerOutput{existed: true, value: v, hasValue: true, version: dref.Version(version)}
	}
	at := func(version int) registerOutput { return registerOutput{version: dref.Version(version)} }
	none, conflict := registerOutput{}, registerOutput{conflict: true}
	run(t, refs, []history{
		{name: "one after the other", want: Linearizable, ops: []op{
			{1, 2, get, none},
			{3, 4, replace(0, "a"), at(5)},
			{5, 6, replace(0, "x"), conflict},
			{7, 8, replace(5, "b"), at(9)},
			{9, 10, refInput{op: refCompare, old: "b", value: "c"}, none},
			{11, 12, get, has("c", 11)},
			{13, 14, back(5), at(14)},
			{15, 16, get, has("a", 14)},
			{17, 18, refInput{op: refDelete}, registerOutput{existed: true}},
			{19, 20, get, none},
		}},
		{name: "replaced what had come back", want: Illegal, ops: []op{
			{1, 2, replace(0, "a"), at(5)}, {3, 4, set("b"), none}, {5, 6, set("a"), none}, {7, 8, replace(5, "c"), at(9)},
		}},
		{name: "rolled back to another value", want: Illegal, ops: []op{
			{1, 2, replace(0, "a"), at(5)}, {3, 4, set("b"), none}, {5, 6, back(5), at(9)}, {7, 8, get, has("b", 9)},
		}},
		{name: "a version goes back", want: Illegal, ops: []op{
			{1, 2, replace(0, "a"), at(5)}, {3, 4, set("b"), none}, {5, 6, back(5), at(5)},
		}},
		{name: "kept too long", want: Illegal, ops: []op{
			{1, 2, replace(0, "a"), at(5)},
			{3, 4, set("b"), none},
			{5, 6, set("c"), none},
			{7, 8, set("d"), none},
			{9, 10, set("e"), none},
			{11, 12, back(5), at(20)},
		}},
		{name: "not kept long enough", want: Illegal, ops: []op{
			{1, 2, replace(0, "a"), at(5)}, {3, 4, set("b"), none}, {5, 6, back(5), conflict},
		}},
		{name: "unknown set", want: Linearizable, ops: []op{
			{1, 0, set("a"), nil}, {2, 3, get, none}, {4, 5, get, has("a", 4)},
		}},
	})
}

func TestSemaphoreModel(t *testing.T) {
	in := func(o semaphoreOp, n int64, grant int) semaphoreInput {
		return semaphoreInput{op: o, n: n, grant: grant}
	}
	grant := func(hold, token int) semaphoreOutput {
		return semaphoreOutput{granted: true, hold: protocol.HoldID(hold), token: protocol.Token(token)}
	}
	granted := func(token int) semaphoreOutput { return grant(token, token) }
	done := semaphoreOutput{}
	start := op{1, 2, in(semaphoreInit, 2, 0), done}
	run(t, semaphores, []history{
		{name: "handed over", want: Linearizable, ops: []op{
			start,
			{3, 4, in(semaphoreAcquire, 2, 1), granted(1)},
			{5, 9, in(semaphoreAcquire, 1, 2), granted(2)},
			{6, 8, in(semaphoreRelease, 2, 1), done},
			{10, 11, in(semaphoreAvailable, 0, 0), semaphoreOutput{n: 1}},
		}},
		{name: "too many at once", want: Illegal, ops: []op{
			start,
			{3, 4, in(semaphoreAcquire, 2, 1), granted(1)},
			{5, 6, in(semaphoreAcquire, 1, 2), granted(2)},
			{7, 8, in(semaphoreRelease, 2, 1), done},
		}},
		{name: "tokens are shared", want: Linearizable, ops: []op{
			start, {3, 6, in(semaphoreAcquire, 1, 1), grant(1, 3)}, {4, 7, in(semaphoreAcquire, 1, 2), grant(2, 3)},
		}},
		{name: "overtaken", want: Illegal, ops: []op{
			start, {3, 4, in(semaphoreAcquire, 1, 1), grant(2, 3)}, {5, 6, in(semaphoreAcquire, 1, 2), grant(1, 4)},
		}},
		{name: "token before the call", want: Illegal, ops: []op{start, {3, 4, in(semaphoreAcquire, 1, 1), grant(2, 1)}}},
		{name: "tokens fall", want: Illegal, ops: []op{
			start, {3, 4, in(semaphoreAcquire, 1, 1), granted(2)}, {5, 6, in(semaphoreAcquire, 1, 2), granted(1)},
		}},
		{name: "the session's end gives back", want: Linearizable, ops: []op{
			start,
			{3, 4, in(semaphoreAcquire, 2, 1), granted(1)},
			{5, 0, in(semaphoreRelease, 2, 1), nil},
			{6, 9, in(semaphoreAcquire, 2, 2), granted(2)},
		}},
		{name: "revoked", want: Linearizable, ops: []op{
			start,
			{3, 4, in(semaphoreAcquire, 2, 1), granted(1)},
			{5, 0, in(semaphoreRelease, 2, 1), nil}, // it was revoked at 5
			{4, 9, in(semaphoreAcquire, 2, 2), granted(2)},
		}},
		{name: "granted before it is revoked", want: Illegal, ops: []op{
			start,
			{3, 4, in(semaphoreAcquire, 2, 1), granted(1)},
			{7, 0, in(semaphoreRelease, 2, 1), nil},
			{5, 6, in(semaphoreAcquire, 2, 2), granted(2)},
		}},
		{name: "granted to two when one is revoked", want: Illegal, ops: []op{
			start,
			{3, 4, in(semaphoreAcquire, 2, 1), granted(1)},
			{5, 0, in(semaphoreRelease, 2, 1), nil},
			{6, 7, in(semaphoreAcquire, 1, 2), granted(2)},
			{6, 9, in(semaphoreAcquire, 2, 3), granted(3)},
		}},
		{name: "unknown acquire that holds", want: Linearizable, ops: []op{
			start,
			{3, 0, in(semaphoreAcquire, 2, 1), nil},
			{3, 0, in(semaphoreRelease, 2, 1), nil},
			{4, 5, in(semaphoreAcquire, 1, 2), done},
			{6, 7, in(semaphoreAcquire, 1, 3), granted(5)},
		}},
		{name: "refused without reason", want: Illegal, ops: []op{
			start, {3, 4, in(semaphoreAcquire, 1, 1), done},
		}},
		{
			name: "refused because others wait", want: Linearizable, ops: []op{
				start, {3, 4, in(semaphoreAcquire, 1, 1), granted(1)}, {6, 7, in(semaphoreAcquire, 1, 2), done},
			},
			lines: []wait{{call: 5, end: 9}},
		},
		{name: "conditions", want: Linearizable, ops: []op{
			{1, 2, in(semaphoreAcquire, 1, 1), semaphoreOutput{err: dsemaphore.ErrNotInitialized}},
			{3, 4, in(semaphoreInit, 2, 0), done},
			{5, 6, in(semaphoreInit, 3, 0), semaphoreOutput{err: quorate.ErrSettings}},
			{5, 6, in(semaphoreAcquire, 3, 2), semaphoreOutput{err: dsemaphore.ErrTooMany}},
			{7, 8, in(semaphoreAddPermits, 1, 0), done},
			{9, 10, in(semaphoreAcquire, 3, 3), granted(7)},
			{11, 12, in(semaphoreDrain, 0, 0), semaphoreOutput{n: 0}},
		}},
		{name: "too many without reason", want: Illegal, ops: []op{
			start, {3, 4, in(semaphoreAcquire, 2, 1), semaphoreOutput{err: dsemaphore.ErrTooMany}},
		}},
		{name: "drained permits are granted", want: Illegal, ops: []op{
			start, {3, 4, in(semaphoreDrain, 0, 0), semaphoreOutput{n: 2}}, {5, 6, in(semaphoreAcquire, 1, 1), granted(1)},
		}},
	})
}

// TestLockModel: also of locks for readers and writers.
func TestLockModel(t *testing.T) {
	acquire := func(mode lockMode, grant int) lockInput {
		return lockInput{op: lockAcquire, mode: mode, grant: grant}
	}
	release := func(grant int) lockInput { return lockInput{op: lockRelease, grant: grant} }
	exchange := func(mode lockMode, former, grant int) lockInput {
		return lockInput{op: lockExchange, mode: mode, former: former, grant: grant}
	}
	add := func(grant int) lockInput { return lockInput{op: lockAdd, grant: grant} }
	granted := func(token int) lockOutput { return lockOutput{granted: true, token: protocol.Token(token)} }
	count := func(n int64) lockOutput { return lockOutput{n: n} }
	done, gone := lockOutput{}, lockOutput{notHeld: true}
	run(t, locks, []history{
		{name: "handed over", want: Linearizable, ops: []op{
			{1, 2, acquire(writes, 1), granted(1)}, {3, 9, acquire(writes, 2), granted(2)}, {4, 8, release(1), done},
		}},
		{name: "two hold", want: Illegal, ops: []op{
			{1, 2, acquire(writes, 1), granted(1)}, {3, 4, acquire(writes, 2), granted(2)}, {5, 6, release(1), done},
		}},
		{name: "tokens fall", want: Illegal, ops: []op{
			{1, 2, acquire(writes, 1), granted(2)}, {3, 4, release(1), done}, {5, 6, acquire(writes, 2), granted(1)},
		}},
		{name: "a token comes back", want: Illegal, ops: []op{
			{1, 2, acquire(writes, 1), granted(2)}, {3, 4, release(1), done}, {5, 6, acquire(writes, 2), granted(2)},
		}},
		{name: "refused without reason", want: Illegal, ops: []op{{3, 4, acquire(writes, 1), done}}},
		{name: "refused because others wait", want: Linearizable, ops: []op{{6, 7, acquire(writes, 1), done}}, lines: []wait{{call: 5, end: 9}}},
		{name: "taken away", want: Linearizable, ops: []op{
			{1, 2, acquire(writes, 1), granted(1)}, {5, 0, release(1), nil}, {4, 9, acquire(writes, 2), granted(2)}, {10, 11, add(1), gone},
		}},
		{name: "granted before it is taken away", want: Illegal, ops: []op{
			{1, 2, acquire(writes, 1), granted(1)}, {7, 0, release(1), nil}, {4, 6, acquire(writes, 2), granted(2)},
		}},
		{name: "a late write counts", want: Illegal, ops: []op{
			{1, 2, acquire(writes, 1), granted(1)}, {3, 4, add(1), count(1)}, {5, 6, release(1), done}, {7, 8, add(1), count(2)},
		}},
		{name: "a write of unknown outcome counts, or not", want: Linearizable, ops: []op{
			{1, 2, acquire(writes, 1), granted(1)}, {3, 0, add(1), nil}, {3, 0, add(1), nil}, {4, 5, add(1), count(2)}, {6, 7, release(1), done},
		}},
		{name: "a write of the holder is refused", want: Illegal, ops: []op{
			{1, 2, acquire(writes, 1), granted(1)}, {3, 4, add(1), gone}, {5, 6, release(1), done},
		}},
		{name: "readers share", want: Linearizable, ops: []op{
			{1, 2, acquire(reads, 1), granted(1)}, {3, 4, acquire(reads, 2), granted(1)}, {5, 6, acquire(writes, 3), done},
		}},
		{name: "a writer beside a reader", want: Illegal, ops: []op{
			{1, 2, acquire(reads, 1), granted(1)}, {3, 4, acquire(writes, 2), granted(2)},
		}},
		{name: "a reader beside a writer", want: Illegal, ops: []op{
			{1, 2, acquire(writes, 1), granted(1)}, {3, 4, acquire(reads, 2), granted(2)},
		}},
		{name: "downgraded, others read", want: Linearizable, ops: []op{
			{1, 2, acquire(writes, 1), granted(1)}, {3, 4, exchange(reads, 1, 2), granted(3)}, {5, 6, acquire(reads, 3), granted(3)},
		}},
		{name: "downgraded, another writes", want: Illegal, ops: []op{
			{1, 2, acquire(writes, 1), granted(1)}, {3, 4, exchange(reads, 1, 2), granted(3)}, {5, 6, acquire(writes, 3), granted(4)},
		}},
		{name: "upgraded alone", want: Linearizable, ops: []op{
			{1, 2, acquire(reads, 1), granted(1)}, {3, 4, exchange(writes, 1, 2), granted(2)}, {5, 6, acquire(reads, 3), done},
		}},
		{name: "upgraded beside a reader", want: Illegal, ops: []op{
			{1, 2, acquire(reads, 1), granted(1)}, {1, 2, acquire(reads, 2), granted(1)}, {3, 4, exchange(writes, 1, 3), granted(2)},
		}},
		{name: "not upgraded without reason", want: Illegal, ops: []op{
			{1, 2, acquire(reads, 1), granted(1)}, {3, 4, exchange(writes, 1, 2), done},
		}},
	})
}

func TestQueueModel(t *testing.T) {
	put := func(v string) queueInput { return queueInput{op: queuePut, value: v} }
	done := queueOutput{ok: true}
	take, takeN := queueInput{op: queueTake}, queueInput{op: queueTakeN}
	many := func(values ...string) queueInput { return queueInput{op: queuePutAll, values: values} }
	got := func(v string) queueOutput { return queueOutput{ok: true, value: v} }
	maybe := func(o queueOp) queueInput { return queueInput{op: o, take: 1} }
	run(t, queues, []history{
		{name: "in order", want: Linearizable, ops: []op{
			{1, 2, put("a"), done},
			{3, 4, put("b"), done},
			{5, 6, take, got("a")},
			{7, 8, take, got("b")},
			{9, 10, take, queueOutput{}},
		}},
		{name: "out of order", want: Illegal, ops: []op{
			{1, 2, put("a"), done}, {3, 4, put("b"), done}, {5, 6, take, got("b")}, {7, 8, take, got("a")},
		}},
		{name: "taken twice", want: Illegal, ops: []op{
			{1, 2, put("a"), done}, {3, 9, take, got("a")}, {3, 9, take, got("a")},
		}},
		{name: "lost", want: Illegal, ops: []op{{1, 2, put("a"), done}, {3, 4, take, queueOutput{}}}},
		{name: "unknown put", want: Linearizable, ops: []op{
			{1, 0, put("a"), nil}, {3, 4, take, queueOutput{}}, {5, 6, take, got("a")},
		}},
		{name: "a take waits", want: Linearizable, ops: []op{{1, 9, take, got("a")}, {3, 4, put("a"), done}}},
		{name: "given back at the head", want: Linearizable, ops: []op{
			{1, 8, maybe(queueReserve), done},
			{1, 8, maybe(queueReturn), done},
			{2, 3, put("a"), done},
			{4, 5, put("b"), done},
			{6, 7, take, got("b")},
			{9, 10, queueInput{op: queuePeek}, got("a")},
		}},
		{name: "a withdrawn take consumes", want: Illegal, ops: []op{
			{1, 4, maybe(queueReserve), done},
			{1, 4, maybe(queueReturn), done},
			{2, 3, put("a"), done},
			{5, 6, take, queueOutput{}},
		}},
		{name: "an unknown take may consume", want: Linearizable, ops: []op{
			{1, 0, maybe(queueReserve), nil},
			{1, 0, maybe(queueReturn), nil},
			{2, 3, put("a"), done},
			{5, 6, take, queueOutput{}},
		}},
		{name: "an unknown take consumes one", want: Illegal, ops: []op{
			{1, 0, maybe(queueReserve), nil},
			{1, 0, maybe(queueReturn), nil},
			{2, 3, put("a"), done},
			{4, 5, put("b"), done},
			{6, 7, take, queueOutput{}},
		}},
		{name: "full", want: Linearizable, ops: []op{
			{1, 2, queueInput{op: queueConfigure, n: 1}, queueOutput{}},
			{3, 4, put("a"), done},
			{5, 6, put("b"), queueOutput{}},
			{7, 8, queueInput{op: queueLen}, queueOutput{n: 1}},
		}},
		{name: "many in order", want: Linearizable, ops: []op{
			{1, 2, many("a", "b", "c"), queueOutput{n: 3}}, {3, 4, takeN, queueOutput{taken: []string{"a", "b"}}}, {5, 6, take, got("c")},
		}},
		{name: "many out of order", want: Illegal, ops: []op{
			{1, 2, many("a", "b", "c"), queueOutput{n: 3}}, {3, 4, takeN, queueOutput{taken: []string{"b", "a"}}},
		}},
		{name: "others between many that came at once", want: Illegal, ops: []op{
			{1, 4, many("a", "b"), queueOutput{n: 2}}, {1, 4, put("x"), done}, {5, 6, takeN, queueOutput{taken: []string{"a", "x", "b"}}},
		}},
		{name: "more taken than there are", want: Illegal, ops: []op{
			{1, 2, put("a"), done}, {3, 4, takeN, queueOutput{taken: []string{"a", "a"}}},
		}},
		{name: "as many as there is room for", want: Linearizable, ops: []op{
			{1, 2, queueInput{op: queueConfigure, n: 2}, queueOutput{}},
			{3, 4, many("a", "b", "c"), queueOutput{n: 2}},
			{5, 6, queueInput{op: queueLen}, queueOutput{n: 2}},
		}},
		{name: "fewer than there is room for", want: Illegal, ops: []op{
			{1, 2, queueInput{op: queueConfigure, n: 2}, queueOutput{}}, {3, 4, many("a", "b", "c"), queueOutput{n: 1}},
		}},
		{name: "over the capacity", want: Illegal, ops: []op{
			{1, 2, queueInput{op: queueConfigure, n: 1}, queueOutput{}}, {3, 4, put("a"), done}, {5, 6, put("b"), done},
		}},
	})
}

func TestCheckGivesUpInTime(t *testing.T) {
	// Many unknown operations and an impossible read: the search cannot end.
	var ops []op
	for i := range int64(40) {
		ops = append(ops, op{1, 0, counterInput{op: counterAdd, n: 1 << i}, nil})
	}
	ops = append(ops, op{2, 3, counterInput{op: counterGet}, counterOutput{n: -1}})
	h := NewHistory()
	for _, p := range ops {
		ret := p.to
		if ret == 0 {
			ret = Pending
		}
		h.add(Operation{Object: object{kind: counters}, Call: p.from, Return: ret, Input: p.in, Output: p.out})
	}
	if v := Check(h, 100*time.Millisecond); v.Outcome != Undecided {
		t.Fatal(v)
	}
}

func TestCheckSum(t *testing.T) {
	for _, test := range []struct {
		value int64
		ok    bool
	}{{2, false}, {3, true}, {10, true}, {11, false}} {
		if err := CheckSum(test.value, []int64{1, 2}, []int64{3, 4}); (err == nil) != test.ok {
			t.Errorf("%d: %v", test.value, err)
		}
	}
}

func TestCheckElements(t *testing.T) {
	for i, test := range []struct {
		e  Elements
		ok bool
	}{
		{Elements{Put: []string{"a", "b"}, Taken: []string{"b"}, Left: []string{"a"}}, true},
		{Elements{Put: []string{"a", "b"}, Taken: []string{"b"}}, false},
		{Elements{Put: []string{"a", "b"}, Taken: []string{"b"}, TakesUnknown: 1}, true},
		{Elements{Put: []string{"a"}, Taken: []string{"a", "a"}}, false},
		{Elements{Put: []string{"a"}, Taken: []string{"a"}, Left: []string{"a"}}, false},
		{Elements{Taken: []string{"a"}}, false},
		{Elements{PutUnknown: []string{"a", "b"}, Taken: []string{"a"}}, true},
	} {
		if err := CheckElements(test.e); (err == nil) != test.ok {
			t.Errorf("%d: %v", i, fmt.Sprint(err))
		}
	}
}
