package extract

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/raftpb"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/engine"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/raftnet"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/shardgroups/walfs"
	"github.com/quorate/quorate/structures"
)

// Config says which member to read. The member must not run.
type Config struct {
	// Dir is a copy of the member's engine directory. It is written to.
	Dir         string
	Cluster     protocol.UUID
	Name        string // of the cluster
	Incarnation protocol.UUID
	Kinds       []structures.Kind
	Logger      *slog.Logger // nil: discards
	// Progress, if not nil, is called from time to time with how far a replica has been
	// read.
	Progress func(group protocol.GroupID, index, last uint64)
}

// Replica is what a replica held.
type Replica struct {
	Group    protocol.GroupID
	Replica  protocol.ReplicaID
	Snapshot uint64 // log index that the newest snapshot reaches; 0: none
	Commit   uint64 // up to which the replica knew entries to be committed
	Last     uint64 // of the log
	Term     uint64 // of the last entry
	Tail     int    // entries beyond Commit that change state; they are taken in
	// Unreadable is the first entry that no replica can apply; 0: there is none. It and
	// the entries after it, Left in all, are left out: no replica has applied them, so
	// none was acknowledged. Reason says why it cannot be applied.
	Unreadable uint64
	Left       int
	Reason     string
	Sessions   []protocol.SessionID
	Totals     groupstate.Totals // of a data group

	data   *groupstate.State
	system *systemstate.State
}

// ClusterState returns what a system group had agreed.
func (x *Replica) ClusterState() *systemstate.ClusterState { return x.system.ClusterState() }

// SavedCluster returns what a new cluster keeps of a system group.
func (x *Replica) SavedCluster(has func(protocol.GroupID) bool) *systemstate.SavedCluster {
	return x.system.SavedCluster(has)
}

// LongestTTL returns the longest TTL of the sessions of a system group.
func (x *Replica) LongestTTL() time.Duration { return x.system.LongestTTL() }

// Extractor reads the replicas of a member that does not run: the newest snapshot, and
// every entry of the log, including those beyond the commit index that the replica
// knew. Such an entry may have been acknowledged, because the lost majority had it, or
// not. Including it loses nothing that was acknowledged. At most it carries out an
// operation whose client was told that the outcome is unknown.
type Extractor struct {
	cfg Config
	nh  *dragonboat.NodeHost
}

