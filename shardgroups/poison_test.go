package shardgroups

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/engine"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
)

// idleMachine is a state machine that applies nothing.
type idleMachine struct{}

func (idleMachine) Update(entries []sm.Entry) ([]sm.Entry, error) { return entries, nil }
func (idleMachine) Lookup(any) (any, error)                       { return nil, errors.ErrUnsupported }

func (idleMachine) PrepareSnapshot() (any, error) { return nil, sm.ErrSnapshotAborted }
func (idleMachine) Close() error                  { return nil }

func (idleMachine) SaveSnapshot(any, io.Writer, sm.ISnapshotFileCollection, <-chan struct{}) error {
	return sm.ErrSnapshotAborted
}

func (idleMachine) RecoverFromSnapshot(io.Reader, []sm.SnapshotFile, <-chan struct{}) error {
	return errors.ErrUnsupported
}

// poisoned logs entries as they are, in a group of one replica on disk that applies
// nothing, and returns the directory.
func poisoned(t *testing.T, group protocol.GroupID, entries ...[]byte) string {
	t.Helper()
	dir := t.TempDir()
	h := tunedHost(t, func(c *Config) { c.Memory, c.Dir, c.RTT = false, dir, 5*time.Millisecond })
	if err := h.nh.StartConcurrentReplica(
		map[uint64]string{1: h.cfg.Incarnation.String()}, false,
		func(_, _ uint64) sm.IConcurrentStateMachine { return idleMachine{} }, engine.ReplicaConfig(group, 1, h.cfg.ElectionRTT),
	); err != nil {
		t.Fatal(err)
	}
	h.reg.Add(uint64(group), 1, h.cfg.Incarnation.String())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, e := range entries {
		for {
			_, err := h.nh.SyncPropose(ctx, h.nh.GetNoOPSession(uint64(group)), e)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond) // there is no leader yet
		}
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func extracted(t *testing.T, dir string, group protocol.GroupID) (*extract.Replica, error) {
	t.Helper()
	work := t.TempDir()
	if err := os.CopyFS(work, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	s, err := extract.Open(extract.Config{
		Dir: work, Cluster: protocol.UUID{1}, Incarnation: protocol.UUID{2}, Kinds: []structures.Kind{dcounter.Kind()},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return s.Read(group, 1, false)
}

// TestExtract_Poisoned reads logs with an entry that no replica can apply: what comes
// before it is there, as if it had never been logged.
func TestExtract_Poisoned(t *testing.T) {
	command := func(c systemstate.Command) []byte { return systemstate.Encode(groupstate.Header{}, c) }
	found := command(systemstate.Command{Kind: systemstate.Found, Cluster: protocol.UUID{1}, Name: "before"})
	open := func(client byte) []byte {
		return command(systemstate.Command{Kind: systemstate.KeepSessions, Opens: []systemstate.Opening{{Client: protocol.UUID{client}, TTL: time.Minute}}})
	}
	poison := command(systemstate.Command{Kind: systemstate.Found, Name: "no text: \xff"})
	r, err := extracted(t, poisoned(t, protocol.SystemGroup, found, open(1), poison, open(2), open(3)), protocol.SystemGroup)
	if err != nil {
		t.Fatal(err)
	}
	if r.Unreadable != r.Last+1 || r.Left != 3 || !strings.Contains(r.Reason, groupstate.ErrEntry.Error()) || len(r.Sessions) != 1 || r.ClusterState().Name != "before" {
		t.Errorf("%+v", r)
	}

	const group = protocol.SystemGroup + 1
	data := func(fill func(*groupstate.Builder)) []byte {
		var b groupstate.Builder
		b.Reset(groupstate.Header{}, 64)
		fill(&b)
		return b.Bytes()
	}
	first := data(func(b *groupstate.Builder) {
		b.Own(groupstate.Ownership{Partitions: 2, Owned: []protocol.PartitionID{0, 1}, Limits: protocol.DefaultLimits()})
		b.Attach(7, 0)
	})
	half := data(func(b *groupstate.Builder) { // applied in part, before it is found out
		b.Attach(8, 0)
		b.Request([]byte("no request"))
	})
	r, err = extracted(t, poisoned(t, group, first, half, data(func(b *groupstate.Builder) { b.Attach(9, 0) })), group)
	if err != nil {
		t.Fatal(err)
	}
	if r.Unreadable != r.Last+1 || r.Left != 2 || len(r.Sessions) != 1 || r.Totals.Partitions != 2 {
		t.Errorf("%+v", r)
	}

	later := data(func(b *groupstate.Builder) { b.Level(groupstate.MaxLevel + 1) })
	if _, err = extracted(t, poisoned(t, group, first, later), group); err == nil || !strings.Contains(err.Error(), "install a newer version") {
		t.Errorf("a log of a later version: %v", err)
	}
}
