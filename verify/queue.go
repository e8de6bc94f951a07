package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures/dqueue"
)

// Queue records what a queue's handle does.
type Queue struct {
	recorder
	queue *dqueue.Queue[string]
}

// NewQueue returns a recorder of a queue for one client.
func NewQueue(h *History, client int, name string, q *dqueue.Queue[string]) *Queue {
	return &Queue{recorder{h, client, object{kind: queues, name: name}}, q}
}

type queueOp uint8

const (
	queueConfigure queueOp = iota + 1
	queuePut               // also offer
	queueTake              // also poll, and each element of drain
	queuePeek
	queueLen
	queueReserve // a Take that failed may have held the head for a while
	queueReturn  // and have given it back
	queueDestroy
	queuePutAll // as many as the queue has capacity for at once
	queueTakeN
)

type queueInput struct {
	op        queueOp
	value     string
	values    []string // of put all
	n         int64    // capacity
	take      int      // of reserve and return: which Take
	contended bool     // of a put that found the queue full: others waited
}

type queueOutput struct {
	ok    bool // of put, take and peek
	value string
	n     int64    // of len, and of put all: how many of the first
	taken []string // of take n
	err   error    // a condition of the queue's own
}

// Configure records dqueue.Queue.Configure with a capacity.
func (q *Queue) Configure(ctx context.Context, capacity int64) error {
	call := q.history.now()
	err := q.queue.Configure(ctx, dqueue.Capacity(capacity))
	in := queueInput{op: queueConfigure, n: capacity}
	if is(err, quorate.ErrSettings) != nil {
		q.record(call, in, queueOutput{err: quorate.ErrSettings}, nil)
	} else {
		q.answer(call, in, queueOutput{}, err)
	}
	return err
}

// Put records dqueue.Queue.Put.
func (q *Queue) Put(ctx context.Context, v string, opts ...dqueue.WaitOption) error {
	call := q.history.now()
	err := q.queue.Put(ctx, v, opts...)
	end := q.history.now()
	if err != nil && !notInTime(err) {
		end = Pending // it may stand in the line until its session has ended
	}
	q.history.waited(wait{object: q.object, puts: true, call: call, end: end})
	in := queueInput{op: queuePut, value: v}
	if errors.Is(err, quorate.ErrSessionLost) || errors.Is(err, quorate.ErrClosed) {
		// It may be let in before its session has ended.
		q.history.add(Operation{Client: q.client, Object: q.object, Call: call, Return: Pending, Input: in})
	} else if notInTime(err) {
		q.record(call, in, queueOutput{}, nil)
	} else {
		q.answer(call, in, queueOutput{ok: true}, err)
	}
	return err
}

func notInTime(err error) bool { return is(err, quorate.ErrNotInTime) != nil }

// PutAll records dqueue.Queue.PutAll of so many values that they are one part, into
// the room that there is at once.
func (q *Queue) PutAll(ctx context.Context, values []string) error {
	call := q.history.now()
	err := q.queue.PutAll(ctx, values, dqueue.Wait(0))
	in, out := queueInput{op: queuePutAll, values: values}, queueOutput{n: int64(len(values))}
	if e, ok := errors.AsType[*dqueue.PartialError](err); ok {
		out.n = int64(e.Put)
		for _, v := range values[e.Put : e.Put+e.Unknown] {
			q.record(call, queueInput{op: queuePut, value: v}, nil, err)
		}
	}
	if err == nil || errors.Is(err, quorate.ErrNotInTime) {
		q.record(call, in, out, nil)
	}
	return err
}

// Offer records dqueue.Queue.Offer.
func (q *Queue) Offer(ctx context.Context, v string) (bool, error) {
	call := q.history.now()
	ok, err := q.queue.Offer(ctx, v)
	q.answer(call, queueInput{op: queuePut, value: v}, queueOutput{ok: ok}, err)
	return ok, err
}

// Take records dqueue.Queue.Take.
func (q *Queue) Take(ctx context.Context, opts ...dqueue.WaitOption) (string, error) {
	call := q.history.now()
	v, err := q.queue.Take(ctx, opts...)
	if notInTime(err) {
		q.took(ctx, call, v, false, nil)
	} else {
		q.took(ctx, call, v, true, err)
	}
	return v, err
}

