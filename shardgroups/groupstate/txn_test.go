package groupstate_test

import (
	"bytes"
	"fmt"
	gomaps "maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// of is an operation of a transaction.
func of(kind protocol.KindID, name string, op protocol.Op, body []byte) structures.TxnItem {
	return structures.TxnItem{Kind: kind, Op: op, Name: name, Body: body}
}

// where is a condition of a transaction.
func where(kind protocol.KindID, name string, body []byte) structures.TxnItem {
	return of(kind, name, structures.OpTest, body)
}

// txn adds a transaction.
func (s *script) txn(in slot, body structures.TxnBody) protocol.Caller {
	return s.call(in, protocol.KindTxn, "{t}", structures.OpCommit, body.Append(nil))
}

// then adds a transaction without conditions.
func (s *script) then(in slot, ops ...structures.TxnItem) protocol.Caller {
	return s.txn(in, structures.TxnBody{Then: ops})
}

// spoken is a golden that keeps the last results.
type spoken struct {
	*script
	results []structures.Result
	granted []structures.Result
}

func (s *spoken) Replied(i int, q *protocol.Request, r structures.Result, v protocol.Version) {
	s.results = append(s.results, structures.Result{Code: r.Code, Body: bytes.Clone(r.Body)})
	s.script.Replied(i, q, r, v)
}

func (s *spoken) Granted(p protocol.PartitionID, c protocol.Caller, r structures.Result, v protocol.Version) {
	s.granted = append(s.granted, structures.Result{Code: r.Code, Body: bytes.Clone(r.Body)})
	s.script.Granted(p, c, r, v)
}

// newSpoken returns a script that has begun.
func newSpoken(t *testing.T) *spoken {
	s := &spoken{script: &script{t: t, golden: golden{state: groupstate.New(goldenKinds())}, sequences: map[slot]uint64{}}}
	s.begin()
	return s
}

// says applies an entry, at the tenth millisecond, and returns what was said.
func (s *spoken) says(fill func()) (results, granted []structures.Result) {
	return s.saysAt(10, fill)
}

func (s *spoken) saysAt(elapsed int64, fill func()) (results, granted []structures.Result) {
	s.t.Helper()
	s.number++
	s.b.Reset(groupstate.Header{Proposer: 0xfeed, Number: s.number, ClockEpoch: s.epoch, Elapsed: elapsed * 1e6, Level: s.state.Level()}, 0)
	fill()
	s.results, s.granted = nil, nil
	if err := s.state.Apply(s.b.Bytes(), s); err != nil {
		s.t.Fatal(err)
	}
	return s.results, s.granted
}

// outcome reads the result of the one transaction of an entry.
func (s *spoken) outcome(fill func()) structures.TxnResult {
	s.t.Helper()
	results, _ := s.says(fill)
	var r structures.TxnResult
	if len(results) != 1 || results[0].Code != protocol.CodeOK || r.Read(results[0].Body) != nil {
		s.t.Fatalf("a transaction says %v", results)
	}
	return r
}

// TestTxn_TestedInOrder: the conditions of a transaction are tested in the state that all
// has left which comes before it, also in its own entry (TXN-1).
func TestTxn_TestedInOrder(t *testing.T) {
	s := newSpoken(t)
	one := structures.TxnBody{
		If:   []structures.TxnItem{where(counters, hits, ints(1, 0))},
		Then: []structures.TxnItem{of(counters, hits, 3, ints(1))}, Else: []structures.TxnItem{of(counters, hits, 1, ints())},
	}
	results, _ := s.says(func() {
		s.txn(slot{ann, home, 0}, one)
		s.txn(slot{bob, home, 0}, one)
	})
	for i, want := range []structures.TxnOutcome{structures.TxnThen, structures.TxnElse} {
		if got, ok := structures.TxnOutcomeOf(results[i].Body); !ok || got != want {
			t.Errorf("transaction %d: %v, want %v", i, results[i], want)
		}
	}
}

// TestTxn_Conditions: each condition of each kind, where it holds and where it does not.
func TestTxn_Conditions(t *testing.T) {
	s := newSpoken(t)
	in, far := slot{ann, home, 0}, slot{bob, home, 0}
	var version uint64
	results, _ := s.says(func() {
		s.call(in, maps, users, 2, items(key("ada"), text("a"), 0))
		s.call(in, maps, users, 5, items(key("ada"), text("b"), 0, 1))
		s.call(in, counters, hits, 2, ints(5))
		s.call(in, semaphores, writers, 1, ints(3))
		s.call(in, semaphores, writers, 3, asking(1))
		s.call(far, semaphores, writers, 3, asking(1))
		s.call(in, queues, jobs, 2, items(text("j")))
		s.call(in, maps, users, 2, items(key("due"), text("d"), 100))
	})
	hold := func(i int) uint64 {
		r := protocol.NewReader(results[i].Body)
		r.Array(2)
		return r.Uint()
	}
	mine, others := hold(4), hold(5)
	r := protocol.NewReader(results[1].Body)
	r.Array(1)
	version = r.Uint()
	s.saysAt(200, func() {})
	for _, c := range []struct {
		what  string
		item  structures.TxnItem
		holds bool
	}{
		{"version", where(maps, users, items(1, key("ada"), int(version))), true},
		{"another version", where(maps, users, items(1, key("ada"), int(version-1))), false},
		{"a version of what is absent", where(maps, users, items(1, key("bob"), 0)), false},
		{"absent", where(maps, users, items(2, key("bob"))), true},
		{"absent, but there", where(maps, users, items(2, key("ada"))), false},
		{"absent, since due", where(maps, users, items(2, key("due"))), true},
		{"absent in a map that does not exist", where(maps, "none", items(2, key("ada"))), true},
		{"present", where(maps, users, items(3, key("ada"))), true},
		{"present, but absent", where(maps, users, items(3, key("bob"))), false},
		{"value", where(maps, users, items(4, key("ada"), text("b"))), true},
		{"another value", where(maps, users, items(4, key("ada"), text("a"))), false},
		{"equal", where(counters, hits, ints(1, 5)), true},
		{"not equal", where(counters, hits, ints(1, 4)), false},
		{"at least", where(counters, hits, ints(2, 5)), true},
		{"less", where(counters, hits, ints(2, 6)), false},
		{"at most", where(counters, hits, ints(3, 5)), true},
		{"more", where(counters, hits, ints(3, 4)), false},
		{"a counter that does not exist is 0", where(counters, "none", ints(1, 0)), true},
		{"available", where(semaphores, writers, ints(1, 1)), true},
		{"too few", where(semaphores, writers, ints(1, 2)), false},
		{"not initialized", where(semaphores, "none", ints(1, 0)), false},
		{"held", where(semaphores, writers, ints(240, int64(mine))), true},
		{"held by another session", where(semaphores, writers, ints(240, int64(others))), false},
		{"held by nobody", where(semaphores, writers, ints(240, 1)), false},
		{"length", where(queues, jobs, ints(1, 1)), true},
		{"another length", where(queues, jobs, ints(1, 0)), false},
		{"empty", where(queues, "none", ints(2)), true},
		{"not empty", where(queues, jobs, ints(2)), false},
	} {
		got := s.outcome(func() {
			s.txn(in, structures.TxnBody{
				If:   []structures.TxnItem{where(counters, hits, ints(2, 0)), c.item},
				Then: []structures.TxnItem{of(counters, "then", 1, ints())}, Else: []structures.TxnItem{of(counters, "else", 1, ints())},
			})
		})
		want := structures.TxnResult{Answers: []structures.TxnAnswer{{Body: ints(0)}}}
		if !c.holds {
			want.Outcome, want.Index = structures.TxnElse, 1
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v, want %+v", c.what, got, want)
		}
	}
}

// TestTxn_Undone: of a transaction that is refused nothing is left, wherever the refusal
// comes, and nobody is told of anything: a Take that waits goes on waiting, and is given the
// next element.
func TestTxn_Undone(t *testing.T) {
	ops := []structures.TxnItem{
		of(queues, jobs, 2, items(text("first"))),
		of(queues, jobs, 2, items(text("second"))),
		of(maps, users, 2, items(key("ada"), text("a"), 0)),
		of(maps, "new", 2, items(key("ada"), text("a"), 100)),
		of(maps, users, 6, items(key("bea"))),
		of(maps, "alone", 7, items(key("only"))),
		of(counters, "new", 3, ints(1)),
		of(semaphores, writers, 7, ints(1)),
		{}, // the release
	}
	refused := of(counters, full, 3, ints(1<<62))
	for at := range len(ops) + 1 {
		s := newSpoken(t)
		in, waits := slot{ann, home, 0}, slot{bob, home, 0}
		results, _ := s.says(func() {
			s.call(in, maps, users, 2, items(key("bea"), text("b"), 1000))
			s.call(in, maps, "alone", 2, items(key("only"), text("o"), 0))
			s.call(in, counters, full, 2, ints(1<<62))
			s.call(in, semaphores, writers, 1, ints(1))
			s.call(in, semaphores, writers, 3, asking(1))
			s.waiting(waits, queues, jobs, 3, ints(0, 0))
			s.waiting(slot{cyd, home, 0}, semaphores, writers, 2, asking(1, 0))
		})
		r := protocol.NewReader(results[4].Body)
		r.Array(2)
		ops[len(ops)-1] = of(semaphores, writers, 4, items(int(r.Uint())))
		kept := regexp.MustCompile("kept [0-9]+") // the transaction's own reply is
		rows, derived := s.state.Rows(), kept.ReplaceAllString(s.state.Derived(), "kept")
		branch := append(slices.Clone(ops[:at]), refused)
		branch = append(branch, ops[at:]...)
		got := structures.TxnResult{}
		results, granted := s.says(func() { s.then(in, branch...) })
		if err := got.Read(results[0].Body); err != nil || got.Outcome != structures.TxnThenRefused || got.Index != at || len(got.Answers) != 1 || got.Answers[0].Code < protocol.CodeKindBase {
			t.Fatalf("refused at %d: %+v, %v", at, got, err)
		}
		if len(granted) > 0 {
			t.Errorf("refused at %d: granted %v", at, granted)
		}
		if now := s.state.Rows(); now != rows {
			t.Errorf("refused at %d, rows were and are\n%s\n%s", at, rows, now)
		}
		if now := kept.ReplaceAllString(s.state.Derived(), "kept"); now != derived {
			t.Errorf("refused at %d, derived\n%s\n%s", at, derived, now)
		}
		if again := restored(t, s.snapshot(t)); again.hash() != s.hash() || again.state.Derived() != s.state.Derived() {
			t.Errorf("refused at %d: a restored replica differs", at)
		}
		_, granted = s.says(func() {
			s.call(in, queues, jobs, 2, items(text("later")))
			s.call(in, semaphores, writers, 7, ints(1))
		})
		if len(granted) != 2 || granted[0].Code != protocol.CodeReserved || !bytes.Contains(granted[0].Body, []byte("later")) || granted[1].Code != protocol.CodeOK {
			t.Errorf("refused at %d: those who wait are then given %v", at, granted)
		}
	}
}

// TestTxn_TogetherOnce: what a transaction brings about is told after it, once: two Offers
// and one Take that waits, and events that watchers take as one.
func TestTxn_TogetherOnce(t *testing.T) {
	s := newSpoken(t)
	in := slot{ann, home, 0}
	s.says(func() {
		s.waiting(slot{bob, home, 0}, queues, jobs, 3, ints(0, 0))
		s.call(in, maps, users, 2, items(key("bea"), text("b"), 0))
	})
	before := groupstate.Position{Version: protocol.Version(2)}
	_, granted := s.says(func() {
		s.then(in,
			of(maps, users, 2, items(key("ada"), text("a"), 0)),
			of(queues, jobs, 2, items(text("1"))),
			of(maps, users, 6, items(key("bea"))),
			of(queues, jobs, 2, items(text("2"))),
			of(maps, scores, 10, items(key("n"), 7, 64)),
		)
	})
	if len(granted) != 1 || granted[0].Code != protocol.CodeReserved || !bytes.Contains(granted[0].Body, []byte("1")) {
		t.Errorf("granted %v", granted)
	}
	if r := s.outcome(func() { s.then(in, of(queues, jobs, structures.OpLength, items())) }); !bytes.Equal(r.Answers[0].Body, ints(1)) {
		t.Errorf("left in the queue: %+v", r)
	}
	changes, next, ok := s.state.Changes(home, before, 10)
	if len(changes) != 3 || !ok || next.Version != changes[0].End {
		t.Fatalf("events %v, then %v %t", changes, next, ok)
	}
	for i, c := range changes {
		if c.End != changes[0].End || i > 0 && c.Version <= changes[i-1].Version || c.Version > c.End {
			t.Errorf("event %d has version %d, end %d", i, c.Version, c.End)
		}
	}
	// A reader in the middle of it goes on there.
	if rest, _, ok := s.state.Changes(home, groupstate.Position{Version: before.Version, Skip: 2}, 10); !ok || len(rest) != 1 || rest[0].Name != scores {
		t.Errorf("behind two events: %v %t", rest, ok)
	}
}

// TestTxn_OwnRevisions: structures that one transaction creates are apart.
func TestTxn_OwnRevisions(t *testing.T) {
	s := newSpoken(t)
	in := slot{ann, home, 0}
	r := s.outcome(func() {
		s.then(in, of(counters, "a", 2, ints(1)), of(counters, "b", 2, ints(2)), of(counters, "a", 1, ints()), of(counters, "b", 1, ints()))
	})
	if len(r.Answers) != 4 || !bytes.Equal(r.Answers[2].Body, ints(1)) || !bytes.Equal(r.Answers[3].Body, ints(2)) {
		t.Errorf("two counters: %+v", r)
	}
}

// TestTxn_Repeat: a repeat is answered as the first attempt was, though the conditions no
// longer hold, and changes nothing; a refusal is recorded, too.
func TestTxn_Repeat(t *testing.T) {
	s := newSpoken(t)
	in := slot{ann, home, 0}
	once := structures.TxnBody{
		If:   []structures.TxnItem{where(counters, hits, ints(1, 0))},
		Then: []structures.TxnItem{of(counters, hits, 3, ints(1))}, Else: []structures.TxnItem{of(counters, hits, 3, ints(100))},
	}
	refused := structures.TxnBody{Then: []structures.TxnItem{of(counters, hits, 3, ints(1)), of(semaphores, "none", 7, ints(1))}}
	for _, body := range []structures.TxnBody{once, refused} {
		var first protocol.Caller
		results, _ := s.says(func() { first = s.txn(in, body) })
		rows := s.state.Rows()
		again, _ := s.says(func() {
			s.request(protocol.Request{
				Partition: home, Kind: protocol.KindTxn, Op: structures.OpCommit, Name: "{t}", Caller: first,
				Flags: protocol.FlagRepeat, Body: body.Append(nil), Highest: 3,
			})
		})
		if again[0].Code != results[0].Code || !bytes.Equal(again[0].Body, results[0].Body) {
			t.Errorf("first %v, again %v", results, again)
		}
		if now := s.state.Rows(); now != rows {
			t.Errorf("a repeat changes\n%s\n%s", rows, now)
		}
	}
}

// TestTxn_Results: results over a page beside the largest are refused, and nothing has
// changed.
func TestTxn_Results(t *testing.T) {
	s := newSpoken(t)
	in := slot{ann, home, 0}
	half := append([]byte{1}, make([]byte, protocol.DefaultLimits().PageBytes/2)...)
	s.says(func() { s.call(in, maps, users, 2, items(key("a"), half, 0)) })
	get := of(maps, users, 1, items(key("a")))
	rows := s.state.Rows()
	results, _ := s.says(func() { s.then(in, of(counters, hits, 3, ints(1)), get, get, get) })
	if results[0].Code != protocol.CodeTooLarge || s.state.Rows() != rows {
		t.Errorf("three halves of a page: code %d", results[0].Code)
	}
	if r := s.outcome(func() { s.then(in, get, get) }); len(r.Answers) != 2 || len(r.Answers[1].Body) < len(half) {
		t.Errorf("two halves of a page: %d answers", len(r.Answers))
	}
}

// TestGate_Txn: what a transaction may be is judged before it is logged.
func TestGate_Txn(t *testing.T) {
	gate := groupstate.New(goldenKinds()).Gate()
	gate.Partitions = 8
	add := of(counters, "{t}c", 3, ints(1))
	there := protocol.PartitionID(0)
	for p := range protocol.PartitionID(8) {
		q := asked(counters, 3, 0, "{t}c", ints(1))
		q.Partition = p
		if gate.Check(&q).Code == protocol.CodeOK {
			there = p
		}
	}
	many := func(n int) structures.TxnBody {
		return structures.TxnBody{If: slices.Repeat([]structures.TxnItem{where(counters, "{t}c", ints(1, 1))}, n/2), Then: slices.Repeat([]structures.TxnItem{add}, n-n/2)}
	}
	then := func(ops ...structures.TxnItem) structures.TxnBody { return structures.TxnBody{Then: ops} }
	conditions := func(tests ...structures.TxnItem) structures.TxnBody {
		return structures.TxnBody{If: tests, Then: []structures.TxnItem{add}}
	}
	for what, test := range map[string]struct {
		body structures.TxnBody
		want protocol.Code
		says string
	}{
		"one operation":                {then(add), protocol.CodeOK, ""},
		"of a key with the tag":        {then(add, of(maps, "m", 2, items(key("{t}k"), text("v"), 0))), protocol.CodeOK, ""},
		"as many as there may be":      {many(128), protocol.CodeOK, ""},
		"one more":                     {many(129), protocol.CodeTooLarge, "at most 128"},
		"none":                         {structures.TxnBody{}, protocol.CodeInvalid, "without an operation"},
		"only a condition":             {structures.TxnBody{If: many(2).If}, protocol.CodeInvalid, "without an operation"},
		"a condition as an operation":  {then(where(counters, "{t}c", ints(1, 1))), protocol.CodeUnsupported, "unknown operation 246"},
		"an operation as a condition":  {conditions(add), protocol.CodeUnsupported, "unknown condition 1"},
		"a condition that is not":      {conditions(where(counters, "{t}c", ints(9, 1))), protocol.CodeUnsupported, "unknown condition 9 of a counter"},
		"held, of what is not":         {conditions(where(counters, "{t}c", ints(240, 1))), protocol.CodeUnsupported, "unknown condition 240 of a counter"},
		"a malformed condition":        {conditions(where(counters, "{t}c", ints(1))), protocol.CodeInvalid, ""},
		"a malformed held":             {conditions(where(semaphores, "{t}s", ints(240, 0))), protocol.CodeInvalid, ""},
		"a malformed operation":        {then(of(counters, "{t}c", 3, ints())), protocol.CodeInvalid, `item 0 of "then"`},
		"in the other branch":          {structures.TxnBody{Else: []structures.TxnItem{add, of(counters, "{t}c", 3, ints())}}, protocol.CodeInvalid, `item 1 of "else"`},
		"a bad name":                   {then(of(counters, "", 3, ints(1))), protocol.CodeInvalid, "name"},
		"an unknown kind":              {then(of(99, "{t}c", 3, ints(1))), protocol.CodeUnsupported, "unknown kind of structure 99"},
		"a transaction":                {then(of(protocol.KindTxn, "{t}c", 1, ints(1))), protocol.CodeUnsupported, "unknown kind of structure 255"},
		"a control":                    {then(of(protocol.KindControl, "{t}c", 1, nil)), protocol.CodeUnsupported, "unknown kind of structure 0"},
		"an unknown operation":         {then(of(counters, "{t}c", 77, ints(1))), protocol.CodeUnsupported, "unknown operation 77 of a counter"},
		"destroy":                      {then(of(counters, "{t}c", structures.OpDestroy, items())), protocol.CodeUnsupported, "destroy of a counter cannot be part"},
		"configure":                    {then(of(queues, "{t}q", structures.OpConfigure, items())), protocol.CodeUnsupported, "configure of a queue cannot be part"},
		"the length of a queue":        {then(of(queues, "{t}q", structures.OpLength, items())), protocol.CodeOK, ""},
		"the length of a map":          {then(of(maps, "{t}m", structures.OpLength, items())), protocol.CodeUnsupported, "length of a map cannot be part"},
		"what waits":                   {then(of(queues, "{t}q", 3, ints(0, 0))), protocol.CodeUnsupported, "take of a queue cannot be part"},
		"what holds":                   {then(of(semaphores, "{t}s", 3, asking(1))), protocol.CodeUnsupported, "try_acquire of a semaphore cannot be part"},
		"many keys":                    {then(of(maps, "{t}m", 13, items(key("a")))), protocol.CodeUnsupported, "delete_all of a map cannot be part"},
		"another partition":            {then(add, of(counters, "c", 3, ints(1))), protocol.CodeInvalid, `item 1 of "then": the request came with partition`},
		"a key of another partition":   {then(of(maps, "m", 2, items(key("k"), text("v"), 0))), protocol.CodeInvalid, "what it names belongs to partition"},
		"a condition of another one":   {conditions(where(maps, "m", items(3, key("k")))), protocol.CodeInvalid, `item 0 of "if": the request came with partition`},
		"a condition of its partition": {conditions(where(maps, "m", items(3, key("{t}k")))), protocol.CodeOK, ""},
	} {
		q := asked(protocol.KindTxn, structures.OpCommit, 0, "{t}", test.body.Append(nil))
		q.Partition = there
		r := gate.Check(&q)
		var p protocol.Problem
		_ = p.Decode(r.Body)
		if r.Code != test.want || !strings.Contains(p.Detail, test.says) {
			t.Errorf("%s: code %d %q, want %d %q", what, r.Code, p.Detail, test.want, test.says)
		}
		if test.want == protocol.CodeOK {
			q.Partition = 0
			if got := groupstate.KindsOf(goldenKinds()).PartitionOf(&q, 8); got != there {
				t.Errorf("%s: a member routes it to partition %d, not %d", what, got, there)
			}
		}
	}
	q := asked(protocol.KindTxn, structures.OpCommit, protocol.FlagRead, "{t}", new(structures.TxnBody).Append(nil))
	q.Caller = protocol.Caller{}
	if r := gate.Check(&q); r.Code != protocol.CodeInvalid {
		t.Errorf("as a read: code %d", r.Code)
	}
	for _, op := range []protocol.Op{2, structures.OpDestroy, structures.OpTest} {
		q := asked(protocol.KindTxn, op, 0, "{t}", items())
		if r := gate.Check(&q); r.Code != protocol.CodeUnsupported {
			t.Errorf("operation %d of transactions: code %d", op, r.Code)
		}
	}
	q = asked(counters, structures.OpTest, protocol.FlagRead, "{t}c", ints(1, 1))
	q.Caller = protocol.Caller{}
	if r := gate.Check(&q); r.Code != protocol.CodeUnsupported {
		t.Errorf("a condition by itself: code %d", r.Code)
	}
}

// TestTxn_Grows: a transaction grows if an operation in it does, in either branch.
func TestTxn_Grows(t *testing.T) {
	kinds := groupstate.KindsOf(goldenKinds())
	put := of(maps, users, 2, items(key("a"), text("a"), 0))
	del := of(maps, users, 6, items(key("a")))
	for _, test := range []struct {
		body  structures.TxnBody
		grows bool
	}{
		{structures.TxnBody{Then: []structures.TxnItem{del}}, false},
		{structures.TxnBody{Then: []structures.TxnItem{del, put}}, true},
		{structures.TxnBody{Then: []structures.TxnItem{del}, Else: []structures.TxnItem{put}}, true},
		{structures.TxnBody{If: []structures.TxnItem{where(maps, users, items(3, key("a")))}, Else: []structures.TxnItem{del}}, false},
	} {
		q := asked(protocol.KindTxn, structures.OpCommit, 0, "{t}", test.body.Append(nil))
		if got := kinds.Grows(&q); got != test.grows {
			t.Errorf("%+v grows: %t", test.body, got)
		}
	}
}

// TestTxn_AsOneByOne: operations in a transaction are answered as they are one by one, and
// leave the same rows; of one that is refused nothing is left. A restored replica says and
// is the same.
func TestTxn_AsOneByOne(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		together, alone := newSpoken(t), newSpoken(t)
		in, waits := slot{ann, home, 0}, uint16(0)
		elapsed := int64(10)
		for _, s := range []*spoken{together, alone} {
			s.says(func() { s.call(in, semaphores, writers, 1, ints(0)) })
		}
		for range rapid.IntRange(1, 12).Draw(rt, "rounds") {
			elapsed += int64(rapid.SampledFrom([]int{0, 1, 60, 200}).Draw(rt, "time"))
			if rapid.Bool().Draw(rt, "waits") && waits < 4 {
				kind, op, name, body := queues, protocol.Op(3), jobs, ints(0, 0)
				if rapid.Bool().Draw(rt, "permits") {
					kind, op, name, body = semaphores, 2, writers, asking(1, 0)
				}
				for _, s := range []*spoken{together, alone} {
					s.saysAt(elapsed, func() { s.waiting(slot{bob, home, waits}, kind, name, op, body) })
				}
				waits++
			}
			// What is due is cleaned up by an entry before, or the operations meet it; then
			// there are no reads, which would be answered after the clean-up.
			cleaned := rapid.Bool().Draw(rt, "cleaned")
			if cleaned {
				for _, s := range []*spoken{together, alone} {
					s.saysAt(elapsed, func() {})
				}
			}
			ops := rapid.SliceOfN(drawnOperation(cleaned), 1, 6).Draw(rt, "operations")
			rows := together.state.Rows()
			var got structures.TxnResult
			results, granted := together.saysAt(elapsed, func() { together.then(in, ops...) })
			if err := got.Read(results[0].Body); err != nil || results[0].Code != protocol.CodeOK {
				rt.Fatalf("%v: %v %v", ops, results, err)
			}
			if got.Outcome == structures.TxnThenRefused {
				if now := together.state.Rows(); len(granted) > 0 || cleaned && now != rows {
					rt.Fatalf("refused at %d of %v, and rows were and are\n%s\n%s\ngranted %v", got.Index, ops, rows, now, granted)
				}
				// The one that was refused is so by itself, behind the others.
				answers, _ := alone.copied(t).oneByOne(elapsed, ops[:got.Index+1])
				for i, answer := range answers {
					if refused := answer.Code.Class() != protocol.ClassDone && !isAnswer(ops[i], answer.Code); refused != (i == got.Index) {
						rt.Fatalf("operation %d of %v by itself: code %d, in the transaction %d was refused", i, ops, answer.Code, got.Index)
					}
				}
				alone.saysAt(elapsed, func() {})
				continue
			}
			answers, grantedAlone := alone.oneByOne(elapsed, ops)
			for i, answer := range answers {
				if answer.Code != got.Answers[i].Code || !bytes.Equal(answer.Body, got.Answers[i].Body) {
					rt.Fatalf("operation %d of %v: %+v, by itself %+v", i, ops, got.Answers[i], answer)
				}
			}
			if fmt.Sprint(granted) != fmt.Sprint(grantedAlone) {
				rt.Fatalf("%v grant %v, one by one %v", ops, granted, grantedAlone)
			}
			if a, b := together.state.Rows(), alone.state.Rows(); a != b {
				rt.Fatalf("%v leave\n%s\none by one\n%s", ops, a, b)
			}
			if again := restored(t, together.snapshot(t)); again.hash() != together.hash() {
				rt.Fatalf("after %v a restored replica has another hash", ops)
			}
		}
	})
}

