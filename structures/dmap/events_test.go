package dmap

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

// recording is the Machine of a map that notes what it emits.
type recording struct {
	machine
	events   []string
	versions map[string]Version // of the entries, as the events tell
	wrong    error              // the first event whose previous version is not the entry's
}

type recordingEnv struct {
	structures.Env
	to *recording
}

func (m *recording) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	return m.machine.Apply(recordingEnv{env, m}, op, body)
}

func (m *recording) Due(env structures.Env, key []byte, row structures.Row) {
	m.machine.Due(recordingEnv{env, m}, key, row)
}

func (m *recording) Ended(env structures.Env, key []byte, row structures.Row) {
	m.machine.Ended(recordingEnv{env, m}, key, row)
}

func (e recordingEnv) Emit(event structures.Event) {
	names := map[structures.EventType]string{
		structures.EventPut: "put", structures.EventRemoved: "removed", structures.EventExpired: "expired",
		structures.EventSessionEnded: "ended",
	}
	text := names[event.Type] + " " + string(event.Key[1:])
	if n, ok := readInteger(event.Value); ok {
		text += fmt.Sprint(" ", n)
	}
	e.to.events = append(e.to.events, text)
	if was := e.to.versions[string(event.Key)]; event.Previous != was && e.to.wrong == nil {
		e.to.wrong = fmt.Errorf("%s: the previous version is %d, the entry had %d", text, event.Previous, was)
	}
	if delete(e.to.versions, string(event.Key)); event.Type == structures.EventPut {
		e.to.versions[string(event.Key)] = e.Version()
	}
	e.Env.Emit(event)
}

func TestEvents(t *testing.T) {
	ctx := context.Background()
	rec := &recording{versions: map[string]Version{}}
	kind := Kind()
	kind.Machine = rec
	grid := structurestest.NewLocal(t, kind)
	m := New[string, int](grid.Client(), "{one partition}")

	expect := func(what string, err error, want ...string) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, rec.events); diff != "" {
			t.Errorf("%s: -want +got\n%s", what, diff)
		}
		rec.events = nil
	}
	expect("Put", m.Put(ctx, "a", 1, TTL(time.Second)), "put a 1")
	_, err := Add(ctx, m, "a", 2)
	expect("Add", err, "put a 3")
	_, err = m.SetTTL(ctx, "a", 2*time.Second)
	expect("SetTTL", err, "put a 3")
	_, _, err = m.PutIfAbsent(ctx, "a", 9)
	expect("PutIfAbsent that does not", err)
	grid.Advance(2 * time.Second)
	expect("expiry", nil, "expired a")
	expect("PutAll", m.PutAll(ctx, func(yield func(string, int) bool) { _ = yield("b", 2) && yield("a", 1) }), "put a 1", "put b 2")
	_, err = m.DeleteAll(ctx, "a", "c")
	expect("DeleteAll", err, "removed a")
	expect("Clear", m.Clear(ctx), "removed b")

	// The end of a session is told of what it still owns, and of nothing else.
	owning := grid.Client()
	own := New[string, int](owning, "{one partition}")
	expect("Put, ephemeral", own.Put(ctx, "a", 1, Ephemeral()), "put a 1")
	expect("Put, ephemeral", own.Put(ctx, "b", 2, Ephemeral()), "put b 2")
	expect("Put of another", m.Put(ctx, "b", 3), "put b 3")
	expect("Put, ephemeral with a TTL", own.Put(ctx, "c", 4, Ephemeral(), TTL(time.Second)), "put c 4")
	owning.End()
	expect("the end of the session", nil, "ended a", "ended c")
	expect("Clear", m.Clear(ctx), "removed b")

	// The clean-up after the entry that moves time stops where its budget ends.
	const entries = 4000
	many := func(yield func(string, int) bool) {
		for i := range entries {
			if !yield(fmt.Sprintf("%04d", i), i) {
				return
			}
		}
	}
	err = m.PutAll(ctx, many, TTL(time.Second))
	rec.events = nil
	grid.Advance(time.Second)
	swept := len(rec.events)
	if err != nil || swept < 1000 || swept > entries/2 {
		t.Fatalf("%v, %d swept", err, swept)
	}
	rec.events = nil
	if err := m.Put(ctx, "3999", 7); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"expired 3999", "put 3999 7", fmt.Sprintf("expired %04d", swept)}, rec.events[:3]); diff != "" {
		t.Errorf("Put onto a due entry: -want +got\n%s", diff)
	}
	for len(rec.events) < 2+entries-1-swept {
		before := len(rec.events)
		if grid.Advance(0); len(rec.events) == before {
			t.Fatalf("%d events, then no more", before)
		}
	}
	if rec.wrong != nil {
		t.Error(rec.wrong)
	}
}
