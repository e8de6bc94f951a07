package shardgroups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/raftpb"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
)

// SalvageConfig says what to read of a member that does not run.
type SalvageConfig struct {
	// Dir is a copy of the member's engine directory. It is written to.
	Dir         string
	Cluster     protocol.UUID
	Name        string // of the cluster
	Incarnation protocol.UUID
	Kinds       []structures.Kind
	Logger      *slog.Logger // nil: discards
	// Progress, where set, is told how far a replica has come, now and then.
	Progress func(group protocol.GroupID, index, last uint64)
}

// Salvaged is what a replica held.
type Salvaged struct {
	Group    protocol.GroupID
	Replica  protocol.ReplicaID
	Snapshot uint64 // log index that the newest snapshot reaches; 0: none
	Commit   uint64 // up to which the replica knew entries to be committed
	Last     uint64 // of the log
	Term     uint64 // of the last entry
	Tail     int    // entries beyond Commit that change state; they are taken in
	Sessions []protocol.SessionID
	Totals   groupstate.Totals // of a data group

	data   *groupstate.State
	system *systemstate.State
}

// Agreement returns what a salvaged system group had agreed.
func (s *Salvaged) Agreement() *systemstate.Agreement { return s.system.Agreement() }

// Seed returns what a new cluster keeps of a salvaged system group.
func (s *Salvaged) Seed(has func(protocol.GroupID) bool) *systemstate.Seed { return s.system.Seed(has) }

// LongestTTL returns the longest TTL of the sessions of a salvaged system
// group.
func (s *Salvaged) LongestTTL() time.Duration { return s.system.LongestTTL() }

// Salvage reads the replicas of a member that does not run: the newest
// snapshot, and every entry of the log, those beyond the commit index that the
// replica knew of too. Such an entry may have been acknowledged, because the
// lost majority had it, or not: taking it in loses nothing that was
// acknowledged, and can at most carry out what somebody was told may have been.
type Salvage struct {
	cfg  SalvageConfig
	host *Host
}

// OpenSalvage opens the engine on a copy of its directory.
func OpenSalvage(cfg SalvageConfig) (*Salvage, error) {
	if cfg.Progress == nil {
		cfg.Progress = func(protocol.GroupID, uint64, uint64) {}
	}
	h, err := Open(Config{
		Dir: cfg.Dir, Cluster: cfg.Cluster, Incarnation: cfg.Incarnation, Kinds: cfg.Kinds, Logger: cfg.Logger,
		Resolve: func(protocol.UUID) (string, bool) { return "", false },
		Dial: func(context.Context, string, protocol.Purpose) (net.Conn, error) {
			return nil, errors.New("offline")
		},
	})
	if err != nil {
		return nil, err
	}
	return &Salvage{cfg: cfg, host: h}, nil
}

// Close closes the engine.
func (s *Salvage) Close() error { return s.host.Close() }

