package raftnet

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/protocol"
)

// campaignRounds is how many turns each of the remaining voters has.
const campaignRounds = 2

// Leader is the leader of a group, as this member knows it.
type Leader struct {
	Replica protocol.ReplicaID // 0: not known
	Term    uint64
	Self    bool // this member's replica leads
}

// Groups is what a [Campaigner] needs of the member.
type Groups interface {
	// Replicas returns the replicas that run here; none if the member shuts down.
	Replicas() map[protocol.GroupID]protocol.ReplicaID
	// Leader returns the leader of a group, as its replica here knows it.
	Leader(protocol.GroupID) Leader
	// Voters returns the replicas of a group that vote, in any order.
	Voters(protocol.GroupID) []protocol.ReplicaID
	// Address returns the address of a replica's member.
	Address(protocol.GroupID, protocol.ReplicaID) (string, bool)
	// Deliver passes messages to the engine as if they had arrived, unless the member
	// shuts down.
	Deliver(raftpb.MessageBatch)
	// Spawn runs f in a goroutine that the member waits for, with a context that ends
	// if the member shuts down.
	Spawn(f func(context.Context))
}

// A Campaigner replaces a leader whose process has ended, without waiting for the
// election timeout. The leader's machine then closes its connections and refuses new
// ones, which no live process does. So a member that loses a connection to another
// dials it once, and if it is refused it campaigns in the groups that the other led, as
// if the leader itself had asked for it (TimeoutNow). The rules of votes stay the same,
// so the next leader has every acknowledged entry: a member that is wrong about the
// other's end costs the group an election, and nothing else.
//
// All remaining members notice the end at the same time. They take turns, in the order
// of their replicas' numbers, as long as there is no leader. After that the election
// timeout decides as usual.
//
// It is safe for concurrent use.
type Campaigner struct {
	groups     Groups
	pause      time.Duration // between two turns
	deployment uint64
	log        *slog.Logger
	running    sync.Map // campaignKey: campaign runs for it
}

// NewCampaigner returns a Campaigner for groups whose election timeout is
// electionTime, in the cluster of a deployment.
func NewCampaigner(groups Groups, electionTime time.Duration, deployment uint64, log *slog.Logger) *Campaigner {
	return &Campaigner{groups: groups, pause: electionTime / 2, deployment: deployment, log: log}
}

type campaignKey struct {
	group protocol.GroupID
	dead  Leader
}

// ProcessEnded makes the groups that were led at an address elect another leader.
func (c *Campaigner) ProcessEnded(address string) {
	for id, me := range c.groups.Replicas() {
		l := c.groups.Leader(id)
		if l.Replica == 0 || l.Self {
			continue
		}
		if a, ok := c.groups.Address(id, l.Replica); !ok || a != address {
			continue
		}
		turn, of := c.turn(id, me, l.Replica)
		key := campaignKey{id, l}
		if turn < 0 {
			continue
		}
		if _, runs := c.running.LoadOrStore(key, true); runs {
			continue
		}
		c.groups.Spawn(func(ctx context.Context) {
			defer c.running.Delete(key)
			c.campaign(ctx, id, me, l, turn, of)
		})
	}
}

// turn returns this replica's position among the remaining voters of a group, and how
// many they are. The position of a replica without a vote is -1.
func (c *Campaigner) turn(id protocol.GroupID, me, dead protocol.ReplicaID) (turn, of int) {
	var remaining []protocol.ReplicaID
	for _, r := range c.groups.Voters(id) {
		if r != dead {
			remaining = append(remaining, r)
		}
	}
	slices.Sort(remaining)
	return slices.Index(remaining, me), len(remaining)
}

// campaign makes this replica campaign whenever it is its turn, until there is a
// leader.
func (c *Campaigner) campaign(ctx context.Context, id protocol.GroupID, me protocol.ReplicaID, dead Leader, turn, of int) {
	for range campaignRounds {
		for k := range of {
			l := c.groups.Leader(id)
			if l.Replica != 0 && l != dead {
				return
			}
			if k == turn {
				c.log.Info("campaigning early: the leader's process has ended", "group", uint64(id), "term", l.Term, "leader", uint64(dead.Replica))
				c.groups.Deliver(timeoutNow(c.deployment, id, me, dead.Replica, l.Term))
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(c.pause):
			}
		}
	}
}

// timeoutNow is what a leader sends that transfers its leadership.
func timeoutNow(deployment uint64, id protocol.GroupID, to, from protocol.ReplicaID, term uint64) raftpb.MessageBatch {
	return raftpb.MessageBatch{
		DeploymentId: deployment, BinVer: raftio.TransportBinVersion,
		Requests: []raftpb.Message{{
			Type: raftpb.TimeoutNow, ShardID: uint64(id), From: uint64(from), To: uint64(to), Term: term,
		}},
	}
}
