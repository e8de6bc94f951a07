package dref_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/structurestest"
	"github.com/quorate/quorate/structures/txn"
)

type limits struct {
	Rate  int
	Notes map[string]string
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func TestRef(t *testing.T) {
	ctx := deadline(t)
	r := dref.New[string](structurestest.NewLocal(t, dref.Kind()).Client(), "motd")
	has := func(want string) {
		t.Helper()
		if v, ok, err := r.Get(ctx); v != want || ok != (want != "") || err != nil {
			t.Errorf("Get = %q, %t, %v, want %q", v, ok, err, want)
		}
	}
	has("")
	if err := r.Set(ctx, "a"); err != nil {
		t.Error(err)
	}
	has("a")
	if old, existed, err := r.Swap(ctx, "b"); old != "a" || !existed || err != nil {
		t.Errorf("Swap = %q, %t, %v", old, existed, err)
	}
	if there, set, err := r.SetIfAbsent(ctx, "c"); there != "b" || set || err != nil {
		t.Errorf("SetIfAbsent = %q, %t, %v", there, set, err)
	}
	has("b")
	if deleted, err := r.Delete(ctx); !deleted || err != nil {
		t.Errorf("Delete = %t, %v", deleted, err)
	}
	if deleted, err := r.Delete(ctx); deleted || err != nil {
		t.Errorf("Delete of nothing = %t, %v", deleted, err)
	}
	has("")
	if old, existed, err := r.Swap(ctx, "c"); old != "" || existed || err != nil {
		t.Errorf("Swap with nothing = %q, %t, %v", old, existed, err)
	}
	if err := r.Destroy(ctx); err != nil {
		t.Error(err)
	}
	if there, set, err := r.SetIfAbsent(ctx, "d"); there != "" || !set || err != nil {
		t.Errorf("SetIfAbsent after Destroy = %q, %t, %v", there, set, err)
	}
	has("d")
	var seen dref.Version
	if e, ok, err := r.Entry(ctx, dref.Stale(), dref.Seen(&seen)); e.Value != "d" || !ok || err != nil || e.Version == 0 || seen < e.Version {
		t.Errorf("Entry = %+v, %t, %v, seen %d", e, ok, err, seen)
	}
}

// TestReplace: a version that was read counts, not the value: one that was changed and
// changed back is another (REF-2).
func TestReplace(t *testing.T) {
	ctx := deadline(t)
	r := dref.New[string](structurestest.NewLocal(t, dref.Kind()).Client(), "leader")
	if _, err := r.Replace(ctx, 7, "x"); !errors.Is(err, dref.ErrConflict) || !quorate.SafeToRetry(err) {
		t.Errorf("Replace of nothing: %v", err)
	}
	first, err := r.Replace(ctx, 0, "a")
	if err != nil || first == 0 {
		t.Fatalf("Replace of version 0 = %d, %v", first, err)
	}
	if _, err := r.Replace(ctx, 0, "x"); !errors.Is(err, dref.ErrConflict) {
		t.Errorf("Replace of version 0 over a value: %v", err)
	}
	second, err := r.Replace(ctx, first, "b")
	if err != nil || second <= first {
		t.Fatalf("Replace = %d, %v", second, err)
	}
	if err := r.Set(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Replace(ctx, first, "x"); !errors.Is(err, dref.ErrConflict) {
		t.Errorf("Replace of a value that has come back: %v", err)
	}
	if set, err := r.CompareAndSet(ctx, "a", "c"); !set || err != nil {
		t.Errorf("CompareAndSet of a value that has come back = %t, %v", set, err)
	}
	if v, _, err := r.Get(ctx); v != "c" || err != nil {
		t.Errorf("Get = %q, %v", v, err)
	}
}

// randomly is a codec that says nothing about equal values.
type randomly struct{ structures.Codec }

func (randomly) ID() byte { return 200 }

// sorted is one that says that it encodes equal values alike.
type sorted struct{ randomly }

func (sorted) Deterministic() bool { return true }

// TestCompareAndSet: equal values have equal bytes, or the comparison is refused (REF-1).
func TestCompareAndSet(t *testing.T) {
	ctx := deadline(t)
	grid := structurestest.NewLocal(t, dref.Kind()).Client()
	r := dref.New[limits](grid, "limits")
	one := limits{1, map[string]string{"a": "1", "b": "2", "c": "3"}}
	if set, err := r.CompareAndSet(ctx, limits{}, one); set || err != nil {
		t.Errorf("CompareAndSet of nothing = %t, %v", set, err)
	}
	if err := r.Set(ctx, one); err != nil {
		t.Fatal(err)
	}
	for range 20 { // the order of a map is another each time
		same := limits{1, map[string]string{"c": "3", "b": "2", "a": "1"}}
		if set, err := r.CompareAndSet(ctx, same, one); !set || err != nil {
			t.Fatalf("CompareAndSet of equal values = %t, %v", set, err)
		}
	}
	if set, err := r.CompareAndSet(ctx, limits{Rate: 1}, one); set || err != nil {
		t.Errorf("CompareAndSet of another value = %t, %v", set, err)
	}
	other := dref.New[limits](grid, "limits", dref.Codec(structures.JSON))
	if _, err := other.CompareAndSet(ctx, one, one); !errors.Is(err, quorate.ErrCodec) {
		t.Errorf("CompareAndSet with another codec: %v", err)
	}
	if _, err := dref.New[limits](grid, "limits", dref.Codec(randomly{structures.JSON})).CompareAndSet(ctx, one, one); !errors.Is(err, quorate.ErrCodec) || !strings.Contains(err.Error(), "Deterministic") {
		t.Errorf("CompareAndSet with a codec that says nothing: %v", err)
	}
	own := dref.New[limits](grid, "own", dref.Codec(sorted{randomly{structures.JSON}}))
	if err := own.Set(ctx, one); err != nil {
		t.Fatal(err)
	}
	if set, err := own.CompareAndSet(ctx, one, limits{}); !set || err != nil {
		t.Errorf("CompareAndSet with a codec that is deterministic = %t, %v", set, err)
	}
}

func TestUpdate(t *testing.T) {
	ctx := deadline(t)
	grid := structurestest.NewLocal(t, dref.Kind()).Client()
	r := dref.New[int](grid, "n")
	add := func(old int, _ bool) (int, error) { return old + 1, nil }
	if v, err := r.Update(ctx, add); v != 1 || err != nil {
		t.Errorf("Update = %d, %v", v, err)
	}
	tries := 0
	v, err := r.Update(ctx, func(old int, exists bool) (int, error) {
		if tries++; tries == 1 {
			if err := dref.New[int](grid, "n").Set(ctx, 10); err != nil {
				t.Error(err)
			}
		}
		return old + 1, nil
	})
	if v != 11 || err != nil || tries != 2 {
		t.Errorf("Update = %d, %v after %d tries", v, err, tries)
	}
	stop := errors.New("stop")
	if _, err := r.Update(ctx, func(int, bool) (int, error) { return 0, stop }); !errors.Is(err, stop) {
		t.Errorf("Update: %v", err)
	}
}

func history(t *testing.T, ctx context.Context, r *dref.Ref[string]) (values string, versions []dref.Version) {
	t.Helper()
	for e, err := range r.History(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		values += e.Value
		versions = append(versions, e.Version)
	}
	return values, versions
}

// TestHistory: the last values are kept, deleted ones too, and a rollback is a new version.
func TestHistory(t *testing.T) {
	ctx := deadline(t)
	grid := structurestest.NewLocal(t, dref.Kind()).Client()
	r := dref.New[string](grid, "limits")
	if err := r.Configure(ctx, dref.Keep(101)); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("Keep(101): %v", err)
	}
	if err := r.Configure(ctx, dref.Keep(2)); err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"a", "b", "c", "d"} {
		if err := r.Set(ctx, v); err != nil {
			t.Fatal(err)
		}
	}
	values, versions := history(t, ctx, r)
	if values != "bcd" || !slices.IsSorted(versions) {
		t.Fatalf("%q at %v", values, versions)
	}
	if _, err := r.Rollback(ctx, versions[0]-1); !errors.Is(err, dref.ErrNotKept) || !quorate.SafeToRetry(err) {
		t.Errorf("Rollback to what is not kept: %v", err)
	}
	now, err := r.Rollback(ctx, versions[0])
	if err != nil || now <= versions[2] {
		t.Fatalf("Rollback = %d, %v, it was %d", now, err, versions[2])
	}
	if values, versions = history(t, ctx, r); values != "cdb" || versions[2] != now {
		t.Errorf("%q at %v after a rollback", values, versions)
	}
	if _, err := r.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	if values, versions = history(t, ctx, r); values != "db" {
		t.Errorf("%q after Delete", values)
	}
	if _, err := r.Rollback(ctx, versions[1]); err != nil {
		t.Error(err)
	}
	if v, _, err := r.Get(ctx); v != "b" || err != nil {
		t.Errorf("Get = %q, %v after Delete and Rollback", v, err)
	}
	if h := structures.NewHandle(grid, new(dref.Kind()), "limits", nil); true {
		if n, err := h.Len(ctx); n != 3 || err != nil {
			t.Errorf("Len = %d, %v", n, err)
		}
	}
	// A value that the handle's type cannot hold does not hide the others.
	if err := dref.New[int](grid, "limits").Set(ctx, 5); err != nil {
		t.Fatal(err)
	}
	good, bad := "", 0
	for e, err := range r.History(ctx) {
		if errors.Is(err, quorate.ErrCodec) && e.Version != 0 {
			bad++
		} else if err == nil {
			good += e.Value
		}
	}
	if good != "bb" || bad != 1 {
		t.Errorf("%q, and %d that cannot be read", good, bad)
	}
}

