package tune

import (
	"context"

	"github.com/quorate/quorate/protocol"
)

// The points between the steps of giving a replica back to a member, in their order.
const (
	ReplicaAgreed = "a replica is agreed, and its group does not know it"
	ReplicaAdded  = "the group knows the replica, which may not have caught up"
	DropMade      = "the group has dropped the lost replica, which is not agreed"
	DropAgreed    = "the drop is agreed, and the new replica has no vote"
	PromotionMade = "the group counts the vote, which is not agreed"
	PromotionDone = "the vote is agreed"
)

// The points between the steps of forming a cluster, in their order. Between
// MemberListed and FormedLogged come those of a replica of the system group.
const (
	FounderNoted   = "a member has noted that it founds"
	ClusterFounded = "the cluster is in the founder's log"
	Enlisted       = "a member has enlisted, and is not listed"
	MemberListed   = "a member is listed, and has no replica"
	FormedLogged   = "formed is agreed, and nobody has noted it"
	FormedNoted    = "a member has noted that the cluster is formed"
	GroupsAgreed   = "the first groups are agreed, and not started"
)

// The points of who leads a group, and of who may shut down.
const (
	Transferred  = "a leadership is transferred"
	LeaveGranted = "a member may shut down, and has not been told"
)

// FormingPoints returns all points that a founder reaches.
func FormingPoints() []string {
	return []string{
		FounderNoted, ClusterFounded, Enlisted, MemberListed, ReplicaAgreed, ReplicaAdded, PromotionMade, PromotionDone,
		FormedLogged, FormedNoted, GroupsAgreed,
	}
}

type stepsKey struct{}

// WithSteps returns a context that makes the coordinator of a member started with it
// call f at each of the points. The coordinator waits for f.
func WithSteps(ctx context.Context, f func(point string, g protocol.GroupID)) context.Context {
	return context.WithValue(ctx, stepsKey{}, f)
}

// StepsFrom returns the function that ctx carries, or one that does nothing.
func StepsFrom(ctx context.Context) func(string, protocol.GroupID) {
	if f, ok := ctx.Value(stepsKey{}).(func(string, protocol.GroupID)); ok {
		return f
	}
	return func(string, protocol.GroupID) {}
}
