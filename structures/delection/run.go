package delection

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
)

const (
	// campaignPause is how long Run waits after a campaign that has failed.
	campaignPause = time.Second
	// resignTime bounds how long Run waits for the answer when it resigns after ctx has ended.
	resignTime = 5 * time.Second
)

// Run campaigns, and calls f when it is elected, with a context that ends with ctx or with
// the leadership and carries it, and with the fencing token. When f returns, Run resigns
// and returns f's error. If by then the leadership was lost, because it was revoked or its
// session was lost, f's result does not count: Run campaigns again, and calls f again. It
// does so only after f has returned, so in one process never two run, even if f takes its
// time to stop. The option [Wait] has no effect. Closing the client waits for f to return, as
// [structures.Held.Do] says.
//
// Run ends with the first return of f that counts, and when ctx has ended. It campaigns
// again, too, if the session is lost, the election destroyed or too many wait. Other errors
// of [Election.Campaign] end it.
func (e *Election[T]) Run(ctx context.Context, v T, f func(ctx context.Context, token protocol.Token) error, opts ...CampaignOption) error {
	for _, o := range opts {
		if o.what == optionWait {
			opts = append(opts[:len(opts):len(opts)], CampaignOption{what: optionWait})
			break
		}
	}
	for {
		lead, err := e.Campaign(ctx, v, opts...)
		if err != nil {
			if !again(ctx, err) || !contexts.Pause(ctx, campaignPause) {
				return err
			}
			continue
		}
		switch lost, err := lead.run(ctx, f); {
		case !lost:
			return err
		case ctx.Err() != nil:
			return cmp.Or(err, contexts.Err(ctx))
		}
	}
}

// again reports whether a campaign that has failed is repeated.
func again(ctx context.Context, err error) bool {
	for _, cause := range []error{quorate.ErrSessionLost, quorate.ErrDestroyed, quorate.ErrOverloaded, quorate.ErrUnavailable} {
		if errors.Is(err, cause) {
			return ctx.Err() == nil && !errors.Is(err, quorate.ErrClosed)
		}
	}
	return false
}

// run calls f while the caller leads, and resigns. It reports whether the leadership was
// lost before f had returned. Nobody campaigns while f runs (ELECT-6): a leadership that
// came meanwhile would be that of a process whose old leader still works.
func (l *Leadership[T]) run(ctx context.Context, f func(ctx context.Context, token protocol.Token) error) (lost bool, err error) {
	defer func() { // Do does not wait for that if ctx has ended
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTime)
		defer cancel()
		// A leadership that cannot be given back ends with its session.
		_ = l.Resign(ctx)
	}()
	if mutants.On(mutants.RunEarly) {
		go func() { _ = f(l.Bind(ctx), l.Token()) }()
		<-l.Context().Done()
		return true, nil
	}
	called := false
	ended := l.Do(ctx, func(ctx context.Context, token protocol.Token) error {
		called = true
		err = f(ctx, token)
		lost = l.Context().Err() != nil
		return nil
	})
	if !called { // ctx has ended, or the leadership
		return true, ended
	}
	return lost, err
}
