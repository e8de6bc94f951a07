package shardgroups

import (
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/statemachine"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// TestSystem_ClaimAppliedTwice shows that time goes on, and sessions end, under
// a leader whose claim of the clock was proposed again because its first
// attempt was not answered in time, and both were applied.
func TestSystem_ClaimAppliedTwice(t *testing.T) {
	h := &Host{nonce: 1, mono: newMonotime(nil)}
	s := newSystem(h)
	h.system = s
	s.leader.Store(&Leader{Self: true})
	m := &systemMachine{s}
	index := uint64(0)
	apply := func(c systemstate.Command) {
		t.Helper()
		index++
		if _, err := m.Update([]statemachine.Entry{{Index: index, Cmd: systemstate.Encode(s.header(), c)}}); err != nil {
			t.Fatal(err)
		}
	}
	s.claim = claim{nonce: 7}
	claims := systemstate.Command{Kind: systemstate.Claim, Nonce: 7}
	apply(claims)
	apply(systemstate.Command{Kind: systemstate.KeepSessions, Opens: []systemstate.Opening{{Client: protocol.UUID{1}, TTL: 2 * time.Second}}})
	apply(claims)
	if s.claim.epoch != s.state.Clock().Epoch {
		t.Errorf("the leader counts time in epoch %d, and the state is in epoch %d", s.claim.epoch, s.state.Clock().Epoch)
	}
	s.claim.base -= 3 * time.Second // three seconds go by
	apply(systemstate.Command{Kind: systemstate.KeepSessions})
	if n := s.Sessions(); n != 0 {
		t.Errorf("%d sessions live after their time", n)
	}
}
