package systemstate

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
)

// grown is a cluster of three members with two data groups.
func grown(t *testing.T) *State {
	s := founded(t)
	for i := range byte(2) {
		apply(t, s, 0, Command{Kind: AddMember, Member: Member{Name: string(rune('x' + i)), Incarnation: protocol.UUID{3 + i}}})
	}
	group := func(id protocol.GroupID) Group {
		return Group{ID: id, NextReplica: 4, Replicas: []Replica{{ID: 1, Member: 1, Initial: true}, {ID: 2, Member: 2, Initial: true}, {ID: 3, Member: 3, Initial: true}}}
	}
	apply(t, s, 0, Command{Kind: CreateGroups, Groups: []Group{group(2), group(3)}, Partitions: []protocol.GroupID{2, 3, 2, 3}})
	return s
}

func open(t *testing.T, s *State, client byte, ttl, at time.Duration) protocol.SessionID {
	t.Helper()
	return apply(t, s, at, Command{Kind: KeepSessions, Opens: []Opening{{Client: protocol.UUID{7, client}, TTL: ttl}}}).Opened[0].Session
}

func TestReplaceGroup(t *testing.T) {
	s := grown(t)
	short, long := open(t, s, 1, 5*time.Second, 0), open(t, s, 2, 20*time.Second, 0)
	epoch := s.ClusterState().Epoch
	replace := Command{Kind: ReplaceGroup, Group: 3, Groups: []Group{{Replicas: []Replica{{Member: 1}, {Member: 3}}}}}
	if a := apply(t, s, time.Second, replace); a.Group != 4 || a.Problem != "" {
		t.Fatalf("%+v, want group 4", a)
	}
	want := Group{
		ID: 4, NextReplica: 3, Generation: 1, GracePeriod: 20 * time.Second,
		Replicas: []Replica{{ID: 1, Member: 1, Initial: true}, {ID: 2, Member: 3, Initial: true}},
	}
	got, _ := s.ClusterState().Group(4)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]protocol.GroupID{2, 4, 2, 4}, s.ClusterState().Partitions); diff != "" {
		t.Error(diff)
	}
	if _, there := s.ClusterState().Group(3); there || s.ClusterState().Epoch == epoch {
		t.Errorf("the old group is listed: %t; epoch %d after %d", there, s.ClusterState().Epoch, epoch)
	}

	before := s.Snapshot()
	if a := apply(t, s, time.Second, replace); a.Problem != "" || !bytes.Equal(s.Snapshot(), before) {
		t.Errorf("a repeat changes something, or is refused: %+v", a)
	}
	for what, c := range map[string]Command{
		"the system group":          {Kind: ReplaceGroup, Group: 1, Groups: replace.Groups},
		"a group that never was":    {Kind: ReplaceGroup, Group: 9, Groups: replace.Groups},
		"without replicas":          {Kind: ReplaceGroup, Group: 4, Groups: []Group{{}}},
		"on a member that is not":   {Kind: ReplaceGroup, Group: 4, Groups: []Group{{Replicas: []Replica{{Member: 8}}}}},
		"with a successor too many": {Kind: ReplaceGroup, Group: 4, Groups: append(replace.Groups, replace.Groups...)},
	} {
		if a := apply(t, s, time.Second, c); a.Problem == "" {
			t.Errorf("%s is replaced", what)
		}
	}

	// The sessions are over for everybody who asks, and their clients get others.
	if a := apply(t, s, 2*time.Second, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{short, long}}); len(a.Gone) != 2 {
		t.Errorf("only %v are over", a.Gone)
	}
	if lives, _ := s.Lookup(long); lives {
		t.Error("a session lives after its group has lost its data")
	}
	again := open(t, s, 1, 5*time.Second, 2*time.Second)
	if lives, _ := s.Lookup(again); !lives || again <= long {
		t.Errorf("the new session is %d, lives: %t", again, lives)
	}
	// But in groups that have lost nothing they keep what they hold until the
	// client must have noticed.
	if ids, _ := s.EndsAfter(0, 10); len(ids) != 0 {
		t.Errorf("sessions %v have ended before their time", ids)
	}
	n := New()
	if err := n.Restore(bytes.NewReader(s.Snapshot())); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*State{s, n} {
		apply(t, s, 5*time.Second, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{again}})
		if ids, _ := s.EndsAfter(0, 10); !cmp.Equal(ids, []protocol.SessionID{short}) {
			t.Errorf("after 5 s ended: %v", ids)
		}
		if id := open(t, s, 1, time.Second, 6*time.Second); id != again {
			t.Errorf("the client's session is %d, was %d", id, again)
		}
		apply(t, s, 9*time.Second, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{again}})
		apply(t, s, 13*time.Second, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{again}})
		apply(t, s, 17*time.Second, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{again}})
		apply(t, s, 20*time.Second, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{again}})
		if ids, _ := s.EndsAfter(0, 10); !cmp.Equal(ids, []protocol.SessionID{short, long}) || s.leaving != 0 {
			t.Errorf("after 20 s ended: %v, %d are leaving", ids, s.leaving)
		}
	}
	// A second loss raises the generation again.
	second := Command{Kind: ReplaceGroup, Group: 4, Groups: []Group{{Replicas: []Replica{{Member: 2}}, Backup: 4}}}
	if a := apply(t, s, 21*time.Second, second); a.Group != 5 {
		t.Errorf("%+v", a)
	}
	if g, _ := s.ClusterState().Group(5); g.Generation != 2 || g.Backup != 4 || g.Ends != 2 || g.GracePeriod != 5*time.Second {
		t.Errorf("%+v", g)
	}
	if a := apply(t, s, 21*time.Second, Command{Kind: AddReplica, Group: 5, Member: Member{ID: 1}}); a.Problem == "" {
		t.Error("a group that loads its state gets a replica")
	}
	for range 2 {
		apply(t, s, 21*time.Second, Command{Kind: Restored, Group: 5})
	}
	if a := apply(t, s, 21*time.Second, Command{Kind: AddReplica, Group: 5, Member: Member{ID: 1}}); a.Problem != "" {
		t.Error(a.Problem)
	}
}

