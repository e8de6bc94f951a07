package protocol

// What an AdminRequest may ask for. Args is empty unless it is said what it is.
const (
	AdminStatus   = "status"   // answered with a Status
	AdminHash     = "hash"     // answered with a HashReport
	AdminKinds    = "kinds"    // answered with a KindReport
	AdminSessions = "sessions" // Args is a SessionsQuery; answered with a SessionReport
	AdminHolds    = "holds"    // Args is a HoldsQuery; answered with a HoldReport
	AdminKill     = "kill"     // Args is a KillQuery; answered with a KillReport
)

// SessionsQuery asks for the sessions of the grid.
type SessionsQuery struct {
	From uint64 `json:"from"` // the first session
	Most uint64 `json:"most"` // sessions in the answer; the member may return fewer
}

// SessionReport lists sessions that have not ended, by ID.
type SessionReport struct {
	Sessions []SessionInfo `json:"sessions"`
	Next     uint64        `json:"next"` // where to continue; 0: there is no more
}

// SessionInfo describes a session. Times are of the log, in milliseconds.
type SessionInfo struct {
	ID      uint64 `json:"id"`
	Client  string `json:"client"`  // the name of its client; may be empty
	UUID    string `json:"uuid"`    // of its client
	Address string `json:"address"` // it was opened from; for IPv6 the network; empty: from inside a member
	TTL     uint64 `json:"ttl_ms"`
	Left    uint64 `json:"left_ms"` // until it ends, if nothing more is heard of its client
	Age     uint64 `json:"age_ms"`
	Kept    bool   `json:"kept"`  // its client sends heartbeats; else members keep it
	Dying   bool   `json:"dying"` // it was killed, or lost: nothing keeps it alive any more
	Reason  string `json:"reason,omitempty"`
}

// HoldsQuery asks for what sessions have in one group. Any member with a replica of
// the group answers.
type HoldsQuery struct {
	Group uint64 `json:"group"`
	// Session is the one whose rows are listed; 0: those of Count are only counted.
	Session uint64   `json:"session"`
	Cursor  []byte   `json:"cursor"` // of the answer before; empty: from the beginning
	Count   []uint64 `json:"count"`  // sessions, at most 1,000
}

// HoldReport lists what a session has in a group, or how much several have.
type HoldReport struct {
	Holds  []HoldInfo `json:"holds"`
	Cursor []byte     `json:"cursor"` // to continue with; empty: there is no more
	Counts []uint64   `json:"counts"` // in the order of HoldsQuery.Count
}

// What a HoldInfo describes.
const (
	HoldsHold     = "hold"     // such as permits
	HoldsEntry    = "entry"    // an ephemeral entry
	HoldsWait     = "wait"     // a call that waits
	HoldsReserved = "reserved" // an element that was granted and is not confirmed yet
)

