package dservice

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
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

	mu       sync.Mutex // guards instance; held while an update is made, not while it is sent
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
	g.mu.Lock()
	i := g.instance.clone()
	f(&i)
	i.ID = g.instance.ID
	b, err := g.service.encode("update", &i)
	if err == nil {
		g.instance = i.clone()
	}
	g.mu.Unlock()
	if err != nil {
		return err
	}
	return g.reg.Update(ctx, b)
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
// bounds only the wait for the answer. Errors: [ErrReplaced] if another process has the ID:
// its instance stays; [quorate.ErrClosed]; [quorate.ErrOutcomeUnknown] if ctx ends first.
func (g *Registration) Deregister(ctx context.Context) error {
	if g.check != nil {
		g.check.stop()
	}
	return g.reg.Deregister(ctx)
}

// checking runs the check of a registration.
type checking struct {
	cancel context.CancelFunc
	over   chan struct{}
}

func startChecking(reg *roster.Registration, f func(context.Context) error, every time.Duration) *checking {
	ctx, cancel := context.WithCancel(context.Background())
	c := &checking{cancel, make(chan struct{})}
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
		c.run(ctx, reg, f, every)
	}()
	return c
}

// run runs the check again and again, and reports what it says when that changes, or has not
// been reported for half of the time to live.
func (c *checking) run(ctx context.Context, reg *roster.Registration, f func(context.Context) error, every time.Duration) {
	state := reg.State()
	health, note, reported := state.Health, state.Note, time.Now()
	for contexts.Pause(ctx, every) {
		h, n := judge(ctx, f, every)
		if ctx.Err() != nil {
			return
		}
		due := state.TTL > 0 && time.Since(reported)+every > state.TTL/2
		if h == health && n == note && !due {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, reportTime)
		began := time.Now()
		err := reg.Report(bounded, h, n)
		cancel()
		if err == nil {
			health, note, reported = h, n, began
		}
	}
}

func (c *checking) stop() {
	c.cancel()
	<-c.over
}

// judge runs a check once.
func judge(ctx context.Context, f func(context.Context) error, every time.Duration) (Health, string) {
	ctx, cancel := context.WithTimeout(ctx, max(every, time.Second))
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
