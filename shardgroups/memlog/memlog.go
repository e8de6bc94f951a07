package memlog

import (
	"sync"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"
)

// Factory creates a Log for dragonboat.
type Factory struct{}

var _ config.LogDBFactory = Factory{}

// Name returns the name of the kind of log store.
func (Factory) Name() string { return name }

// Create returns an empty Log: whatever the directories are, nothing is in
// them.
func (Factory) Create(config.NodeHostConfig, config.LogDBCallback, []string, []string) (raftio.ILogDB, error) {
	return New(), nil
}

const name = "quorate-memory"

// Log holds the logs of a member's replicas. It is safe for concurrent use.
type Log struct {
	mu       sync.RWMutex // guards replicas, not what is in them
	replicas map[raftio.NodeInfo]*replica
}

var _ raftio.ILogDB = (*Log)(nil)

// New returns an empty Log.
func New() *Log { return &Log{replicas: map[raftio.NodeInfo]*replica{}} }

// replica is the log of one replica.
type replica struct {
	mu        sync.Mutex // guards the following
	bootstrap *raftpb.Bootstrap
	state     raftpb.State
	snapshot  raftpb.Snapshot
	// last is the index of the last entry, or of a snapshot that replaced the
	// log. 0: there was neither.
	last uint64
	// entries are those that end with last.
	//
	// Invariant: their indexes are consecutive.
	entries []raftpb.Entry
}

// get returns a replica's log, nil if there is none.
func (l *Log) get(shard, id uint64) *replica {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.replicas[raftio.NodeInfo{ShardID: shard, ReplicaID: id}]
}

// make returns a replica's log, and creates it if there is none.
func (l *Log) make(shard, id uint64) *replica {
	if r := l.get(shard, id); r != nil {
		return r
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	key := raftio.NodeInfo{ShardID: shard, ReplicaID: id}
	r := l.replicas[key]
	if r == nil {
		r = &replica{}
		l.replicas[key] = r
	}
	return r
}

// Name returns the name of the kind of log store.
func (l *Log) Name() string { return name }

// Close forgets everything.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replicas = map[raftio.NodeInfo]*replica{}
	return nil
}

// BinaryFormat returns the format's version, which nothing outlives.
func (l *Log) BinaryFormat() uint32 { return raftio.PlainLogDBBinVersion }

// ListNodeInfo returns the replicas that were bootstrapped.
func (l *Log) ListNodeInfo() ([]raftio.NodeInfo, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	var all []raftio.NodeInfo
	for key, r := range l.replicas {
		r.mu.Lock()
		if r.bootstrap != nil {
			all = append(all, key)
		}
		r.mu.Unlock()
	}
	return all, nil
}

// SaveBootstrapInfo notes how a replica was first started.
func (l *Log) SaveBootstrapInfo(shard, id uint64, b raftpb.Bootstrap) error {
	r := l.make(shard, id)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bootstrap = &b
	return nil
}

// GetBootstrapInfo returns how a replica was first started, or
// raftio.ErrNoBootstrapInfo.
func (l *Log) GetBootstrapInfo(shard, id uint64) (raftpb.Bootstrap, error) {
	r := l.get(shard, id)
	if r == nil {
		return raftpb.Bootstrap{}, raftio.ErrNoBootstrapInfo
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bootstrap == nil {
		return raftpb.Bootstrap{}, raftio.ErrNoBootstrapInfo
	}
	return *r.bootstrap, nil
}

// SaveRaftState saves states, snapshots that were received, and entries.
func (l *Log) SaveRaftState(updates []raftpb.Update, _ uint64) error {
	for i := range updates {
		u := &updates[i]
		l.make(u.ShardID, u.ReplicaID).save(u)
	}
	return nil
}

func (r *replica) save(u *raftpb.Update) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !raftpb.IsEmptyState(u.State) {
		r.state = u.State
	}
	if r.newer(u.Snapshot) {
		// It replaces the log: what follows it comes with this update or later.
		r.snapshot = clone(u.Snapshot)
		r.entries, r.last = nil, u.Snapshot.Index
	}
	r.append(u.EntriesToSave)
}

// newer reports whether there is a snapshot in s that is not older than what
// is known. mu is held.
func (r *replica) newer(s raftpb.Snapshot) bool { return s.Index > r.snapshot.Index }

