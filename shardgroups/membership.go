package shardgroups

import (
	"context"
	"errors"
	"fmt"

	"github.com/lni/dragonboat/v4"

	"github.com/quorate/quorate/protocol"
)

// Changes of a group's replicas. Each reads the group's membership first and
// names its configuration id, so that of two coordinators at most one changes
// it; each is idempotent. They may be called on any member with a replica.

// AddNonVoting adds a replica that copies the group and has no vote.
func (h *Host) AddNonVoting(ctx context.Context, g protocol.GroupID, r protocol.ReplicaID, member protocol.UUID) error {
	return h.changeReplicas(ctx, g, "add a copy of", func(m *dragonboat.Membership) (bool, error) {
		if m.NonVotings[uint64(r)] != "" || m.Nodes[uint64(r)] != "" {
			return false, nil
		}
		return true, h.nh.SyncRequestAddNonVoting(withAttempt(ctx), uint64(g), uint64(r), member.String(), m.ConfigChangeID)
	})
}

// AddVoter makes a replica, best one that copies the group already, a voter.
func (h *Host) AddVoter(ctx context.Context, g protocol.GroupID, r protocol.ReplicaID, member protocol.UUID) error {
	return h.changeReplicas(ctx, g, "add a voter of", func(m *dragonboat.Membership) (bool, error) {
		if m.Nodes[uint64(r)] != "" {
			return false, nil
		}
		return true, h.nh.SyncRequestAddReplica(withAttempt(ctx), uint64(g), uint64(r), member.String(), m.ConfigChangeID)
	})
}

// RemoveReplica removes a replica for good: its id is never used again.
func (h *Host) RemoveReplica(ctx context.Context, g protocol.GroupID, r protocol.ReplicaID) error {
	return h.changeReplicas(ctx, g, "remove a replica of", func(m *dragonboat.Membership) (bool, error) {
		if m.NonVotings[uint64(r)] == "" && m.Nodes[uint64(r)] == "" {
			return false, nil
		}
		return true, h.nh.SyncRequestDeleteReplica(withAttempt(ctx), uint64(g), uint64(r), m.ConfigChangeID)
	})
}

// changeReplicas repeats a change until the membership shows it.
func (h *Host) changeReplicas(ctx context.Context, g protocol.GroupID, what string, change func(*dragonboat.Membership) (bool, error)) error {
	var last error
	for ctx.Err() == nil {
		m, err := h.nh.SyncGetShardMembership(withAttempt(ctx), uint64(g))
		if err == nil {
			var needed bool
			if needed, err = change(m); !needed {
				return nil
			}
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

// Voters returns the group's voting and non-voting replicas, linearizably.
func (h *Host) Voters(ctx context.Context, g protocol.GroupID) (voters, others map[protocol.ReplicaID]protocol.UUID, err error) {
	m, err := h.nh.SyncGetShardMembership(withAttempt(ctx), uint64(g))
	if err != nil {
		return nil, nil, fmt.Errorf("replicas of group %d: %w", g, err)
	}
	read := func(in map[uint64]string) map[protocol.ReplicaID]protocol.UUID {
		out := map[protocol.ReplicaID]protocol.UUID{}
		for id, target := range in {
			if u, err := protocol.ParseUUID(target); err == nil {
				out[protocol.ReplicaID(id)] = u
			}
		}
		return out
	}
	return read(m.Nodes), read(m.NonVotings), nil
}

// CaughtUp waits until this member's replica of a group has applied all that
// was committed when it was called.
func (h *Host) CaughtUp(ctx context.Context, g protocol.GroupID) error {
	for ctx.Err() == nil {
		rs, err := h.nh.ReadIndex(uint64(g), attemptTimeout)
		if err == nil {
			r := <-rs.ResultC()
			rs.Release()
			if r.Completed() {
				return nil
			}
		}
		sleep(ctx)
	}
	return ctx.Err()
}
