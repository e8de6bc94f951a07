package shardgroups

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lni/dragonboat/v4"
	sm "github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/engine"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// attemptTimeout bounds the first attempt of a proposal or a read of the system
// group: one that a follower forwarded may be dropped without notice. Each
// further attempt has twice the time, because a slow disk or a long link answers
// none within the first.
const attemptTimeout = 500 * time.Millisecond

// ErrNoSystem is the error if the system group does not run here, or does not answer.
var ErrNoSystem = errors.New("the system group does not answer")

// System is this member's replica of the system group.
type System struct {
	host   *Host
	leader atomic.Pointer[Leader]
	due    chan struct{} // of capacity 1: tick has something to do

	mu      sync.RWMutex // guards state and applied
	state   *systemstate.State
	applied uint64
	log     logged
	ends    atomic.Uint64 // number of the last ended session, without mu

	// hmu guards what follows: the leader's claim of the clock, and the requests of
	// clients on their sessions.
	hmu   sync.Mutex
	claim claim
	asked sessionQueue
}

func newSystem(h *Host) *System {
	s := &System{host: h, state: systemstate.New(), due: make(chan struct{}, 1)}
	s.leader.Store(&Leader{})
	s.tune(s.state)
	return s
}

// tune makes a state simulate another version, or have shorter lists, in a test.
func (s *System) tune(state *systemstate.State) {
	if n := s.host.cfg.TestHooks.MaxLevel; n > 0 {
		state.SetMaxLevel(n)
	}
	if n := s.host.cfg.TestHooks.EndedSessions; n > 0 {
		state.SetMaxEnded(n)
	}
}

// View returns the cluster state that this member has applied. It must not be changed.
func (s *System) View() *systemstate.ClusterState {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.ClusterState()
}

// Leader returns the leader of the system group, as this member knows it.
func (s *System) Leader() Leader { return *s.leader.Load() }

// Sessions returns how many sessions live.
func (s *System) Sessions() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.Sessions()
}

// SessionList is the sessions of a grid, as a member knows them.
type SessionList struct{ s *System }

// SessionList returns the sessions.
func (h *Host) SessionList() SessionList { return SessionList{h.system} }

// Page returns sessions that have not ended, from an id on, and the log time, after all
// that was committed when it was called.
func (l SessionList) Page(ctx context.Context, from protocol.SessionID, most int) ([]systemstate.Session, protocol.LogTime, error) {
	s := l.s
	if err := s.barrier(ctx); err != nil {
		return nil, 0, err
	}
	s.hmu.Lock()
	claim := s.claim
	s.hmu.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	clock := s.state.Clock()
	now := clock.Now
	if claim.epoch == clock.Epoch && claim.epoch != 0 && s.Leader().Self {
		now = max(now, clock.Base.Add(s.host.mono.now()-claim.base))
	}
	return s.state.Listed(from, most), now, nil
}

// Ended returns how many sessions have ended for each reason.
func (l SessionList) Ended() [systemstate.Ends]uint64 {
	l.s.mu.RLock()
	defer l.s.mu.RUnlock()
	return l.s.state.EndedBy()
}

// LongestTTL returns the longest TTL of a session, as this member knows it.
func (s *System) LongestTTL() time.Duration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.LongestTTL()
}

// Highest returns the floor above which the next cluster must begin, as this member
// knows it.
func (s *System) Highest() systemstate.Floor {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.Highest()
}

// Applied returns the index of the last entry applied.
func (s *System) Applied() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.applied
}

// Refresh returns the cluster state, linearizably. Without a majority of the system
// group it returns [ErrNoSystem] when ctx ends. The result must not be changed.
func (s *System) Refresh(ctx context.Context) (*systemstate.ClusterState, error) {
	if err := s.barrier(ctx); err != nil {
		return nil, err
	}
	return s.View(), nil
}

// barrier waits until this member has applied everything that was committed when it was
// called.
func (s *System) barrier(ctx context.Context) error {
	if err := s.host.CaughtUp(ctx, protocol.SystemGroup); err != nil {
		return fmt.Errorf("%w: %v", ErrNoSystem, err)
	}
	return nil
}