// copied returns a script that goes on where s stands, with a restored state.
func (s *spoken) copied(t *testing.T) *spoken {
	c := *s.script
	c.golden = golden{state: restored(t, s.snapshot(t)).state}
	c.sequences = gomaps.Clone(s.sequences)
	return &spoken{script: &c}
}

// oneByOne carries operations of a transaction out by themselves, in one entry if none of
// them is a read.
func (s *spoken) oneByOne(elapsed int64, ops []structures.TxnItem) (answers, granted []structures.Result) {
	in := slot{dan, home, 0}
	for from := 0; from < len(ops); {
		to := from
		for to < len(ops) && !s.reads(ops[to]) {
			to++
		}
		if to > from {
			results, more := s.saysAt(elapsed, func() {
				for _, op := range ops[from:to] {
					s.call(in, op.Kind, op.Name, op.Op, op.Body)
				}
			})
			answers, granted = append(answers, results...), append(granted, more...)
		}
		if to < len(ops) {
			op := ops[to]
			q := protocol.Request{Partition: home, Flags: protocol.FlagRead, Kind: op.Kind, Op: op.Op, Name: op.Name, Body: op.Body}
			var reader groupstate.Reader
			r, _ := reader.Read(s.state, &q)
			answers = append(answers, r)
			to++
		}
		from = to
	}
	return answers, granted
}

