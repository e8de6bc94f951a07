package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/verify"
	"github.com/quorate/quorate/verify/nemesis"
)

// What is written before a majority's memory is taken.
const (
	doomedEntries = 200
	doomedCount   = 42
	sessionGone   = time.Minute // for the old client to see that its session is
)

// loseMajority takes the memory of a majority, in durability memory, once all
// else was checked. The grid is formed anew, empty, and says so: nothing of
// what was there is half there, sessions are lost, tokens still grow.
//
// It is lost again and again, each kind of loss at least once, some just after
// another fault, and observers go on using it all the time.
func (v *verification) loseMajority(told context.Context, r *verifyReport) {
	ctx := context.WithoutCancel(told)
	if len(v.majority) == 0 {
		return
	}
	w, err := startObservers(ctx, v.name, func(i int) (*client.Client, error) {
		return v.dial(ctx, "verify observer", client.WithSessionTTL(time.Duration(3+7*(i%2))*time.Second))
	}, func(what string) { v.breaks(what, nil, verify.Verdict{}) })
	if err != nil {
		v.breaks(fmt.Sprintf("before a loss: %v", err), nil, verify.Verdict{})
		return
	}
	defer w.stop()
	until := time.Now().Add(v.losing())
	for i := 0; told.Err() == nil && (i < len(v.majority) || time.Now().Before(until)); i++ {
		f := v.majority[i%len(v.majority)]
		if err := w.await(ctx, observerAgain); err != nil {
			v.breaks(err.Error(), nil, verify.Verdict{})
			return
		}
		w.begin()
		v.times.begin(f.Name)
		line, err := v.loseOnce(ctx, i, f)
		v.times.end()
		if err != nil {
			v.breaks(fmt.Sprintf("%s of a grid in memory: %v", f.Name, err), nil, verify.Verdict{})
			return
		}
		v.mu.Lock()
		v.done[f.Name]++
		v.mu.Unlock()
		r.Lost = append(r.Lost, line)
		v.Note("majority lost: %s", line)
	}
	if err := w.await(ctx, observerAgain); err != nil {
		v.breaks(err.Error(), nil, verify.Verdict{})
	}
	r.LossCalls, r.LossNotified = w.calls.Load(), w.reported()
}

// losing is how long the grid is lost again and again: a part of the time, or
// all of it where nothing else was asked for.
func (v *verification) losing() time.Duration {
	if len(v.faults) == 0 {
		return v.cmd.Duration
	}
	return v.cmd.Duration / 4
}

// before injects another fault, at times, so that the loss meets a grid that is
// about to recover.
func (v *verification) before(ctx context.Context) (string, error) {
	var kills []nemesis.Fault
	for _, f := range v.faults {
		if f.Loses == nemesis.LosesRAM {
			kills = append(kills, f)
		}
	}
	if len(kills) == 0 || v.rng.IntN(2) == 0 {
		return "", nil
	}
	f := kills[v.rng.IntN(len(kills))]
	in, err := f.Inject(ctx, v.target())
	if err == nil {
		err = in.Heal(ctx)
	}
	if err == nil {
		err = contexts.Sleep(ctx, time.Duration(v.rng.IntN(2000))*time.Millisecond)
	}
	return fmt.Sprintf("%s %s, then ", f.Name, in.Detail), err
}

// doomed is what was written before, and who wrote it.
type doomed struct {
	client *client.Client
	name   string
	held   *structures.Held
}

func (v *verification) loseOnce(ctx context.Context, round int, f nemesis.Fault) (string, error) {
	old, err := v.doom(ctx, fmt.Sprint(f.Name, "-", round))
	if err != nil {
		return "", err
	}
	defer old.client.Close()
	first, err := v.before(ctx)
	if err != nil {
		return "", err
	}
	in, err := f.Inject(ctx, v.target())
	if err == nil {
		err = contexts.Sleep(ctx, f.For(v.rng))
	}
	if err == nil {
		err = in.Heal(ctx)
	}
	if err == nil {
		err = v.grid.AwaitFull(ctx)
	}
	if err != nil {
		return "", err
	}
	what, err := v.afterwards(ctx, old)
	return fmt.Sprintf("%s%s %s: %s", first, f.Name, in.Detail, what), err
}

