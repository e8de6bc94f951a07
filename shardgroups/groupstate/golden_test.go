package groupstate_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

var rewrite = flag.Bool("rewrite", false, "write the golden log in testdata")

// The golden logs of level 1: entries with the answers they give, the hash of
// the state after them, and the snapshot of that state. What is there stays
// true for ever: a released operation is changed by another under a new number,
// or under a higher level with a golden log of its own.
var goldens = []struct {
	name string
	play func(*script)
}{
	{"level1", (*script).play},
	{"level1-load", (*script).playLoad},
}

func goldenKinds() []structures.Kind {
	return []structures.Kind{dmap.Kind(), dcounter.Kind(), dsemaphore.Kind(), dqueue.Kind()}
}

// golden applies entries and writes down what they say.
type golden struct {
	state *groupstate.State
	log   bytes.Buffer
}

func (g *golden) apply(entry []byte) error {
	fmt.Fprintf(&g.log, "entry %x\n", entry)
	return g.state.Apply(entry, g)
}

// Replied implements groupstate.Sink.
func (g *golden) Replied(i int, q *protocol.Request, r structures.Result, v protocol.Version) {
	if r.IsWaiting() {
		fmt.Fprintf(&g.log, "  %d: waits at version %d\n", i, v)
		return
	}
	fmt.Fprintf(&g.log, "  %d: code %d version %d body %x\n", i, r.Code, v, r.Body)
}

// Granted implements groupstate.Sink.
func (g *golden) Granted(p protocol.PartitionID, c protocol.Caller, r structures.Result, v protocol.Version) {
	fmt.Fprintf(&g.log, "  session %d slot %d sequence %d in partition %d: code %d version %d body %x\n",
		c.Session, c.Slot, c.Sequence, p, r.Code, v, r.Body)
}

func (g *golden) hash() uint64 { return g.state.Prepare().Hash() }

func (g *golden) snapshot(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := g.state.Prepare().WriteTo(&b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func restored(t *testing.T, snapshot []byte) *golden {
	t.Helper()
	g := &golden{state: groupstate.New(goldenKinds())}
	if err := g.state.Restore(bytes.NewReader(snapshot), nil); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestGolden replays the golden logs. They must give the same answers, hash
// and snapshot in every version, also where a snapshot stands for their
// beginning.
func TestGolden(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			log, snapshot := "testdata/"+g.name+".log", "testdata/"+g.name+".snapshot"
			if *rewrite {
				rewriteGolden(t, g.play, log, snapshot)
			}
			testGolden(t, log, snapshot)
		})
	}
}

func testGolden(t *testing.T, goldenLog, goldenSnapshot string) {
	want, err := os.ReadFile(goldenLog)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := os.ReadFile(goldenSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	entries := strings.Count(string(want), "\nentry ")
	for _, reborn := range []int{entries, 0, entries / 4, entries / 3, entries / 2, 2 * entries / 3} {
		g := replay(t, want, reborn)
		if diff := cmp.Diff(string(want), g.log.String()); diff != "" {
			t.Errorf("restored from a snapshot at entry %d: the log says otherwise (-want +got):\n%s", reborn, diff)
		}
		if got := g.snapshot(t); !bytes.Equal(got, snapshot) {
			t.Errorf("restored from a snapshot at entry %d: another snapshot of %d bytes, want %d", reborn, len(got), len(snapshot))
		}
	}
	g := restored(t, snapshot)
	if got := fmt.Sprintf("hash %016x\n", g.hash()); !strings.HasSuffix(string(want), got) {
		t.Errorf("the golden snapshot has %s", got)
	}
	if got := g.snapshot(t); !bytes.Equal(got, snapshot) {
		t.Error("the golden snapshot, restored, is written differently")
	}
}

// replay applies the entries of a golden log; at one of them a state restored
// from a snapshot goes on.
func replay(t *testing.T, want []byte, reborn int) *golden {
	t.Helper()
	g := &golden{state: groupstate.New(goldenKinds())}
	lines := bufio.NewScanner(bytes.NewReader(want))
	lines.Buffer(nil, 1<<20)
	for n := 0; lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "#":
			fmt.Fprintf(&g.log, "# %s\n", rest)
		case "entry":
			entry, err := hex.DecodeString(rest)
			if err != nil {
				t.Fatal(err)
			}
			if n == reborn {
				said := g.log
				g = restored(t, g.snapshot(t))
				g.log = said
			}
			n++
			if err := g.apply(entry); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&g.log, "hash %016x\n", g.hash())
	return g
}