func (s *spoken) reads(op structures.TxnItem) bool { return s.state.Kinds()[op.Kind].Op(op.Op).Read }

func isAnswer(op structures.TxnItem, code protocol.Code) bool {
	for _, k := range goldenKinds() {
		for _, c := range k.Codes {
			if k.ID == op.Kind && c.Code == code {
				return c.Answer
			}
		}
	}
	return false
}

// drawnOperation draws an operation that a transaction may have, reads if they are wanted;
// some are refused.
func drawnOperation(reads bool) *rapid.Generator[structures.TxnItem] {
	return rapid.Custom(func(t *rapid.T) structures.TxnItem {
		k := key(rapid.SampledFrom([]string{"a", "b"}).Draw(t, "key"))
		name := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name")
		n := rapid.SampledFrom([]int64{1, -1, 1 << 62}).Draw(t, "n")
		ttl := rapid.SampledFrom([]int{0, 100, -1}).Draw(t, "ttl")
		all := []structures.TxnItem{
			of(maps, name, 2, items(k, text("v"), ttl)),
			of(maps, name, 3, items(k, text("w"), ttl)),
			of(maps, name, 4, items(k, text("u"), ttl)),
			of(maps, name, 5, items(k, text("z"), ttl, 7)),
			of(maps, name, 6, items(k)),
			of(maps, name, 7, items(k)),
			of(maps, name, 9, items(k, 150)),
			of(maps, name, 10, items(k, int(n), 64)),
			of(counters, name, 2, ints(n)),
			of(counters, name, 3, ints(n)),
			of(counters, name, 4, ints(1, n)),
			of(queues, jobs, 2, items(text("e"))),
			of(queues, jobs, 4, ints(0)),
			of(semaphores, writers, 7, ints(min(n, 1<<30))),
		}
		if reads {
			all = append(all,
				of(maps, name, 1, items(k)),
				of(counters, name, 1, ints()),
				of(queues, jobs, 5, ints()),
				of(queues, jobs, structures.OpLength, items()),
				of(semaphores, writers, 5, ints()))
		}
		return rapid.SampledFrom(all).Draw(t, "operation")
	})
}

