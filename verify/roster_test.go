package verify

import (
	"testing"
	"time"

	"github.com/quorate/quorate/structures/dservice"
)

func rosterAt(call, ret int64, in rosterInput, out any) Operation {
	return Operation{Object: object{kind: services, name: "s", key: "a"}, Call: call, Return: ret, Input: in, Output: out}
}

func TestRosterModel(t *testing.T) {
	register := func(at int64, n, value int) Operation {
		return rosterAt(at, at+1, rosterInput{op: rosterRegister, number: n, value: value}, rosterOutput{})
	}
	list := func(at int64, e entry) Operation {
		return rosterAt(at, at+1, rosterInput{op: rosterList}, rosterOutput{entry: e})
	}
	drain := rosterAt(2, 3, rosterInput{op: rosterDrain, on: true}, rosterOutput{})
	leave := func(at int64, n int, replaced bool) Operation {
		return rosterAt(at, at+1, rosterInput{op: rosterDeregister, number: n}, rosterOutput{replaced: replaced})
	}
	for _, test := range []struct {
		name string
		ops  []Operation
		want Outcome
	}{
		{"listed", []Operation{register(0, 1, 7), list(2, entry{value: 7})}, Linearizable},
		{"missing", []Operation{register(0, 1, 7), list(2, entry{})}, Illegal},
		{"the last wins", []Operation{register(0, 1, 7), register(2, 2, 8), list(4, entry{value: 8})}, Linearizable},
		{"the first wins", []Operation{register(0, 1, 7), register(2, 2, 8), list(4, entry{value: 7})}, Illegal},
		{"a late one removes its successor", []Operation{register(0, 1, 7), register(2, 2, 8), leave(4, 1, true), list(6, entry{})}, Illegal},
		{"a late one is told", []Operation{register(0, 1, 7), register(2, 2, 8), leave(4, 1, true), list(6, entry{value: 8})}, Linearizable},
		{"a drain is kept", []Operation{register(0, 1, 7), drain, leave(4, 1, false), register(6, 2, 8), list(8, entry{value: 8, drained: true})}, Linearizable},
		{"a drain is lost", []Operation{register(0, 1, 7), drain, leave(4, 1, false), register(6, 2, 8), list(8, entry{value: 8})}, Illegal},
	} {
		h := NewHistory()
		h.add(test.ops...)
		if v := Check(h, time.Minute); v.Outcome != test.want {
			t.Errorf("%s: %v, want %v", test.name, v, test.want)
		}
	}
}

func TestViews(t *testing.T) {
	change := func(what dservice.EventType, id string, port int, view dservice.Version) *dservice.Change {
		return &dservice.Change{Type: what, Entry: dservice.Entry{Instance: dservice.Instance{ID: id, Port: port}}, View: view}
	}
	text := func(port int) string {
		return viewText(&dservice.Entry{Instance: dservice.Instance{Port: port}})
	}
	watched := func() *Views {
		var v Views
		w := v.Watcher()
		w(change(dservice.Current, "a", 1, 3))
		w(change(dservice.Synced, "", 0, 5))
		w(change(dservice.Put, "b", 2, 7))
		w(change(dservice.Removed, "a", 0, 9))
		return &v
	}
	v := watched()
	v.Listed(9, map[string]string{"b": text(2)})
	v.Listed(5, map[string]string{"a": text(1)})
	v.Listed(8, map[string]string{"a": text(1), "b": text(2)})
	v.Listed(4, nil)  // before the watch
	v.Listed(10, nil) // it has not come so far
	if n, err := v.Check(); n != 3 || err != nil {
		t.Errorf("%d compared, %v", n, err)
	}
	v = watched()
	v.Listed(8, map[string]string{"b": text(2)})
	if _, err := v.Check(); err == nil {
		t.Error("a list that lacks an instance is taken")
	}
}