// append adds entries. From the first of them on they replace what is there:
// a new leader's entries overwrite those that were not committed. mu is held.
func (r *replica) append(entries []raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	from := entries[0].Index
	switch first := r.first(); {
	case from == r.last+1:
	case from > r.last, from <= first:
		r.entries = nil
	default:
		clear(r.entries[from-first:])
		r.entries = r.entries[:from-first]
	}
	r.entries = append(r.entries, entries...)
	r.last = entries[len(entries)-1].Index
}

// first returns the index of the first entry; without one, that of the next.
// mu is held.
func (r *replica) first() uint64 { return r.last + 1 - uint64(len(r.entries)) }

// IterateEntries appends the entries of [low, high) to entries, and their
// sizes to size, up to and including the one with which size is above most.
func (l *Log) IterateEntries(entries []raftpb.Entry, size, shard, id, low, high, most uint64) ([]raftpb.Entry, uint64, error) {
	r := l.get(shard, id)
	if r == nil {
		return entries, size, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.first()
	high = min(high, r.last+1)
	if low < first || low >= high {
		return entries, size, nil
	}
	for _, e := range r.entries[low-first : high-first] {
		entries = append(entries, e)
		if size += uint64(e.SizeUpperLimit()); size > most {
			break
		}
	}
	return entries, size, nil
}

// ReadRaftState returns a replica's state and which entries there are from
// index from on; raftio.ErrNoSavedLog if it never had a state.
func (l *Log) ReadRaftState(shard, id, from uint64) (raftio.RaftState, error) {
	r := l.get(shard, id)
	if r == nil {
		return raftio.RaftState{}, raftio.ErrNoSavedLog
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if raftpb.IsEmptyState(r.state) {
		return raftio.RaftState{}, raftio.ErrNoSavedLog
	}
	first := max(r.first(), from)
	if len(r.entries) == 0 || first > r.last || from == r.last {
		return raftio.RaftState{State: r.state, FirstIndex: from}, nil
	}
	return raftio.RaftState{State: r.state, FirstIndex: first, EntryCount: r.last - first + 1}, nil
}

// RemoveEntriesTo removes the entries up to and including index, and lets go
// of their memory.
func (l *Log) RemoveEntriesTo(shard, id, index uint64) error {
	r := l.get(shard, id)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.first()
	if index < first {
		return nil
	}
	n := min(index-first+1, uint64(len(r.entries)))
	clear(r.entries[:n])
	r.entries = r.entries[n:]
	if len(r.entries) == 0 {
		r.entries = nil
	}
	return nil
}

// CompactEntriesTo has nothing to do: RemoveEntriesTo did it.
func (l *Log) CompactEntriesTo(uint64, uint64, uint64) (<-chan struct{}, error) {
	done := make(chan struct{})
	close(done)
	return done, nil
}

// SaveSnapshots notes snapshots that were taken here. The log stays.
func (l *Log) SaveSnapshots(updates []raftpb.Update) error {
	for i := range updates {
		u := &updates[i]
		r := l.make(u.ShardID, u.ReplicaID)
		r.mu.Lock()
		if r.newer(u.Snapshot) {
			r.snapshot = clone(u.Snapshot)
		}
		r.mu.Unlock()
	}
	return nil
}

// GetSnapshot returns the newest snapshot, an empty one if there is none.
func (l *Log) GetSnapshot(shard, id uint64) (raftpb.Snapshot, error) {
	r := l.get(shard, id)
	if r == nil {
		return raftpb.Snapshot{}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return clone(r.snapshot), nil
}

// clone copies a snapshot's description without the engine's count of its
// users, as a store that writes it does.
func clone(s raftpb.Snapshot) (c raftpb.Snapshot) {
	raftpb.MustUnmarshal(&c, raftpb.MustMarshal(&s))
	return c
}

// RemoveNodeData forgets a replica.
func (l *Log) RemoveNodeData(shard, id uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.replicas, raftio.NodeInfo{ShardID: shard, ReplicaID: id})
	return nil
}

// ImportSnapshot makes a replica one that begins with a snapshot.
func (l *Log) ImportSnapshot(s raftpb.Snapshot, id uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replicas[raftio.NodeInfo{ShardID: s.ShardID, ReplicaID: id}] = &replica{
		bootstrap: &raftpb.Bootstrap{Join: true, Type: s.Type},
		state:     raftpb.State{Term: s.Term, Commit: s.Index},
		snapshot:  clone(s), last: s.Index,
	}
	return nil
}
