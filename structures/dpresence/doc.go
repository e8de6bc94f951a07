// Package dpresence tells who is there: members of a group, each with a payload, for as
// long as their processes live.
//
//	workers := dpresence.New[Worker](c, "workers")
//	me, err := workers.Join(ctx, Worker{Slots: 4}, dpresence.ID("host-a"))
//	defer me.Leave(ctx)
//	all, view, err := workers.List(ctx)
//	for change, err := range workers.Watch(ctx, dpresence.After(view)) { ... }
//
// A member is gone when it leaves, or when its client's session has ended: its process has
// died, or was cut off for longer than the session's time to live. After a lost session a
// process that lives joins again by itself. If an ID joins twice, the last one wins, and
// the earlier one is told: see [Member.Err]. So a process that is restarted under the ID
// of its host never meets its own old entry.
//
// Everybody sees the same sequence of views: a view is the version of a state of the
// partition, so two lists of one view are equal, and [Group.Watch] goes on from a list
// without a gap. This is what group membership in ZooKeeper and Curator (GroupMember,
// PersistentNode) is used for. Services, which have an address and health, are in package
// dservice.
//
// A group has at most [MaxMembers] members, each with at most [MaxPayload] bytes.
//
// Beside the errors that the methods name, any call can return those of package
// [github.com/quorate/quorate] that say that nobody answered in time, or that the grid or
// the client cannot serve it.
package dpresence
