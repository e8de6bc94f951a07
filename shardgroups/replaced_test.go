package shardgroups

import (
	"bytes"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// bareHost is a Host in memory without replicas.
func bareHost(t *testing.T) *Host {
	t.Helper()
	return tunedHost(t, func(*Config) {})
}

func tunedHost(t *testing.T, tune func(*Config)) *Host {
	t.Helper()
	cfg := Config{
		Memory: true, Cluster: protocol.UUID{1}, Incarnation: protocol.UUID{2},
		Kinds:   []structures.Kind{dcounter.Kind(), dmap.Kind(), dsemaphore.Kind(), dlock.Kind()},
		Resolve: func(protocol.UUID) (string, bool) { return "", false },
	}
	tune(&cfg)
	h, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// bareGroup is a group whose entries the test applies itself: no engine runs it.
func bareGroup(h *Host) *Group {
	return newGroup(h, GroupSpec{Group: protocol.SystemGroup + 1, Replica: 1})
}

// applyEntry applies what fill adds to an entry of the group's own.
func (g *Group) applyEntry(t *testing.T, h groupstate.Header, fill func(*groupstate.Builder)) {
	t.Helper()
	var b groupstate.Builder
	b.Reset(h, 0)
	fill(&b)
	if _, err := (&groupMachine{g}).Update([]sm.Entry{{Index: g.Applied() + 1, Cmd: b.Bytes()}}); err != nil {
		t.Fatal(err)
	}
}

// snapshotOf returns what a state machine writes as its snapshot.
func snapshotOf(t *testing.T, m sm.IConcurrentStateMachine) []byte {
	t.Helper()
	ctx, err := m.PrepareSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := m.SaveSnapshot(ctx, &b, nil, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// collected waits until the collector has found n objects that have a clean-up.
func collected(t *testing.T, freed *atomic.Int32, n int32, what string) {
	t.Helper()
	for deadline := time.Now().Add(patience); freed.Load() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d of %d objects are collected: something still points to the others", what, freed.Load(), n)
		}
		runtime.GC()
	}
}

// TestGroup_ReplacedStateIsCollected: nothing points to a state, or to a copy of
// it, any more when a snapshot has replaced it.
func TestGroup_ReplacedStateIsCollected(t *testing.T) {
	g := bareGroup(bareHost(t))
	g.applyEntry(t, groupstate.Header{}, func(b *groupstate.Builder) {
		b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
		b.Attach(1, 0)
		q := protocol.Request{
			Kind: dcounter.Kind().ID, Op: 3, Name: "hits",
			Caller: protocol.Caller{Session: 1, Sequence: 1}, Body: protocol.AppendInt(protocol.AppendArray(nil, 1), 1),
		}
		b.Request(q.Append(nil))
	})
	m := &groupMachine{g}
	var freed atomic.Int32
	count := func(n int32) { freed.Add(n) }
	for range 3 {
		b := snapshotOf(t, m)
		runtime.AddCleanup(g.state, count, 1)
		if err := m.RecoverFromSnapshot(bytes.NewReader(b), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	collected(t, &freed, 3, "states of a group")
	runtime.KeepAlive(m)
}

// TestSystem_ReplacedStateIsCollected is the same of the system group, whose
// ClusterState others keep: it does not hold the sessions that were in the snapshot
// with it.
func TestSystem_ReplacedStateIsCollected(t *testing.T) {
	s := newSystem(bareHost(t))
	m := &systemMachine{s}
	open := systemstate.Encode(groupstate.Header{}, systemstate.Command{
		Kind: systemstate.KeepSessions, Opens: []systemstate.Opening{{Client: protocol.UUID{1}, TTL: time.Minute}},
	})
	if _, err := m.Update([]sm.Entry{{Index: 1, Cmd: open}}); err != nil {
		t.Fatal(err)
	}
	var freed atomic.Int32
	count := func(n int32) { freed.Add(n) }
	for range 3 {
		b := snapshotOf(t, m)
		runtime.AddCleanup(s.state, count, 1)
		if err := m.RecoverFromSnapshot(bytes.NewReader(b), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	collected(t, &freed, 3, "states of the system group")
	runtime.KeepAlive(m)
}
