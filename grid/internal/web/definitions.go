package web

// Definitions are all metrics of a member, without the prefix quorate_, except those of
// the Go runtime and of the process. docs/operations.md lists them.
var Definitions = []Definition{
	{"info", Gauge, "1, with what the member is.", []string{"version", "cluster", "member", "durability"}},
	{"ready", Gauge, "1 while the member serves.", nil},
	{"epoch", Gauge, "The version of the tables that the member knows.", nil},
	{"members", Gauge, "Listed members, as this one hears them: serving or silent.", []string{"state"}},

	{"operations_total", Counter, "Operations answered: carried out, or refused for good.", []string{"kind", "op"}},
	{"operation_seconds", Histogram, "From the arrival of an operation to its answer. Class wait: calls that waited for a grant.", []string{"kind", "class"}},
	{"refused_total", Counter, "Requests refused, by reason. Clients repeat most of them by themselves.", []string{"reason"}},
	{"transactions_total", Counter, "Transactions applied, by outcome: the branch that was carried out, or whose operation was refused.", []string{"outcome"}},
	{"repeats_total", Counter, "Repeats of requests that were not carried out again.", nil},
	{"reads_total", Counter, "Reads, by how they were confirmed: index (a round of their own) or piggybacked (on an entry).", []string{"path"}},
	{"slow_operations_total", Counter, "Operations that took longer than --slow-op.", nil},

	{"entries_total", Counter, "Log entries proposed.", nil},
	{"entry_requests", Histogram, "Requests in an entry.", nil},
	{"entry_replicate_seconds", Histogram, "From proposing an entry to its turn to be applied.", nil},
	{"entry_apply_seconds", Histogram, "Applying the entries that came together.", nil},
	{"log_sync_seconds", Histogram, "Syncs of the log to the disk; none in memory.", nil},
	{"snapshots_total", Counter, "Snapshots written.", nil},

	{"group_is_leader", Gauge, "1 if this member is the leader of the group. Group 1 is the system group.", []string{"group"}},
	{"group_has_leader", Gauge, "1 if this member knows a leader of the group.", []string{"group"}},
	{"group_term", Gauge, "Raft term.", []string{"group"}},
	{"group_applied", Gauge, "Index of the last log entry applied here.", []string{"group"}},
	{"group_replicas", Gauge, "Replicas that the group has: voter or non-voting.", []string{"group", "state"}},
	{"group_missing_replicas", Gauge, "Replicas that the group lacks to be fully replicated, as this member knows it.", []string{"group"}},
	{"group_partitions", Gauge, "Partitions of the group.", []string{"group"}},
	{"group_structures", Gauge, "Structures with state in the group, by kind and name: a map counts once, in however many partitions it is, and in each group that has a part of it.", []string{"group"}},
	{"group_rows", Gauge, "Rows of state.", []string{"group"}},
	{"group_bytes", Gauge, "Bytes of keys and values in the state.", []string{"group"}},
	{"group_records", Gauge, "Records of calls that were carried out exactly once.", []string{"group"}},
	{"group_events", Gauge, "Events in the history of the group's partitions, kept for watchers.", []string{"group"}},
	{"group_history_bytes", Gauge, "Bytes of those events.", []string{"group"}},
	{"group_history_limit_bytes", Gauge, "Above so many bytes the oldest events go, as the group's log says: 16 MiB.", []string{"group"}},
	{"group_sessions", Gauge, "Sessions that the group knows.", []string{"group"}},
	{"group_queued_requests", Gauge, "Requests in the leader's queue.", []string{"group"}},
	{"group_queued_bytes", Gauge, "Bytes in the leader's queue.", []string{"group"}},
	{"group_waiting_calls", Gauge, "Calls of clients of this member that wait for a grant.", []string{"group"}},
	{"sessions", Gauge, "Open sessions, in the whole grid.", nil},
	{"sessions_kept", Gauge, "Sessions that this member keeps for clients which send no heartbeats themselves, while they are connected.", nil},
	{"sessions_not_opened_total", Counter, "Clients that were greeted without the session that they wanted: no leader answered, or no session is left.", nil},

	{"connections", Gauge, "Open connections, of clients and in all.", []string{"purpose"}},
	{"connections_closed_total", Counter, "Connections that the member refused or gave up, by reason.", []string{"reason"}},

	{"memory_used_bytes", Gauge, "Memory that is in use, without what the next collection frees.", nil},
	{"memory_limit_bytes", Gauge, "What it is to stay below. At 85 % the member is full.", nil},
	{"full", Gauge, "1 while the member announces that it is full: memory or disk.", []string{"resource"}},
	{"disk_free_bytes", Gauge, "Free space on the file system of the data directory; durability disk only.", nil},
	{"disk_level", Gauge, "How short of free space it is: 0 not, 1 leadership is transferred away, 2 replicas stop, 3 nothing is written.", nil},
	{"disk_size_bytes", Gauge, "Size of that file system.", nil},
}
