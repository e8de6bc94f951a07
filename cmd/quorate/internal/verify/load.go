package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/verify"
	"github.com/quorate/quorate/verify/nemesis"
	"github.com/quorate/quorate/verify/workloads"
)

// keepsSessions reports whether sessions must outlive a fault.
func keepsSessions(fault string) bool {
	for _, f := range nemesis.Faults() {
		if f.Name == fault {
			return f.KeepsSessions
		}
	}
	return false
}

// holdSessions starts the clients that hold, and judges what they lose.
func (v *verification) holdSessions(ctx context.Context) (err error) {
	v.sessions, err = workloads.StartSessions(ctx, workloads.SessionsConfig{
		Name: v.name,
		Dial: func(ctx context.Context, ttl time.Duration) (*client.Client, error) {
			return v.dial(ctx, "verify holder", client.WithSessionTTL(ttl), v.ours())
		},
		Lost: func(l workloads.LostSession) {
			// What ended just before may be the reason as well.
			if l.Served() && v.times.only(l.From.Add(-l.TTL), l.To, keepsSessions) {
				v.breaks(fmt.Sprintf("sessions: one with a time to live of %v was lost, and each group acknowledged a write of its client at least every %v: %v",
					l.TTL, l.Silence.Round(time.Millisecond), l.Why), nil, verify.Verdict{})
			}
		},
		Late: func(from, to time.Time, err error) {
			if v.times.only(from, to, keepsSessions) {
				v.breaks(fmt.Sprintf("sessions: a client that came was not granted a free permit within %v: %v", to.Sub(from).Round(time.Millisecond), err), nil, verify.Verdict{})
			}
		},
	})
	return err
}

// startLoad starts a load of its own, by the name of its fault.
func (v *verification) startLoad(ctx context.Context, name string) (*nemesis.Load, error) {
	v.loads++
	own := fmt.Sprintf("%s-%s-%d", v.name, name, v.loads)
	var clients []*client.Client
	end := func() {
		for _, c := range clients {
			_ = c.Close()
		}
	}
	for range 2 {
		c, err := v.dial(ctx, "verify "+name)
		if err != nil {
			end()
			return nil, err
		}
		clients = append(clients, c)
	}
	var detail string
	var check func(context.Context) error
	switch name {
	case nemesis.LoadKill:
		k := workloads.Kill{Name: own, Holder: clients[0], Next: clients[1], Running: v.clients[v.rng.IntN(len(v.clients))]}
		if v.rng.IntN(2) == 0 {
			k.Now, detail = true, "now"
		}
		check = func(ctx context.Context) error {
			if err := k.Run(ctx); err != nil {
				return nemesis.Violated("%v", err)
			}
			return nil
		}
	case nemesis.LoadPause:
		w, err := v.startWriter(ctx, own, clients[0])
		if err != nil {
			end()
			return nil, err
		}
		check = w.check
	case nemesis.LoadExpiry:
		h, err := v.holder(ctx)
		if err != nil {
			end()
			return nil, err
		}
		before := v.rows(ctx)
		b := workloads.StartBacklog(own, clients)
		check = func(ctx context.Context) error { return v.checkBacklog(ctx, b, h, before) }
	case nemesis.LoadFlood:
		var err error
		if detail, check, err = v.startFlood(ctx); err != nil {
			end()
			return nil, err
		}
	case nemesis.LoadCrowd:
		check = func(ctx context.Context) error {
			if err := workloads.Crowd(ctx, own, clients[0], clients[1]); err != nil {
				return nemesis.Violated("%v", err)
			}
			return nil
		}
	default:
		end()
		return nil, fmt.Errorf("there is no load %q", name)
	}
	return &nemesis.Load{Detail: detail, Check: func(ctx context.Context) error {
		defer end()
		return check(ctx)
	}}, nil
}

const (
	rowsGone  = 45 * time.Second // for entries that are due to be cleaned up
	rowsShare = 10               // of what was written as many may be left: others write, too
)

// checkBacklog sees that, while more falls due than anybody reads, what a killed
// client held comes back and waits time out, and that nothing of it is left
// afterwards.
func (v *verification) checkBacklog(ctx context.Context, b *workloads.Backlog, h *nemesis.Holder, before uint64) error {
	h.Kill()
	err := h.Check(ctx)
	if err == nil {
		if late := b.TimesOut(ctx); late != nil {
			err = nemesis.Violated("%v", late)
		}
	}
	most := v.rows(ctx)
	b.Stop()
	v.Note("expiry: %d entries with a short time to live written; %d rows before, %d at the end", b.Written(), before, most)
	if err != nil {
		var violation *nemesis.Violation
		if errors.As(err, &violation) {
			return nemesis.Violated("beside %d entries with a short time to live, %d rows: %v", b.Written(), most, violation)
		}
		return err
	}
	if v.grid == nil {
		return nil
	}
	allowed := before + max(uint64(b.Written())/rowsShare, 5_000)
	for until := time.Now().Add(rowsGone); ; {
		left := v.rows(ctx)
		switch {
		case left <= allowed:
			return nil
		case time.Now().After(until):
			return nemesis.Violated("%d rows are left %v after the last of %d entries with a short time to live was written; there were %d before and %d at the end",
				left, rowsGone, b.Written(), before, most)
		}
		if err := contexts.Sleep(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

// rows returns how many rows the groups have, as the members that lead them
// count: those that are due and not cleaned up among them.
func (v *verification) rows(ctx context.Context) uint64 {
	if v.grid == nil {
		return 0
	}
	n := map[uint64]uint64{}
	for _, s := range v.grid.Status(ctx) {
		if s == nil {
			continue
		}
		for _, g := range s.Groups {
			n[g.ID] = max(n[g.ID], g.Rows)
		}
	}
	sum := uint64(0)
	for _, rows := range n {
		sum += rows
	}
	return sum
}
