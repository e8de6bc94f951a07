package dmap_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/structurestest"
)

// TestEphemeral walks through who owns an entry, and what is left when sessions end.
func TestEphemeral(t *testing.T) {
	ctx := t.Context()
	grid := structurestest.NewLocal(t, dmap.Kind())
	dead, alive := grid.Client(), grid.Client()
	mine, other := dmap.New[string, int](dead, "m"), dmap.New[string, int](alive, "m")
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	owner := func(k string) protocol.SessionID {
		t.Helper()
		e, ok, err := other.Entry(ctx, k)
		if err != nil || !ok {
			t.Errorf("entry %s: %t, %v", k, ok, err)
		}
		return e.Owner
	}
	for _, k := range []string{"stays mine", "replaced", "updated", "added", "ttl", "put", "swapped", "put all", "taken over", "deleted"} {
		check(mine.Put(ctx, k, 1, dmap.Ephemeral()))
	}
	_, stored, err := mine.PutIfAbsent(ctx, "absent", 1, dmap.Ephemeral(), dmap.TTL(time.Hour))
	if err != nil || !stored {
		t.Errorf("put if absent: %t, %v", stored, err)
	}
	_, _, err = mine.Swap(ctx, "swap", 1, dmap.Ephemeral())
	check(err)
	me := owner("stays mine")
	if me == 0 {
		t.Fatal("an ephemeral entry has no owner")
	}
	// Somebody's update must not make it ordinary (EPHEMERAL-1).
	e, _, err := other.Entry(ctx, "replaced")
	check(err)
	_, err = other.Replace(ctx, "replaced", e.Version, 2)
	check(err)
	_, err = other.Update(ctx, "updated", func(old int, _ bool) (int, error) { return old + 1, nil })
	check(err)
	_, err = dmap.Add(ctx, other, "added", 1)
	check(err)
	_, err = other.SetTTL(ctx, "ttl", time.Hour)
	check(err)
	for _, k := range []string{"replaced", "updated", "added", "ttl", "absent", "swap"} {
		if got := owner(k); got != me {
			t.Errorf("%s is of session %d, want %d", k, got, me)
		}
	}
	// What says everything makes it ordinary.
	check(other.Put(ctx, "put", 2))
	_, _, err = other.Swap(ctx, "swapped", 2)
	check(err)
	check(other.PutAll(ctx, func(yield func(string, int) bool) { yield("put all", 2) }))
	for _, k := range []string{"put", "swapped", "put all"} {
		if got := owner(k); got != 0 {
			t.Errorf("%s is of session %d, and was put without the option", k, got)
		}
	}
	// A restart does not wait for its own old session.
	e, _, err = other.Entry(ctx, "taken over")
	check(err)
	_, err = other.Replace(ctx, "taken over", e.Version, 2, dmap.Ephemeral())
	check(err)
	if got := owner("taken over"); got == me || got == 0 {
		t.Errorf("what was taken over is of session %d", got)
	}
	_, err = other.Delete(ctx, "deleted")
	check(err)

	dead.End()
	var left []string
	for k, err := range other.Keys(ctx) {
		check(err)
		left = append(left, k)
	}
	slices.Sort(left)
	want := []string{"put", "put all", "swapped", "taken over"}
	if !slices.Equal(left, want) {
		t.Errorf("after the end of the session there are %q, want %q", left, want)
	}
	if n, err := other.Len(ctx); err != nil || n != len(want) {
		t.Errorf("the map says that it has %d entries, %v", n, err)
	}
	alive.End()
	third := dmap.New[string, int](grid.Client(), "m")
	if _, ok, err := third.Get(ctx, "taken over"); ok || err != nil {
		t.Errorf("what was taken over outlives its owner: %t, %v", ok, err)
	}
}

// TestPutSequential: the keys of a prefix grow, and are never repeated.
func TestPutSequential(t *testing.T) {
	ctx := t.Context()
	grid := structurestest.NewLocal(t, dmap.Kind())
	m := dmap.New[string, int](grid.Client(), "m")
	var keys []string
	for i := range 5 {
		k, err := dmap.PutSequential(ctx, m, "{jobs}/", i)
		if err != nil {
			t.Fatal(err)
		}
		if v, ok, err := m.Get(ctx, k); v != i || !ok || err != nil {
			t.Errorf("%s: %d, %t, %v", k, v, ok, err)
		}
		keys = append(keys, k)
		if i == 2 {
			if err := m.Destroy(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.IsSorted(keys) || len(slices.Compact(slices.Clone(keys))) != 5 || !strings.HasPrefix(keys[0], "{jobs}/0") || len(keys[0]) != len("{jobs}/")+20 {
		t.Errorf("keys %q", keys)
	}
	owning := grid.Client()
	k, err := dmap.PutSequential(ctx, dmap.New[string, int](owning, "m"), "{jobs}/", 9, dmap.Ephemeral())
	if err != nil {
		t.Fatal(err)
	}
	if owning.End(); k <= keys[4] {
		t.Errorf("%s comes behind %s", k, keys[4])
	}
	if _, ok, err := m.Get(ctx, k); ok || err != nil {
		t.Errorf("an ephemeral one is left: %t, %v", ok, err)
	}
	for _, prefix := range []string{"jobs/", "", "{}", "{jobs"} {
		if _, err := dmap.PutSequential(ctx, m, prefix, 1); !errors.Is(err, quorate.ErrInvalid) {
			t.Errorf("prefix %q without a tag: %v", prefix, err)
		}
	}
	if _, err := dmap.PutSequential(ctx, dmap.New[string, int](grid.Client(), "{m}"), "jobs/", 1); err != nil {
		t.Errorf("the map has a tag: %v", err)
	}
}
