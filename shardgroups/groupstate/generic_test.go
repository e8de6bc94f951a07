package groupstate_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// TestGate_Configure: settings are judged before they are logged.
func TestGate_Configure(t *testing.T) {
	gate := groupstate.New(goldenKinds()).Gate()
	ttl, capacity := word("ttl"), word("capacity")
	for _, test := range []struct {
		kind protocol.KindID
		op   protocol.Op
		body []byte
		want protocol.Code
		says string
	}{
		{maps, structures.OpConfigure, items(), protocol.CodeOK, ""},
		{maps, structures.OpConfigure, items(ttl, 1000), protocol.CodeOK, ""},
		{maps, structures.OpConfigure, items(ttl, 0), protocol.CodeOK, ""},
		{maps, structures.OpConfigure, items(ttl, 99), protocol.CodeInvalid, "a TTL of 99 ms"},
		{maps, structures.OpConfigure, items(ttl, -1), protocol.CodeInvalid, "a TTL of -1 ms"},
		{maps, structures.OpConfigure, items(ttl, word("1s")), protocol.CodeInvalid, "the setting ttl is not of the type duration"},
		{maps, structures.OpConfigure, items(word("tll"), 1000), protocol.CodeInvalid, `a map has no setting "tll": is it ttl?`},
		{maps, structures.OpConfigure, items(word("something-else"), 1000), protocol.CodeInvalid, `a map has no setting "something-else"; it has keep-old, ttl`},
		{maps, structures.OpConfigure, items(word(strings.Repeat("ttl", 1000)), 1000), protocol.CodeInvalid, "; it has keep-old, ttl"},
		{maps, structures.OpConfigure, items(ttl, 1000, ttl, 1000), protocol.CodeInvalid, ""},
		{maps, structures.OpConfigure, items(ttl), protocol.CodeInvalid, ""},
		{maps, structures.OpConfigure, nil, protocol.CodeInvalid, ""},
		{maps, structures.OpAdopt, items(3, ttl, 1000), protocol.CodeOK, ""},
		{maps, structures.OpAdopt, items(3), protocol.CodeOK, ""},
		{maps, structures.OpAdopt, items(), protocol.CodeInvalid, ""},
		{maps, structures.OpAdopt, items(ttl, 1000), protocol.CodeInvalid, ""},
		{maps, structures.OpAdopt, items(3, ttl, 99), protocol.CodeInvalid, "a TTL of 99 ms"},
		{queues, structures.OpConfigure, items(capacity, 1), protocol.CodeOK, ""},
		{queues, structures.OpConfigure, items(capacity, 1<<31), protocol.CodeInvalid, "the capacity 2147483648 is not within 0 to 2147483647"},
		{queues, structures.OpAdopt, items(3, capacity, 1), protocol.CodeUnsupported, "unknown operation 245 of a queue"},
		{counters, structures.OpConfigure, items(), protocol.CodeInvalid, "the kind counter has no settings"},
		{counters, structures.OpConfigure, items(ttl, 1000), protocol.CodeInvalid, "the kind counter has no settings"},
		{counters, structures.OpDestroy, items(1), protocol.CodeInvalid, ""},
		{counters, 255, items(), protocol.CodeUnsupported, "unknown operation 255"},
	} {
		q := asked(test.kind, test.op, 0, "n", test.body)
		r := gate.Check(&q)
		var p protocol.Problem
		_ = p.Decode(r.Body)
		if r.Code != test.want || !strings.Contains(p.Detail, test.says) || len(p.Detail) > 200 {
			t.Errorf("kind %d operation %d body %x: code %d %q, want %d %q", test.kind, test.op, test.body, r.Code, p.Detail, test.want, test.says)
		}
	}
}

