package mutants

// Bug names a bug that can be planted.
type Bug string

// The bugs, by where they are planted.
const (
	// Package groupstate.
	RepeatsApplied       Bug = "repeats-applied"
	LowerSequence        Bug = "lower-sequence"
	RecordsLost          Bug = "records-lost"
	AttachAfterEnd       Bug = "attach-after-end"
	EndsOutOfOrder       Bug = "ends-out-of-order"
	EndsPassedOver       Bug = "ends-passed-over"
	OwnClock             Bug = "own-clock"
	DeposedClock         Bug = "deposed-clock"
	ExpiredVisible       Bug = "expired-visible"
	DueForgotten         Bug = "due-forgotten"
	WaitersLost          Bug = "waiters-lost"
	CancelForgotten      Bug = "cancel-forgotten"
	CancelConsumes       Bug = "cancel-consumes"
	DeadTakerConsumes    Bug = "dead-taker-consumes"
	TokenReused          Bug = "token-reused"
	IdleTimeStands       Bug = "idle-time-stands"
	NotOwnedServed       Bug = "not-owned-served"
	SnapshotAliased      Bug = "snapshot-aliased"
	GracePeriodForgotten Bug = "grace-period-forgotten"
	VanishEarly          Bug = "vanish-early"
	SweepCountsCalls     Bug = "sweep-counts-calls"
	TurnForgotten        Bug = "turn-forgotten"
	ExpiryFirst          Bug = "expiry-first"
	OffsetForgotten      Bug = "offset-forgotten"
	FloorForgotten       Bug = "floor-forgotten"
	DestroyUntold        Bug = "destroy-untold"
	HistoryByChunk       Bug = "history-by-chunk"
	WatchRingLost        Bug = "watch-ring-lost"
	DestroyedCounted     Bug = "destroyed-counted"
	RestoredUncounted    Bug = "restored-uncounted"

	// Transactions.
	TxnRepeatDecides Bug = "txn-repeat-decides"
	TxnOneRevision   Bug = "txn-one-revision"
	TxnHalfUndone    Bug = "txn-half-undone"
	TxnGrantedEarly  Bug = "txn-granted-early"
	TxnGrowsUnseen   Bug = "txn-grows-unseen"
	TxnTestedEarly   Bug = "txn-tested-early"
	GuardUnchecked   Bug = "guard-unchecked"

	// Revocations.
	RevokedAtOnce       Bug = "revoked-at-once"
	GraceUnacknowledged Bug = "grace-unacknowledged"
	AcknowledgedKept    Bug = "acknowledged-kept"
	AcknowledgedEarly   Bug = "acknowledged-early"
	LateGrantKept       Bug = "late-grant-kept"
	RevokeAny           Bug = "revoke-any"

	// Locks.
	GrantToEnded       Bug = "grant-to-ended"
	TokenOfArrival     Bug = "token-of-arrival"
	ReleaseBySession   Bug = "release-by-session"
	DueTakesNewer      Bug = "due-takes-newer"
	LockTwice          Bug = "lock-twice"
	DelaySkipped       Bug = "delay-skipped"
	DelayOvertaken     Bug = "delay-overtaken"
	WithdrawnForgotten Bug = "withdrawn-forgotten"
	ReaderOvertakes    Bug = "reader-overtakes"
	DowngradeGap       Bug = "downgrade-gap"
	UpgradeShared      Bug = "upgrade-shared"

	// Watches, at the member and at the client.
	WatchSplitLost    Bug = "watch-split-lost"
	WatchGapSilent    Bug = "watch-gap-silent"
	LostUnnoticed     Bug = "lost-unnoticed"
	WatchFromDeposed  Bug = "watch-from-deposed"
	ListChangeLost    Bug = "list-change-lost"
	ListDuplicate     Bug = "list-duplicate"
	SyncUnconfirmed   Bug = "sync-unconfirmed"
	SyncOvertakes     Bug = "sync-overtakes"
	BookmarkForgotten Bug = "bookmark-forgotten"
	RowGoneUntold     Bug = "row-gone-untold"
	WatchTwoStreams   Bug = "watch-two-streams"
	MoreIgnored       Bug = "more-ignored"
	WatchResumeOff    Bug = "watch-resume-off-by-one"
	AheadIsGap        Bug = "ahead-is-gap"
	SlowWatchBlocks   Bug = "slow-watch-blocks"
	LaggingStarves    Bug = "lagging-starves"
	WatchSilent       Bug = "watch-silent-forever"
	ProbeAskedOnce    Bug = "probe-asked-once"

	// Services and presence.
	CriticalVanishes Bug = "critical-vanishes"
	NodeExists       Bug = "node-exists"
	DeregisterByID   Bug = "deregister-by-id"
	Flapping         Bug = "flapping"
	OldEndRemoves    Bug = "old-end-removes"
	DrainForgotten   Bug = "drain-forgotten"
	ViewGap          Bug = "view-gap"
	RemovedUntold    Bug = "removed-untold"
	CheckBelieves    Bug = "check-believes"
	UpdateUnordered  Bug = "update-unordered"

	// Near caches.
	NearFlagFirst    Bug = "near-flag-first"
	NearBoundIgnored Bug = "near-bound-ignored"
	NearFromEvent    Bug = "near-from-event"
	NearFillLate     Bug = "near-fill-late"
	NearOwnWrite     Bug = "near-own-write"
	NearGoesBack     Bug = "near-goes-back"
	NearGapKept      Bug = "near-gap-kept"
	NearTTLIgnored   Bug = "near-ttl-ignored"
	NearIndexByKey   Bug = "near-index-by-key"

	// The structures.
	PermitTwice       Bug = "permit-twice"
	PermitLeaked      Bug = "permit-leaked"
	AcquireOvertaken  Bug = "acquire-overtaken"
	GiveBackAtTail    Bug = "give-back-at-tail"
	OverCapacity      Bug = "over-capacity"
	MapOrder          Bug = "map-order"
	SumWraps          Bug = "sum-wraps"
	SwapUncompared    Bug = "swap-uncompared"
	AddAnswersOld     Bug = "add-answers-old"
	ReplaceUnchecked  Bug = "replace-unchecked"
	TTLKept           Bug = "ttl-kept"
	OwnerDropped      Bug = "owner-dropped"
	EphemeralSurvives Bug = "ephemeral-survives"
	RemovedCounted    Bug = "removed-counted"
	CASUnversioned    Bug = "cas-unversioned"
	KeptForEver       Bug = "kept-for-ever"
	RollbackForgets   Bug = "rollback-forgets"

	// Package config.
	ConfigInvalidTaken Bug = "config-invalid-taken"
	ConfigGoesBack     Bug = "config-goes-back"
	ConfigTorn         Bug = "config-torn"

	// The view of services over DNS.
	DNSUnknownAbsent Bug = "dns-unknown-absent"
	DNSUnusable      Bug = "dns-unusable"
	DNSHalfList      Bug = "dns-half-list"
	DNSAgeless       Bug = "dns-ageless"
	DNSPushedOut     Bug = "dns-pushed-out"
	DNSOversize      Bug = "dns-oversize"

	// Latches.
	LatchResetStrands Bug = "latch-reset-strands"
	LatchLostOpen     Bug = "latch-lost-open"
	LatchHoldCrosses  Bug = "latch-hold-crosses"

	// Sessions.
	KillAtOnce Bug = "kill-at-once"

	// Barriers.
	BarrierCountsDead Bug = "barrier-counts-dead"
	DeadStaysInside   Bug = "dead-stays-inside"
	BarrierLaps       Bug = "barrier-laps"

	// Ids.
	IDGeneration  Bug = "id-generation"
	IDBlockReused Bug = "id-block-reused"

	// Rates.
	RateRealClock   Bug = "rate-real-clock"
	RateRounded     Bug = "rate-rounded"
	RateWaitUnspent Bug = "rate-wait-unspent"

	// Elections.
	ProclaimUnchecked Bug = "proclaim-unchecked"
	PriorityIgnored   Bug = "priority-ignored"
	TransferForgotten Bug = "transfer-forgotten"
	TokenOfCampaign   Bug = "token-of-campaign"
	OldEndsNewer      Bug = "old-ends-newer"
	RunEarly          Bug = "run-early"

	// Package shardgroups, and the member.
	AckBeforeCommit Bug = "ack-before-commit"
	LatePiggyback   Bug = "late-piggyback"
	ReadIndexReused Bug = "read-index-reused"
	FastTime        Bug = "fast-time"
	WipedReturns    Bug = "wiped-returns"
	LossUnseen      Bug = "loss-unseen"
	StaleTable      Bug = "stale-table"

	// The system group, and who joins.
	SessionsUnbounded Bug = "sessions-unbounded"
	LateJoinReplaces  Bug = "late-join-replaces"
	GossipUnlabelled  Bug = "gossip-unlabelled"
	ReaderNeverYields Bug = "reader-never-yields"

	// The client.
	WaitersTakeAll   Bug = "waiters-take-all"
	LateBeatsDropped Bug = "late-beats-dropped"
	HeldTooLate      Bug = "held-too-late"
	LostBeforeHeld   Bug = "lost-before-held"
	UnknownIsSafe    Bug = "unknown-is-safe"
	NameForgotten    Bug = "name-forgotten"
	NewIdentity      Bug = "new-identity"
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
	{EndsPassedOver, "sessions that end while a group follows no ends live on in it", "shardgroups/groupstate", "TestGolden", 0},
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
	{SumWraps, "a sum that does not fit wraps round", "structures/dcounter", "TestCounter", 0},
	{SwapUncompared, "a compare and set does not compare", "structures/dcounter", "TestCounter", 0},
	{AddAnswersOld, "an add answers the value before it", "structures/dcounter", "TestCounter", 0},
	{ReplaceUnchecked, "a replace overwrites another version", "structures/dmap", "TestOneKey", 0},
	{TTLKept, "a write without a time to live keeps that of the entry", "structures/dmap", "TestTTL", 0},
	{OwnerDropped, "an update makes an ephemeral entry ordinary", "structures/dmap", "TestEphemeral", 0},
	{EphemeralSurvives, "an ephemeral entry outlives its owner's session", "structures/dmap", "TestEphemeral", 0},
	{RemovedCounted, "an entry that was removed counts as one", "structures/dmap", "TestOneKey", 0},
	{CASUnversioned, "a replace by version looks only whether there is a value", "structures/dref", "TestReplace", 0},
	{KeptForEver, "values that nobody asked to keep are kept", "structures/dref", "TestHistory", 0},
	{RollbackForgets, "a rollback does not keep the value that it replaces", "structures/dref", "TestHistory", 0},
	{ConfigInvalidTaken, "a setting is taken that its validation refuses", "config", "TestLastGood", 0},
	{ConfigGoesBack, "an older setting replaces a newer one", "config", "TestNeverBack", 0},
	{ConfigTorn, "settings are seen that are half of a change", "config", "TestTorn", 0},
	{DNSUnknownAbsent, "a service whose instances are not known yet is said not to be there", "grid/internal/dns", "TestUnknown", 0},
	{DNSUnusable, "critical and drained instances are told over DNS", "grid/internal/dns", "TestAnswers", 0},
	{DNSHalfList, "half of the instances are told while a list comes anew", "grid/internal/dns", "TestGap", 0},
	{DNSAgeless, "a list is told over DNS however old it is", "grid/internal/dns", "TestAge", 0},
	{DNSPushedOut, "names that somebody makes up push out services that are asked for", "grid/internal/dns", "TestRoom", 0},
	{DNSOversize, "an answer over UDP is as large as the question says", "grid/internal/dns", "TestTruncated", 0},
	{PermitTwice, "a permit is granted twice", "structures/dsemaphore", "TestFirstComeFirstServed", 0},
	{PermitLeaked, "a permit does not come back from an ended session", "structures/dsemaphore", "TestSessionEndGivesBack", 0},
	{LatchResetStrands, "a latch that is set again before all are answered lets them wait for the next round", "structures/dlatch", "TestSetAgainBeforeAllAreAnswered", 0},
	{LatchLostOpen, "a latch that is not there is open", "structures/dlatch", "TestAbsentIsNotOpen", 0},
	{LatchHoldCrosses, "a hold of a round that is over counts down in the next", "structures/dlatch", "TestHoldOfEarlierRound", 0},
	{BarrierCountsDead, "a party that waits no more is counted at a barrier", "shardgroups/groupstate", "TestBarrier_HiddenIsNoParty", 0},
	{DeadStaysInside, "a party that has died stays inside a double barrier", "structures/dbarrier", "TestDeadInside", 0},
	{BarrierLaps, "a party enters a double barrier again while others of its round are inside", "structures/dbarrier", "TestFastParty", 0},
	{ProclaimUnchecked, "a deposed leader's value shows as that of the next", "structures/delection", "TestProclaim", 0},
	{PriorityIgnored, "who came first is elected, whatever the priorities", "structures/delection", "TestWhoIsNext", 0},
	{TransferForgotten, "a transfer forgets to whom", "structures/delection", "TestTransfer", 0},
	{TokenOfCampaign, "a leader's token is that of its campaign, not of its election", "structures/delection", "TestWhoIsNext", 0},
	{OldEndsNewer, "a leadership that ends late takes that of the next leader away", "structures/delection", "TestOldEndsAfterNewer", 0},
	{RunEarly, "Run campaigns while its function still runs", "structures/delection", "TestRun_NeverTwo", 0},
	{IDGeneration, "ids begin with 1, also after a loss of data", "structures/did", "TestAfterLoss", 0},
	{IDBlockReused, "a block of ids is used again if the outcome of the next is unknown", "structures/did", "TestUnknownOutcomeIsAGap", 0},
	{RateRealClock, "a rate goes by the clock of each replica", "structures/drate", "TestOnlyLogTime", 0},
	{RateRounded, "the fraction of a nanosecond of each token is dropped", "structures/drate", "TestNothingIsRounded", 0},
	{RateWaitUnspent, "a wait for tokens spends none", "structures/drate", "TestWait_Cancelled", 0},
	{RevokedAtOnce, "a hold that is revoked with a grace ends at once", "shardgroups/groupstate", "TestGolden", 0},
	{GraceUnacknowledged, "the grace of a revoked hold ends before its holder has acknowledged it", "shardgroups/groupstate", "TestGolden", 0},
	{AcknowledgedKept, "a hold whose revocation is acknowledged is never given back", "shardgroups/groupstate", "TestGolden", 0},
	{AcknowledgedEarly, "a revocation is acknowledged while the holder's context lives", "structures", "TestKeeper_NeverAcknowledgesWhatLives", 0},
	{LateGrantKept, "a grant that comes late is not given back", "structures", "TestAcquire_LateGrantIsReleased", 0},
	{RevokeAny, "a revocation takes whatever hold there is", "structures/dlock", "TestForceUnlock", 0},
	{GrantToEnded, "a session that has ended is granted what one of its calls waited for", "structures/dlock", "TestEndedWaiterIsPassedOver", 0},
	{TokenOfArrival, "a lock's token is the number of the call that asked", "structures/dlock", "TestTokens", 0},
	{DueTakesNewer, "the end of a hold whose grace is over takes the lock from who was granted it since", "shardgroups/groupstate", "TestLock_DueBesideNewer", 0},
	{ReleaseBySession, "a late release frees what the session holds now", "structures/dlock", "TestLateRelease", 0},
	{LockTwice, "a lock is granted while it is held", "structures/dlock", "TestLock", 0},
	{DelaySkipped, "the lock of a lost holder is granted at once", "structures/dlock", "TestDelay", 0},
	{DelayOvertaken, "the lock of a revoked hold that is due is granted before its delay begins", "structures/dlock", "TestDelay_NotOvertaken", 0},
	{WithdrawnForgotten, "nobody looks at those behind a waiting writer that withdraws", "structures/drwlock", "TestWriterWithdraws", 0},
	{ReaderOvertakes, "a reader passes a writer that waits", "structures/drwlock", "TestWriterIsNotStarved", 0},
	{DowngradeGap, "a writer comes in while another one becomes a reader", "structures/drwlock", "TestDowngrade_NoGap", 0},
	{UpgradeShared, "a reader becomes a writer beside another reader", "structures/drwlock", "TestTryUpgrade", 0},
	{AcquireOvertaken, "an Acquire overtakes one that waits", "structures/dsemaphore", "TestFirstComeFirstServed", 0},
	{CriticalVanishes, "an instance whose time has come is absent, not critical", "structures/dservice", "TestCriticalDoesNotVanish", 0},
	{NodeExists, "a process that is restarted is refused because of its own old entry", "structures/dservice", "TestRestartTakesOver", 0},
	{DrainForgotten, "a registration takes the drain off", "structures/dservice", "TestDrainOutlivesRegistrations", 0},
	{ViewGap, "a watch misses what came between a list and it", "structures/dservice", "TestWatchGoesOnFromList", 0},
	{RemovedUntold, "a registration whose entry was removed while the grid is away is never told", "structures/roster", "TestRemoved_GridIsAway", 0},
	{CheckBelieves, "a report of a check that has failed is taken for one that has come", "structures/dservice", "TestCheck_ReportFails", 0},
	{UpdateUnordered, "of two updates of an instance at once the earlier one is sent last", "structures/dservice", "TestUpdate_Concurrent", 0},
	{DeregisterByID, "a process that is late to die removes its successor", "structures/dpresence", "TestLateLeave", 0},
	{Flapping, "two processes of one ID replace each other for ever", "structures/dpresence", "TestNoFlapping", 0},
	{OldEndRemoves, "the end of a lost session removes what was registered again since", "structures/dpresence", "TestOldSessionEnds", 0},
	{TokenReused, "a token comes back after a structure is created anew", "structures/dsemaphore", "TestDestroy", 0},
	{IdleTimeStands, "in a group without deadlines reads show times as of its last entry", "shardgroups", "TestIdle_TimeHeld", 0},
	{NotOwnedServed, "ownership is checked at dispatch only", "shardgroups", "TestGroup_RefusesWhatItDoesNotOwn", 0},
	{SnapshotAliased, "a snapshot shares what is written later", "shardgroups/groupstate", "TestSnapshotsAtEveryEntry", 0},
	{GracePeriodForgotten, "a group that lost data grants before the old holders know", "shardgroups/groupstate", "TestGracePeriod", 0},
	{VanishEarly, "a structure ends its life while a call waits that is out of sight", "shardgroups/groupstate", "TestEmptyStructuresVanish", 0},
	{SweepCountsCalls, "clean-up counts what it calls, not what that does", "shardgroups/groupstate", "TestWorkOfAnEntryIsBounded", 0},
	{TurnForgotten, "a restored state forgets whose turn it is to be cleaned up", "shardgroups/groupstate", "TestExpiryBesideReleases", 0},
	{OffsetForgotten, "a partition goes by its group's log time, not its own", "shardgroups/groupstate", "TestPartitionClock", 0},
	{FloorForgotten, "events are dropped and nobody can tell", "shardgroups/groupstate", "TestHistoryAgainstModel", 0},
	{DestroyUntold, "a structure is destroyed without an event", "shardgroups/groupstate", "TestHistoryAgainstModel", 0},
	{HistoryByChunk, "events are dropped as they lie in memory, which another replica's do not", "shardgroups/groupstate", "TestHistoryAgainstModel", 0},
	{WatchRingLost, "a snapshot leaves the history out", "shardgroups/groupstate", "TestHistoryAgainstModel", 0},
	{DestroyedCounted, "the instances of a destroyed service are counted for ever", "shardgroups/groupstate", "TestInstancesAreCounted", 0},
	{RestoredUncounted, "a restored state counts no instances", "shardgroups/groupstate", "TestInstancesAreCounted", 0},
	{TxnRepeatDecides, "a repeated transaction tests its conditions again", "shardgroups/groupstate", "TestTxn_Repeat", 0},
	{TxnOneRevision, "the operations of a transaction share a revision", "shardgroups/groupstate", "TestTxn_OwnRevisions", 0},
	{TxnHalfUndone, "what came before a refused operation of a transaction stays", "shardgroups/groupstate", "TestTxn_Undone", 0},
	{TxnGrantedEarly, "a call that waits is answered by a transaction that is then refused", "shardgroups/groupstate", "TestTxn_Undone", 0},
	{TxnGrowsUnseen, "a transaction that grows passes while memory is short", "shardgroups/groupstate", "TestTxn_Grows", 0},
	{TxnTestedEarly, "the conditions of a transaction are tested before what comes ahead of it", "shardgroups/groupstate", "TestTxn_TestedInOrder", 0},
	{GuardUnchecked, "a mutation with IfHeld is applied after the hold has ended", "structures/txn", "TestIfHeld", 0},
	{WatchSplitLost, "a watch forgets how much of a split mutation it was sent", "shardgroups/hub", "TestWatch_ListWhileWriting", 0},
	{WatchGapSilent, "a watch is not told that events are missing", "shardgroups/hub", "TestWatch_Gaps", 0},
	{LostUnnoticed, "a position of before a loss is taken for one of now", "shardgroups/hub", "TestWatch_Gaps", 0},
	{WatchFromDeposed, "a watch begins before its leader is confirmed", "shardgroups/hub", "TestWatch_Deposed", 0},
	{ListChangeLost, "a change of an entry that was listed is left out", "shardgroups/hub", "TestWatch_ListWhileWriting", 0},
	{ListDuplicate, "a change comes before the page that has it", "shardgroups/hub", "TestWatch_ListWhileWriting", 0},
	{SyncUnconfirmed, "a probe is answered by a leader that is not confirmed", "shardgroups/hub", "TestWatch_Probe", 0},
	{SyncOvertakes, "a probe is answered before what it is about", "shardgroups/hub", "TestWatch_Probe", 0},
	{BookmarkForgotten, "a quiet watch is not told where it is", "grid/gridtest", "TestWatch_Quiet", 0},
	{RowGoneUntold, "a watch of a row is not told that it is gone", "shardgroups/hub", "TestWatch_Row", 0},
	{WatchTwoStreams, "late frames of an old leader are taken in", "structures/watch", "TestStream_Resumes", 0},
	{MoreIgnored, "half of a mutation is yielded", "structures/watch", "TestStream_WholeMutations", 0},
	{ProbeAskedOnce, "a probe that was left without an answer is not repeated", "structures/watch", "TestStream_ProbeRepeated", 0},
	{WatchResumeOff, "a watch goes on one version too early", "structures/watch", "TestStream_Resumes", 0},
	{AheadIsGap, "a position that this replica has not applied yet is taken for one of another history", "shardgroups/hub", "TestWatch_Ahead", 0},
	{SlowWatchBlocks, "a watch whose connection is full holds up all others", "shardgroups/hub", "TestWatch_NoRoom", 0},
	{LaggingStarves, "watches that are behind are served before those that keep up", "shardgroups/hub", "TestWatch_Fair", 0},
	{WatchSilent, "a watch stays with a leader that has fallen silent", "client", "TestWatch_Silent", 0},
	{AckBeforeCommit, "a write is acknowledged before it is committed", "grid/gridtest", "TestMinoritySide", 0},
	{LatePiggyback, "a read is piggybacked on an entry that was proposed before it arrived", "shardgroups", "TestGroup_LateRead_Entry", 0},
	{ReadIndexReused, "a read is answered by a ReadIndex that was asked before it came", "shardgroups", "TestGroup_LateRead_Round", 0},
	{StaleTable, "a member serves the table of before its last change", "grid/gridtest", "TestTablesAreFresh", 0},
	{WipedReturns, "a replica returns under its old id after its data was lost", "grid/gridtest", "TestLostVoterDoesNotVote", 0},
	{LossUnseen, "a log that has lost its end is taken for whole", "shardgroups/raftnet", "TestObservedProgress_Lost", 0},
	{ExpiryFirst, "what an ended session held waits until nothing is due", "shardgroups/groupstate", "TestExpiryBesideReleases", 0},
	{SessionsUnbounded, "what clients ask of their sessions is gathered without bound into one entry", "shardgroups", "TestSystem_GathersSessions", 0},
	{KillAtOnce, "a session that is killed ends before its client can know", "shardgroups/systemstate", "TestKill", 0},
	{LateJoinReplaces, "a late join replaces whoever has its name", "shardgroups/systemstate", "TestLateJoins", 0},
	{GossipUnlabelled, "members hear the gossip of other clusters", "grid/internal/gossip", "TestLabels", 0},
	{ReaderNeverYields, "a client that sends without end delays the others by a time slice", "grid/internal/server", "TestReadersTakeTurns", 0},
	{WaitersTakeAll, "waiting calls take all slots of a partition", "client", "TestReleasesHaveASlot", 0},
	{LateBeatsDropped, "a heartbeat that is answered late does not count", "client", "TestSessionFromFar", 0},
	{HeldTooLate, "the holder's context ends after the grid has given the permit away", "client", "TestHoldFor", 0},
	{LostBeforeHeld, "a session is told to be lost before what it held has ended", "client", "TestLostAfterHeld", 0},
	{UnknownIsSafe, "an unknown outcome is called safe to retry", "client", "TestOutcome", 0},
	{NameForgotten, "whoever has no name is asked for it again and again", "client", "TestSessionNames", 0},
	{NewIdentity, "a call that may have entered is sent under a new identity", "client", "TestSessionEnded", 0},
	{NearFlagFirst, "whether a kept value is dead is looked at before how recent its partition is", "client/nearcache", "TestNear_Order", 0},
	{NearBoundIgnored, "a kept value is returned however old it is", "client/nearcache", "TestNear_Silent", 0},
	{NearFromEvent, "an expiry makes the near cache say that there is no entry", "client/nearcache", "TestNear_Absent", 0},
	{NearFillLate, "a reply is kept that is older than what was learned meanwhile", "client/nearcache", "TestNear_Fill", 0},
	{NearOwnWrite, "the client's own write leaves what is kept as it is", "client/nearcache", "TestNear_OwnWrite", 0},
	{NearGoesBack, "a value is kept after a newer one was shown", "client/nearcache", "TestNear_GoesBack", 0},
	{NearGapKept, "what is kept outlives a gap in the events", "client/nearcache", "TestNear_Gap", 0},
	{NearTTLIgnored, "a kept value is returned after its time to live", "client/nearcache", "TestNear_TTL", 0},
	{NearIndexByKey, "an entry that leaves the store takes a newer one out of the index", "client/nearcache", "TestNear_FullBuffer", 0},
}
