package dservice

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/structures/roster"
)

// minCheck is the least time between two runs of a check.
const minCheck = 100 * time.Millisecond

// reportTime bounds a report that a check makes.
const reportTime = 10 * time.Second

// Registration is an instance of this process. It is safe for concurrent use.
type Registration struct {
	service *Service
	reg     *roster.Registration
	check   *checking // nil: there is none

	mu       sync.Mutex // guards instance; held while an update is made and set, not while it is sent
	instance Instance
}

// Register registers an instance, until it is deregistered. After a lost session it
// registers again by itself, with the health that it has then. If another process has
// registered the ID, that is replaced.
//
// Errors: [quorate.ErrInvalid] for an ID, a port or an option out of range;
// [quorate.ErrTooLarge] for more than [MaxInstance] bytes; [quorate.ErrOverloaded] if the
// service has [MaxInstances] instances. After an error nothing is registered, or it is
// taken back as soon as that is known.
func (s *Service) Register(ctx context.Context, i Instance, opts ...RegisterOption) (*Registration, error) {
	const verb = "register"
	var r registering
	for _, o := range opts {
		if o.set != nil {
			o.set(&r)
		}
	}
	i = i.clone()
	if i.ID == "" {
		i.ID = roster.NewID()
	}
	r.what.ID, r.what.Note = i.ID, roster.Named(r.what.Note)
	var err error
	if r.what.Data, err = s.encode(verb, &i); err != nil {
		return nil, err
	}
	if r.check != nil && r.every < minCheck {
		return nil, s.roster.Handle().Fail(verb, fmt.Errorf("%w: a check every %v, at least every %v", quorate.ErrInvalid, r.every, minCheck), "")
	}
	if r.check != nil {
		r.what.Health, r.what.Note = judge(ctx, r.check, r.every)
	}
	reg, err := s.roster.Register(ctx, r.what)
	if err != nil {
		return nil, err
	}
	g := &Registration{service: s, reg: reg, instance: i}
	if r.check != nil {
		g.check = startChecking(reg, r.check, r.every)
	}
	return g, nil
}

// ID returns the ID of the instance.
func (g *Registration) ID() string { return g.reg.ID() }

// Passing reports that the instance is passing, with a human-readable note. Errors:
// [ErrReplaced], [structures.ErrRevoked] and [quorate.ErrClosed], with which the
// registration has ended; [quorate.ErrSessionLost] if the session is lost: then the health
// comes with the next registration, which goes on by itself.
func (g *Registration) Passing(ctx context.Context, note string) error {
	return g.reg.Report(ctx, Passing, note)
}

// Warning reports that the instance is warning: it can be used if no other is passing.
// Errors are those of [Registration.Passing].
func (g *Registration) Warning(ctx context.Context, note string) error {
	return g.reg.Report(ctx, Warning, note)
}

// Critical reports that the instance is critical: it is not for use. Errors are those of
// [Registration.Passing].
func (g *Registration) Critical(ctx context.Context, note string) error {
	return g.reg.Report(ctx, Critical, note)
}

// Update lets f change the instance, and registers that. The ID stays. Errors are those of
// [Registration.Passing], and [quorate.ErrTooLarge].
func (g *Registration) Update(ctx context.Context, f func(*Instance)) error {
	if err := g.change(f); err != nil {
		return err
	}
	return g.reg.Send(ctx)
}

// change lets f change the instance. Of changes that are made at once the last one is sent:
// it has all of them.
func (g *Registration) change(f func(*Instance)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.instance.clone()
	f(&i)
	i.ID = g.instance.ID
	b, err := g.service.encode("update", &i)
	if err != nil {
		return err
	}
	g.instance = i.clone()
	mutantUnordered(&g.mu)
	return g.reg.Set(b)
}

// Drain takes the ID of the instance out of use. It outlives the registration, until
// [Registration.Undrain] or [Service.Undrain].
func (g *Registration) Drain(ctx context.Context, opts ...DrainOption) error {
	_, err := g.reg.Drain(ctx, true, reasonOf(opts))
	return err
}

// Undrain takes the drain off the ID of the instance.
func (g *Registration) Undrain(ctx context.Context) error {
	_, err := g.reg.Drain(ctx, false, "")
	return err
}

