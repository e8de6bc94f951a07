package dmap_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
)

// stored returns what a cursor is after it was kept as JSON, as text or as bytes.
func stored(t *testing.T, c dmap.Cursor, how int) (read dmap.Cursor) {
	t.Helper()
	switch how % 3 {
	case 0:
		b, err := json.Marshal(map[string]dmap.Cursor{"at": c})
		check(t, err)
		var m map[string]dmap.Cursor
		check(t, json.Unmarshal(b, &m))
		read = m["at"]
	case 1:
		check(t, read.UnmarshalText([]byte(c.String())))
	default:
		b, err := c.MarshalBinary()
		check(t, err)
		check(t, read.UnmarshalBinary(b))
		clear(b) // it is the caller's
	}
	if read != c {
		t.Errorf("%+v was read as %+v", c, read)
	}
	return read
}

// TestResume leaves an iteration after every few entries, wherever that is: in every
// partition, inside a page, at its end. Another client goes on with what was kept, by
// All or by Keys, while others write and where calls fail; and every entry that is
// there throughout comes exactly once.
func TestResume(t *testing.T) {
	ctx := testContext(t)
	g := newGrid(t)
	m := dmap.New[string, string](g, "m")
	entries := map[string]string{}
	for i := range 120 {
		entries[fmt.Sprint("k", i)] = "v"
		entries[fmt.Sprintf("{one}%d", i)] = strings.Repeat("v", 4<<10) // pages of one partition
	}
	check(t, m.PutAll(ctx, maps.All(entries)))

	for every := 1; every < 120; every = every*3 + 1 {
		var at dmap.Cursor
		came := map[string]int{}
		for round := 0; !at.Done(); round++ {
			at = stored(t, at, round)
			other := &grid{Client: g.Local.Client(), Local: g.Local}
			m := dmap.New[string, string](other, "m")
			calls := 0
			other.fail = func(structures.Call) error {
				if calls++; calls%5 == 4 {
					return &quorate.Error{Op: "all", Cause: quorate.ErrUnavailable}
				}
				return nil
			}
			n := 0
			count := func(key string, err error) bool {
				if err != nil {
					if !errors.Is(err, quorate.ErrUnavailable) {
						t.Fatal(err)
					}
					return true
				}
				came[key]++
				n++
				return n < every
			}
			if round%2 == 0 {
				for e, err := range m.All(ctx, dmap.Resume(&at)) {
					if !count(e.Key, err) {
						break
					}
				}
			} else {
				for k, err := range m.Keys(ctx, dmap.Resume(&at)) {
					if !count(k, err) {
						break
					}
				}
			}
			for key := range came { // one that came is written again, one goes
				check(t, dmap.New[string, string](g, "m").Put(ctx, key, "w"))
				_, err := dmap.New[string, string](g, "m").Delete(ctx, fmt.Sprint("gone", round))
				check(t, err)
				break
			}
			check(t, dmap.New[string, string](g, "m").Put(ctx, fmt.Sprint("gone", round+1), ""))
		}
		for key := range entries {
			if came[key] != 1 {
				t.Errorf("parts of %d: %s came %d times", every, key, came[key])
			}
		}
		for key, n := range came {
			if n > 1 {
				t.Errorf("parts of %d: %s came %d times", every, key, n)
			}
		}
	}
}

