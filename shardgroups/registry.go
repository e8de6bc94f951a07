package shardgroups

import (
	"errors"
	"fmt"
	"sync"

	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/raftio"

	"github.com/quorate/quorate/protocol"
)

var errNoAddress = errors.New("address not known")

// registry tells dragonboat where replicas are: a replica belongs to an
// incarnation, which it learns from the tables and from the messages it gets,
// and an incarnation has an address, which the member knows. A suspicion never
// makes an address unknown.
type registry struct {
	resolve  func(protocol.UUID) (string, bool)
	replicas sync.Map // raftio.NodeInfo -> protocol.UUID
}

var _ raftio.INodeRegistry = (*registry)(nil)

// Create makes a registry its own factory.
func (r *registry) Create(string, uint64, config.TargetValidator) (raftio.INodeRegistry, error) {
	return r, nil
}

func (r *registry) Close() error { return nil }

// Add notes where a replica lives. dragonboat calls it for every message that
// arrives, so what is known already costs one look-up.
func (r *registry) Add(shard, replica uint64, target string) {
	key := raftio.NodeInfo{ShardID: shard, ReplicaID: replica}
	if _, ok := r.replicas.Load(key); ok {
		return
	}
	if id, err := protocol.ParseUUID(target); err == nil {
		r.replicas.Store(key, id)
	}
}

func (r *registry) Remove(shard, replica uint64) {
	r.replicas.Delete(raftio.NodeInfo{ShardID: shard, ReplicaID: replica})
}

func (r *registry) RemoveShard(shard uint64) {
	r.replicas.Range(func(k, _ any) bool {
		if info := k.(raftio.NodeInfo); info.ShardID == shard {
			r.replicas.Delete(k)
		}
		return true
	})
}

func (r *registry) Resolve(shard, replica uint64) (address, key string, err error) {
	v, ok := r.replicas.Load(raftio.NodeInfo{ShardID: shard, ReplicaID: replica})
	if !ok {
		return "", "", fmt.Errorf("group %d, replica %d: %w", shard, replica, errNoAddress)
	}
	id := v.(protocol.UUID)
	address, ok = r.resolve(id)
	if !ok {
		return "", "", fmt.Errorf("member %s: %w", id, errNoAddress)
	}
	// The key separates the queues of outgoing messages: one a group and peer.
	return address, fmt.Sprintf("%s/%d", address, shard%raftStreams), nil
}

// raftStreams is how many connections to a peer groups are spread over.
const raftStreams = 4