// TakeN records dqueue.Queue.TakeN.
func (q *Queue) TakeN(ctx context.Context, n int, opts ...dqueue.WaitOption) ([]string, error) {
	call := q.history.now()
	taken, err := q.queue.TakeN(ctx, n, opts...)
	switch {
	case err == nil:
		q.record(call, queueInput{op: queueTakeN}, queueOutput{taken: taken}, nil)
	case notInTime(err):
		q.took(ctx, call, "", false, nil)
	default:
		for range n {
			q.took(ctx, call, "", false, err)
		}
	}
	return taken, err
}

// Poll records dqueue.Queue.Poll.
func (q *Queue) Poll(ctx context.Context) (string, bool, error) {
	call := q.history.now()
	v, ok, err := q.queue.Poll(ctx)
	q.took(ctx, call, v, ok, err)
	return v, ok, err
}

func (q *Queue) took(ctx context.Context, call int64, v string, ok bool, err error) {
	if err == nil {
		q.record(call, queueInput{op: queueTake}, queueOutput{ok: ok, value: v}, nil)
		return
	}
	if errors.Is(err, quorate.ErrDestroyed) || errors.Is(err, quorate.ErrOverloaded) {
		return // it never had anything
	}
	// A head that was reserved for it is back when the call has been withdrawn,
	// else when its session has ended.
	end := int64(Pending)
	if ctx.Err() != nil && errors.Is(err, context.Cause(ctx)) && !unknown(err) {
		end = q.history.now()
	}
	in := queueInput{op: queueReserve, take: q.history.number()}
	op := Operation{Client: q.client, Object: q.object, Call: call, Return: end, Input: in}
	back := op
	in.op = queueReturn
	back.Input = in
	q.history.add(op, back)
}

// Drain records dqueue.Queue.Drain, as a Take of each element: it is not one operation
// if it takes several pages.
func (q *Queue) Drain(ctx context.Context, most int) ([]string, error) {
	call := q.history.now()
	taken, err := q.queue.Drain(ctx, most)
	for _, v := range taken {
		q.record(call, queueInput{op: queueTake}, queueOutput{ok: true, value: v}, nil)
	}
	if unknown(err) {
		for range most - len(taken) {
			q.took(ctx, call, "", false, err)
		}
	}
	return taken, err
}

// Peek records dqueue.Queue.Peek.
func (q *Queue) Peek(ctx context.Context) (string, bool, error) {
	call := q.history.now()
	v, ok, err := q.queue.Peek(ctx)
	if err == nil {
		q.record(call, queueInput{op: queuePeek}, queueOutput{ok: ok, value: v}, nil)
	}
	return v, ok, err
}

// Len records dqueue.Queue.Len.
func (q *Queue) Len(ctx context.Context) (int, error) {
	call := q.history.now()
	n, err := q.queue.Len(ctx)
	if err == nil {
		q.record(call, queueInput{op: queueLen}, queueOutput{n: int64(n)}, nil)
	}
	return n, err
}

// Destroy records dqueue.Queue.Destroy.
func (q *Queue) Destroy(ctx context.Context) error {
	call := q.history.now()
	err := q.queue.Destroy(ctx)
	q.answer(call, queueInput{op: queueDestroy}, queueOutput{}, err)
	return err
}

// elements is the state of a queue. Slices are replaced, never changed.
type elements struct {
	configured bool
	capacity   int64
	next       int       // number of the next element; they give the order
	free       []element // in the order of their numbers
	reserved   []element // in the order of their takes
	over       []int     // takes that cannot reserve any more, in order
}

type element struct {
	number int
	value  string
	take   int // for which it is reserved
}

func (e elements) full() bool { return e.capacity > 0 && int64(len(e.free)) >= e.capacity }

var queueChecker = checker{
	name: "queue", model: queueModel,
	contended: func(op *Operation, overlaps func(puts bool) bool) any {
		in := op.Input.(queueInput)
		if out, ok := op.Output.(queueOutput); ok && (in.op == queuePut && !out.ok || in.op == queuePutAll && out.n < int64(len(in.values))) {
			in.contended = overlaps(true)
		}
		return in
	},
}

