package dpresence_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/structurestest"
)

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func group(c *structurestest.Client) *dpresence.Group[int] { return dpresence.New[int](c, "workers") }

func join(t *testing.T, c *structurestest.Client, id string, payload int) *dpresence.Member[int] {
	t.Helper()
	m, err := group(c).Join(bounded(t), payload, dpresence.ID(id))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func wantMembers(t *testing.T, c *structurestest.Client, want ...string) dpresence.Version {
	t.Helper()
	list, view, err := group(c).List(bounded(t))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprint(e.ID, " ", e.Payload))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("members: -want +got\n%s", diff)
	}
	return view
}

func wantDone(t *testing.T, m *dpresence.Member[int], want error) {
	t.Helper()
	select {
	case <-m.Done():
	case <-time.After(2 * time.Minute):
		t.Fatal("the membership goes on")
	}
	if err := m.Err(); !errors.Is(err, want) {
		t.Fatalf("the membership has ended with %v, want %v", err, want)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func watch(t *testing.T, c *structurestest.Client, opts ...dpresence.WatchOption) (expect func(want ...string)) {
	next, stop := iter.Pull2(group(c).Watch(bounded(t), opts...))
	t.Cleanup(stop)
	return func(want ...string) {
		t.Helper()
		var got []string
		for range want {
			e, err, ok := next()
			if err != nil || !ok {
				t.Fatalf("after %q: %v, %v", got, err, ok)
			}
			s := e.Type.String() + " " + e.Entry.ID
			if e.Type == dpresence.Put || e.Type == dpresence.Current {
				s += fmt.Sprint(" ", e.Entry.Payload)
			}
			got = append(got, strings.TrimSpace(s))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("changes: -want +got\n%s", diff)
		}
	}
}

func TestPresence(t *testing.T) {
	ctx := bounded(t)
	g := structurestest.NewLocal(t, dpresence.Kind())
	c, other := g.Client(), g.Client()
	expect := watch(t, other)
	expect("synced")
	a := join(t, c, "a", 1)
	b := join(t, other, "b", 2)
	check(t, a.Set(ctx, 3))
	wantMembers(t, c, "a 3", "b 2")
	check(t, a.Leave(ctx))
	wantDone(t, a, nil)
	c.End()
	expect("put a 1", "put b 2", "put a 3", "removed a")
	existed, err := group(other).Remove(ctx, "b")
	if err != nil || !existed {
		t.Fatal(existed, err)
	}
	wantDone(t, b, structures.ErrRevoked)
	expect("removed b")
	wantMembers(t, other)
	anybody, err := group(other).Join(ctx, 5)
	check(t, err)
	if len(anybody.ID()) != 16 {
		t.Errorf("a random ID: %q", anybody.ID())
	}
	check(t, group(other).Destroy(ctx))
	wantDone(t, anybody, structures.ErrRevoked)
	if _, err := group(other).Join(ctx, 5, dpresence.ID("\x00")); !errors.Is(err, quorate.ErrInvalid) {
		t.Error(err)
	}
	if _, err := dpresence.New[string](other, "workers").Join(ctx, strings.Repeat("x", dpresence.MaxPayload)); !errors.Is(err, quorate.ErrTooLarge) {
		t.Error(err)
	}
}

// A member that is late to leave does not take its successor along (ROSTER-3).
func TestLateLeave(t *testing.T) {
	g := structurestest.NewLocal(t, dpresence.Kind())
	before, after := g.Client(), g.Client()
	old := join(t, before, "a", 1)
	join(t, after, "a", 2)
	if err := old.Leave(bounded(t)); !errors.Is(err, dpresence.ErrReplaced) {
		t.Fatal(err)
	}
	wantMembers(t, after, "a 2")
}

// Of two processes with one ID the later one stays (ROSTER-4).
func TestNoFlapping(t *testing.T) {
	g := structurestest.NewLocal(t, dpresence.Kind())
	one, two := g.Client(), g.Client()
	first := join(t, one, "a", 1)
	one.End()
	join(t, two, "a", 2)
	one.Renew()
	wantDone(t, first, dpresence.ErrReplaced)
	wantMembers(t, two, "a 2")
}

// The end of the old session takes nothing of a member that has joined again (ROSTER-4).
func TestOldSessionEnds(t *testing.T) {
	g := structurestest.NewLocal(t, dpresence.Kind())
	c, other := g.Client(), g.Client()
	join(t, c, "a", 1)
	expect := watch(t, other)
	expect("synced")
	end := c.Renew()
	expect("put a 1") // it has joined again
	end()
	wantMembers(t, other, "a 1")
}

// A member whose payload cannot be decoded is named, and the others are listed.
func TestList_Unreadable(t *testing.T) {
	ctx := bounded(t)
	c := structurestest.NewLocal(t, dpresence.Kind()).Client()
	join(t, c, "a", 1)
	_, err := dpresence.New[string](c, "workers").Join(ctx, "text", dpresence.ID("b"))
	check(t, err)
	join(t, c, "c", 3)
	list, view, err := group(c).List(ctx)
	if !errors.Is(err, quorate.ErrCodec) || !strings.Contains(err.Error(), "member b: ") {
		t.Error(err)
	}
	if len(list) != 2 || list[0].Payload != 1 || list[1].Payload != 3 || view == 0 {
		t.Errorf("%v at %d", list, view)
	}
}
