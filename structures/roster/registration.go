package roster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// attemptTime bounds one attempt to register again, or to learn what has become of an
// entry.
const attemptTime = 10 * time.Second

// deregisterBound is how long a deregistration goes on after its caller has stopped
// waiting. An entry that is there by then ends with its session.
const deregisterBound = time.Hour

// Registering says what is registered.
type Registering struct {
	ID        string
	Data      []byte // must stay unchanged
	TTL       time.Duration
	Remove    time.Duration
	Permanent bool
	Health    Health
	Note      string
}

// Registration keeps an entry for as long as its process lives. It is safe for concurrent
// use.
//
//	     session or entry lost, while the process lives
//	           .-------------------------------------.
//	           v                                     |
//	registered -------------------------------------' registers again, by itself
//	     |
//	     |  deregistered, replaced by another registration, removed or destroyed
//	     v
//	    done
type Registration struct {
	roster *Roster
	nonce  uint64
	ctx    context.Context // ends when it is done
	end    context.CancelFunc
	turn   chan struct{} // of capacity 1: whoever has put something in changes the entry
	done   chan struct{} // closed when err is why it is done

	mu      sync.Mutex // guards what follows
	what    Registering
	lease   context.Context    // of the session that owns the entry
	there   structures.Version // of a state that had the entry
	leaving bool               // it is being deregistered
	over    bool
	err     error
}

// Register registers what is given, and keeps it registered until it is deregistered.
//
// Errors: [quorate.ErrInvalid], [quorate.ErrTooLarge]; [quorate.ErrOverloaded] if
// MaxEntries are registered. After any error nothing is registered, or it is taken back as
// soon as that is known.
func (r *Roster) Register(ctx context.Context, what Registering) (*Registration, error) {
	const verb = "register"
	g := &Registration{
		roster: r, nonce: newNonce(), what: what,
		turn: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if err := g.request(0).check(); err != nil {
		return nil, r.handle.Fail(verb, err, "")
	}
	g.ctx, g.end = context.WithCancel(context.Background())
	if err := g.register(ctx, 0); err != nil {
		return nil, err
	}
	go g.keep()
	return g, nil
}

// ID returns the ID of the entry.
func (g *Registration) ID() string { return g.what.ID }

// Done returns a channel that is closed when the registration has ended for good: see
// [Registration.Err].
func (g *Registration) Done() <-chan struct{} { return g.done }

// Err returns why the registration has ended; nil while it has not, and after Deregister.
// It Is [ErrReplaced], [structures.ErrRevoked] if the entry was removed or the roster
// destroyed, or [quorate.ErrClosed].
func (g *Registration) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Bound returns the context of the session that the entry is bound to: it ends when that is
// lost. Until then the entry is there, unless the registration has ended. The context of a
// permanent one says nothing of it.
func (g *Registration) Bound() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lease
}

// State returns what was registered, as this process knows it.
func (g *Registration) State() Registering {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.what
}

// finish ends the registration. The first reason counts.
func (g *Registration) finish(why error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return
	}
	g.over, g.err = true, why
	g.end()
	close(g.done)
}

// unwanted reports whether the entry must not be there any more.
func (g *Registration) unwanted() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.over || g.leaving
}

// request returns the body of an operation on the entry, as it should be.
func (g *Registration) request(flags uint64) *request {
	g.mu.Lock()
	defer g.mu.Unlock()
	w := &g.what
	if w.Permanent {
		flags |= flagPermanent
	}
	return &request{
		id: w.ID, nonce: g.nonce, data: w.Data, ttl: milliseconds(w.TTL), remove: milliseconds(w.Remove),
		flags: flags, health: w.Health, note: w.Note,
	}
}

// take waits for the turn to change the entry, so that changes arrive in their order.
func (g *Registration) take(ctx context.Context, verb string) error {
	select {
	case g.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return g.roster.handle.Fail(verb, contexts.Err(ctx), "")
	}
}

func (g *Registration) give() { <-g.turn }

// register registers the entry under the present session. If that fails the first time the
// registration is done before anyone else has the turn, so that late finds it unwanted.
func (g *Registration) register(ctx context.Context, flags uint64) (err error) {
	if err := g.take(ctx, "register"); err != nil {
		return err
	}
	defer g.give()
	defer func() {
		if err != nil && flags&flagAgain == 0 {
			g.finish(err)
		}
	}()
	return g.put(ctx, flags)
}

