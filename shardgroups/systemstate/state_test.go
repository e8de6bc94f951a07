package systemstate

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// run applies commands in entries whose clock says at.
func apply(t *testing.T, s *State, at time.Duration, c Command) Answer {
	t.Helper()
	b, _, err := s.Apply(Encode(groupstate.Header{ClockEpoch: s.clock.Epoch, Elapsed: int64(at)}, c))
	if err != nil {
		t.Fatal(err)
	}
	var a Answer
	if err := protocol.DecodeLarge(b, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

func founded(t *testing.T) *State {
	s := New()
	apply(t, s, 0, Command{Kind: Found, Cluster: protocol.UUID{1}, Name: "test", Member: Member{Name: "n1", Incarnation: protocol.UUID{2}}})
	apply(t, s, 0, Command{Kind: Claim, Nonce: 5})
	return s
}

func TestMembersAndReplicas(t *testing.T) {
	s := founded(t)
	add := Command{Kind: AddMember, Member: Member{Name: "n2", Incarnation: protocol.UUID{3}}}
	if a, b := apply(t, s, 0, add), apply(t, s, 0, add); a.Member != 2 || b.Member != 2 {
		t.Errorf("members %d and %d, want 2 both times", a.Member, b.Member)
	}
	place := Command{Kind: AddReplica, Group: protocol.SystemGroup, Member: Member{ID: 2}}
	if a, b := apply(t, s, 0, place), apply(t, s, 0, place); a.Replica != 2 || b.Replica != 2 {
		t.Errorf("replicas %d and %d, want 2 both times", a.Replica, b.Replica)
	}
	if a := apply(t, s, 0, Command{Kind: RemoveMember, Member: Member{ID: 2}}); a.Problem == "" {
		t.Error("a member with replicas is removed")
	}
	apply(t, s, 0, Command{Kind: RemoveReplica, Group: protocol.SystemGroup, Replica: Replica{ID: 2}})
	if a := apply(t, s, 0, place); a.Replica != 3 {
		t.Errorf("replica %d, want 3: an id is never used again", a.Replica)
	}
	if a := apply(t, s, 0, Command{Kind: Found, Cluster: protocol.UUID{9}}); a.Problem == "" {
		t.Error("the cluster is founded twice")
	}
}

func TestSessions(t *testing.T) {
	s := founded(t)
	opens := Command{Kind: KeepSessions, Opens: []Opening{{Client: protocol.UUID{7}, TTL: 10 * time.Second}}}
	id := apply(t, s, 0, opens).Opened[0].Session
	if again := apply(t, s, 0, opens).Opened[0].Session; again != id {
		t.Errorf("a repeat opens session %d, want %d", again, id)
	}
	apply(t, s, 8*time.Second, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{id}})
	if lives, _ := func() (bool, uint64) { apply(t, s, 17*time.Second, Command{Kind: KeepSessions}); return s.Lookup(id) }(); !lives {
		t.Error("a session ends before its TTL")
	}
	if a := apply(t, s, 18*time.Second, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{id}}); len(a.Gone) != 1 {
		t.Error("a session lives beyond its TTL")
	}
	if ids, ok := s.EndsAfter(0, 10); !ok || !cmp.Equal(ids, []protocol.SessionID{id}) {
		t.Errorf("ended %v, %t", ids, ok)
	}
	if again := apply(t, s, 18*time.Second, opens).Opened[0].Session; again == id {
		t.Error("a session's id is used again")
	}
}

func TestSnapshot(t *testing.T) {
	s := founded(t)
	for i := range byte(5) {
		open(t, s, i, time.Duration(i+2)*time.Second, time.Second)
	}
	apply(t, s, 4*time.Second, Command{Kind: KeepSessions})
	n := New()
	if err := n.Restore(bytes.NewReader(s.Snapshot())); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(n.Snapshot(), s.Snapshot()) {
		t.Error("a restored state differs")
	}
}

// FuzzEntry shows that an entry of any bytes is applied or refused.
func FuzzEntry(f *testing.F) {
	f.Add(Encode(groupstate.Header{}, Command{Kind: KeepSessions, Opens: []Opening{{Client: protocol.UUID{7}, TTL: time.Second}}}))
	f.Add(Encode(groupstate.Header{}, Command{Kind: CreateGroups, Groups: []Group{{ID: 2}}, Partitions: []protocol.GroupID{2}}))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _, _ = New().Apply(b) })
}

// FuzzSnapshot shows that a snapshot of any bytes is restored or refused.
func FuzzSnapshot(f *testing.F) {
	f.Add(New().Snapshot())
	f.Fuzz(func(_ *testing.T, b []byte) { _ = New().Restore(bytes.NewReader(b)) })
}