// TestTxn_Unchecked: what no leader would log is refused where it is applied, too, and
// changes nothing.
func TestTxn_Unchecked(t *testing.T) {
	s := newSpoken(t)
	add := of(counters, hits, 3, ints(1))
	for what, body := range map[string][]byte{
		"no bytes":                   nil,
		"other bytes":                {0x83, 0x80, 0x81, 0x01},
		"an unknown kind":            (&structures.TxnBody{Then: []structures.TxnItem{add, of(99, "x", 1, nil)}}).Append(nil),
		"an unknown operation":       (&structures.TxnBody{Then: []structures.TxnItem{add, of(counters, hits, 99, nil)}}).Append(nil),
		"a transaction":              (&structures.TxnBody{Then: []structures.TxnItem{add, of(protocol.KindTxn, hits, 1, nil)}}).Append(nil),
		"what waits":                 (&structures.TxnBody{Then: []structures.TxnItem{add, of(queues, jobs, 3, ints(0, 0))}}).Append(nil),
		"a condition of what is not": (&structures.TxnBody{If: []structures.TxnItem{where(99, "x", ints(1))}, Then: []structures.TxnItem{add}}).Append(nil),
		"an unknown condition":       (&structures.TxnBody{If: []structures.TxnItem{where(protocol.KindTxn, "x", ints(1))}, Then: []structures.TxnItem{add}}).Append(nil),
	} {
		rows := s.state.Rows()
		results, _ := s.says(func() {
			in := slot{ann, home, 0}
			s.sequences[in]++
			q := protocol.Request{
				Partition: home, Kind: protocol.KindTxn, Op: structures.OpCommit, Name: "{t}", Body: body, Highest: 3,
				Caller: protocol.Caller{Session: ann, Sequence: s.sequences[in]},
			}
			s.b.Request(q.Append(nil))
		})
		if len(results) != 1 || results[0].Code.Class() != protocol.ClassRefused || s.state.Rows() != rows {
			t.Errorf("%s: %v", what, results)
		}
	}
}

