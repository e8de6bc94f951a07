package dservice_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/structures/structurestest"
)

// reporting is a client that counts its reports of health, does not send some, and loses the
// answers of others.
type reporting struct {
	*structurestest.Client
	reports atomic.Int64
	unsent  atomic.Int64 // reports that are not sent from now on
	lost    atomic.Int64 // answers that are lost from now on
}

func (c *reporting) Invoke(ctx context.Context, call structures.Call) (structures.Reply, error) {
	const report = 2
	if call.Op != report {
		return c.Client.Invoke(ctx, call)
	}
	c.reports.Add(1)
	if c.unsent.Add(-1) >= 0 {
		return structures.Reply{}, &quorate.Error{Op: call.Verb, Object: call.Object(), Cause: quorate.ErrUnavailable}
	}
	reply, err := c.Client.Invoke(ctx, call)
	if err == nil && c.lost.Add(-1) >= 0 {
		return structures.Reply{}, &quorate.Error{Op: call.Verb, Object: call.Object(), Cause: quorate.ErrUnavailable, Unknown: true}
	}
	return reply, err
}

// A report whose outcome is unknown is no reason to believe that the health before it is in
// force: what the check says next is reported, also if it is the same as before.
func TestCheck_OutcomeUnknown(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c := &reporting{Client: g.Client()}
	w := watch(t, g.Client())
	w.expect("synced")
	var runs atomic.Int64
	c.lost.Store(1)
	_, err := dservice.New(c, "payments").Register(ctx, dservice.Instance{ID: "a"}, dservice.Check(func(context.Context) error {
		if runs.Add(1) == 2 {
			return errors.New("refused")
		}
		return nil
	}, 100*time.Millisecond))
	check(t, err)
	w.expect("put a passing", "put a critical (refused)", "put a passing")
}

// A report that has failed is made again, although the check says nothing new.
func TestCheck_ReportFails(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c := &reporting{Client: g.Client()}
	w := watch(t, g.Client())
	w.expect("synced")
	var runs atomic.Int64
	c.unsent.Store(1)
	_, err := dservice.New(c, "payments").Register(ctx, dservice.Instance{ID: "a"}, dservice.Check(func(context.Context) error {
		if runs.Add(1) >= 2 {
			return errors.New("refused")
		}
		return nil
	}, 100*time.Millisecond))
	check(t, err)
	w.expect("put a passing", "put a critical (refused)")
}

// With a TTL reports come in time, also if the check runs less often.
func TestCheck_TTL(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c := &reporting{Client: g.Client()}
	reg, err := dservice.New(c, "payments").Register(ctx, dservice.Instance{ID: "a"},
		dservice.TTL(time.Second), dservice.Check(func(context.Context) error { return nil }, time.Hour))
	check(t, err)
	for c.reports.Load() < 3 {
		if ctx.Err() != nil {
			t.Fatal("no report comes")
		}
		time.Sleep(time.Millisecond)
	}
	check(t, reg.Deregister(ctx))
}

// A check that does not end keeps nobody from deregistering, nor does one that deregisters.
func TestCheck_Hangs(t *testing.T) {
	g := newGrid(t)
	s := dservice.New(g.Client(), "payments")
	for what, hang := range map[string]func(*dservice.Registration, chan struct{}){
		"a check that hangs": func(_ *dservice.Registration, over chan struct{}) { <-over },
		"a check that deregisters": func(reg *dservice.Registration, _ chan struct{}) {
			_ = reg.Deregister(context.Background())
		},
	} {
		var runs atomic.Int64
		over, hangs, registered := make(chan struct{}), make(chan struct{}), make(chan *dservice.Registration, 1)
		reg, err := s.Register(bounded(t), dservice.Instance{ID: "a"}, dservice.Check(func(context.Context) error {
			if runs.Add(1) == 2 {
				close(hangs)
				hang(<-registered, over)
			}
			return nil
		}, 100*time.Millisecond))
		check(t, err)
		registered <- reg
		<-hangs
		done := make(chan error, 1)
		go func() { done <- reg.Deregister(bounded(t)) }()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(2 * time.Minute):
			t.Errorf("%s: Deregister does not return", what)
		}
		close(over)
		wantDone(t, reg, nil)
	}
	wantList(t, g.Client())
}

// Of updates that are made at once none is lost.
func TestUpdate_Concurrent(t *testing.T) {
	ctx, g := bounded(t), newGrid(t)
	c := g.Client()
	reg := register(t, c, "a")
	for round := range 100 {
		const updaters = 8
		errs := make(chan error, updaters)
		for u := range updaters {
			go func() {
				errs <- reg.Update(ctx, func(in *dservice.Instance) {
					if in.Meta == nil {
						in.Meta = map[string]string{}
					}
					in.Meta[fmt.Sprint(u)] = fmt.Sprint(round)
				})
			}()
		}
		for range updaters {
			check(t, <-errs)
		}
		list, _, err := dservice.New(c, "payments").List(ctx)
		check(t, err)
		for u := range updaters {
			if got := list[0].Meta[fmt.Sprint(u)]; got != fmt.Sprint(round) {
				t.Fatalf("update %d of updater %d is lost: it says %q", round, u, got)
			}
		}
	}
}

// A provider does not wait for what never comes.
func TestProvider_NeverServed(t *testing.T) {
	done := make(chan error, 1)
	go func() {
		_, err := dservice.New(newGrid(t).Client(), "").Provider(context.Background(), dservice.Random())
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, quorate.ErrInvalid) {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Error("Provider does not return")
	}
}