func (v *verification) doom(ctx context.Context, fault string) (*doomed, error) {
	c, err := v.dial(ctx, "verify doomed", client.WithSessionTTL(3*time.Second))
	if err != nil {
		return nil, err
	}
	d := &doomed{client: c, name: fmt.Sprint(v.name, "-doomed-", fault)}
	m := dmap.New[string, int](c, d.name)
	for i := range doomedEntries {
		if err == nil {
			err = m.Put(ctx, fmt.Sprint(i), i)
		}
	}
	if err == nil {
		err = dcounter.New(c, d.name).Set(ctx, doomedCount)
	}
	// The same semaphore for all faults: its tokens go on.
	s := dsemaphore.New(c, v.name+"-doomed")
	if err == nil {
		err = s.Init(ctx, 1)
	}
	if err == nil {
		d.held, err = s.Acquire(ctx, 1)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("write what is to be lost: %w", err)
	}
	return d, nil
}

// afterwards looks at the grid that was formed anew.
func (v *verification) afterwards(ctx context.Context, old *doomed) (string, error) {
	c, err := v.dial(ctx, "verify afterwards")
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := v.sameOrNothing(ctx, c, old); err != nil {
		return "", err
	}
	present := 0
	m := dmap.New[string, int](c, old.name)
	for i := range doomedEntries {
		n, ok, err := m.Get(ctx, fmt.Sprint(i))
		switch {
		case err != nil:
			return "", err
		case ok && n != i:
			return "", fmt.Errorf("entry %d is %d", i, n)
		case ok:
			present++
		}
	}
	count, err := dcounter.New(c, old.name).Get(ctx)
	switch {
	case err != nil:
		return "", err
	case present == doomedEntries && count == doomedCount:
		return "nothing was lost", nil
	case present > 0 || count != 0:
		return "", fmt.Errorf("it is neither empty nor complete: %d of %d entries are there, and the counter is %d, not %d",
			present, doomedEntries, count, doomedCount)
	}
	token, err := v.tokenAfter(ctx, c)
	if err != nil {
		return "", err
	}
	if before := old.held.Token(); token <= before {
		return "", fmt.Errorf("token %d was granted after token %d", token, before)
	}
	return fmt.Sprintf("formed anew, empty: %d entries are lost, sessions lost, tokens went on", doomedEntries), nil
}

func (v *verification) tokenAfter(ctx context.Context, c *client.Client) (protocol.Token, error) {
	ctx, cancel := context.WithTimeout(ctx, sessionGone)
	defer cancel()
	s := dsemaphore.New(c, v.name+"-doomed")
	if err := s.Init(ctx, 1); err != nil {
		return 0, err
	}
	held, err := s.Acquire(ctx, 1)
	if err != nil {
		return 0, fmt.Errorf("acquire in the new grid: %w", err)
	}
	return held.Token(), held.Release(ctx)
}

// sameOrNothing asks through the client of before: it holds nothing any more,
// is told so, and goes on as a new one.
func (v *verification) sameOrNothing(ctx context.Context, now *client.Client, old *doomed) error {
	select {
	case <-old.held.Context().Done():
	case <-time.After(sessionGone):
		return fmt.Errorf("a permit of before is still held %v later", sessionGone)
	}
	ctx, cancel := context.WithTimeout(ctx, observerAgain)
	defer cancel()
	is, err := dcounter.New(now, old.name).Get(ctx)
	if err != nil {
		return err
	}
	n, err := dcounter.New(old.client, old.name).Get(ctx)
	for errors.Is(err, quorate.ErrGridLost) { // once: what began before it knew
		n, err = dcounter.New(old.client, old.name).Get(ctx)
	}
	if err != nil {
		return fmt.Errorf("a client of before does not go on: %w", err)
	}
	if n != is {
		return fmt.Errorf("a client of before is told %d, a new one %d", n, is)
	}
	return nil
}
