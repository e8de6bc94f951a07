package engine

import (
	"io"

	"github.com/lni/dragonboat/v4/config"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/shardgroups/memlog"
	"github.com/quorate/quorate/shardgroups/walfs"
)

// InMemory makes the configuration of an engine one that writes nothing: its
// log is package memlog's, its few files are in memory.
func InMemory(c *config.NodeHostConfig) {
	c.NodeHostDir = "/quorate"
	c.Expert.FS = walfs.Memory()
	c.Expert.LogDBFactory = memlog.Factory{}
	// One worker streams, recovers and compacts: of a member's groups one at a
	// time is copied to another, so that at most one copy of a state is kept.
	c.Expert.Engine.SnapshotShards = 1
}

// Volatile is a state machine as dragonboat sees it in memory durability: as
// one that keeps its own data. So dragonboat never asks for the state in order
// to compact the log, and has it streamed to a replica that needs it.
//
// A replica may begin empty, whatever its log has, only because none is started
// twice: a member is a new incarnation at every start.
type Volatile struct{ sm.IConcurrentStateMachine }

var _ sm.IOnDiskStateMachine = Volatile{}

// Open reports that nothing of the log has been applied yet.
func (v Volatile) Open(<-chan struct{}) (uint64, error) { return 0, nil }

// Sync has nothing to do.
func (v Volatile) Sync() error { return nil }

// SaveSnapshot streams the copy that PrepareSnapshot made.
func (v Volatile) SaveSnapshot(ctx any, w io.Writer, stop <-chan struct{}) error {
	return v.IConcurrentStateMachine.SaveSnapshot(ctx, w, nil, stop)
}

// RecoverFromSnapshot replaces the state by one that was streamed here.
func (v Volatile) RecoverFromSnapshot(r io.Reader, stop <-chan struct{}) error {
	return v.IConcurrentStateMachine.RecoverFromSnapshot(r, nil, stop)
}