// TestLostMajority shows that members that were replaced count as lost, those that
// live all the same excepted.
func TestLostMajority(t *testing.T) {
	s := grown(t)
	for i := range byte(2) {
		apply(t, s, 0, Command{
			Kind: AddMember, Member: Member{Name: string(rune('x' + i)), Incarnation: protocol.UUID{13 + i}}, Replaces: protocol.UUID{3 + i},
		})
		g, _ := s.ClusterState().Group(2)
		if gone := s.ClusterState().LostMajority(g, nil); len(gone) != int(2*i) {
			t.Errorf("with %d replaced: %+v are lost", i+1, gone)
		}
		lives := func(m Member) bool { return m.Incarnation == protocol.UUID{4} }
		if gone := s.ClusterState().LostMajority(g, lives); gone != nil {
			t.Errorf("with %d replaced, one of which lives: %+v are lost", i+1, gone)
		}
	}
}

// TestFoundFromSavedCluster founds a cluster from what is left of a lost one.
func TestFoundFromSavedCluster(t *testing.T) {
	old := grown(t)
	open(t, old, 1, 30*time.Second, 0)
	gone := open(t, old, 2, 10*time.Second, 0)
	apply(t, old, 0, Command{Kind: KeepSessions, Closes: []protocol.SessionID{gone}})
	saved := old.SavedCluster(func(g protocol.GroupID) bool { return g == 3 })

	s := New()
	found := Command{Kind: Found, Cluster: protocol.UUID{9}, Name: "test", Member: Member{Name: "n1", Incarnation: protocol.UUID{8}}, Saved: saved}
	for range 2 {
		if a := apply(t, s, 0, found); a.Member != 1 {
			t.Fatalf("%+v", a)
		}
	}
	one := []Replica{{ID: 1, Member: 1, Initial: true}}
	want := []Group{
		{ID: 1, Replicas: one, NextReplica: 2},
		{ID: 2, Replicas: one, NextReplica: 2, Generation: 1, GracePeriod: 30 * time.Second, Ends: 2},
		{ID: 3, Replicas: one, NextReplica: 2, Generation: 1, GracePeriod: 30 * time.Second, Ends: 2, Backup: 3},
	}
	a := s.ClusterState()
	if diff := cmp.Diff(want, a.Groups); diff != "" {
		t.Error(diff)
	}
	if a.NextGroup != 4 || a.Epoch <= old.ClusterState().Epoch || !cmp.Equal(a.Partitions, old.ClusterState().Partitions) {
		t.Errorf("next group %d, epoch %d after %d, partitions %v", a.NextGroup, a.Epoch, old.ClusterState().Epoch, a.Partitions)
	}
	if id := open(t, s, 1, time.Second, 0); id <= gone {
		t.Errorf("session %d after %d", id, gone)
	}
	if ids, ok := s.EndsAfter(2, 10); !ok || len(ids) != 0 {
		t.Errorf("the groups' ends do not fit the list: %v, %t", ids, ok)
	}
}