// Open opens the engine on a copy of its directory, offline. [Extractor.Close] must
// be called.
func Open(cfg Config) (*Extractor, error) {
	if cfg.Progress == nil {
		cfg.Progress = func(protocol.GroupID, uint64, uint64) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	engine.BridgeLogs(cfg.Logger)
	if _, err := engine.AdoptLocation(cfg.Dir); err != nil {
		return nil, err
	}
	c := engine.NodeHostConfig(cfg.Dir, engine.DefaultRTT)
	c.Expert.FS = walfs.New(nil, cfg.Logger, c.Expert.LogDB.KVWriteBufferSize).ForEngine()
	c.DeploymentID = engine.DeploymentID(cfg.Cluster)
	c.NodeHostID, c.RaftAddress = cfg.Incarnation.String(), cfg.Incarnation.String()
	c.Expert.TransportFactory = raftnet.NewTransport(raftnet.Config{
		Dial: func(context.Context, string, protocol.Purpose) (net.Conn, error) {
			return nil, errors.New("offline")
		},
		Ended: func(string) {}, ElectionTime: engine.DefaultElectionRTT * engine.DefaultRTT, Logger: cfg.Logger,
	})
	c.Expert.NodeRegistryFactory = raftnet.NewRegistry(func(protocol.UUID) (string, bool) { return "", false })
	nh, err := engine.Open(c)
	if err != nil {
		return nil, fmt.Errorf("open the log in %s: %w", cfg.Dir, err)
	}
	return &Extractor{cfg: cfg, nh: nh}, nil
}

// Close closes the engine. It returns no error.
func (s *Extractor) Close() error {
	s.nh.Close()
	return nil
}

// Read reads one replica, up to the first entry that cannot be applied, see
// Replica.Unreadable. The error is [engine.ErrLogMissing] if the directory does not
// hold the replica.
func (s *Extractor) Read(group protocol.GroupID, replica protocol.ReplicaID, nonVoting bool) (*Replica, error) {
	r, err := s.read(group, replica, nonVoting, math.MaxUint64)
	var bad *unreadableError
	if !errors.As(err, &bad) {
		return r, err
	}
	// The entry that could not be applied may have been applied in part: read again, up
	// to the one before it.
	if r, err = s.read(group, replica, nonVoting, bad.index-1); err != nil {
		return nil, err
	}
	r.Unreadable, r.Left, r.Reason = bad.index, int(r.Last-bad.index+1), bad.err.Error()
	r.Last = bad.index - 1
	return r, nil
}

// unreadableError is the error of an entry that no replica can apply.
type unreadableError struct {
	index uint64
	err   error
}

func (e *unreadableError) Error() string { return fmt.Sprintf("entry %d: %v", e.index, e.err) }

func (e *unreadableError) Unwrap() error { return e.err }

// read reads a replica up to a log index.
func (s *Extractor) read(group protocol.GroupID, replica protocol.ReplicaID, nonVoting bool, upTo uint64) (r *Replica, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = errors.New(engine.PanicReason(e))
		}
		if err != nil {
			err = fmt.Errorf("read replica %d of group %d: %w", replica, group, err)
		}
	}()
	nh := s.nh
	if !nh.HasNodeInfo(uint64(group), uint64(replica)) {
		return nil, engine.ErrLogMissing
	}
	r = &Replica{Group: group, Replica: replica}
	m := &extractMachine{r: r, kinds: s.cfg.Kinds}
	m.reset()
	cfg := engine.ReplicaConfig(group, replica, 1000)
	cfg.IsNonVoting, cfg.WaitReady = nonVoting, true
	start := func() error {
		return nh.StartConcurrentReplica(nil, false, func(_, _ uint64) sm.IConcurrentStateMachine { return m }, cfg)
	}
	err = start()
	for began := time.Now(); errors.Is(err, dragonboat.ErrShardAlreadyExist) && time.Since(began) < unloadTimeout; err = start() {
		time.Sleep(time.Millisecond) // the replica was read before, and the engine is still closing it
	}
	if err != nil {
		return nil, err
	}
	defer func() {
		if stop := nh.StopReplica(uint64(group), uint64(replica)); stop != nil && err == nil {
			err = stop
		}
	}()
	log, err := nh.GetLogReader(uint64(group))
	if err != nil {
		return nil, err
	}
	if m.err != nil {
		return nil, m.err
	}
	return r, s.replay(r, log, upTo)
}

// unloadTimeout is how long the engine may take to close a replica.
const unloadTimeout = 30 * time.Second

// extractBatch is how many entries are read at once.
const extractBatch = 1024

func (s *Extractor) replay(r *Replica, log dragonboat.ReadonlyLogReader, upTo uint64) error {
	first, last := log.GetRange()
	state, _ := log.NodeState()
	r.Snapshot = log.Snapshot().Index
	r.Commit, r.Last = max(state.Commit, r.Snapshot), max(last, r.Snapshot)
	r.Term, _ = log.Term(min(last, upTo))
	if first > r.Snapshot+1 {
		return fmt.Errorf("the log begins at %d, its snapshot reaches %d", first, r.Snapshot)
	}
	reported := time.Now()
	last = min(last, upTo)
	for next := r.Snapshot + 1; next <= last; {
		entries, err := log.Entries(next, min(next+extractBatch, last+1), 8<<20)
		if err != nil {
			return fmt.Errorf("the log from %d to %d: %w", next, last, err)
		}
		if len(entries) == 0 {
			return fmt.Errorf("the log has no entry %d of %d", next, last)
		}
		for i := range entries {
			if err := r.apply(&entries[i]); err != nil {
				return err
			}
		}
		next = entries[len(entries)-1].Index + 1
		if time.Since(reported) > time.Second {
			reported = time.Now()
			s.cfg.Progress(r.Group, next-1, last)
		}
	}
	if r.data != nil {
		if _, loading := r.data.Loading(); loading {
			return errors.New("it was being restored from a backup when it stopped: use that backup instead")
		}
		r.Totals, r.Sessions = r.data.Totals(), r.data.Sessions().IDs()
	} else {
		r.Sessions = r.system.SessionIDs()
	}
	return nil
}

