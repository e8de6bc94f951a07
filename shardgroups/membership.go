package shardgroups

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lni/dragonboat/v4"

	"github.com/quorate/quorate/protocol"
)

// Changes of a group's replicas. Each reads the group's membership first and names its
// configuration id, so that of two coordinators at most one succeeds. Each is
// idempotent, and is repeated until ctx ends. They may be called on any member with a
// replica.

// AddNonVoting adds a learner: a replica that has the state and no vote.
func (h *Host) AddNonVoting(ctx context.Context, g protocol.GroupID, r protocol.ReplicaID, member protocol.UUID) error {
	return h.changeReplicas(ctx, g, "add a learner of", func(ctx context.Context, m *dragonboat.Membership) (bool, error) {
		if m.NonVotings[uint64(r)] != "" || m.Nodes[uint64(r)] != "" {
			return false, nil
		}
		return true, h.nh.SyncRequestAddNonVoting(ctx, uint64(g), uint64(r), member.String(), m.ConfigChangeID)
	})
}

// AddVoter makes a replica a voter. It should be a learner already.
func (h *Host) AddVoter(ctx context.Context, g protocol.GroupID, r protocol.ReplicaID, member protocol.UUID) error {
	return h.changeReplicas(ctx, g, "add a voter of", func(ctx context.Context, m *dragonboat.Membership) (bool, error) {
		if m.Nodes[uint64(r)] != "" {
			return false, nil
		}
		return true, h.nh.SyncRequestAddReplica(ctx, uint64(g), uint64(r), member.String(), m.ConfigChangeID)
	})
}

// RemoveReplica removes a replica for good: its id is never used again.
func (h *Host) RemoveReplica(ctx context.Context, g protocol.GroupID, r protocol.ReplicaID) error {
	return h.changeReplicas(ctx, g, "remove a replica of", func(ctx context.Context, m *dragonboat.Membership) (bool, error) {
		if m.NonVotings[uint64(r)] == "" && m.Nodes[uint64(r)] == "" {
			return false, nil
		}
		return true, h.nh.SyncRequestDeleteReplica(ctx, uint64(g), uint64(r), m.ConfigChangeID)
	})
}

// changeReplicas repeats a change until the membership shows it.
func (h *Host) changeReplicas(ctx context.Context, g protocol.GroupID, what string, change func(context.Context, *dragonboat.Membership) (bool, error)) error {
	var last error
	for ctx.Err() == nil {
		done, err := h.tryChange(ctx, g, change)
		if done {
			return nil
		}
		if errors.Is(err, dragonboat.ErrClosed) || errors.Is(err, dragonboat.ErrShardNotFound) {
			return fmt.Errorf("%s group %d: %w", what, g, err)
		}
		if err != nil {
			last = err
			sleep(ctx)
		}
	}
	return fmt.Errorf("%s group %d: %w", what, g, errors.Join(ctx.Err(), last))
}

// tryChange makes one attempt, and reports whether the membership shows the change.
func (h *Host) tryChange(ctx context.Context, g protocol.GroupID, change func(context.Context, *dragonboat.Membership) (bool, error)) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	m, err := h.nh.SyncGetShardMembership(ctx, uint64(g))
	if err != nil {
		return false, err
	}
	needed, err := change(ctx, m)
	return !needed, err
}

// CaughtUp waits until this member's replica of a group has applied everything that was
// committed when it was called. Its first attempts are short, because a follower's may
// be lost on the way. Over a long link no short attempt is answered in time, so the
// time doubles with each attempt. It returns the engine's error if the replica does not
// run here, and ctx's if ctx ends first.
func (h *Host) CaughtUp(ctx context.Context, g protocol.GroupID) error {
	for limit := attemptTimeout; ; {
		rs, err := h.nh.ReadIndex(uint64(g), limit)
		if err == nil {
			select {
			case r := <-rs.ResultC():
				rs.Release()
				if r.Completed() {
					return nil
				}
				if r.Timeout() {
					limit *= 2
				}
			case <-ctx.Done(): // the engine keeps what was asked until it is answered
				return ctx.Err()
			}
		} else if errors.Is(err, dragonboat.ErrClosed) || errors.Is(err, dragonboat.ErrShardNotFound) {
			return err
		}
		if sleep(ctx); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// sleep waits a little before another attempt.
func sleep(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(20 * time.Millisecond):
	}
}
