package grid

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// maxListed bounds the sessions, and what a session has, in one answer to an operator.
const maxListed = 1000

// host returns the engine of a member that belongs to a grid.
func (b *backend) host() (*shardgroups.Host, error) {
	if h := b.m.coordinator.Host(); h != nil {
		return h, nil
	}
	return nil, fmt.Errorf("the member belongs to no grid yet: it waits for %s", b.m.coordinator.Waiting())
}

// sessions lists the sessions of the grid.
func (b *backend) sessions(ctx context.Context, q *protocol.SessionsQuery) (r protocol.SessionReport, err error) {
	h, err := b.host()
	if err != nil {
		return r, err
	}
	most := int(min(q.Most, maxListed))
	listed, now, err := h.SessionList().Page(ctx, protocol.SessionID(q.From), most+1)
	if err != nil {
		return r, err
	}
	r.Sessions = []protocol.SessionInfo{}
	for i, s := range listed {
		if i == most {
			r.Next = uint64(s.ID)
			break
		}
		r.Sessions = append(r.Sessions, protocol.SessionInfo{
			ID: uint64(s.ID), Client: s.Name, UUID: s.Client.String(), Address: s.Source,
			TTL: milliseconds(s.TTL), Left: milliseconds(s.Deadline.Sub(now)), Age: milliseconds(now.Sub(s.Opened)),
			Kept: s.Kept, Dying: s.Dying, Reason: s.Reason,
		})
	}
	return r, nil
}

// holds lists what a session has in one group, or counts what several have.
func (b *backend) holds(ctx context.Context, q *protocol.HoldsQuery) (r protocol.HoldReport, err error) {
	h, err := b.host()
	if err != nil {
		return r, err
	}
	g := h.Group(protocol.GroupID(q.Group))
	if g == nil {
		return r, fmt.Errorf("group %d has no replica here", q.Group)
	}
	r.Holds = []protocol.HoldInfo{}
	if q.Session == 0 {
		if len(q.Count) > maxListed {
			return r, fmt.Errorf("%w: %d sessions, at most %d", quorate.ErrInvalid, len(q.Count), maxListed)
		}
		ids := make([]protocol.SessionID, len(q.Count))
		for i, id := range q.Count {
			ids[i] = protocol.SessionID(id)
		}
		r.Counts = g.Owned().Count(ids)
		return r, nil
	}
	owned, next, err := g.Owned().By(ctx, protocol.SessionID(q.Session), string(q.Cursor), maxListed)
	if err != nil {
		return r, err
	}
	r.Cursor = []byte(next)
	for i := range owned {
		o := &owned[i]
		info := protocol.HoldInfo{
			Kind: o.Kind.Name, Name: o.Name, Partition: uint64(o.Partition), For: milliseconds(o.For),
		}
		switch {
		case o.Waits != nil:
			info.What, info.Operation = protocol.HoldsWait, o.Waits.Name
		case o.Hold != 0:
			info.What, info.Hold, info.Token = protocol.HoldsHold, uint64(o.Hold), uint64(o.Holding.Token)
			info.Amount, info.Mode, info.Note = o.Holding.Amount, o.Holding.Mode, o.Holding.Note
		case o.Kind.Keyed:
			info.What, info.Key = protocol.HoldsEntry, o.Key
		default:
			info.What = protocol.HoldsReserved
		}
		r.Holds = append(r.Holds, info)
	}
	return r, nil
}

// kill ends a session for an operator.
func (b *backend) kill(ctx context.Context, q *protocol.KillQuery) (r protocol.KillReport, err error) {
	if len(q.Reason) > maxReason {
		return r, fmt.Errorf("%w: a reason of %d bytes, at most %d", quorate.ErrInvalid, len(q.Reason), maxReason)
	}
	h, err := b.host()
	if err != nil {
		return r, err
	}
	a, err := h.System().Propose(ctx, systemstate.Command{Kind: systemstate.KillSession, Kill: &systemstate.Kill{
		Session: protocol.SessionID(q.Session), Now: q.Now, Reason: q.Reason,
	}})
	if err != nil {
		return r, err
	}
	r.Existed, r.Left = len(a.Gone) == 0, milliseconds(a.Left)
	if r.Existed {
		b.m.log.Info("session killed", "session", q.Session, "now", q.Now, "reason", q.Reason)
	}
	return r, nil
}

// maxReason bounds the reason of a kill.
const maxReason = 255

// milliseconds returns a time as operators are shown it, rounded up.
func milliseconds(d time.Duration) uint64 {
	return uint64(max(d+time.Millisecond-1, 0) / time.Millisecond)
}