// TestNamesAreUnique shows that an incarnation that joins under a name takes
// the place of the one that had it.
func TestNamesAreUnique(t *testing.T) {
	s := founded(t)
	older := Command{Kind: AddMember, Member: Member{Name: "n2", Incarnation: protocol.UUID{3}, Gone: true}}
	apply(t, s, 0, older)
	if m, ok := s.ClusterState().Named("n2"); !ok || m.ID != 2 {
		t.Fatalf("n2 is %+v, %t", m, ok)
	}
	newer := Command{Kind: AddMember, Member: Member{Name: "n2", Incarnation: protocol.UUID{4}, Level: 1}, Replaces: protocol.UUID{3}}
	for range 2 {
		if a := apply(t, s, 0, newer); a.Member != 3 {
			t.Errorf("member %d, want 3", a.Member)
		}
	}
	want := []Member{
		{ID: 1, Name: "n1", Incarnation: protocol.UUID{2}, Level: 1},
		{ID: 2, Name: "n2", Incarnation: protocol.UUID{3}, Level: 1, Gone: true},
		{ID: 3, Name: "n2", Incarnation: protocol.UUID{4}, Level: 1},
	}
	if diff := cmp.Diff(want, s.ClusterState().Members); diff != "" {
		t.Error(diff)
	}
	for what, c := range map[string]Command{
		"the older incarnation joins again":   older,
		"the older one gets a place":          {Kind: AddReplica, Group: protocol.SystemGroup, Member: Member{ID: 2}},
		"another takes the name of one there": {Kind: SetAddress, Member: Member{Name: "n2", Incarnation: protocol.UUID{2}}},
	} {
		if a := apply(t, s, 0, c); a.Problem == "" {
			t.Error(what)
		}
	}
	apply(t, s, 0, Command{Kind: RemoveMember, Member: Member{ID: 2}})
	if m, ok := s.ClusterState().Named("n2"); !ok || m.ID != 3 {
		t.Errorf("n2 is %+v, %t", m, ok)
	}
}

// TestLateJoins shows that a command to list a member replaces the incarnation that
// it names, and no other: one that comes late, twice or in another order condemns
// nobody who has taken the name since.
func TestLateJoins(t *testing.T) {
	join := func(u, replaces byte) Command {
		return Command{Kind: AddMember, Member: Member{Name: "n2", Incarnation: protocol.UUID{u}}, Replaces: protocol.UUID{replaces}}
	}
	for name, x := range map[string]struct {
		commands []Command
		has      byte   // who has the name afterwards
		gone     []byte // who has lost it
		refused  int
	}{
		"first, repeated":                          {[]Command{join(3, 0), join(3, 0)}, 3, nil, 0},
		"two at once for a free name":              {[]Command{join(3, 0), join(4, 0)}, 3, nil, 1},
		"for a free name that is taken":            {[]Command{join(4, 0), join(3, 0)}, 4, nil, 1},
		"in order":                                 {[]Command{join(3, 0), join(4, 3), join(5, 4)}, 5, []byte{3, 4}, 0},
		"two replace the same":                     {[]Command{join(3, 0), join(4, 3), join(5, 3)}, 4, []byte{3}, 1},
		"reordered":                                {[]Command{join(3, 0), join(5, 4), join(4, 3)}, 4, []byte{3}, 1},
		"the replaced one joins late":              {[]Command{join(3, 0), join(4, 3), join(3, 0)}, 4, []byte{3}, 1},
		"the replaced one wants its place back":    {[]Command{join(3, 0), join(4, 3), join(3, 4)}, 4, []byte{3}, 1},
		"the one before takes the place again":     {[]Command{join(3, 0), join(4, 3), join(5, 4), join(4, 3)}, 5, []byte{3, 4}, 1},
		"one that has never been there":            {[]Command{join(3, 0), join(4, 9)}, 3, nil, 1},
		"replaces one that is not there by itself": {[]Command{join(3, 3)}, 0, nil, 1},
	} {
		s := founded(t)
		refused := 0
		for _, c := range x.commands {
			if apply(t, s, 0, c).Problem != "" {
				refused++
			}
		}
		has, _ := s.ClusterState().Named("n2")
		var gone []byte
		for _, m := range s.ClusterState().Members {
			if m.Gone {
				gone = append(gone, m.Incarnation[0])
			}
		}
		if has.Incarnation != (protocol.UUID{x.has}) || !cmp.Equal(gone, x.gone) || refused != x.refused {
			t.Errorf("%s: %v has the name, %v are gone, %d refused; want %d, %v, %d", name, has.Incarnation, gone, refused, x.has, x.gone, x.refused)
		}
		// When nothing is listed on the replaced ones any more, they are forgotten, and
		// the same commands come once more.
		for _, m := range s.ClusterState().Members {
			if m.Gone {
				apply(t, s, 0, Command{Kind: RemoveMember, Member: Member{ID: m.ID}})
			}
		}
		for _, c := range x.commands {
			if c.Replaces != has.Incarnation { // which would be the next in order
				apply(t, s, 0, c)
			}
		}
		if after, _ := s.ClusterState().Named("n2"); after.Incarnation != has.Incarnation && x.has != 0 {
			t.Errorf("%s: afterwards %v has the name, want %v", name, after.Incarnation, has.Incarnation)
		}
	}
}

