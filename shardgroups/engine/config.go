package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/config"

	"github.com/quorate/quorate/protocol"
)

// Defaults of the engine. An election takes at least DefaultElectionRTT ticks: 450
// ms, several times the longest pause of a healthy process. Two heartbeats fit in
// with some time to spare. Ticks and heartbeats are most of what an idle member
// costs, because each wakes the process; nothing urgent waits for a tick.
const (
	DefaultRTT         = 50 * time.Millisecond
	DefaultElectionRTT = 9
	heartbeatRTT       = 4

	// execShards and logShards are pinned for the life of a data directory.
	execShards = 1
	logShards  = 1

	// DefaultLogBufferBytes is the size of a write buffer of the log store. The
	// buffers are in memory that C allocates, if the program is built with it, and
	// the C library keeps several of those that were freed: together up to ten times
	// this.
	DefaultLogBufferBytes = 16 << 20
	// DefaultPeerQueueBytes bounds the messages that wait for one other member.
	DefaultPeerQueueBytes = 64 << 20

	diskPart         = 64 // on a small file system each thing takes this part of it, and
	leastWriteBuffer = 1 << 20

	// SmallDisk is the size of a file system below which the log store is to write
	// little at a time: what a flush or a compaction writes is there twice until it
	// is done.
	SmallDisk = 1 << 30
)

// PartOf fits something that takes at most most bytes, and at least least, into a
// file system of a size; 0: the size is not known.
func PartOf(disk, least, most uint64) uint64 {
	if disk == 0 {
		return most
	}
	return min(max(disk/diskPart, least), most)
}

// FitLog fits the log store, with write buffers of at most bytes, into a file
// system of a size; 0: the size is not known.
func FitLog(c *config.LogDBConfig, bytes, disk uint64) {
	c.KVWriteBufferSize = min(bytes, PartOf(disk, leastWriteBuffer, DefaultLogBufferBytes))
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
// transport and registry.
func NodeHostConfig(dir string, rtt time.Duration) config.NodeHostConfig {
	c := config.NodeHostConfig{
		NodeHostDir:         dir,
		RTTMillisecond:      uint64(rtt / time.Millisecond),
		MaxSendQueueSize:    DefaultPeerQueueBytes,
		MaxReceiveQueueSize: DefaultPeerQueueBytes,
	}
	c.Expert.Engine = config.EngineConfig{
		ExecShards: execShards, CommitShards: 1, ApplyShards: 1, SnapshotShards: 2, CloseShards: 1,
	}
	c.Expert.LogDB = config.GetTinyMemLogDBConfig()
	c.Expert.LogDB.Shards = logShards
	c.Expert.LogDB.KVWriteBufferSize = DefaultLogBufferBytes
	return c
}

// ReplicaConfig is the configuration of a replica.
func ReplicaConfig(group protocol.GroupID, replica protocol.ReplicaID, electionRTT uint64) config.Config {
	return config.Config{
		ShardID:             uint64(group),
		ReplicaID:           uint64(replica),
		ElectionRTT:         electionRTT,
		HeartbeatRTT:        heartbeatRTT,
		CheckQuorum:         true,
		PreVote:             true,
		OrderedConfigChange: true,
		// Snapshots are requested by bytes, by whoever runs the replica.
		SnapshotEntries:    0,
		CompactionOverhead: 1000,
	}
}

// DeploymentID keeps Raft messages of another cluster out.
func DeploymentID(cluster protocol.UUID) uint64 {
	return binary.BigEndian.Uint64(cluster[:]) | 1
}

// Open starts the engine. It turns dragonboat's panics at start, as on a damaged
// log, into errors.
func Open(c config.NodeHostConfig) (nh *dragonboat.NodeHost, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = errors.New(PanicReason(e))
		} else if nh == nil && err == nil {
			err = errors.New("the engine gave up") // it swallows panics that are no errors
		}
	}()
	return dragonboat.NewNodeHost(c)
}

// PanicReason is what the engine has panicked with, human-readable. It may carry
// a stack trace, which the engine's log has.
func PanicReason(e any) string {
	reason, _, _ := strings.Cut(fmt.Sprint(e), "\n")
	return reason
}