// queueModel is a list, and what failed Takes keep of it for a while.
var queueModel = porcupine.Model{
	Init: func() any { return elements{} },
	Step: func(state, input, output any) (bool, any) {
		out, known := output.(queueOutput)
		return state.(elements).step(input.(queueInput), out, known)
	},
	Equal: func(a, b any) bool {
		x, y := a.(elements), b.(elements)
		return x.configured == y.configured && x.capacity == y.capacity && x.next == y.next &&
			slices.Equal(x.free, y.free) && slices.Equal(x.reserved, y.reserved) && slices.Equal(x.over, y.over)
	},
	DescribeOperation: func(input, output any) string {
		in := input.(queueInput)
		names := []string{"", "configure", "put", "take", "peek", "len", "reserve", "return", "destroy", "put all", "take n"}
		return fmt.Sprintf("%s(%q%q, %d) take %d -> %+v", names[in.op], in.value, in.values, in.n, in.take, output)
	},
}

func (e elements) step(in queueInput, out queueOutput, known bool) (bool, elements) {
	switch in.op {
	case queueConfigure:
		if e.configured && e.capacity != in.n {
			return !known || out.err != nil, e
		}
		e.configured, e.capacity = true, in.n
		return !known || out.err == nil, e
	case queuePut:
		if known && !out.ok {
			return e.full() || in.contended, e
		}
		if e.full() {
			return !known, e
		}
		e.free = append(slices.Clone(e.free), element{number: e.next, value: in.value})
		e.next++
		return true, e
	case queuePutAll:
		// Those who wait to take do so beyond the capacity.
		room := int64(len(in.values))
		if e.capacity > 0 {
			room = min(room, max(e.capacity-int64(len(e.free)), 0))
		}
		if out.n < room && !in.contended {
			return false, e
		}
		e.free = slices.Clone(e.free)
		for _, v := range in.values[:out.n] {
			e.free = append(e.free, element{number: e.next, value: v})
			e.next++
		}
		return true, e
	case queueTakeN:
		for i, v := range out.taken {
			if i == len(e.free) || e.free[i].value != v {
				return false, e
			}
		}
		e.free = e.free[len(out.taken):]
		return true, e
	case queueTake:
		if !out.ok {
			return len(e.free) == 0, e
		}
		if len(e.free) == 0 || e.free[0].value != out.value {
			return false, e
		}
		e.free = e.free[1:]
		return true, e
	case queuePeek:
		if !out.ok {
			return len(e.free) == 0, e
		}
		return len(e.free) > 0 && e.free[0].value == out.value, e
	case queueLen:
		return int64(len(e.free)) == out.n, e
	case queueReserve:
		return true, e.reserve(in.take)
	case queueReturn:
		return true, e.giveBack(in.take)
	default: // destroy
		return true, elements{next: e.next, over: e.over, reserved: voided(e.reserved)}
	}
}

// reserve reserves the first element for a take, or remembers that there was none.
func (e elements) reserve(take int) elements {
	at, over := slices.BinarySearch(e.over, take)
	if over {
		e.over = slices.Delete(slices.Clone(e.over), at, at+1)
		return e
	}
	held := element{number: -1, take: take} // there was nothing to reserve
	if len(e.free) > 0 {
		held = e.free[0]
		held.take = take
		e.free = e.free[1:]
	}
	at, _ = slices.BinarySearchFunc(e.reserved, take, byTake)
	e.reserved = slices.Insert(slices.Clone(e.reserved), at, held)
	return e
}

// giveBack puts what was reserved for a take back where it was.
func (e elements) giveBack(take int) elements {
	at, reserved := slices.BinarySearchFunc(e.reserved, take, byTake)
	if !reserved {
		at, _ = slices.BinarySearch(e.over, take)
		e.over = slices.Insert(slices.Clone(e.over), at, take)
		return e
	}
	back := e.reserved[at]
	e.reserved = slices.Delete(slices.Clone(e.reserved), at, at+1)
	if back.number >= 0 {
		back.take = 0
		at, _ = slices.BinarySearchFunc(e.free, back.number, func(x element, n int) int { return x.number - n })
		e.free = slices.Insert(slices.Clone(e.free), at, back)
	}
	return e
}

// voided returns reservations whose elements no longer exist.
func voided(reserved []element) []element {
	list := slices.Clone(reserved)
	for i := range list {
		list[i] = element{number: -1, take: list[i].take}
	}
	return list
}

func byTake(e element, take int) int { return e.take - take }