// TestInitialReplicas shows that nobody starts a group with fewer first
// replicas than others did.
func TestInitialReplicas(t *testing.T) {
	s := founded(t)
	apply(t, s, 0, Command{Kind: CreateGroups, Partitions: []protocol.GroupID{2}, Groups: []Group{{
		ID: 2, NextReplica: 3, Replicas: []Replica{{ID: 1, Member: 1, Initial: true}, {ID: 2, Member: 2, Initial: true}},
	}}})
	apply(t, s, 0, Command{Kind: RemoveReplica, Group: 2, Replica: Replica{ID: 2}})
	g, _ := s.ClusterState().Group(2)
	if diff := cmp.Diff([]Replica{{ID: 1, Member: 1}}, g.Replicas); diff != "" {
		t.Error(diff)
	}
}

// TestLevels shows that the level rises when every member understands it, and
// that afterwards nobody of an earlier version comes in.
func TestLevels(t *testing.T) {
	s := founded(t)
	s.SetMaxLevel(2)
	n2 := Member{Name: "n2", Incarnation: protocol.UUID{3}, Level: 1}
	newer := Member{Name: "n1", Incarnation: protocol.UUID{2}, Level: 2}
	raise := Command{Kind: RaiseLevel, Member: Member{Level: 2}}
	apply(t, s, 0, Command{Kind: AddMember, Member: n2})
	apply(t, s, 0, Command{Kind: SetAddress, Member: newer})
	if a := apply(t, s, 0, raise); a.Problem == "" {
		t.Error("the level rises over the head of n2")
	}
	n2.Level = 2
	apply(t, s, 0, Command{Kind: SetAddress, Member: n2})
	for range 2 {
		apply(t, s, 0, raise)
		if l := s.ClusterState().Level; l != 2 {
			t.Errorf("level %d, want 2", l)
		}
	}
	n2.Level = 1
	for what, c := range map[string]Command{
		"n2 goes back to an earlier version":   {Kind: SetAddress, Member: n2},
		"a member of an earlier version joins": {Kind: AddMember, Member: Member{Name: "n3", Incarnation: protocol.UUID{9}, Level: 1}},
	} {
		if a := apply(t, s, 0, c); !strings.Contains(a.Problem, "install a newer") {
			t.Errorf("%s: %q", what, a.Problem)
		}
	}
	same := New()
	same.SetMaxLevel(2)
	if err := same.Restore(bytes.NewReader(s.Snapshot())); err != nil || !bytes.Equal(same.Snapshot(), s.Snapshot()) {
		t.Errorf("a later version restores its snapshot: %v", err)
	}
	open := Command{Kind: KeepSessions, Opens: []Opening{{Client: protocol.UUID{5}, TTL: time.Minute}}}
	inNew, inOld := Encode(groupstate.Header{Level: 2}, open), Encode(groupstate.Header{Level: 1}, open)
	if len(inNew) <= len(inOld) {
		t.Error("nothing is new in an entry of a later version")
	}
	for _, entry := range [][]byte{inOld, inNew} {
		if err := Check(entry); err != nil {
			t.Error(err)
		}
		if _, _, err := same.Apply(entry); err != nil {
			t.Errorf("a later version: %v", err)
		}
	}
	older := New()
	if _, _, err := older.Apply(inNew); err == nil || !strings.Contains(err.Error(), "has level 2, this version knows levels up to 1: install a newer version") {
		t.Errorf("an earlier version applies an entry of a later one: %v", err)
	}
	if err := older.Restore(bytes.NewReader(s.Snapshot())); err == nil || !strings.Contains(err.Error(), "install a newer version") {
		t.Errorf("an earlier version restores the snapshot: %v", err)
	}
	older = founded(t)
	if _, _, err := older.Apply(Encode(groupstate.Header{}, raise)); err != nil {
		t.Errorf("a command that raises nothing, because a member is left behind, ends a replica: %v", err)
	}
	apply(t, older, 0, Command{Kind: SetAddress, Member: newer})
	if _, _, err := older.Apply(Encode(groupstate.Header{}, raise)); err == nil || !strings.Contains(err.Error(), "install a newer version") {
		t.Errorf("an earlier version applies the command: %v", err)
	}
}
