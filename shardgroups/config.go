package shardgroups

import (
	"log/slog"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/engine"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// Defaults of the engine, see package engine.
const (
	DefaultRTT         = engine.DefaultRTT
	DefaultElectionRTT = engine.DefaultElectionRTT

	// SmallDisk is the size of a file system on which the log store writes little at a
	// time.
	SmallDisk = engine.SmallDisk
)

const (
	// How many bytes are logged between two snapshots, and how many are kept before
	// one. In memory a snapshot costs nothing, and the log takes memory that the data
	// could use.
	defaultSnapshotBytes = 32 << 20
	defaultRetainBytes   = 32 << 20

	// How many bytes of requests may wait in a group's queue.
	defaultQueueBytes = 64 << 20

	memorySnapshotBytes = 4 << 20
	memoryRetainBytes   = 12 << 20

	// On a small file system each of these takes a fraction of it, and at least:
	leastSnapshot = 1 << 20
)

func (c *Config) setDefaults() {
	if c.RTT == 0 {
		c.RTT = DefaultRTT
	}
	if c.ElectionRTT == 0 {
		c.ElectionRTT = DefaultElectionRTT
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	every, retain := uint64(defaultSnapshotBytes), uint64(defaultRetainBytes)
	if c.Memory {
		every, retain = memorySnapshotBytes, memoryRetainBytes
	} else {
		every, retain = engine.PartOf(c.DiskBytes, leastSnapshot, every), engine.PartOf(c.DiskBytes, leastSnapshot, retain)
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = every
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = defaultQueueBytes
	}
	if c.LogBufferBytes == 0 {
		c.LogBufferBytes = engine.DefaultLogBufferBytes
	}
	if c.PeerQueueBytes == 0 {
		c.PeerQueueBytes = engine.DefaultPeerQueueBytes
	}
	if c.RetainBytes == 0 {
		c.RetainBytes = retain
	}
	if c.TestHooks.MaxLevel == 0 {
		c.TestHooks.MaxLevel = groupstate.MaxLevel
	}
	if c.Limits == (protocol.Limits{}) {
		c.Limits = protocol.DefaultLimits()
	}
}