// TestResume_Range: a range holds for what is left, and an end stays one.
func TestResume_Range(t *testing.T) {
	ctx := testContext(t)
	g := newGrid(t)
	m := dmap.New[int, int](g, "m")
	for i := range 40 {
		check(t, m.Put(ctx, i, i))
	}
	var at dmap.Cursor
	first := 0
	for _, err := range m.Keys(ctx, dmap.From(10), dmap.Before(30), dmap.Resume(&at)) {
		check(t, err)
		if first++; first == 8 {
			break
		}
	}
	rest := collect(t, m.Keys(ctx, dmap.From(10), dmap.Before(30), dmap.Resume(&at)))
	want(t, "keys in range", first+len(rest), 20)
	want(t, "done", at.Done(), true)
	want(t, "resumed at the end", collect(t, m.Keys(ctx, dmap.Resume(&at))), nil)

	// Partitions in which nothing was found are not asked again.
	at = dmap.Cursor{}
	g.fail = func(call structures.Call) error {
		if call.Partition == 5 {
			return &quorate.Error{Op: "keys", Cause: quorate.ErrUnavailable}
		}
		return nil
	}
	for _, err := range m.Keys(ctx, dmap.From(1000), dmap.Resume(&at)) {
		if !errors.Is(err, quorate.ErrUnavailable) {
			t.Errorf("got %v", err)
		}
	}
	g.fail = func(call structures.Call) error {
		if call.Partition < 5 {
			t.Errorf("partition %d is asked again", call.Partition)
		}
		return nil
	}
	want(t, "above the range", collect(t, m.Keys(ctx, dmap.From(1000), dmap.Resume(&at))), nil)
	want(t, "done", at.Done(), true)
	g.fail = nil

	at = dmap.Cursor{}
	want(t, "an empty range", collect(t, m.Keys(ctx, dmap.From(3), dmap.Before(3), dmap.Resume(&at))), nil)
	want(t, "done with nothing", at.Done(), true)
	want(t, "the zero cursor", dmap.Cursor{}.Done(), false)
	want(t, "its text", dmap.Cursor{}.String(), "")
}

// TestResume_Unreadable: what cannot be read is not passed.
func TestResume_Unreadable(t *testing.T) {
	ctx := testContext(t)
	g := newGrid(t)
	m := dmap.New[string, any](g, "m")
	check(t, m.Put(ctx, "{x}a", 1))
	check(t, m.Put(ctx, "{x}b", "text"))
	check(t, m.Put(ctx, "{x}c", 3))
	var at dmap.Cursor
	for range 2 {
		var came []string
		for e, err := range dmap.New[string, int](g, "m").All(ctx, dmap.Resume(&at)) {
			if err == nil || e.Key == "{x}b" && errors.Is(err, quorate.ErrCodec) {
				came = append(came, e.Key)
				continue
			}
			t.Errorf("%s: %v", e.Key, err)
		}
		if came[len(came)-1] != "{x}b" || at.Done() {
			t.Errorf("came %v, done: %t", came, at.Done())
		}
	}
	want(t, "the rest", collect(t, m.Keys(ctx, dmap.Resume(&at))), []string{"{x}b", "{x}c"})
}

func TestResume_Refused(t *testing.T) {
	ctx := testContext(t)
	g := newGrid(t)
	check(t, dmap.New[string, int](g, "m").Put(ctx, "a", 1))
	var at dmap.Cursor
	for _, err := range dmap.New[string, int](g, "m").All(ctx, dmap.Resume(&at)) {
		check(t, err)
		break
	}
	kept := at
	for _, err := range dmap.New[string, int](g, "other").Keys(ctx, dmap.Resume(&at)) {
		if !errors.Is(err, quorate.ErrInvalid) || !strings.Contains(err.Error(), "a cursor of map m") || !quorate.SafeToRetry(err) {
			t.Errorf("a cursor of another map: %v", err)
		}
	}
	for _, err := range dmap.New[string, int](fewer{g}, "m").Keys(ctx, dmap.Resume(&at)) {
		if !errors.Is(err, quorate.ErrInvalid) || !strings.Contains(err.Error(), "partitions") {
			t.Errorf("a cursor of another grid: %v", err)
		}
	}
	want(t, "it stays as it is", at == kept, true)
	for _, text := range []string{"?", "hQFhYQIB", "hQFhYQEC", at.String() + "AA", strings.ToUpper(at.String())} {
		if err := at.UnmarshalText([]byte(text)); !errors.Is(err, quorate.ErrInvalid) {
			t.Errorf("%q was read: %v", text, err)
		}
	}
	want(t, "it stays as it is", at == kept, true)
}

// fewer is a grid with another number of partitions.
type fewer struct{ *grid }

func (fewer) Partitions() int { return 2 }

func FuzzCursor(f *testing.F) {
	f.Add([]byte{0x85, 1, 0x61, 'm', 16, 3, 0x42, 1, 'a'})
	f.Add([]byte{0x85, 1, 0x61, 'm', 16, 16, 0x40})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again dmap.Cursor
		if c.UnmarshalBinary(b) != nil {
			if c != again {
				t.Errorf("what is no cursor changed one to %+v", c)
			}
			return
		}
		check(t, again.UnmarshalText([]byte(c.String())))
		if c != again {
			t.Errorf("%+v was read again as %+v", c, again)
		}
	})
}