// put registers the entry. It is called with the turn.
func (g *Registration) put(ctx context.Context, flags uint64) error {
	const verb = "register"
	h := &g.roster.handle
	call := g.roster.call(verb, opRegister, g.request(flags))
	call.Late = g.late
	reply, err := h.Invoke(ctx, call)
	switch {
	case err != nil:
		return err
	case reply.Lease == nil:
		return h.Garbled(verb, reply)
	case reply.Lease.Err() != nil && !g.what.Permanent:
		return h.Fail(verb, context.Cause(reply.Lease), "")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lease, g.there = reply.Lease, reply.Version
	return nil
}

// late takes a registration back whose outcome was known too late, if nobody wants it any
// more. The nonce is that of this registration, so no other is taken away.
func (g *Registration) late(structures.Reply) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if g.take(ctx, "deregister") != nil {
			return
		}
		defer g.give()
		if g.unwanted() {
			_ = g.deregister(ctx) // an entry that stays ends with its session
		}
	}()
}

// keep watches over the entry until the registration is done.
func (g *Registration) keep() {
	for try := 0; g.ctx.Err() == nil; try++ {
		g.mu.Lock()
		lease, permanent := g.lease, g.what.Permanent
		g.mu.Unlock()
		lost := !permanent && lease.Err() != nil
		if !lost {
			began := time.Now()
			lost = g.watch(lease, permanent)
			if time.Since(began) > time.Minute {
				try = 0
			}
		}
		switch {
		case g.ctx.Err() != nil:
			return
		case errors.Is(context.Cause(lease), quorate.ErrClosed):
			g.finish(g.roster.handle.Fail("keep a registration in", quorate.ErrClosed, ""))
			return
		case lost:
			g.again()
		default:
			contexts.Pause(g.ctx, pauseAfter(try))
		}
	}
}

// again registers the entry again after its session was lost, until that is done, or
// another registration has the ID (ROSTER-4).
func (g *Registration) again() {
	for try := 0; g.ctx.Err() == nil; try++ {
		ctx, cancel := context.WithTimeout(g.ctx, attemptTime)
		err := g.register(ctx, flagAgain)
		cancel()
		switch {
		case err == nil:
			return
		case errors.Is(err, ErrReplaced), errors.Is(err, quorate.ErrClosed):
			g.finish(err)
			return
		}
		contexts.Pause(g.ctx, pauseAfter(try))
	}
}

// watch watches the row of the entry. It reports that the session is lost; false: the
// watch has ended, or the registration.
func (g *Registration) watch(lease context.Context, permanent bool) (lost bool) {
	ctx, cancel := context.WithCancel(g.ctx)
	defer cancel()
	if !permanent {
		defer context.AfterFunc(lease, cancel)()
	}
	stream, err := g.roster.handle.Watch(ctx, structures.WatchSpec{
		Verb: "keep a registration in", Partitions: []protocol.PartitionID{g.roster.partition()},
		From: entryKey(g.what.ID), Options: protocol.WatchRow,
	})
	if err != nil {
		return !permanent && lease.Err() != nil
	}
	defer stream.Close()
	for {
		e, err := stream.Next(ctx)
		if err != nil {
			if errors.Is(err, quorate.ErrClosed) {
				g.finish(err)
			}
			return !permanent && lease.Err() != nil
		}
		switch e.Type {
		case structures.EventPut:
			var now row
			if now.read(e.Value) == nil && now.nonce != g.nonce {
				g.finish(g.roster.handle.Fail("keep a registration in", ErrReplaced, ""))
				return false
			}
		case structures.EventRemoved:
			// Either the session has ended at the grid, or somebody has removed the entry. A
			// report under the session tells them apart, and registers a permanent entry again
			// that was lost.
			probe, stop := context.WithTimeout(ctx, attemptTime)
			err := g.report(probe)
			stop()
			switch {
			case errors.Is(err, quorate.ErrSessionLost):
				return true
			case err != nil && !mutants.On(mutants.RemovedUntold):
				// Another watch begins with the state of the entry. This one would tell only of
				// a change of it, and there may be none.
				return false
			}
		}
	}
}

// Report reports the health of the entry. Errors: [ErrReplaced], [structures.ErrRevoked]
// and [quorate.ErrClosed], with which the registration is done; [quorate.ErrSessionLost] if
// the session is lost: then the health comes with the next registration, which goes on by
// itself.
func (g *Registration) Report(ctx context.Context, health Health, note string) error {
	g.mu.Lock()
	g.what.Health, g.what.Note = health, Named(note)
	g.mu.Unlock()
	return g.report(ctx)
}

func (g *Registration) report(ctx context.Context) error {
	return g.change(ctx, "report the health of an entry of", opReport)
}