// TestSettings: settings are agreed once; the same again is fine, in whatever form;
// others are refused with those in force. They outlive a snapshot.
func TestSettings(t *testing.T) {
	s := &script{t: t, golden: golden{state: groupstate.New(goldenKinds())}, sequences: map[slot]uint64{}}
	s.begin()
	in := slot{ann, home, 0}
	configure := func(name string, body []byte) string {
		s.log.Reset()
		s.entry("configure", 10, func() { s.call(in, queues, name, structures.OpConfigure, body) })
		line, _, _ := strings.Cut(s.log.String()[strings.Index(s.log.String(), "  0: "):], "\n")
		return line
	}
	first := configure("jobs", items(word("capacity"), 5))
	if again := configure("jobs", items(word("capacity"), 5)); !strings.HasSuffix(again, first[strings.Index(first, "body"):]) || !strings.Contains(again, "code 0 ") {
		t.Errorf("the same again: %s, at first %s", again, first)
	}
	if other := configure("jobs", items()); !strings.Contains(other, "code 47 ") || !strings.Contains(other, fmt.Sprintf("%x", "in force: capacity 5")) {
		t.Errorf("the defaults: %s", other)
	}
	configure("plain", items())
	if same := configure("plain", items(word("capacity"), 0)); !strings.Contains(same, "code 0 ") {
		t.Errorf("the default by name: %s", same)
	}
	read := func(state *groupstate.State, name string) string {
		var r groupstate.Reader
		q := asked(queues, structures.OpSettings, protocol.FlagRead, name, items())
		q.Partition = home
		res, _ := r.Read(state, &q)
		got, err := structures.ReadSettings(res.Body)
		if err != nil || res.Code != protocol.CodeOK {
			t.Fatalf("%s: code %d %x: %v", name, res.Code, res.Body, err)
		}
		return fmt.Sprint(got.Version, " ", got.List)
	}
	again := groupstate.New(goldenKinds())
	if err := again.Restore(bytes.NewReader(s.snapshot(t)), nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"jobs": "1 [{capacity {5  false}}]", "plain": "2 [{capacity {0  false}}]", "none": "0 [{capacity {0  false}}]"} {
		for _, state := range []*groupstate.State{s.state, again} {
			if got := read(state, name); got != want {
				t.Errorf("%s: %s, want %s", name, got, want)
			}
		}
	}
}

// TestNames: the structures of a kind in a partition are listed by name, page by
// page, with their length and bytes; so are they after a snapshot.
func TestNames(t *testing.T) {
	s := &script{t: t, golden: golden{state: groupstate.New(goldenKinds())}, sequences: map[slot]uint64{}}
	s.begin()
	in := slot{ann, home, 0}
	s.entry("structures", 10, func() {
		for i := range 7 {
			all := []any{0}
			for n := range i {
				all = append(all, key(fmt.Sprint("k", n)), small(1))
			}
			s.call(in, maps, fmt.Sprint("m", i), mapPutAll, items(all...))
		}
		s.call(in, counters, "m3", counterSet, ints(-5))
		s.call(in, maps, "m5", structures.OpDestroy, items())
		s.call(in, queues, "jobs", queueOffer, items(small(1)))
		s.call(in, queues, "jobs", queuePoll, ints(0))
	})
	list := func(state *groupstate.State, kind protocol.KindID, from string, most int) string {
		var r groupstate.Reader
		q := protocol.Request{Partition: home, Flags: protocol.FlagRead, Op: protocol.OpNames, Body: items(int(kind), word(from), most)}
		gate := state.Gate()
		res := gate.Check(&q)
		if res.Code == protocol.CodeOK {
			res, _ = r.Read(state, &q)
		}
		if res.Code != protocol.CodeOK {
			return fmt.Sprint("code ", res.Code)
		}
		b := protocol.NewReader(res.Body)
		n := (b.ArrayLen() - 1) / 3
		var text strings.Builder
		text.WriteString(fmt.Sprintf("next %q", b.String()))
		for range n {
			text.WriteString(fmt.Sprintf(", %s %d %d", b.String(), b.Int(), b.Uint()))
		}
		if b.Done() != nil {
			t.Fatalf("%x", res.Body)
		}
		return text.String()
	}
	// An entry row has a key of 9 + 3 bytes and a value of 2; the row of the count, of
	// more than none, 9 + 2 and 2.
	bytesOf := func(entries int) int { return entries*(9+3+2) + 9 + 2 + 2 }
	again := groupstate.New(goldenKinds())
	if err := again.Restore(bytes.NewReader(s.snapshot(t)), nil); err != nil {
		t.Fatal(err)
	}
	for _, state := range []*groupstate.State{s.state, again} {
		for _, test := range []struct {
			kind protocol.KindID
			from string
			most int
			want string
		}{
			{maps, "", 2, fmt.Sprintf(`next "m3", m1 1 %d, m2 2 %d`, bytesOf(1), bytesOf(2))},
			{maps, "m3", 100, fmt.Sprintf(`next "", m3 3 %d, m4 4 %d, m6 6 %d`, bytesOf(3), bytesOf(4), bytesOf(6))},
			{maps, "m4a", 1, fmt.Sprintf(`next "", m6 6 %d`, bytesOf(6))},
			{maps, "n", 1, `next ""`},
			{counters, "", 10, `next "", m3 -5 12`},
			{queues, "", 10, `next ""`},
			{0, "", 10, "code 40"},
			{99, "", 10, "code 42"},
			{maps, "", 0, "code 40"},
		} {
			if got := list(state, test.kind, test.from, test.most); got != test.want {
				t.Errorf("kind %d from %q, at most %d: %s, want %s", test.kind, test.from, test.most, got, test.want)
			}
		}
	}
}
