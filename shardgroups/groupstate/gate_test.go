package groupstate_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/quorate/quorate/partition"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// asked is a request of session 1, or a read.
func asked(kind protocol.KindID, op protocol.Op, flags protocol.Flags, name string, body []byte) protocol.Request {
	q := protocol.Request{Kind: kind, Op: op, Flags: flags, Name: name, Body: body, Highest: 3}
	if flags&protocol.FlagRead == 0 {
		q.Caller = protocol.Caller{Session: 1, Sequence: 1}
	}
	return q
}

// TestGate_Partition: a request is refused that came with a partition to which
// the structure or a key that it names does not belong; what is about the part of
// a structure in a partition comes with any.
func TestGate_Partition(t *testing.T) {
	const partitions = 271
	kmap, counter, semaphore, queue := dmap.Kind().ID, dcounter.Kind().ID, dsemaphore.Kind().ID, dqueue.Kind().ID
	read := protocol.FlagRead
	a, b := key("a{tag}"), key("b{tag}") // in one partition
	home := func(name string) protocol.PartitionID { return partition.Of(partitions, name, nil) }
	of := func(name string, k []byte) protocol.PartitionID { return partition.Of(partitions, name, k) }
	for _, test := range []struct {
		q    protocol.Request
		want protocol.PartitionID
		any  bool
	}{
		{asked(counter, 3, 0, "hits", ints(1)), home("hits"), false},
		{asked(counter, 1, read, "hits", ints()), home("hits"), false},
		{asked(counter, 1, read, "hits{x}", ints()), home("{x}"), false},
		{asked(semaphore, 1, 0, "permits", ints(1)), home("permits"), false},
		{asked(queue, 2, 0, "jobs", items(small(1))), home("jobs"), false},
		{asked(kmap, 1, read, "m", items(a)), of("m", a), false},
		{asked(kmap, 2, 0, "m", items(a, small(1), 0)), of("m", a), false},
		{asked(kmap, 2, 0, "m{x}", items(a, small(1), 0)), home("{x}"), false},
		{asked(kmap, 10, 0, "m", items(a, 1, 64)), of("m", a), false},
		{asked(kmap, 11, read, "m", items(a, b)), of("m", a), false},
		{asked(kmap, 12, 0, "m", items(0, a, small(1), b, small(2))), of("m", a), false},
		{asked(kmap, 13, 0, "m", items(a, b)), of("m", a), false},
		{asked(kmap, 14, 0, "m", items(64, a, 1, b, -1)), of("m", a), false},
		{asked(kmap, structures.OpConfigure, 0, "m", items()), home("m"), false},
		{asked(kmap, structures.OpSettings, read, "m", items()), home("m"), false},
		{asked(queue, structures.OpConfigure, 0, "jobs", items()), home("jobs"), false},
		{asked(queue, structures.OpLength, read, "jobs", items()), home("jobs"), false},
		{asked(queue, structures.OpDestroy, 0, "jobs", items()), home("jobs"), false},
		{asked(kmap, 15, read, "m", items(key("a"), key("b"), 100)), 0, true},
		{asked(kmap, structures.OpLength, read, "m", ints()), 0, true},
		{asked(kmap, 18, 0, "m", items([]byte(nil))), 0, true},
		{asked(kmap, structures.OpAdopt, 0, "m", items(7, word("ttl"), 1000)), 0, true},
		{asked(kmap, structures.OpDestroy, 0, "m", ints()), 0, true},
	} {
		gate := groupstate.New(goldenKinds()).Gate()
		gate.Partitions = partitions
		for _, p := range []protocol.PartitionID{test.want, test.want + 1, test.want + 112} {
			test.q.Partition = p % partitions
			want := protocol.CodeOK
			if !test.any && test.q.Partition != test.want {
				want = protocol.CodeInvalid
			}
			if r := gate.Check(&test.q); r.Code != want {
				t.Errorf("kind %d operation %d of %s in partition %d: code %d %q, want %d", test.q.Kind, test.q.Op, test.q.Name, test.q.Partition, r.Code, r.Body, want)
			}
		}
	}
	// One key of several is enough.
	gate := groupstate.New(goldenKinds()).Gate()
	gate.Partitions = partitions
	far := key("z")
	for _, q := range []protocol.Request{
		asked(kmap, 11, read, "m", items(a, b, far)),
		asked(kmap, 12, 0, "m", items(0, a, small(1), far, small(2))),
		asked(kmap, 13, 0, "m", items(a, far)),
		asked(kmap, 14, 0, "m", items(64, a, 1, far, -1)),
	} {
		q.Partition = of("m", a)
		if r := gate.Check(&q); r.Code != protocol.CodeInvalid {
			t.Errorf("operation %d with a key of partition %d in %d: code %d %q", q.Op, of("m", far), q.Partition, r.Code, r.Body)
		}
	}
}

// TestGate_Level: operations are refused, as kinds are, until the level of the
// group's state has them, and operations that do not exist for ever.
func TestGate_Level(t *testing.T) {
	later := dcounter.Kind()
	later.Ops = slices.Clone(later.Ops)
	later.Op(3).Level = 2
	newer := dmap.Kind()
	newer.Level = 2
	gate := groupstate.New([]structures.Kind{later, newer}).Gate()
	for level, want := range map[uint32]protocol.Code{1: protocol.CodeUnsupported, 2: protocol.CodeOK, 3: protocol.CodeOK} {
		gate.Level = level
		for _, q := range []protocol.Request{asked(later.ID, 3, 0, "hits", ints(1)), asked(newer.ID, structures.OpLength, protocol.FlagRead, "m", ints())} {
			if r := gate.Check(&q); r.Code != want {
				t.Errorf("level %d, kind %d: code %d %q, want %d", level, q.Kind, r.Code, r.Body, want)
			}
		}
		if q := asked(later.ID, 2, 0, "hits", ints(1)); gate.Check(&q).Code != protocol.CodeOK {
			t.Errorf("level %d: an operation of level 1 is refused", level)
		}
		if q := asked(later.ID, 200, 0, "hits", ints(1)); gate.Check(&q).Code != protocol.CodeUnsupported {
			t.Errorf("level %d: an operation that does not exist passes", level)
		}
	}
}