// Read reads one replica.
func (s *Salvage) Read(group protocol.GroupID, replica protocol.ReplicaID, nonVoting bool) (r *Salvaged, err error) {
	defer func() {
		if e := recover(); e != nil {
			err = errors.New(panicReason(e))
		}
		if err != nil {
			err = fmt.Errorf("read replica %d of group %d: %w", replica, group, err)
		}
	}()
	nh := s.host.nh
	if !nh.HasNodeInfo(uint64(group), uint64(replica)) {
		return nil, ErrLogMissing
	}
	r = &Salvaged{Group: group, Replica: replica}
	m := &salvageMachine{r: r, kinds: s.cfg.Kinds}
	m.reset()
	cfg := ReplicaConfig(group, replica, 1000)
	cfg.IsNonVoting, cfg.WaitReady = nonVoting, true
	if err := nh.StartConcurrentReplica(nil, false, func(_, _ uint64) sm.IConcurrentStateMachine { return m }, cfg); err != nil {
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
	return r, s.replay(r, log)
}

// salvageBatch is how many entries are read at once.
const salvageBatch = 1024

func (s *Salvage) replay(r *Salvaged, log dragonboat.ReadonlyLogReader) error {
	first, last := log.GetRange()
	state, _ := log.NodeState()
	r.Snapshot = log.Snapshot().Index
	r.Commit, r.Last = max(state.Commit, r.Snapshot), max(last, r.Snapshot)
	r.Term, _ = log.Term(last)
	if first > r.Snapshot+1 {
		return fmt.Errorf("the log begins at %d, its snapshot reaches %d", first, r.Snapshot)
	}
	told := time.Now()
	for next := r.Snapshot + 1; next <= last; {
		entries, err := log.Entries(next, min(next+salvageBatch, last+1), 8<<20)
		if err != nil {
			return fmt.Errorf("the log from %d to %d: %w", next, last, err)
		}
		if len(entries) == 0 {
			return fmt.Errorf("the log has no entry %d of %d", next, last)
		}
		for i := range entries {
			if err := r.apply(&entries[i]); err != nil {
				return fmt.Errorf("entry %d: %w", entries[i].Index, err)
			}
		}
		next = entries[len(entries)-1].Index + 1
		if time.Since(told) > time.Second {
			told = time.Now()
			s.cfg.Progress(r.Group, next-1, last)
		}
	}
	if r.data != nil {
		if _, loading := r.loading(); loading {
			return errors.New("it was taking over a saved state when it stopped: recover from that seed instead")
		}
		r.Totals, r.Sessions = r.data.Totals(), r.data.SessionIDs()
	} else {
		r.Sessions = r.system.SessionIDs()
	}
	return nil
}

func (r *Salvaged) loading() (uint64, bool) {
	at, _, loading := r.data.Loading()
	return at, loading
}

// apply applies an entry where it is one of ours.
func (r *Salvaged) apply(e *raftpb.Entry) error {
	cmd := e.Cmd
	switch {
	case e.Type == raftpb.EncodedEntry && len(cmd) > 1 && cmd[0] == 0: // version 0, not compressed, no session
		cmd = cmd[1:]
	case e.Type == raftpb.ApplicationEntry && len(cmd) > 0:
	case e.Type == raftpb.EncodedEntry:
		return errors.New("an encoding that is not known")
	default:
		return nil // of the engine's own
	}
	if e.Index > r.Commit {
		r.Tail++
	}
	if r.system != nil {
		_, _, err := r.system.Apply(cmd)
		return err
	}
	return r.data.Apply(cmd, silent{})
}

// silent is a groupstate.Sink without callers.
type silent struct{}

func (silent) Replied(int, *protocol.Request, structures.Result, protocol.Revision) {}

func (silent) Granted(protocol.PartitionID, protocol.Caller, structures.Result, protocol.Revision) {}

// WriteSeed writes what was salvaged as a seed into dir.
func (s *Salvage) WriteSeed(dir string, r *Salvaged) (SeedInfo, error) {
	info := SeedInfo{Cluster: s.cfg.Cluster, Name: s.cfg.Name, Group: r.Group, Applied: r.Last}
	info, err := writeSeed(filepath.Join(dir, SeedName(r.Group)), info, func(w io.Writer) error {
		if r.system != nil {
			_, err := w.Write(r.system.Snapshot())
			return err
		}
		return r.data.Prepare().WriteTo(w, nil)
	})
	if err != nil {
		return info, fmt.Errorf("write the seed of group %d: %w", r.Group, err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return info, err
	}
	defer d.Close()
	return info, d.Sync()
}

// salvageMachine takes a replica's snapshot and none of its entries: those are
// read from the log, beyond what the replica may apply by itself.
type salvageMachine struct {
	r     *Salvaged
	kinds []structures.Kind

	mu  sync.Mutex // guards the following, between the engine and Read
	err error
}

func (m *salvageMachine) reset() {
	if m.r.Group == protocol.SystemGroup {
		m.r.system = systemstate.New()
	} else {
		m.r.data = groupstate.New(m.kinds)
	}
}

func (m *salvageMachine) Update(entries []sm.Entry) ([]sm.Entry, error) { return entries, nil }
func (m *salvageMachine) Lookup(any) (any, error)                       { return nil, errors.ErrUnsupported }

func (m *salvageMachine) PrepareSnapshot() (any, error) { return nil, sm.ErrSnapshotAborted }
func (m *salvageMachine) Close() error                  { return nil }

func (m *salvageMachine) SaveSnapshot(any, io.Writer, sm.ISnapshotFileCollection, <-chan struct{}) error {
	return sm.ErrSnapshotAborted
}

func (m *salvageMachine) RecoverFromSnapshot(r io.Reader, _ []sm.SnapshotFile, stop <-chan struct{}) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, err := readIndex(r)
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