// Propose carries out a command. Commands are idempotent, so it repeats this one until
// ctx ends. When it returns, this member has applied the command and everything before
// it, because the engine answers a proposal once the entry is applied where it was
// proposed. If the system group has not answered, the error is [ErrNoSystem], and the
// command may have been carried out all the same. If the state refuses the command, the
// error has the state's reason.
func (s *System) Propose(ctx context.Context, c systemstate.Command) (systemstate.Answer, error) {
	var a systemstate.Answer
	if err := systemstate.Check(systemstate.Encode(groupstate.Header{}, c)); err != nil {
		return a, fmt.Errorf("the command is not proposed: %w", err)
	}
	for limit := attemptTimeout; ; limit *= 2 {
		err := s.try(ctx, limit, c, &a)
		switch {
		case err == nil && a.Problem != "":
			return a, errors.New(a.Problem)
		case err == nil:
			return a, nil
		case errors.Is(err, dragonboat.ErrClosed), errors.Is(err, dragonboat.ErrShardNotFound), ctx.Err() != nil:
			return a, fmt.Errorf("%w: %v", ErrNoSystem, err)
		}
		select {
		case <-ctx.Done():
			return a, fmt.Errorf("%w: %v", ErrNoSystem, err)
		case <-time.After(20 * time.Millisecond):
		}
		if !errors.Is(err, dragonboat.ErrTimeout) {
			limit = attemptTimeout / 2 // refused, not slow
		}
	}
}

func (s *System) try(ctx context.Context, limit time.Duration, c systemstate.Command, a *systemstate.Answer) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := s.host.nh.SyncPropose(ctx, s.host.nh.GetNoOPSession(uint64(protocol.SystemGroup)),
		systemstate.Encode(s.header(), c))
	if err != nil {
		return err
	}
	return protocol.DecodeLarge(r.Data, a)
}

// header returns the header of an entry that is proposed now: with the time, if this
// replica leads and has claimed the clock.
func (s *System) header() groupstate.Header {
	s.hmu.Lock()
	defer s.hmu.Unlock()
	h := groupstate.Header{Proposer: s.host.nonce, Level: s.View().Level}
	if s.claim.epoch != 0 && s.Leader().Self {
		h.ClockEpoch = s.claim.epoch
		h.Elapsed = int64(s.host.mono.now() - s.claim.base)
	}
	return h
}

