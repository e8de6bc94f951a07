package shardgroups

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/protocol"
)

var (
	errTransfer = errors.New("the leadership was not taken over")
	errLags     = errors.New("the next leader has not caught up")
)

// TransferLeader transfers the leadership to another replica, and returns when the next
// leader is known. It gates the group's entries, waits until none is in flight, logs
// the time, and asks the engine: under writes a transfer fails half of the time,
// because a replica that has something left to apply does not campaign, and then the
// group has no leader for an election timeout. ready, if not nil, checks whether the
// other replica has applied as much as this one; if it returns an error the transfer
// does not begin.
//
// Requests that are refused during the transfer are answered with the next leader:
// until that is known they are gated, too.
//
// A transfer takes no longer than an election timeout, or 5 s if the disk is slow.
func (g *Group) TransferLeader(ctx context.Context, to protocol.ReplicaID, ready func(ctx context.Context, applied uint64) error) error {
	if !g.Leader().Self {
		return errNotLeader
	}
	began := time.Now()
	g.proposer.mu.Lock()
	g.proposer.gates++
	g.proposer.mu.Unlock()
	defer func() {
		g.proposer.mu.Lock()
		g.proposer.gates--
		g.proposer.mu.Unlock()
		g.proposer.release()
		g.proposer.poke()
	}()
	ctx, cancel := context.WithTimeoutCause(ctx, g.host.transferTime(), errTransfer)
	defer cancel()
	if err := g.until(ctx, g.proposer.drained); err != nil {
		return err
	}
	if err := g.proposer.logTime(ctx); err != nil {
		return err
	}
	if ready != nil {
		if err := g.host.beReady(ctx, g.Applied(), ready); err != nil {
			return err
		}
	}
	if err := g.host.nh.RequestLeaderTransfer(uint64(g.id), uint64(to)); err != nil {
		return err
	}
	if err := g.until(ctx, func() bool { l := g.Leader(); return l.Replica != 0 && !l.Self }); err != nil {
		return err
	}
	g.host.logTransfer(g.id, to, began)
	return nil
}

// drained reports whether no entry is in flight.
func (p *proposer) drained() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inFlight) == 0
}

// logTime logs an entry with only the time, if anything has a deadline, and waits until
// it is applied: the next leader continues from that time.
func (p *proposer) logTime(ctx context.Context) error {
	p.group.mu.RLock()
	_, has := p.group.state.NextDue()
	p.group.mu.RUnlock()
	if !has {
		return nil
	}
	p.mu.Lock()
	if !p.leads() {
		p.mu.Unlock()
		return errNotLeader
	}
	e, b := p.seal(&entry{proposed: time.Now()}, 0)
	p.mu.Unlock()
	p.propose(e, b)
	return p.group.until(ctx, p.drained)
}

func (h *Host) logTransfer(id protocol.GroupID, to protocol.ReplicaID, began time.Time) {
	h.cfg.Logger.Info("leadership transferred", "group", uint64(id), "replica", uint64(to), "gated", time.Since(began))
}

// until waits until a condition is met, or the group is stopped.
func (g *Group) until(ctx context.Context, met func() bool) error {
	return poll(ctx, func() (bool, error) {
		select {
		case <-g.proposer.stop:
			return false, errNotLeader
		default:
			return met(), nil
		}
	})
}

// poll asks every millisecond.
func poll(ctx context.Context, met func() (bool, error)) error {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for {
		if yes, err := met(); yes || err != nil {
			return err
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// electionTime is the shortest time after which a leader is missed, and the longest
// that a transfer may take.
func (h *Host) electionTime() time.Duration {
	return time.Duration(h.cfg.ElectionRTT) * h.cfg.RTT
}

// transferTime is how long a transfer may take. A leader with a slow disk needs several
// syncs for a transfer, and its callers wait for those anyway.
func (h *Host) transferTime() time.Duration {
	if h.SlowDisk() {
		return slowTransfer
	}
	return h.electionTime()
}

const slowTransfer = 5 * time.Second

// beReady asks the next leader, for no longer than a transfer that fails would
// take.
func (h *Host) beReady(ctx context.Context, applied uint64, ready func(context.Context, uint64) error) error {
	ctx, cancel := context.WithTimeout(ctx, h.transferTime()/2)
	defer cancel()
	if err := ready(ctx, applied); err != nil {
		return fmt.Errorf("%w: %w", errLags, err)
	}
	return nil
}

// AwaitApplied waits until this member's replica of a group has applied an entry,
// or ctx ends. If the group does not run here it is an error.
func (h *Host) AwaitApplied(ctx context.Context, id protocol.GroupID, index uint64) error {
	applied := h.system.Applied
	if id != protocol.SystemGroup {
		g := h.Group(id)
		if g == nil {
			return fmt.Errorf("group %d does not run here", id)
		}
		applied = g.Applied
	}
	return poll(ctx, func() (bool, error) { return applied() >= index, nil })
}

// gate keeps a request that was refused while the leadership is transferred and the
// next leader is not known, because its caller would only repeat it, without knowing to
// whom. It reports whether it kept the request.
func (p *proposer) gate(q *Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gates == 0 || p.stopped || p.group.Leader().Replica != 0 || len(p.gated) >= maxQueuedRequests {
		return false
	}
	p.gated = append(p.gated, q)
	return true
}

// release answers the gated requests, or queues them if this replica leads again.
func (p *proposer) release() {
	p.mu.Lock()
	gated := p.gated
	p.gated = nil
	p.mu.Unlock()
	for _, q := range gated {
		p.group.Submit(q)
	}
}