// HoldInfo is something that a session has. Times are of the log, in milliseconds.
type HoldInfo struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`
	Partition uint64 `json:"partition"`
	What      string `json:"what"`
	Hold      uint64 `json:"hold,omitempty"` // its number
	Token     uint64 `json:"token,omitempty"`
	Amount    int64  `json:"amount,omitempty"`
	Mode      string `json:"mode,omitempty"`
	Note      string `json:"note,omitempty"`
	Key       []byte `json:"key,omitempty"`       // of an entry, encoded
	Operation string `json:"operation,omitempty"` // that waits
	For       uint64 `json:"for_ms"`
}

// KillQuery ends a session. Without Now nothing prolongs it any more, and it ends when
// its time is over.
type KillQuery struct {
	Session uint64 `json:"session"`
	Now     bool   `json:"now"`
	Reason  string `json:"reason"` // for its client and for the log, at most 255 bytes
}

// KillReport answers a KillQuery.
type KillReport struct {
	Existed bool   `json:"existed"` // false: it has ended, or never was
	Left    uint64 `json:"left_ms"` // of the log's time, until it ends
}

// The states of a member, as another member knows them.
const (
	StateServing = "serving" // it answered, or was heard of lately
	StateSilent  = "silent"  // not heard of
	StateForming = "forming" // the answering member, before it serves
	StateDead    = "dead"    // its data is lost: another incarnation takes over its replicas
)

// The states of a replica.
const (
	ReplicaLeader    = "leader"
	ReplicaFollower  = "follower"
	ReplicaNonVoting = "non-voting"
	ReplicaDead      = "dead" // its data is lost, and another replica is to replace it
)

// Status is how one member sees the grid. It needs no quorum and no cluster.
type Status struct {
	Cluster     string         `json:"cluster"` // UUID; empty before the member has one
	ClusterName string         `json:"cluster_name"`
	Formed      bool           `json:"formed"`
	Durability  string         `json:"durability"`
	Epoch       uint64         `json:"epoch"`
	Partitions  int            `json:"partitions"`
	Member      uint64         `json:"member"` // who answers; 0 before it is admitted
	Name        string         `json:"name"`
	Address     string         `json:"address"`
	Version     string         `json:"version"`
	Ready       bool           `json:"ready"`
	Waiting     string         `json:"waiting,omitempty"` // for what, where Ready is false
	Memory      StatusMemory   `json:"memory"`            // of the answering member
	Disk        StatusDisk     `json:"disk"`              // of the answering member
	Members     []StatusMember `json:"members"`
	Groups      []StatusGroup  `json:"groups"`
	Watches     int            `json:"watches"` // that the answering member serves
}

// StatusMemory is the memory of the answering member's process, in bytes.
type StatusMemory struct {
	Used  uint64 `json:"used"`  // alive
	Limit uint64 `json:"limit"` // 0: not known
	Full  bool   `json:"full"`  // above the watermark
}

// StatusDisk is the file system of the answering member's data directory, in bytes. It
// is zero if there is none.
type StatusDisk struct {
	Free  uint64 `json:"free"`
	Size  uint64 `json:"size"`
	Full  uint64 `json:"full"`  // below this the member is not to lead
	Hard  uint64 `json:"hard"`  // below this its replicas stop, or refuse writes
	Level string `json:"level"` // ok, full, hard, out
}

// StatusMember is a member of the grid.
type StatusMember struct {
	ID          uint64 `json:"id"`
	Name        string `json:"name"`
	Address     string `json:"address"`
	Incarnation string `json:"incarnation"`
	State       string `json:"state"`
	MemoryFull  bool   `json:"memory_full,omitempty"` // as it announces
	DiskFull    bool   `json:"disk_full,omitempty"`   // as it announces
}

// StatusGroup is a group as the answering member knows it.
type StatusGroup struct {
	ID         uint64          `json:"id"`
	Leader     uint64          `json:"leader"` // member; 0: none known
	Term       uint64          `json:"term"`
	Applied    uint64          `json:"applied"` // log index, by the answering member's replica
	Partitions int             `json:"partitions"`
	Repeats    uint64          `json:"repeats"`               // that the answering member did not apply again, since it started
	Waiting    uint64          `json:"waiting"`               // calls at the answering member that wait for a grant
	Snapshots  uint64          `json:"snapshots"`             // taken by the answering member, since it started
	Missing    int             `json:"missing"`               // replicas that it lacks to be fully replicated; 0: one more member may fail
	NoHeadroom string          `json:"no_headroom,omitempty"` // who lacks the memory for a missing one, if the answering member leads the system group
	Refuses    string          `json:"refuses,omitempty"`     // why the answering member, as the leader, refuses writes
	Rows       uint64          `json:"rows"`                  // of structures, those that are due and not cleaned up among them, of the answering member's replica
	Sizes      []StatusSize    `json:"sizes"`                 // by partition, of the answering member's replica
	Generation uint64          `json:"generation"`            // rises when data of its partitions was lost; in memory it begins with the time
	Lost       string          `json:"lost,omitempty"`        // its majority's data is lost: who had it, and the way out
	Replicas   []StatusReplica `json:"replicas"`
}

// StatusSize is what a partition holds: keys, values, kept replies and its history, in bytes.
type StatusSize struct {
	Partition uint64 `json:"partition"`
	Bytes     uint64 `json:"bytes"`
}

// StatusReplica is a replica of a group.
type StatusReplica struct {
	Replica uint64 `json:"replica"`
	Member  uint64 `json:"member"`
	State   string `json:"state"`
}

// HashReport has the hash of the state of every replica the answering member
// runs. Replicas that have applied the same index have the same hash.
type HashReport struct {
	Member uint64      `json:"member"`
	Groups []GroupHash `json:"groups"`
}

// GroupHash is the hash of one replica's state.
type GroupHash struct {
	ID      uint64 `json:"id"`
	Applied uint64 `json:"applied"`
	Hash    uint64 `json:"hash"`
}

// KindReport lists the kinds of structures that the answering member knows, so that
// a command of an earlier version can list, inspect, configure and destroy those that
// came later.
type KindReport struct {
	Member uint64     `json:"member"`
	Kinds  []KindInfo `json:"kinds"` // by ID
}

// KindInfo describes a kind of structure.
type KindInfo struct {
	ID       uint64        `json:"id"`
	Name     string        `json:"name"`
	Level    uint64        `json:"level"` // of a group's state from which it exists
	Doc      string        `json:"doc"`
	Unit     string        `json:"unit"`  // what its length counts, in the plural
	Keyed    bool          `json:"keyed"` // it is spread over the partitions by the keys in it
	Settings []SettingInfo `json:"settings"`
}

// SettingInfo describes a setting of a kind.
type SettingInfo struct {
	Name    string `json:"name"`
	Type    string `json:"type"`         // integer, duration (milliseconds) or text
	Default int64  `json:"default"`      // of integers and durations
	Text    string `json:"text_default"` // of texts
	Help    string `json:"help"`
}
