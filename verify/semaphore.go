package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/anishathalye/porcupine"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// Semaphore records what a semaphore's handle does.
type Semaphore struct {
	recorder
	semaphore *dsemaphore.Semaphore
}

// NewSemaphore returns a recorder of a semaphore for one client.
func NewSemaphore(h *History, client int, name string, s *dsemaphore.Semaphore) *Semaphore {
	return &Semaphore{recorder{h, client, object{kind: semaphores, name: name}}, s}
}

type semaphoreOp uint8

const (
	semaphoreInit semaphoreOp = iota + 1
	semaphoreAcquire
	semaphoreRelease
	semaphoreAvailable
	semaphoreDrain
	semaphoreAddPermits
	semaphoreDestroy
)

type semaphoreInput struct {
	op        semaphoreOp
	n         int64 // permits
	grant     int   // of acquire and release: which grant
	contended bool  // of an acquire that was not granted: others waited
}

type semaphoreOutput struct {
	n       int64 // of available and drain
	granted bool  // of acquire
	hold    protocol.HoldID
	token   protocol.Token
	err     error // a condition of the semaphore's own
}

// Init records dsemaphore.Semaphore.Init.
func (s *Semaphore) Init(ctx context.Context, n int64) error {
	call := s.history.now()
	err := s.semaphore.Init(ctx, n)
	s.conditional(call, semaphoreInput{op: semaphoreInit, n: n}, semaphoreOutput{}, err)
	return err
}

// Acquire records dsemaphore.Semaphore.Acquire, and what becomes of the grant.
func (s *Semaphore) Acquire(ctx context.Context, n int64, opts ...dsemaphore.AcquireOption) (*Held, error) {
	call := s.history.now()
	held, err := s.semaphore.Acquire(ctx, n, opts...)
	if notInTime(err) {
		return s.acquired(call, n, true, held, nil), err
	}
	return s.acquired(call, n, true, held, err), err
}

// TryAcquire records dsemaphore.Semaphore.TryAcquire, and what becomes of the
// grant.
func (s *Semaphore) TryAcquire(ctx context.Context, n int64) (*Held, bool, error) {
	call := s.history.now()
	held, ok, err := s.semaphore.TryAcquire(ctx, n)
	return s.acquired(call, n, false, held, err), ok, err
}

func (s *Semaphore) acquired(call, n int64, waits bool, held *structures.Held, err error) *Held {
	in := semaphoreInput{op: semaphoreAcquire, n: n, grant: s.history.number()}
	if waits {
		end := s.history.now()
		if err != nil {
			end = Pending // it may stand in the line until its session has ended
		}
		s.history.waited(wait{object: s.object, call: call, end: end})
	}
	switch {
	case held != nil:
		s.record(call, in, semaphoreOutput{granted: true, hold: held.ID(), token: held.Token()}, nil)
		release := in
		release.op = semaphoreRelease
		return s.hold(call, release, semaphoreOutput{}, held)
	case unknown(err), errors.Is(err, quorate.ErrSessionLost), errors.Is(err, quorate.ErrClosed):
		// It may hold until its session has ended, unseen.
		s.history.add(Operation{Client: s.client, Object: s.object, Call: call, Return: Pending, Input: in})
		s.lost(call, in)
	default:
		s.conditional(call, in, semaphoreOutput{}, err)
	}
	return nil
}

// lost notes that the permits of a grant return by themselves, at any time
// since call: when exactly the session has ended, no client can tell.
func (s *Semaphore) lost(call int64, in semaphoreInput) {
	in.op = semaphoreRelease
	s.returns(call, in)
}

// Revoke records dsemaphore.Semaphore.Revoke: what is revoked may come back at any time
// from the call on, and not before.
func (s *Semaphore) Revoke(ctx context.Context, hold protocol.HoldID, opts ...structures.RevokeOption) (existed bool, err error) {
	return s.revoke(func() (bool, error) { return s.semaphore.Revoke(ctx, hold, opts...) }, hold)
}

// Inspect is dsemaphore.Semaphore.Inspect, which is not recorded.
func (s *Semaphore) Inspect(ctx context.Context) (structures.Inspection, error) {
	return s.semaphore.Inspect(ctx)
}

// Available records dsemaphore.Semaphore.Available.
func (s *Semaphore) Available(ctx context.Context) (int64, error) {
	call := s.history.now()
	n, err := s.semaphore.Available(ctx)
	if !unknown(err) {
		s.conditional(call, semaphoreInput{op: semaphoreAvailable}, semaphoreOutput{n: n}, err)
	}
	return n, err
}

// Drain records dsemaphore.Semaphore.Drain.
func (s *Semaphore) Drain(ctx context.Context) (int64, error) {
	call := s.history.now()
	n, err := s.semaphore.Drain(ctx)
	s.conditional(call, semaphoreInput{op: semaphoreDrain}, semaphoreOutput{n: n}, err)
	return n, err
}

