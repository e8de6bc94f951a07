package mutants

// Bug names a bug that can be planted.
type Bug string

// The bugs, by where they are planted.
const (
	// Package groupstate.
	RepeatsApplied    Bug = "repeats-applied"
	LowerSequence     Bug = "lower-sequence"
	RecordsLost       Bug = "records-lost"
	AttachAfterEnd    Bug = "attach-after-end"
	EndsOutOfOrder    Bug = "ends-out-of-order"
	OwnClock          Bug = "own-clock"
	DeposedClock      Bug = "deposed-clock"
	ExpiredVisible    Bug = "expired-visible"
	DueForgotten      Bug = "due-forgotten"
	WaitersLost       Bug = "waiters-lost"
	CancelForgotten   Bug = "cancel-forgotten"
	CancelConsumes    Bug = "cancel-consumes"
	DeadTakerConsumes Bug = "dead-taker-consumes"
	TokenReused       Bug = "token-reused"
	NotOwnedServed    Bug = "not-owned-served"
	SnapshotAliased   Bug = "snapshot-aliased"
	HoldOffForgotten  Bug = "hold-off-forgotten"

	// The structures.
	PermitTwice      Bug = "permit-twice"
	PermitLeaked     Bug = "permit-leaked"
	AcquireOvertaken Bug = "acquire-overtaken"
	GiveBackAtTail   Bug = "give-back-at-tail"
	OverCapacity     Bug = "over-capacity"
	MapOrder         Bug = "map-order"

	// Package shardgroups, and the member.
	AckBeforeCommit Bug = "ack-before-commit"
	LateRider       Bug = "late-rider"
	ReadIndexReused Bug = "read-index-reused"
	FastTime        Bug = "fast-time"
	WipedReturns    Bug = "wiped-returns"
	LossUnseen      Bug = "loss-unseen"
	StaleTable      Bug = "stale-table"

	// The client.
	HeldTooLate   Bug = "held-too-late"
	UnknownIsSafe Bug = "unknown-is-safe"
	NewIdentity   Bug = "new-identity"
)

// Mutant is a bug, and the check that must notice it.
type Mutant struct {
	Bug     Bug
	What    string // what goes wrong
	Package string // of the check, below the module
	Check   string // a test
	Seed    uint64 // of the check, where it has one
}

// All are the bugs with their checks. Each check is the fastest that notices
// its bug whenever it is run.
var All = []Mutant{
	{RepeatsApplied, "a repeated mutation is applied again", "verify", "TestRepeatsAreNotAppliedAgain", 7},
	{LowerSequence, "a slot's lower sequence is applied", "shardgroups/groupstate", "TestGolden", 0},
	{RecordsLost, "snapshots leave the exactly-once records out", "shardgroups/groupstate", "TestSnapshotsAtEveryEntry", 0},
	{AttachAfterEnd, "a session is attached after its end", "shardgroups/groupstate", "TestGolden", 0},
	{EndsOutOfOrder, "ended sessions are taken twice, or with a gap", "shardgroups/groupstate", "TestGolden", 0},
	{OwnClock, "each replica's own clock decides what has expired", "shardgroups/groupstate", "TestSnapshotsAtEveryEntry", 0},
	{DeposedClock, "a deposed leader's entries move time", "shardgroups/groupstate", "TestGolden", 0},
	{FastTime, "log time is faster than real time", "grid/gridtest", "TestClock", 0},
	{ExpiredVisible, "what has expired is still read", "shardgroups/groupstate", "TestGolden", 0},
	{DueForgotten, "a restored state forgets what is due", "shardgroups/groupstate", "TestSnapshotsAtEveryEntry", 0},
	{WaitersLost, "a new leader forgets who waits", "verify", "TestWaitersOutliveTheirLeader", 7},
	{CancelForgotten, "a cancel that overtakes its call is forgotten", "shardgroups/groupstate", "TestGolden", 0},
	{CancelConsumes, "a withdrawn Take consumes its element", "verify", "TestCancelledTakesTakeNothing", 7},
	{DeadTakerConsumes, "the element of a dead taker is lost", "shardgroups/groupstate", "TestGolden", 0},
	{GiveBackAtTail, "an element comes back at the tail", "shardgroups/groupstate", "TestGolden", 0},
	{OverCapacity, "a queue takes more than its capacity", "structures/dqueue", "TestCapacity", 0},
	{MapOrder, "a reply has the order of a map", "structures/dqueue", "TestConformance", 0},
	{PermitTwice, "a permit is granted twice", "structures/dsemaphore", "TestFirstComeFirstServed", 0},
	{PermitLeaked, "a permit does not come back from an ended session", "structures/dsemaphore", "TestSessionEndGivesBack", 0},
	{AcquireOvertaken, "an Acquire overtakes one that waits", "structures/dsemaphore", "TestFirstComeFirstServed", 0},
	{TokenReused, "a token comes back after a structure is created anew", "structures/dsemaphore", "TestDestroy", 0},
	{NotOwnedServed, "ownership is checked at dispatch only", "shardgroups", "TestGroup_RefusesWhatItDoesNotOwn", 0},
	{SnapshotAliased, "a snapshot shares what is written later", "shardgroups/groupstate", "TestSnapshotsAtEveryEntry", 0},
	{HoldOffForgotten, "a group that lost data grants before the old holders know", "shardgroups/groupstate", "TestHoldOff", 0},
	{AckBeforeCommit, "a write is acknowledged before it is committed", "grid/gridtest", "TestMinoritySide", 0},
	{LateRider, "a read rides on an entry that was proposed before it came", "shardgroups", "TestGroup_LateRead_Entry", 0},
	{ReadIndexReused, "a read is answered by a ReadIndex that was asked before it came", "shardgroups", "TestGroup_LateRead_Round", 0},
	{StaleTable, "a member serves the table of before its last change", "grid/gridtest", "TestTablesAreFresh", 0},
	{WipedReturns, "a replica returns under its old id after its data was lost", "grid/gridtest", "TestLostVoterDoesNotVote", 0},
	{LossUnseen, "a log that has lost its end is taken for whole", "shardgroups", "TestWitness_Lost", 0},
	{HeldTooLate, "the holder's context ends after the grid has given the permit away", "client", "TestHoldFor", 0},
	{UnknownIsSafe, "an unknown outcome is called safe to retry", "client", "TestOutcome", 0},
	{NewIdentity, "a call that may have entered is sent under a new identity", "client", "TestSessionEnded", 0},
}