// TestTxn_Cost: what a transaction costs is within what a leader expects, also where it is
// undone at its end.
func TestTxn_Cost(t *testing.T) {
	for _, undone := range []bool{false, true} {
		s := newSpoken(t)
		in := slot{ann, home, 0}
		var ops []structures.TxnItem
		for i := range 31 {
			k := key(fmt.Sprint(i))
			ops = append(ops,
				of(maps, users, 2, items(k, text("v"), 100)), of(maps, fmt.Sprint("m", i), 2, items(k, text("v"), 0)),
				of(queues, jobs, 2, items(text("e"))), of(counters, fmt.Sprint("c", i), 3, ints(1)))
		}
		if undone {
			ops = append(ops, of(semaphores, "none", 7, ints(1)))
		}
		body := structures.TxnBody{Then: ops}
		q := asked(protocol.KindTxn, structures.OpCommit, 0, "{t}", body.Append(nil))
		most := groupstate.Cost(s.state.Kinds(), &q)
		s.says(func() { s.then(in, ops...) })
		if got := s.state.Worked().Requests; got > most || got < len(ops) {
			t.Errorf("undone %t: it cost %d, at most %d", undone, got, most)
		}
	}
}

// FuzzTxn: a transaction of any bytes is refused, or applied by two replicas alike, one of
// which was restored before it.
func FuzzTxn(f *testing.F) {
	for _, body := range []structures.TxnBody{
		{Then: []structures.TxnItem{of(maps, users, 2, items(key("a"), text("v"), 0)), of(counters, hits, 3, ints(1))}},
		{If: []structures.TxnItem{where(counters, hits, ints(1, 0))}, Then: []structures.TxnItem{of(queues, jobs, 2, items(text("e")))}, Else: []structures.TxnItem{of(queues, jobs, 4, ints(0))}},
		{If: []structures.TxnItem{where(semaphores, writers, ints(240, 3))}, Then: []structures.TxnItem{of(semaphores, writers, 4, items(3)), of(semaphores, "none", 7, ints(1))}},
	} {
		f.Add(body.Append(nil))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s := newSpoken(t)
		s.says(func() {
			s.call(slot{ann, home, 0}, semaphores, writers, 1, ints(1))
			s.call(slot{ann, home, 0}, semaphores, writers, 3, asking(1))
			s.waiting(slot{bob, home, 0}, queues, jobs, 3, ints(0, 0))
			s.waiting(slot{bob, home, 1}, semaphores, writers, 2, asking(1, 0))
		})
		q := asked(protocol.KindTxn, structures.OpCommit, 0, "{t}", body)
		q.Partition = home
		q.Caller = protocol.Caller{Session: ann, Slot: 1, Sequence: 1}
		gate := s.state.Gate()
		if gate.Check(&q).Code != protocol.CodeOK {
			return
		}
		again := s.copied(t)
		rows := s.state.Rows()
		one, _ := s.says(func() { s.request(q) })
		two, _ := again.says(func() { again.request(q) })
		if fmt.Sprint(one) != fmt.Sprint(two) || s.hash() != again.hash() {
			t.Fatalf("replicas differ: %v, %v", one, two)
		}
		var r structures.TxnResult
		if one[0].Code == protocol.CodePanic {
			t.Fatal("a panic")
		}
		if one[0].Code == protocol.CodeOK {
			if err := r.Read(one[0].Body); err != nil {
				t.Fatal(err)
			}
		}
		if now := s.state.Rows(); (one[0].Code != protocol.CodeOK || r.Outcome >= structures.TxnThenRefused) && now != rows {
			t.Fatalf("refused, and rows were and are\n%s\n%s", rows, now)
		}
	})
}