// AddPermits records dsemaphore.Semaphore.AddPermits.
func (s *Semaphore) AddPermits(ctx context.Context, n int64) error {
	call := s.history.now()
	err := s.semaphore.AddPermits(ctx, n)
	s.conditional(call, semaphoreInput{op: semaphoreAddPermits, n: n}, semaphoreOutput{}, err)
	return err
}

// Destroy records dsemaphore.Semaphore.Destroy.
func (s *Semaphore) Destroy(ctx context.Context) error {
	call := s.history.now()
	err := s.semaphore.Destroy(ctx)
	s.conditional(call, semaphoreInput{op: semaphoreDestroy}, semaphoreOutput{}, err)
	return err
}

// conditional records an operation that a condition of the semaphore may have
// answered.
func (s *Semaphore) conditional(call int64, in semaphoreInput, out semaphoreOutput, err error) {
	condition := is(err, dsemaphore.ErrNotInitialized, dsemaphore.ErrTooMany, quorate.ErrSettings)
	if condition != nil {
		s.record(call, in, semaphoreOutput{err: condition}, nil)
		return
	}
	s.answer(call, in, out, err)
}

// permits is the state of a semaphore.
type permits struct {
	initialized bool
	init, free  int64
	held        []grant         // in the order of their numbers
	hold        protocol.HoldID // that was granted last
	token       protocol.Token
}

type grant struct {
	number  int
	permits int64
}

func (p permits) most() int64 {
	all := p.free
	for _, g := range p.held {
		all += g.permits
	}
	return max(p.init, all)
}

var semaphoreChecker = checker{
	name: "semaphore", model: semaphoreModel,
	contended: func(op *Operation, overlaps func(puts bool) bool) any {
		in := op.Input.(semaphoreInput)
		if out, ok := op.Output.(semaphoreOutput); ok && in.op == semaphoreAcquire && !out.granted && out.err == nil {
			in.contended = overlaps(false)
		}
		return in
	},
}

// semaphoreModel is a set of grants. That nobody is overtaken shows in the numbers
// of holds, which grow from grant to grant; tokens never fall.
var semaphoreModel = porcupine.Model{
	Init: func() any { return permits{} },
	Step: func(state, input, output any) (bool, any) {
		in := input.(semaphoreInput)
		out, known := output.(semaphoreOutput)
		next, err := state.(permits).step(in, out, known)
		return !known || errors.Is(err, out.err), next
	},
	Equal: func(a, b any) bool {
		p, q := a.(permits), b.(permits)
		return p.initialized == q.initialized && p.init == q.init && p.free == q.free && p.hold == q.hold && p.token == q.token &&
			slices.Equal(p.held, q.held)
	},
	DescribeOperation: func(input, output any) string {
		in := input.(semaphoreInput)
		names := []string{"", "init", "acquire", "release", "available", "drain", "add permits", "destroy"}
		return fmt.Sprintf("%s(%d) grant %d -> %+v", names[in.op], in.n, in.grant, output)
	},
}

// errImpossible is what step says of an output that cannot be.
var errImpossible = errors.New("impossible")

// step returns the state after an operation, and its condition: nil if it was carried
// out, or did what out says.
func (p permits) step(in semaphoreInput, out semaphoreOutput, known bool) (permits, error) {
	possible := func(ok bool) error {
		if known && out.err == nil && !ok {
			return errImpossible
		}
		return nil
	}
	switch in.op {
	case semaphoreInit:
		if p.initialized && p.init != in.n {
			return p, quorate.ErrSettings
		}
		if !p.initialized {
			p.initialized, p.init, p.free = true, in.n, in.n
		}
		return p, nil
	case semaphoreDestroy:
		return permits{hold: p.hold, token: p.token}, nil
	case semaphoreRelease:
		i := slices.IndexFunc(p.held, func(g grant) bool { return g.number == in.grant })
		if i < 0 {
			return p, possible(false)
		}
		p.free += p.held[i].permits
		p.held = slices.Delete(slices.Clone(p.held), i, i+1)
		return p, nil
	}
	if !p.initialized {
		return p, dsemaphore.ErrNotInitialized
	}
	switch in.op {
	case semaphoreAvailable:
		return p, possible(out.n == p.free)
	case semaphoreDrain:
		drained := max(p.free, 0)
		p.free -= drained
		return p, possible(out.n == drained)
	case semaphoreAddPermits:
		p.free += in.n
		return p, nil
	}
	switch {
	case in.n > p.most():
		return p, dsemaphore.ErrTooMany
	case known && !out.granted:
		return p, possible(in.contended || in.n > p.free)
	case in.n > p.free || known && (out.hold <= p.hold || out.token < p.token || uint64(out.token) < uint64(out.hold)):
		return p, possible(false)
	}
	p.free -= in.n
	if known {
		p.hold, p.token = out.hold, out.token
	}
	p.held = slices.Clone(p.held)
	i, _ := slices.BinarySearchFunc(p.held, in.grant, func(g grant, n int) int { return g.number - n })
	p.held = slices.Insert(p.held, i, grant{in.grant, in.n})
	return p, nil
}
