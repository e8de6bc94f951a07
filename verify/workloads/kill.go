package workloads

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/verify"
)

// Kill is a kill of sessions, and what must come of it.
type Kill struct {
	Name    string         // of what is held
	Holder  *client.Client // holds a lock and an entry, and is killed
	Next    *client.Client // kills, and waits for the lock
	Running *client.Client // of the load; it is killed too, and never at once
	Now     bool
}

const killTime = 30 * time.Second // for all that a kill brings about

// Run kills and returns the first promise that was broken. The holder's contexts end and, if
// it was not killed at once, before the lock is granted to the next; its entry goes; and both
// clients go on under other sessions.
func (k *Kill) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*killTime)
	defer cancel()
	lock := dlock.New(k.Holder, k.Name+"-killed")
	entries := dmap.New[string, int](k.Next, k.Name+"-killed")
	held, err := lock.Lock(ctx, dlock.Note("verify"))
	if err == nil {
		err = dmap.New[string, int](k.Holder, k.Name+"-killed").Put(ctx, "k", 1, dmap.Ephemeral())
	}
	if err != nil {
		return fmt.Errorf("prepare a session to be killed: %w", err)
	}
	s := k.Holder.Session()
	granted := make(chan error, 1)
	go func() { granted <- k.next(ctx, held.Context()) }()
	if err := k.kill(ctx, s, k.Now); err != nil {
		return err
	}
	select {
	case <-held.Context().Done():
	case <-time.After(s.TTL + verify.LateBound):
		return fmt.Errorf("session %d was killed, and the context of what it holds has not ended within %v", s.ID, s.TTL+verify.LateBound)
	}
	if err := <-granted; err != nil {
		return fmt.Errorf("after session %d was killed: %w", s.ID, err)
	}
	err = patiently(ctx, func(ctx context.Context) error {
		_, there, err := entries.Get(ctx, "k")
		if there {
			err = errors.New("an ephemeral entry is left")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("after session %d was killed: %w", s.ID, err)
	}
	again, err := lock.Lock(ctx)
	if err != nil {
		return fmt.Errorf("the client of session %d, which was killed, does not go on: %w", s.ID, err)
	}
	if k.Holder.Session().ID == s.ID {
		return fmt.Errorf("the client goes on under session %d, which was killed", s.ID)
	}
	if err := again.Release(ctx); err != nil && !errors.Is(err, quorate.ErrSessionLost) {
		return err
	}
	return errors.Join(k.running(ctx), entries.Destroy(ctx))
}

// next waits for the lock, and releases it.
func (k *Kill) next(ctx, before context.Context) error {
	held, err := dlock.New(k.Next, k.Name+"-killed").Lock(ctx)
	if err != nil {
		return fmt.Errorf("the lock was not granted to the next: %w", err)
	}
	if !k.Now && before.Err() == nil {
		return errors.New("the lock was granted to the next before the context of its holder ended")
	}
	return held.Release(ctx)
}

// kill kills a session, which lives.
func (k *Kill) kill(ctx context.Context, s client.Session, now bool) error {
	opts := []client.KillOption{client.KillReason("verify")}
	if now {
		opts = append(opts, client.Now())
	}
	return patiently(ctx, func(ctx context.Context) error {
		existed, left, err := k.Next.KillSession(ctx, s.ID, opts...)
		switch {
		case err != nil:
			return err
		case !existed && s.Err() == nil && !now:
			return fmt.Errorf("%w: session %d lives, and was not there to be killed", quorate.ErrInvalid, s.ID)
		case left > s.TTL || now && left != 0:
			return fmt.Errorf("%w: session %d was killed and has %v left", quorate.ErrInvalid, s.ID, left)
		}
		return nil
	})
}

// running kills the session of a client of the load, which goes on under another.
func (k *Kill) running(ctx context.Context) error {
	s := k.Running.Session()
	if s.ID == 0 || s.Err() != nil {
		return nil
	}
	if err := k.kill(ctx, s, false); err != nil {
		return err
	}
	select {
	case <-s.Done():
	case <-time.After(s.TTL + verify.LateBound):
		return fmt.Errorf("session %d was killed, and its client has not given it up within %v", s.ID, s.TTL+verify.LateBound)
	}
	return patiently(ctx, func(context.Context) error {
		if now := k.Running.Session(); now.ID == s.ID || now.Err() != nil {
			return fmt.Errorf("the client of session %d, which was killed, has no other", s.ID)
		}
		return nil
	})
}