// Bound returns the context of the session that the instance is bound to: it ends when that
// is lost. Until then the others see the instance, unless its registration has ended. After
// a lost session the instance registers again, and is bound to another one.
func (g *Registration) Bound() context.Context { return g.reg.Bound() }

// Done returns a channel that is closed when the registration has ended for good. A lost
// session does not end it.
func (g *Registration) Done() <-chan struct{} { return g.reg.Done() }

// Err returns why the registration has ended; nil while it has not, and after Deregister. It
// Is [ErrReplaced], [structures.ErrRevoked] if the instance was removed, by somebody or
// because it was critical for too long, or the service destroyed, or [quorate.ErrClosed].
func (g *Registration) Err() error { return g.reg.Err() }

// Deregister removes the instance, and stops its check. It works after ctx has ended: ctx
// bounds only the wait for the answer. A check that runs is waited for, but no longer than
// its context would have lasted. Errors: [ErrReplaced] if another process has the ID:
// its instance stays; [quorate.ErrClosed]; [quorate.ErrOutcomeUnknown] if ctx ends first.
func (g *Registration) Deregister(ctx context.Context) error {
	if g.check == nil {
		return g.reg.Deregister(ctx)
	}
	g.check.cancel()
	err := g.reg.Deregister(ctx)
	g.check.wait(ctx)
	return err
}

// checking runs the check of a registration.
type checking struct {
	reg    *roster.Registration
	check  func(context.Context) error
	every  time.Duration
	cancel context.CancelFunc
	over   chan struct{}
}

func startChecking(reg *roster.Registration, f func(context.Context) error, every time.Duration) *checking {
	ctx, cancel := context.WithCancel(context.Background())
	c := &checking{reg, f, every, cancel, make(chan struct{})}
	go func() {
		defer close(c.over)
		defer cancel()
		go func() {
			select {
			case <-reg.Done():
				cancel()
			case <-ctx.Done():
			}
		}()
		c.run(ctx)
	}()
	return c
}

// reportAgain is how soon a report is made again that has failed.
const reportAgain = time.Second

// run runs the check again and again, and reports what it says when that changes, or has not
// been reported for half of the time to live. While it is not known what is in force at the
// grid, because a report has failed, every run is reported: what is the same as before the
// failure may be another health than the grid has.
func (c *checking) run(ctx context.Context) {
	state := c.reg.State()
	health, note, half := state.Health, state.Note, state.TTL/2
	sure := true                  // what was reported last is in force
	reported := time.Now()        // or tried
	next := reported.Add(c.every) // when the check runs
	for {
		wait := time.Until(next)
		if half > 0 {
			wait = min(wait, time.Until(reported.Add(half)))
		}
		if !sure {
			wait = min(wait, time.Until(reported.Add(reportAgain)))
		}
		if !contexts.Pause(ctx, wait) {
			return
		}
		changed := false
		if !time.Now().Before(next) {
			h, n := judge(ctx, c.check, c.every)
			if ctx.Err() != nil {
				return
			}
			changed = h != health || n != note
			health, note, next = h, n, time.Now().Add(c.every)
		}
		if !changed && (sure || mutants.On(mutants.CheckBelieves)) && (half == 0 || time.Since(reported) < half) {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, reportTime)
		reported = time.Now()
		sure = c.reg.Report(bounded, health, note) == nil
		cancel()
	}
}

// wait waits until the check runs no more, or as long as a run may take. A check that
// deregisters its own instance waits for itself.
func (c *checking) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, runTime(c.every))
	defer cancel()
	select {
	case <-c.over:
	case <-ctx.Done():
	}
}

// runTime bounds a run of a check.
func runTime(every time.Duration) time.Duration { return max(every, time.Second) }

// judge runs a check once.
func judge(ctx context.Context, f func(context.Context) error, every time.Duration) (Health, string) {
	ctx, cancel := context.WithTimeout(ctx, runTime(every))
	defer cancel()
	switch err := f(ctx); {
	case err == nil:
		return Passing, ""
	case errors.Is(err, ErrWarning):
		return Warning, roster.Named(err.Error())
	default:
		return Critical, roster.Named(err.Error())
	}
}