func TestHistory_Pages(t *testing.T) {
	ctx := deadline(t)
	r := dref.New[string](structurestest.NewLocal(t, dref.Kind()).Client(), "large")
	if err := r.Configure(ctx, dref.Keep(dref.MaxKept)); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		if err := r.Set(ctx, strings.Repeat(string(rune('a'+i)), 400_000)); err != nil {
			t.Fatal(err)
		}
	}
	var first strings.Builder
	for e, err := range r.History(ctx) {
		if err != nil || len(e.Value) != 400_000 {
			t.Fatal(len(e.Value), err)
		}
		first.WriteString(e.Value[:1])
	}
	if first.String() != "abcdefghi" {
		t.Errorf("%q", first.String())
	}
	if err := r.Set(ctx, strings.Repeat("x", 1<<20)); !errors.Is(err, quorate.ErrTooLarge) {
		t.Errorf("a value that is too large: %v", err)
	}
}

func TestWatch(t *testing.T) {
	ctx := deadline(t)
	grid := structurestest.NewLocal(t, dref.Kind()).Client()
	r := dref.New[string](grid, "motd")
	step, last := 0, dref.Version(0)
	for c, err := range r.Watch(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"", "a", "b", "", "c"}[step]
		if c.Value != want || c.Gone != (want == "") || c.Version < last || last > 0 && c.Version == last {
			t.Fatalf("%+v after %d, want %q", c, last, want)
		}
		last = c.Version
		switch step {
		case 0:
			err = r.Set(ctx, "a")
		case 1:
			err = r.Set(ctx, "b")
		case 2:
			err = r.Destroy(ctx)
		case 3:
			err = r.Set(ctx, "c")
		case 4:
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		step++
	}
}

