package raftnet

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"

	"github.com/quorate/quorate/protocol"
)

var errNoAddress = errors.New("address not known")

// Registry resolves replicas to addresses for dragonboat. A replica belongs to an
// incarnation, which the Registry learns from the tables and from arriving messages;
// the member knows the address of an incarnation. A suspicion never removes an address.
// It is safe for concurrent use.
type Registry struct {
	resolve  func(protocol.UUID) (string, bool)
	replicas sync.Map // raftio.NodeInfo -> *location
}

// NewRegistry returns a Registry without replicas. It asks resolve for the address
// of an incarnation.
func NewRegistry(resolve func(protocol.UUID) (address string, ok bool)) *Registry {
	return &Registry{resolve: resolve}
}

// location is the location of a replica. dragonboat resolves it for every message that
// it sends, so the key is made only if the address has changed.
type location struct {
	member protocol.UUID
	last   atomic.Pointer[target]
}

type target struct{ address, key string }

var _ raftio.INodeRegistry = (*Registry)(nil)

// Create returns the Registry: it is its own factory.
func (r *Registry) Create(string, uint64, config.TargetValidator) (raftio.INodeRegistry, error) {
	return r, nil
}

// Close has nothing to do.
func (r *Registry) Close() error { return nil }

// Add sets the location of a replica. dragonboat calls it for every message that
// arrives; for a known replica it costs one look-up.
func (r *Registry) Add(shard, replica uint64, target string) {
	key := raftio.NodeInfo{ShardID: shard, ReplicaID: replica}
	if _, ok := r.replicas.Load(key); ok {
		return
	}
	if id, err := protocol.ParseUUID(target); err == nil {
		r.replicas.Store(key, &location{member: id})
	}
}

// Remove forgets a replica.
func (r *Registry) Remove(shard, replica uint64) {
	r.replicas.Delete(raftio.NodeInfo{ShardID: shard, ReplicaID: replica})
}

// RemoveShard forgets the replicas of a group.
func (r *Registry) RemoveShard(shard uint64) {
	r.replicas.Range(func(k, _ any) bool {
		if info := k.(raftio.NodeInfo); info.ShardID == shard {
			r.replicas.Delete(k)
		}
		return true
	})
}

// Resolve returns the address of a replica, and the key of its queue of outgoing
// messages.
func (r *Registry) Resolve(shard, replica uint64) (address, key string, err error) {
	v, ok := r.replicas.Load(raftio.NodeInfo{ShardID: shard, ReplicaID: replica})
	if !ok {
		return "", "", fmt.Errorf("group %d, replica %d: %w", shard, replica, errNoAddress)
	}
	l := v.(*location)
	address, ok = r.resolve(l.member)
	if !ok {
		return "", "", fmt.Errorf("member %s: %w", l.member, errNoAddress)
	}
	t := l.last.Load()
	if t == nil || t.address != address {
		// The key separates the queues of outgoing messages: one a group and peer.
		t = &target{address, fmt.Sprintf("%s/%d", address, shard%raftStreams)}
		l.last.Store(t)
	}
	return t.address, t.key, nil
}

// raftStreams is how many connections to a peer groups are spread over.
const raftStreams = 4
