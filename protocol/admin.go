package protocol

// What an AdminRequest may ask for. Args is empty for all of them.
const (
	AdminStatus     = "status"     // answered with a Status
	AdminHash       = "hash"       // answered with a HashReport
	AdminStructures = "structures" // answered with a StructureReport
)

// The states of a member, as another member knows them.
const (
	StateServing = "serving" // it answered, or was heard of lately
	StateSilent  = "silent"  // not heard of
	StateForming = "forming" // the answering member, before it serves
	StateGone    = "gone"    // its data is lost: another incarnation gets its places
)

// The states of a replica.
const (
	ReplicaLeader    = "leader"
	ReplicaFollower  = "follower"
	ReplicaNonVoting = "non-voting"
	ReplicaGone      = "gone" // its data is lost, and its place is being filled
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
}

// StatusMemory is the memory of the answering member's process, in bytes.
type StatusMemory struct {
	Used  uint64 `json:"used"`  // alive
	Limit uint64 `json:"limit"` // 0: not known
	Full  bool   `json:"full"`  // above the watermark
}

// StatusDisk is the file system of the answering member's data directory, in
// bytes. It is zero where there is none.
type StatusDisk struct {
	Free  uint64 `json:"free"`
	Size  uint64 `json:"size"`
	Full  uint64 `json:"full"`  // below this the member is no place for leaders
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
	Repeats    uint64          `json:"repeats"`           // that the answering member did not apply again, since it started
	Waiting    uint64          `json:"waiting"`           // calls at the answering member that wait for a grant
	Snapshots  uint64          `json:"snapshots"`         // taken by the answering member, since it started
	Missing    int             `json:"missing"`           // replicas to full strength; 0: one more member may go
	NoRoom     string          `json:"no_room,omitempty"` // who has no room for a missing one, where the answering member leads the system group
	Refuses    string          `json:"refuses,omitempty"` // why the answering member, leading, refuses writes
	Sizes      []StatusSize    `json:"sizes"`             // by partition, of the answering member's replica
	Generation uint64          `json:"generation"`        // how often data of its partitions was lost
	Lost       string          `json:"lost,omitempty"`    // its majority's data is lost: who had it, and the way out
	Replicas   []StatusReplica `json:"replicas"`
}

// StatusSize is what a partition holds: keys, values and kept replies, in bytes.
type StatusSize struct {
	Partition uint64 `json:"partition"`
	Bytes     uint64 `json:"bytes"`
}

// StatusReplica is one copy of a group.
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

// StructureReport lists the structures in the groups that the answering member
// leads. Those with keys are in many groups: add them up.
type StructureReport struct {
	Member     uint64          `json:"member"`
	Groups     []uint64        `json:"groups"` // that the member leads
	Structures []StructureInfo `json:"structures"`
}

// StructureInfo is one structure, or its part in the groups of the report.
type StructureInfo struct {
	Kind   string `json:"kind"`
	Name   string `json:"name"`
	Length int64  `json:"length"`
}