func TestTxn(t *testing.T) {
	ctx := deadline(t)
	local := structurestest.NewLocal(t, dref.Kind(), dsemaphore.Kind())
	grid := local.Client()
	r, s := dref.New[string](grid, "{app}state"), dsemaphore.New(grid, "{app}owner")
	u := r.Txn()
	commit := func(want bool, tx *txn.Txn) {
		t.Helper()
		if yes, err := tx.Commit(ctx); yes != want || err != nil {
			t.Errorf("Commit = %t, %v, want %t", yes, err, want)
		}
	}
	commit(true, txn.New(grid).If(u.IfAbsent()).Then(u.Set("a")))
	entry, got := u.Entry(), u.Get()
	commit(true, txn.New(grid).If(u.IfValue("a")).Then(entry, got))
	e, ok, err := entry.Result()
	if v, _, _ := got.Result(); v != "a" || e.Value != "a" || !ok || err != nil {
		t.Errorf("%+v, %t, %v, %q", e, ok, err, v)
	}
	replaced := u.Replace(e.Version, "b")
	commit(true, txn.New(grid).If(u.IfVersion(e.Version)).Then(replaced))
	if v, err := replaced.Result(); v <= e.Version || err != nil {
		t.Errorf("Replace = %d, %v", v, err)
	}
	old, there := u.Swap("c"), u.SetIfAbsent("x")
	commit(true, txn.New(grid).Then(old, there, u.CompareAndSet("c", "d")))
	if v, ok, err := old.Result(); v != "b" || !ok || err != nil {
		t.Errorf("Swap = %q, %t, %v", v, ok, err)
	}
	if v, ok, err := there.Result(); v != "c" || !ok || err != nil {
		t.Errorf("SetIfAbsent = %q, %t, %v", v, ok, err)
	}
	commit(false, txn.New(grid).If(u.IfVersion(e.Version)).Then(u.Set("x")))
	var refused *txn.OpError
	if _, err := txn.New(grid).Then(u.Set("x"), u.Replace(e.Version, "y")).Commit(ctx); !errors.As(err, &refused) || refused.Index != 1 || !errors.Is(err, dref.ErrConflict) {
		t.Errorf("a conflict: %v", err)
	}
	deleted := u.Delete()
	commit(true, txn.New(grid).Then(deleted))
	if yes, err := deleted.Result(); !yes || err != nil {
		t.Errorf("Delete = %t, %v", yes, err)
	}

	// What is written only while something is held.
	if err := s.Init(ctx, 1); err != nil {
		t.Fatal(err)
	}
	held, err := s.Acquire(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Set(ctx, "mine", dref.IfHeld(held)); err != nil {
		t.Error(err)
	}
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if err := r.Set(ctx, "late", dref.IfHeld(held)); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("Set after the release: %v", err)
	}
	if v, _, err := r.Get(ctx); v != "mine" || err != nil {
		t.Errorf("Get = %q, %v", v, err)
	}
}

func TestErrors(t *testing.T) {
	ctx := deadline(t)
	grid := structurestest.NewLocal(t, dref.Kind()).Client()
	r := dref.New[string](grid, "")
	_, _, err := r.Get(ctx)
	for _, err := range []error{err, r.Set(ctx, "x"), r.Destroy(ctx)} {
		if !errors.Is(err, quorate.ErrInvalid) {
			t.Errorf("an empty name: %v", err)
		}
	}
	for _, err := range r.Watch(ctx) {
		if !errors.Is(err, quorate.ErrInvalid) {
			t.Errorf("an empty name: %v", err)
		}
	}
	if err := dref.New[int](grid, "n").Set(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := dref.New[string](grid, "n").Swap(ctx, "x"); !errors.Is(err, quorate.ErrCodec) || !errors.Is(err, quorate.ErrOutcomeUnknown) {
		t.Errorf("Swap of another type: %v", err)
	}
	if e, ok, err := dref.New[int](grid, "n").Encoded().Get(ctx); e.Codec() != "CBOR" || !ok || err != nil {
		t.Errorf("%v, %t, %v", e, ok, err)
	}
}
