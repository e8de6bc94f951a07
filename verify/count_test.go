package verify

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestCheckEntries(t *testing.T) {
	expected := Entries{"written": Present, "deleted": Absent, "unknown": Maybe}
	there := func(keys ...string) func(string) bool {
		return func(k string) bool { return slices.Contains(keys, k) }
	}
	for _, keys := range [][]string{{"written"}, {"written", "unknown"}} {
		if err := CheckEntries(expected, there(keys...)); err != nil {
			t.Errorf("%v: %v", keys, err)
		}
	}
	for _, keys := range [][]string{{}, {"unknown"}, {"written", "deleted"}} {
		if CheckEntries(expected, there(keys...)) == nil {
			t.Errorf("%v passes", keys)
		}
	}
}

func TestCheckLife(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	life := Life{TTL: 3 * time.Second, Called: at(0), Returned: at(1)}
	disturbed := 0.0
	quiet := func(from, to time.Time) time.Duration {
		return to.Sub(from) - time.Duration(disturbed*float64(time.Second))
	}
	for _, test := range []struct {
		there     bool
		at        float64
		disturbed float64
		ok        bool
	}{
		{true, 2, 0, true},
		{false, 2, 0, false}, // early
		{false, 3.5, 0, true},
		{true, 5.5, 0, true},
		{true, 7, 0, false}, // late
		{true, 7, 4, true},
	} {
		disturbed = test.disturbed
		if err := CheckLife(life, test.there, at(test.at), at(test.at), quiet); (err == nil) != test.ok {
			t.Errorf("there %v after %v s: %v", test.there, test.at, err)
		}
	}
}

func TestGrants(t *testing.T) {
	hold := func(lease context.Context, token protocol.Token) *structures.Held {
		grid := structurestest.Echo{Lease: lease, Body: structures.Granted(1, token).Body}
		held, err := dsemaphore.New(grid, "x").Acquire(lease, 1)
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	lease, lose := context.WithCancel(t.Context())
	g := NewGrants(2)
	first, err := g.Granted(hold(lease, 5), 1, g.Token())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Granted(hold(t.Context(), 5), 1, g.Token()); err == nil {
		t.Error("a token that does not grow passes")
	}
	if _, err := g.Granted(hold(t.Context(), 6), 1, g.Token()); err == nil {
		t.Error("three of two permits pass")
	}
	g.Returns(first)
	lose()
	g = NewGrants(2)
	if _, err := g.Granted(hold(lease, 7), 2, 0); err != nil {
		t.Error(err)
	}
	if _, err := g.Granted(hold(t.Context(), 8), 2, g.Token()); err != nil {
		t.Errorf("after the session was lost: %v", err)
	}
}

func TestCheckIDs(t *testing.T) {
	if err := CheckIDs([][]int64{{1, 2, 9}, nil, {3, 4}}); err != nil {
		t.Error(err)
	}
	for _, lists := range [][][]int64{{{1, 2}, {2}}, {{3, 3}}, {{3, 2}}, {{0}}} {
		if CheckIDs(lists) == nil {
			t.Errorf("%v passes", lists)
		}
	}
}

func TestCheckRate(t *testing.T) {
	at := func(call, ret, n int64) RateGrant {
		return RateGrant{call * int64(time.Second), ret * int64(time.Second), n}
	}
	for _, grants := range [][]RateGrant{nil, {at(0, 0, 5)}, {at(0, 0, 5), at(1, 2, 2)}, {at(0, 9, 9), at(9, 9, 5)}} {
		if err := CheckRate(grants, 1, time.Second, 5); err != nil {
			t.Errorf("%v: %v", grants, err)
		}
	}
	for _, grants := range [][]RateGrant{{at(0, 0, 7)}, {at(0, 0, 5), at(0, 1, 3)}, {at(0, 100, 1), at(50, 51, 8)}} {
		if CheckRate(grants, 1, time.Second, 5) == nil {
			t.Errorf("%v passes", grants)
		}
	}
}
