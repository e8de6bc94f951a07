package shardgroups

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

// registry tells dragonboat where replicas are: a replica belongs to an
// incarnation, which it learns from the tables and from the messages it gets,
// and an incarnation has an address, which the member knows. A suspicion never
// makes an address unknown.
type registry struct {
	resolve  func(protocol.UUID) (string, bool)
	replicas sync.Map // raftio.NodeInfo -> *place
}

// place is where a replica lives. dragonboat resolves it for every message it
// sends, so the key is made only when the address is another.
type place struct {
	member protocol.UUID
	last   atomic.Pointer[target]
}

type target struct{ address, key string }

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
		r.replicas.Store(key, &place{member: id})
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
	p := v.(*place)
	address, ok = r.resolve(p.member)
	if !ok {
		return "", "", fmt.Errorf("member %s: %w", p.member, errNoAddress)
	}
	t := p.last.Load()
	if t == nil || t.address != address {
		// The key separates the queues of outgoing messages: one a group and peer.
		t = &target{address, fmt.Sprintf("%s/%d", address, shard%raftStreams)}
		p.last.Store(t)
	}
	return t.address, t.key, nil
}

// raftStreams is how many connections to a peer groups are spread over.
const raftStreams = 4
