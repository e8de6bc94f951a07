package shardgroups

import (
	"encoding/binary"
	"log/slog"
	"time"

	"github.com/lni/dragonboat/v4/config"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// Defaults of the engine. An election takes at least ElectionRTT ticks: 450 ms,
// several times the longest pause a healthy process has. Two heartbeats fit in,
// with room to spare. Ticks and heartbeats are most of what an idle member costs,
// because each wakes the process; nothing waits for a tick that is in a hurry.
const (
	DefaultRTT         = 50 * time.Millisecond
	DefaultElectionRTT = 9
	heartbeatRTT       = 4

	// execShards and logShards are pinned for the life of a data directory.
	execShards = 1
	logShards  = 1

	// What is logged between two snapshots, and what is kept before one. In memory
	// a snapshot costs nothing, and the log takes from the memory of the data.
	defaultSnapshotBytes = 32 << 20
	defaultRetainBytes   = 32 << 20

	// What may wait in a group's queue.
	defaultQueueBytes = 64 << 20

	// The log store's write buffers are in memory that C gives, where the program
	// is built with it, and the C library keeps several of those that it was given
	// back: together up to ten times this.
	defaultLogBufferBytes = 16 << 20
	defaultPeerQueueBytes = 64 << 20

	memorySnapshotBytes = 4 << 20
	memoryRetainBytes   = 12 << 20

	// On a small file system each of these takes a diskPart of it, and at least:
	diskPart         = 64
	leastSnapshot    = 1 << 20
	leastWriteBuffer = 1 << 20

	// SmallDisk is the size of a file system below which the log store is to write
	// little at a time: what a flush or a compaction writes is there twice until it
	// is done.
	SmallDisk = 1 << 30
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
		every, retain = partOf(c.DiskBytes, leastSnapshot, every), partOf(c.DiskBytes, leastSnapshot, retain)
	}
	if c.SnapshotBytes == 0 {
		c.SnapshotBytes = every
	}
	if c.QueueBytes == 0 {
		c.QueueBytes = defaultQueueBytes
	}
	if c.LogBufferBytes == 0 {
		c.LogBufferBytes = defaultLogBufferBytes
	}
	if c.PeerQueueBytes == 0 {
		c.PeerQueueBytes = defaultPeerQueueBytes
	}
	if c.RetainBytes == 0 {
		c.RetainBytes = retain
	}
	if c.MaxLevel == 0 {
		c.MaxLevel = groupstate.MaxLevel
	}
	if c.Limits == (protocol.Limits{}) {
		c.Limits = protocol.DefaultLimits()
	}
}

// partOf fits something that takes most bytes into a file system of a size.
func partOf(disk, least, most uint64) uint64 {
	if disk == 0 {
		return most
	}
	return min(max(disk/diskPart, least), most)
}

// fitLog fits the log store into a file system of a size.
func fitLog(c *config.LogDBConfig, disk uint64) {
	if disk == 0 || disk >= SmallDisk {
		return
	}
	c.KVWriteBufferSize = min(c.KVWriteBufferSize, leastWriteBuffer)
	c.KVMaxWriteBufferNumber = 2 // also what is kept of its write-ahead logs to be used again
	c.KVLevel0FileNumCompactionTrigger = 2
	c.KVTargetFileSizeBase, c.KVTargetFileSizeMultiplier = 1<<20, 1
	c.KVMaxBytesForLevelBase = 4 << 20
}

// NodeHostConfig is the configuration of a member's dragonboat engine, without
// transport and registry. The benchmark's baseline uses it too.
func NodeHostConfig(dir string, rtt time.Duration) config.NodeHostConfig {
	c := config.NodeHostConfig{
		NodeHostDir:         dir,
		RTTMillisecond:      uint64(rtt / time.Millisecond),
		MaxSendQueueSize:    defaultPeerQueueBytes,
		MaxReceiveQueueSize: defaultPeerQueueBytes,
	}
	c.Expert.Engine = config.EngineConfig{
		ExecShards: execShards, CommitShards: 1, ApplyShards: 1, SnapshotShards: 2, CloseShards: 1,
	}
	c.Expert.LogDB = config.GetTinyMemLogDBConfig()
	c.Expert.LogDB.Shards = logShards
	c.Expert.LogDB.KVWriteBufferSize = defaultLogBufferBytes
	return c
}

// ReplicaConfig is the configuration of a replica. The benchmark's baseline
// uses it too.
func ReplicaConfig(group protocol.GroupID, replica protocol.ReplicaID, electionRTT uint64) config.Config {
	return config.Config{
		ShardID:             uint64(group),
		ReplicaID:           uint64(replica),
		ElectionRTT:         electionRTT,
		HeartbeatRTT:        heartbeatRTT,
		CheckQuorum:         true,
		PreVote:             true,
		OrderedConfigChange: true,
		// Snapshots are asked for by bytes, see snapshots.go.
		SnapshotEntries:    0,
		CompactionOverhead: 1000,
	}
}

// deploymentID keeps Raft messages of another cluster out.
func deploymentID(cluster protocol.UUID) uint64 {
	return binary.BigEndian.Uint64(cluster[:]) | 1
}