// Set replaces what the entry says as this process knows it. [Registration.Send] sends that.
// The error is [quorate.ErrTooLarge].
func (g *Registration) Set(data []byte) error {
	if len(data) > MaxData {
		return g.roster.handle.Fail(updateVerb, fmt.Errorf("%w: %d bytes of data, at most %d", quorate.ErrTooLarge, len(data), MaxData), "")
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.what.Data = data
	return nil
}

// Send has the entry say what was set last. Errors are those of [Registration.Report].
func (g *Registration) Send(ctx context.Context) error { return g.change(ctx, updateVerb, opUpdate) }

const updateVerb = "update an entry of"

// change sends an operation on the entry, with what is to be now. It goes under the
// session that owns the entry, so that its answer is about that.
func (g *Registration) change(ctx context.Context, verb string, op protocol.Op) error {
	if err := g.take(ctx, verb); err != nil {
		return err
	}
	defer g.give()
	g.mu.Lock()
	over, err, lease := g.over, g.err, g.lease
	g.mu.Unlock()
	h := &g.roster.handle
	switch {
	case over && err == nil:
		return h.Fail(verb, ErrNotRegistered, "it was deregistered")
	case over:
		return err
	}
	call := g.roster.call(verb, op, g.request(0))
	if !g.what.Permanent {
		call.Lease = lease
	}
	reply, err := h.Invoke(ctx, call)
	if errors.Is(err, ErrNotRegistered) {
		err = g.absent(ctx, verb)
	} else if err == nil {
		g.mu.Lock()
		g.there = reply.Version
		g.mu.Unlock()
	}
	if errors.Is(err, structures.ErrRevoked) || errors.Is(err, ErrReplaced) || errors.Is(err, quorate.ErrClosed) {
		g.finish(err)
	}
	return err
}

// absent registers an entry that is not there again if it was lost, and fails if it was
// removed. It is called with the turn. One of a session was removed: where data is lost all
// sessions are, too, and the call would have failed for that.
func (g *Registration) absent(ctx context.Context, verb string) error {
	if g.what.Permanent {
		switch lost, err := g.dataLost(ctx, verb); {
		case err != nil:
			return err
		case lost:
			return g.put(ctx, flagAgain)
		}
	}
	return g.roster.handle.Fail(verb, structures.ErrRevoked, "it was removed")
}

// dataLost reports whether data was lost since the entry was there: a watch that begins
// there is told, and else of the removal (WATCH-5).
func (g *Registration) dataLost(ctx context.Context, verb string) (bool, error) {
	g.mu.Lock()
	there := g.there
	g.mu.Unlock()
	key := entryKey(g.what.ID)
	stream, err := g.roster.handle.Watch(ctx, structures.WatchSpec{
		Verb: verb, Partitions: []protocol.PartitionID{g.roster.partition()},
		From: key, To: append(key[:len(key):len(key)], 0), AfterVersion: there, FromVersion: true,
	})
	if err != nil {
		return false, err
	}
	defer stream.Close()
	for {
		e, err := stream.Next(ctx)
		var gap *structures.GapError
		switch {
		case errors.As(err, &gap):
			return gap.Reason != structures.GapCompacted, nil
		case err != nil:
			return false, err
		case e.Type != structures.EventSynced:
			return false, nil
		}
	}
}

// Drain sets or takes off that the ID is drained.
func (g *Registration) Drain(ctx context.Context, on bool, reason string) (bool, error) {
	return g.roster.Drain(ctx, g.what.ID, on, reason)
}

// Deregister removes the entry. It works after ctx has ended: ctx bounds only the wait for
// the answer. Nothing to remove is no error.
//
// Errors: [ErrReplaced] if another registration has the ID: it stays; [quorate.ErrClosed];
// [quorate.ErrOutcomeUnknown] if ctx ends first.
func (g *Registration) Deregister(ctx context.Context) error {
	const verb = "deregister"
	g.mu.Lock()
	g.leaving = true
	g.mu.Unlock()
	g.end()
	result := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deregisterBound)
		defer cancel()
		err := g.take(ctx, verb)
		if err == nil {
			err = g.deregister(ctx)
			g.give()
		}
		g.finish(nil)
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return &quorate.Error{
			Op: verb, Object: g.roster.handle.Object(), Cause: contexts.Unanswered(ctx), Unknown: true,
			Detail: "it goes on without the caller",
		}
	}
}

// deregister removes the entry, if it is that of this registration (ROSTER-3).
func (g *Registration) deregister(ctx context.Context) error {
	_, err := g.roster.handle.Invoke(ctx, g.roster.call("deregister", opDeregister, &request{id: g.what.ID, nonce: g.nonce}))
	if errors.Is(err, ErrNotRegistered) {
		return nil
	}
	return err
}