// lookup asks, linearizably, whether a session lives and how many have ended.
func (s *System) lookup(ctx context.Context, id protocol.SessionID) (lives bool, end uint64, err error) {
	if err := s.barrier(ctx); err != nil {
		return false, 0, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	lives, end = s.state.Lookup(id)
	return lives, end, nil
}

// endsAfter returns the ended sessions after a number, as this member knows them. The
// list only grows, so an old view is a shorter one. It is false if the list does not
// reach back to the number.
func (s *System) endsAfter(from uint64, limit int) ([]protocol.SessionID, bool) {
	if s.ends.Load() <= from {
		return nil, true
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.EndsAfter(from, limit)
}

// over reports whether a session is over, see systemstate.State.Over.
func (s *System) over(id protocol.SessionID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.Over(id)
}

// upTo returns up to where this member knows the sessions, see systemstate.State.UpTo.
func (s *System) upTo() (ends uint64, next protocol.SessionID) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.UpTo()
}

// endedOf returns which of some sessions have ended. It is false if this member does
// not know the ends that were passed over, or the sessions.
func (s *System) endedOf(c groupstate.Checked) ([]protocol.SessionID, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if end, next := s.state.UpTo(); end < c.End || next < c.To {
		return nil, false
	}
	var ended []protocol.SessionID
	for _, id := range c.IDs {
		if s.state.Ended(id) {
			ended = append(ended, id)
		}
	}
	return ended, true
}

// ownershipOf returns the ownership of a new group, which is empty if the tables do not
// list the group.
func (s *System) ownershipOf(id protocol.GroupID) groupstate.Ownership {
	a := s.View()
	listed, _ := a.Group(id)
	o := groupstate.Ownership{
		Partitions: len(a.Partitions), Limits: a.Settings.Limits, History: s.host.cfg.HistoryBytes,
		Generation: listed.Generation, Revision: listed.Revision, GracePeriod: listed.GracePeriod,
		Ends: listed.Ends, Loading: listed.Backup != 0,
	}
	for p, g := range a.Partitions {
		if g == id {
			o.Owned = append(o.Owned, protocol.PartitionID(p))
		}
	}
	return o
}

// memberOf returns the member that has a group's replica.
func (s *System) memberOf(group protocol.GroupID, replica protocol.ReplicaID) protocol.MemberID {
	return s.View().MemberOf(group, replica)
}

// TransferLeader transfers the leadership of the system group to another replica,
// see [Group.TransferLeader]. The group's entries are few and repeated, so none is
// gated for it.
func (s *System) TransferLeader(ctx context.Context, to protocol.ReplicaID, ready func(ctx context.Context, applied uint64) error) error {
	if !s.Leader().Self {
		return errNotLeader
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.host.transferTime(), errTransfer)
	defer cancel()
	if s.Sessions() > 0 {
		if _, err := s.Propose(ctx, systemstate.Command{Kind: systemstate.KeepSessions}); err != nil {
			return err // the time that has passed for the sessions, see Group.logTime
		}
	}
	if ready != nil {
		if err := s.host.beReady(ctx, s.Applied(), ready); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := s.host.nh.RequestLeaderTransfer(uint64(protocol.SystemGroup), uint64(to)); err != nil {
		return err
	}
	if err := poll(ctx, func() (bool, error) { l := s.Leader(); return l.Replica != 0 && !l.Self, nil }); err != nil {
		return err
	}
	s.host.logTransfer(protocol.SystemGroup, to, began)
	return nil
}

// takeClock claims the clock and records when the claim was applied.
func (s *System) takeClock() {
	nonce := rand.Uint64() | 1
	s.hmu.Lock()
	s.claim = claim{nonce: nonce}
	s.hmu.Unlock()
	ctx, cancel := context.WithTimeout(s.host.ctx, lookupTimeout)
	defer cancel()
	_, _ = s.Propose(ctx, systemstate.Command{Kind: systemstate.Claim, Nonce: nonce})
}

// systemMachine is the System as dragonboat sees it.
type systemMachine struct{ s *System }

var _ sm.IConcurrentStateMachine = (*systemMachine)(nil)

func (m *systemMachine) Update(entries []sm.Entry) ([]sm.Entry, error) {
	s := m.s
	changed, bytes := false, 0
	s.mu.Lock()
	for i := range entries {
		answer, c, err := s.state.Apply(entries[i].Cmd)
		if err != nil {
			s.mu.Unlock()
			return nil, fmt.Errorf("system group, index %d: %w", entries[i].Index, err)
		}
		changed = changed || c
		bytes += len(entries[i].Cmd)
		s.applied = entries[i].Index
		entries[i].Result = sm.Result{Value: 1, Data: answer}
	}
	index := s.applied
	clock := s.state.Clock()
	_, ends := s.state.Lookup(0)
	s.mu.Unlock()
	s.ends.Store(ends)
	s.log.applied(index, len(entries), bytes)
	s.hmu.Lock()
	// A claim whose first attempt was not answered in time is applied twice, and begins
	// an epoch each time.
	if s.claim.nonce != 0 && s.claim.epoch != clock.Epoch && clock.Holder == s.claim.nonce {
		s.claim.epoch, s.claim.base = clock.Epoch, s.host.mono.now()
	}
	s.hmu.Unlock()
	if changed {
		s.host.systemChanged()
	}
	return entries, nil
}

func (m *systemMachine) Lookup(any) (any, error) { return nil, errors.ErrUnsupported }

func (m *systemMachine) PrepareSnapshot() (any, error) {
	m.s.mu.RLock()
	defer m.s.mu.RUnlock()
	return &systemSnapshot{m.s.applied, m.s.state.Snapshot()}, nil
}

// systemSnapshot is the encoded state and the index of the last entry in it,
// written as a groupSnapshot is.
type systemSnapshot struct {
	applied uint64
	state   []byte
}

func (m *systemMachine) SaveSnapshot(ctx any, w io.Writer, _ sm.ISnapshotFileCollection, _ <-chan struct{}) error {
	snapshot := ctx.(*systemSnapshot)
	err := engine.WriteIndex(w, snapshot.applied)
	if err == nil {
		_, err = w.Write(snapshot.state)
	}
	if err != nil {
		m.s.host.cfg.Logger.Warn("snapshot failed: it could not be written", "group", uint64(protocol.SystemGroup), "err", err)
		return sm.ErrSnapshotAborted
	}
	return nil
}

func (m *systemMachine) RecoverFromSnapshot(r io.Reader, _ []sm.SnapshotFile, _ <-chan struct{}) error {
	state := systemstate.New()
	m.s.tune(state)
	applied, err := engine.ReadIndex(r)
	if err != nil {
		return err
	}
	if err := state.Restore(r); err != nil {
		return err
	}
	_, ends := state.Lookup(0)
	m.s.mu.Lock()
	m.s.state, m.s.applied = state, applied
	m.s.mu.Unlock()
	m.s.ends.Store(ends)
	m.s.host.systemChanged()
	return nil
}

func (m *systemMachine) Close() error { return nil }
