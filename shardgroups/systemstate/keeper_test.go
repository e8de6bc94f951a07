package systemstate

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
)

// TestKeepers walks through who keeps a session: members, from a hello on, until
// its client does, and never again.
func TestKeepers(t *testing.T) {
	s := founded(t)
	client := protocol.UUID{7}
	greet := Command{Kind: KeepSessions, Opens: []Opening{{Client: client, TTL: 10 * time.Second, Greets: true}}}
	renew := func(at time.Duration, ids ...protocol.SessionID) []protocol.SessionID {
		return apply(t, s, at, Command{Kind: KeepSessions, Renews: ids}).Dropped
	}
	is := func(id protocol.SessionID, want Keeper) {
		t.Helper()
		if got := s.Keeper(id); got != want {
			t.Errorf("keeper %d of session %d, want %d", got, id, want)
		}
	}
	id := apply(t, s, 0, greet).Opened[0].Session
	is(id, KeeperMembers)
	is(id+1, KeeperUnknown)
	for at := 8 * time.Second; at < time.Minute; at += 8 * time.Second {
		if dropped := renew(at, id, id); len(dropped) > 0 {
			t.Fatalf("at %v renewals are dropped: %v", at, dropped)
		}
	}
	// The hello comes again, and finds it; the client takes over, beside a renewal.
	if again := apply(t, s, 58*time.Second, greet).Opened[0].Session; again != id {
		t.Fatalf("the hello finds session %d, want %d", again, id)
	}
	a := apply(t, s, 60*time.Second, Command{Kind: KeepSessions, Renews: []protocol.SessionID{id}, Keeps: []protocol.SessionID{id}})
	if len(a.Gone) > 0 || !cmp.Equal(a.Dropped, []protocol.SessionID{id}) {
		t.Fatalf("gone %v, dropped %v", a.Gone, a.Dropped)
	}
	is(id, KeeperClient)
	// Neither a renewal nor a hello lets it live longer than its client counts.
	if dropped := renew(69*time.Second, id); len(dropped) != 1 {
		t.Error("members renew what its client keeps")
	}
	apply(t, s, 69*time.Second, greet)
	is(id, KeeperClient)
	if apply(t, s, 71*time.Second, Command{Kind: KeepSessions}); !s.Over(id) {
		t.Error("the session lives on without its client")
	}
	is(id, KeeperClient)
	if dropped := renew(72*time.Second, id); len(dropped) != 1 {
		t.Error("a session that is over is renewed")
	}
	// The next hello opens another, which its client takes over by opening it.
	next := apply(t, s, 73*time.Second, greet).Opened[0].Session
	is(next, KeeperMembers)
	if next == id {
		t.Error("a session's number is used again")
	}
	open := greet
	open.Opens = []Opening{{Client: client, TTL: 10 * time.Second}}
	if found := apply(t, s, 74*time.Second, open).Opened[0].Session; found != next {
		t.Errorf("session %d is found, want %d", found, next)
	}
	is(next, KeeperClient)
	// What is known of keepers outlives a snapshot.
	greet.Opens[0].Client = protocol.UUID{8}
	third := apply(t, s, 75*time.Second, greet).Opened[0].Session
	r := New()
	if err := r.Restore(bytes.NewReader(s.Snapshot())); err != nil {
		t.Fatal(err)
	}
	s = r
	is(next, KeeperClient)
	is(third, KeeperMembers)
}