// talker panics with a text of its own.
type talker struct {
	structures.Machine
	says string
}

func (m talker) Apply(structures.Env, protocol.Op, []byte) structures.Result { panic(m.says) }

// TestPanicTextIsNotReplicated: replicas of which each panics with another text,
// as one that has an address in it, stay the same; the text is for their logs.
func TestPanicTextIsNotReplicated(t *testing.T) {
	var hashes []uint64
	var told []string
	for i := range 2 {
		kind := dcounter.Kind()
		kind.Machine = talker{kind.Machine, fmt.Sprintf("at 0xc00%d", i)}
		g := &golden{state: groupstate.New([]structures.Kind{kind})}
		g.state.OnPanic(func(p groupstate.Panic) { told = append(told, fmt.Sprint(p.Name, " ", p.Op, " ", p.Value)) })
		var b groupstate.Builder
		b.Reset(groupstate.Header{}, 0)
		b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits()})
		b.Attach(1, 0)
		q := asked(kind.ID, 3, 0, "hits", ints(1))
		b.Request(q.Append(nil))
		if err := g.apply(b.Bytes()); err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(g.log.Bytes(), []byte("code 49 ")) {
			t.Fatalf("the reply is no panic: %s", g.log.Bytes())
		}
		hashes = append(hashes, g.hash())
	}
	if hashes[0] != hashes[1] {
		t.Error("what a structure panicked with is in the state: replicas differ")
	}
	if want := []string{"hits 3 at 0xc000", "hits 3 at 0xc001"}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
}

// TestReply_Version: a reply has the whole version, with the generation of its
// partition; a repeat has that of the call, not of the moment, and so has a read
// that of the moment.
func TestReply_Version(t *testing.T) {
	kind := dcounter.Kind().ID
	g := &golden{state: groupstate.New(goldenKinds())}
	var b groupstate.Builder
	b.Reset(groupstate.Header{}, 0)
	b.Own(groupstate.Ownership{Partitions: 1, Owned: []protocol.PartitionID{0}, Limits: protocol.DefaultLimits(), Generation: 3})
	b.Attach(1, 0)
	first := asked(kind, 3, 0, "hits", ints(1))
	other := asked(kind, 3, 0, "hits", ints(1))
	other.Caller.Slot = 1
	for _, q := range []protocol.Request{first, other, first} {
		b.Request(q.Append(nil))
	}
	if err := g.apply(b.Bytes()); err != nil {
		t.Fatal(err)
	}
	for i, revision := range []int{1, 2, 1} {
		if want := fmt.Sprintf("  %d: code 0 version %d ", i, 3<<48+revision); !bytes.Contains(g.log.Bytes(), []byte(want)) {
			t.Errorf("want %q in\n%s", want, g.log.Bytes())
		}
	}
	var reader groupstate.Reader
	q := asked(kind, 1, protocol.FlagRead, "hits", nil)
	q.Caller = protocol.Caller{}
	if _, v := reader.Read(g.state, &q); v != 3<<48+2 {
		t.Errorf("a read is answered with version %x", v)
	}
	if _, v, ok := g.state.Recorded(&first); !ok || v != 3<<48+1 {
		t.Errorf("the record has version %x, %t", v, ok)
	}
}

func BenchmarkGate(b *testing.B) {
	gate := groupstate.New(goldenKinds()).Gate()
	for _, partitions := range []int{0, 271} {
		gate.Partitions = partitions
		b.Run(fmt.Sprint("partitions=", partitions), func(b *testing.B) {
			q := asked(dmap.Kind().ID, 2, 0, "users", items(key("user:1234"), bytes.Repeat([]byte{1}, 100), 0))
			q.Partition = partition.Of(271, q.Name, key("user:1234"))
			b.ReportAllocs()
			for b.Loop() {
				if r := gate.Check(&q); r.Code != protocol.CodeOK {
					b.Fatal(r.Code)
				}
			}
		})
	}
}

// TestGate_Flags: each operation comes with the flags that its kind describes, and
// with no others.
func TestGate_Flags(t *testing.T) {
	gate := groupstate.New(goldenKinds()).Gate()
	bodies := map[protocol.KindID]map[protocol.Op][]byte{
		dmap.Kind().ID:       {1: items(key("a")), 2: items(key("a"), small(1), 0)},
		dcounter.Kind().ID:   {1: ints(), 3: ints(1)},
		dsemaphore.Kind().ID: {2: asking(1, 0), 3: asking(1), 5: ints()},
		dqueue.Kind().ID:     {1: items(small(1), 0), 2: items(small(1)), 5: ints()},
	}
	for _, k := range goldenKinds() {
		for op, body := range bodies[k.ID] {
			for flags := range protocol.Flags(16) {
				want := protocol.CodeInvalid
				if k.Op(op).Fits(flags) {
					want = protocol.CodeOK
				}
				if q := asked(k.ID, op, flags, "n", body); gate.Check(&q).Code != want {
					t.Errorf("%s %s with the flags %#x: code %d, want %d", k.Name, k.OpName(op), flags, gate.Check(&q).Code, want)
				}
			}
		}
	}
}