// rewriteGolden makes a golden log anew.
func rewriteGolden(t *testing.T, play func(*script), log, snapshot string) {
	s := &script{t: t, golden: golden{state: groupstate.New(goldenKinds())}, sequences: map[slot]uint64{}}
	play(s)
	fmt.Fprintf(&s.log, "hash %016x\n", s.hash())
	for file, b := range map[string][]byte{log: s.log.Bytes(), snapshot: s.snapshot(t)} {
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

type slot struct {
	session   protocol.SessionID
	partition protocol.PartitionID
	slot      uint16
}

// script writes entries. Requests are numbered in their slot by themselves.
type script struct {
	golden
	t         *testing.T
	number    uint64
	epoch     uint64
	b         groupstate.Builder
	sequences map[slot]uint64

	// Where the group's first leader took the clock so long ago, and its partitions
	// are so far ahead of it.
	shift  time.Duration
	offset time.Duration
	note   func() // nil, or called after each entry
}

// entry applies an entry that was proposed some milliseconds after the claim
// of the clock.
func (s *script) entry(what string, elapsed int64, fill func()) {
	s.t.Helper()
	s.number++
	h := groupstate.Header{Proposer: 0xfeed, Number: s.number, ClockEpoch: s.epoch, Elapsed: elapsed * 1e6, Level: s.state.Level()}
	if s.epoch == 1 {
		h.Elapsed += int64(s.shift)
	}
	s.b.Reset(h, 0)
	fill()
	fmt.Fprintf(&s.log, "# %s\n", what)
	if err := s.apply(s.b.Bytes()); err != nil {
		s.t.Fatal(err)
	}
	if s.note != nil {
		s.note()
	}
}

// call adds a request in the next sequence of a slot, and returns its caller.
func (s *script) call(in slot, kind protocol.KindID, name string, op protocol.Op, body []byte) protocol.Caller {
	s.sequences[in]++
	c := protocol.Caller{Session: in.session, Slot: in.slot, Sequence: s.sequences[in]}
	s.request(protocol.Request{Partition: in.partition, Kind: kind, Op: op, Name: name, Caller: c, Body: body, Highest: 3})
	return c
}

// waiting is call for one that may wait.
func (s *script) waiting(in slot, kind protocol.KindID, name string, op protocol.Op, body []byte) protocol.Caller {
	s.sequences[in]++
	c := protocol.Caller{Session: in.session, Slot: in.slot, Sequence: s.sequences[in]}
	s.request(protocol.Request{
		Partition: in.partition, Flags: protocol.FlagWait, Kind: kind, Op: op, Name: name, Caller: c, Body: body, Highest: 3,
	})
	return c
}

func (s *script) control(p protocol.PartitionID, c protocol.Caller, op protocol.Op) {
	s.request(protocol.Request{Partition: p, Op: op, Caller: c, Highest: 3})
}

func (s *script) request(q protocol.Request) {
	s.t.Helper()
	gate := s.state.Gate()
	if r := gate.Check(&q); r.Code != protocol.CodeOK {
		s.t.Fatalf("entry %d: a leader would refuse kind %d operation %d: code %d %q", s.number, q.Kind, q.Op, r.Code, r.Body)
	}
	s.b.Request(q.Append(nil))
}

// The bodies of requests.

// asking is the body of a call that asks for permits: integers, and an empty note.
func asking(all ...int64) []byte {
	b := protocol.AppendArray(nil, len(all)+1)
	for _, n := range all {
		b = protocol.AppendInt(b, n)
	}
	return protocol.AppendString(b, "")
}

func ints(all ...int64) []byte {
	b := protocol.AppendArray(nil, len(all))
	for _, n := range all {
		b = protocol.AppendInt(b, n)
	}
	return b
}

func items(all ...any) []byte {
	b := protocol.AppendArray(nil, len(all))
	for _, item := range all {
		switch item := item.(type) {
		case []byte:
			b = protocol.AppendBytes(b, item)
		case int:
			b = protocol.AppendInt(b, int64(item))
		case bool:
			b = protocol.AppendBool(b, item)
		case word:
			b = protocol.AppendString(b, string(item))
		}
	}
	return b
}

// word is a text of items.
type word string

func key(s string) []byte { return append([]byte{protocol.KeyText}, s...) }

func text(s string) []byte { return append([]byte{1, 0x60 + byte(len(s))}, s...) }

func small(n byte) []byte { return []byte{1, n} }
