package systemstate

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
)

// TestKill walks through the end of a session that was killed: nothing prolongs it, its
// client is refused and opens another, and it ends when its time is over, not before,
// because its client counts that time.
func TestKill(t *testing.T) {
	s := founded(t)
	id := open(t, s, 7, 10*time.Second, 0)
	kill := func(at time.Duration, k Kill) Answer { return apply(t, s, at, Command{Kind: KillSession, Kill: &k}) }
	keep := func(at time.Duration) []protocol.SessionID {
		return apply(t, s, at, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{id}}).Gone
	}
	if gone := keep(4 * time.Second); len(gone) > 0 {
		t.Fatalf("heartbeats end the session: %v", gone)
	}
	if a := kill(6*time.Second, Kill{Session: id, Reason: "maintenance"}); a.Left != 8*time.Second || len(a.Gone) > 0 {
		t.Fatalf("the session has %v left, gone %v", a.Left, a.Gone)
	}
	lives, _ := s.Lookup(id)
	if s.Ended(id) || !s.Over(id) || lives || !s.Dying(id) || s.Reason(id) != "maintenance" {
		t.Errorf("ended %t, over %t, lives %t, dying %t, reason %q", s.Ended(id), s.Over(id), lives, s.Dying(id), s.Reason(id))
	}
	// A second kill neither prolongs it nor gives another reason.
	if a := kill(7*time.Second, Kill{Session: id, Reason: "other"}); a.Left != 7*time.Second || s.Reason(id) != "maintenance" {
		t.Errorf("the session has %v left, killed because of %q", a.Left, s.Reason(id))
	}
	if gone := keep(8 * time.Second); !cmp.Equal(gone, []protocol.SessionID{id}) {
		t.Errorf("a heartbeat of a killed session is taken: gone %v", gone)
	}
	if dropped := apply(t, s, 8*time.Second, Command{Kind: KeepSessions, Renews: []protocol.SessionID{id}}).Dropped; len(dropped) != 1 {
		t.Error("members renew a killed session")
	}
	// The repeat of the open, whose reply was lost, must not find it.
	next := open(t, s, 7, 10*time.Second, 9*time.Second)
	if next == id {
		t.Error("an open finds a killed session")
	}
	restored := New()
	if err := restored.Restore(bytes.NewReader(s.Snapshot())); err != nil {
		t.Fatal(err)
	}
	s = restored
	if apply(t, s, 13900*time.Millisecond, Command{Kind: KeepSessions}); s.Ended(id) {
		t.Error("a killed session ends before its client must know")
	}
	if apply(t, s, 14*time.Second, Command{Kind: KeepSessions}); !s.Ended(id) || s.Ended(next) {
		t.Errorf("ended: the killed session %t, its client's next %t", s.Ended(id), s.Ended(next))
	}
	if a := kill(15*time.Second, Kill{Session: id}); !cmp.Equal(a.Gone, []protocol.SessionID{id}) {
		t.Errorf("a session that has ended is killed: %+v", a)
	}
	if a := kill(15*time.Second, Kill{Session: next, Now: true}); a.Left != 0 || !s.Ended(next) {
		t.Errorf("a session that is killed at once has %v left, ended %t", a.Left, s.Ended(next))
	}
	// A killed session that its client closes ends with that.
	third := open(t, s, 7, 10*time.Second, 16*time.Second)
	kill(16*time.Second, Kill{Session: third})
	if apply(t, s, 17*time.Second, Command{Kind: KeepSessions, Closes: []protocol.SessionID{third}}); !s.Ended(third) {
		t.Error("a killed session that was closed has not ended")
	}
	apply(t, s, 17*time.Second, Command{Kind: KeepSessions, Closes: []protocol.SessionID{open(t, s, 8, 2*time.Second, 17*time.Second)}})
	open(t, s, 9, 2*time.Second, 17*time.Second)
	apply(t, s, 20*time.Second, Command{Kind: KeepSessions})
	if got, want := s.EndedBy(), [Ends]uint64{EndClosed: 1, EndExpired: 1, EndKilled: 3}; got != want {
		t.Errorf("ended by reason %v, want %v", got, want)
	}
}

// TestListed shows that sessions are listed in pages, in order.
func TestListed(t *testing.T) {
	s := founded(t)
	var want []protocol.SessionID
	for i := range byte(5) {
		want = append(want, open(t, s, i+1, time.Minute, time.Duration(i)*time.Second))
	}
	var got []protocol.SessionID
	for from := protocol.SessionID(0); ; {
		page := s.Listed(from, 2)
		if len(page) == 0 {
			break
		}
		for _, v := range page {
			got = append(got, v.ID)
			from = v.ID + 1
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