// apply applies an entry if it is one of ours. One that no replica can apply is an
// *unreadableError; one of a later version is not.
func (r *Replica) apply(e *raftpb.Entry) (err error) {
	cmd := e.Cmd
	switch {
	case e.Type == raftpb.EncodedEntry && len(cmd) > 1 && cmd[0] == 0: // version 0, not compressed, no session
		cmd = cmd[1:]
	case e.Type == raftpb.ApplicationEntry && len(cmd) > 0:
	case e.Type == raftpb.EncodedEntry:
		return fmt.Errorf("entry %d: an encoding that is not known", e.Index)
	default:
		return nil // of the engine's own
	}
	if e.Index > r.Commit {
		r.Tail++
	}
	defer func() {
		if p := recover(); p != nil {
			err = &unreadableError{e.Index, errors.New(engine.PanicReason(p))}
		}
	}()
	if r.system != nil {
		_, _, err = r.system.Apply(cmd)
	} else {
		err = r.data.Apply(cmd, silent{})
	}
	switch {
	case errors.Is(err, groupstate.ErrEntry):
		return &unreadableError{e.Index, err}
	case err != nil:
		return fmt.Errorf("entry %d: %w", e.Index, err)
	}
	return nil
}

// silent is a groupstate.Sink without callers.
type silent struct{}

func (silent) Replied(int, *protocol.Request, structures.Result, protocol.Version) {}

func (silent) Granted(protocol.PartitionID, protocol.Caller, structures.Result, protocol.Version) {}

// WriteBackup writes what a replica held as the backup of its group into dir, and
// returns what it holds; Backup.Verify reads it again.
func (s *Extractor) WriteBackup(dir string, x *Replica) (archive.Counts, error) {
	h := archive.Header{Cluster: s.cfg.Cluster, Name: s.cfg.Name, Group: x.Group, Index: x.Last}
	var foot archive.Footer
	err := writeBackup(dir, h, func(w io.Writer) (err error) {
		if x.data != nil {
			foot, err = x.data.Prepare().WriteArchive(w, h, nil)
			return err
		}
		foot, err = x.writeSystem(w, h)
		return err
	})
	if err != nil {
		return foot.Counts, fmt.Errorf("write the backup of group %d: %w", x.Group, err)
	}
	return foot.Counts, nil
}

func (x *Replica) writeSystem(w io.Writer, h archive.Header) (archive.Footer, error) {
	v := x.system.ClusterState()
	h.Partitions, h.Time, h.Level = uint32(len(v.Partitions)), x.system.Clock().Now, v.Level
	a, err := archive.NewWriter(w, h)
	if err != nil {
		return archive.Footer{}, err
	}
	if err := a.State(x.system.Snapshot()); err != nil {
		return archive.Footer{}, err
	}
	return a.Close()
}

// extractMachine takes a replica's snapshot and none of its entries. The entries are
// read from the log, beyond those that the replica may apply by itself.
type extractMachine struct {
	r     *Replica
	kinds []structures.Kind

	mu  sync.Mutex // guards the following, between the engine and Read
	err error
}

func (m *extractMachine) reset() {
	if m.r.Group == protocol.SystemGroup {
		m.r.system = systemstate.New()
	} else {
		m.r.data = groupstate.New(m.kinds)
	}
}

func (m *extractMachine) Update(entries []sm.Entry) ([]sm.Entry, error) { return entries, nil }
func (m *extractMachine) Lookup(any) (any, error)                       { return nil, errors.ErrUnsupported }

func (m *extractMachine) PrepareSnapshot() (any, error) { return nil, sm.ErrSnapshotAborted }
func (m *extractMachine) Close() error                  { return nil }

func (m *extractMachine) SaveSnapshot(any, io.Writer, sm.ISnapshotFileCollection, <-chan struct{}) error {
	return sm.ErrSnapshotAborted
}

func (m *extractMachine) RecoverFromSnapshot(r io.Reader, _ []sm.SnapshotFile, stop <-chan struct{}) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := engine.ReadIndex(r)
	switch {
	case err != nil:
	case m.r.system != nil:
		err = m.r.system.Restore(r)
	default:
		err = m.r.data.Restore(r, stop)
	}
	m.err = err // the engine would end the process
	return nil
}
