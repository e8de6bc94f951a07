package systemstate

import (
	"bytes"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
)

// TestCheck shows which entries are not proposed. Those that Apply could not
// read ended every replica, at each restart again.
func TestCheck(t *testing.T) {
	long := strings.Repeat("x", 1<<10)
	for what, c := range map[string]Command{
		"more heartbeats than can be read": {Kind: KeepSessions, Keeps: make([]protocol.SessionID, 70_000)},
		"more than an entry may cost":      {Kind: KeepSessions, Keeps: make([]protocol.SessionID, MaxKeep), Closes: make([]protocol.SessionID, 1)},
		"more opens than an entry has":     {Kind: KeepSessions, Opens: make([]Opening, MaxKeep+1)},
		"a name that is no text":           {Kind: Found, Name: "\xff"},
		"a member's name that is no text":  {Kind: AddMember, Member: Member{Name: "\xff"}},
		"an address that is no text":       {Kind: SetAddress, Member: Member{Address: "\xff:1"}},
		"a durability that is no text":     {Kind: Found, Settings: Settings{Durability: "\xff"}},
		"a source that is no text":         {Kind: KeepSessions, Opens: []Opening{{Source: "\xff"}}},
		"a long name":                      {Kind: AddMember, Member: Member{Name: long}},
		"a long name of the cluster":       {Kind: Found, Name: long},
		"a long reason":                    {Kind: KillSession, Kill: &Kill{Reason: long}},
		"a long address":                   {Kind: SetAddress, Member: Member{Address: long}},
		"more partitions than a table has": {Kind: CreateGroups, Partitions: make([]protocol.GroupID, 70_000)},
	} {
		if err := Check(Encode(groupstate.Header{}, c)); err == nil {
			t.Errorf("%s: the entry is proposed", what)
		}
	}
	most := Command{Kind: KeepSessions, Keeps: make([]protocol.SessionID, MaxKeep)}
	for i := range most.Keeps {
		most.Keeps[i] = math.MaxUint64 - protocol.SessionID(i)
	}
	entry := Encode(groupstate.Header{}, most)
	if err := Check(entry); err != nil {
		t.Error(err)
	}
	if _, _, err := founded(t).Apply(entry); err != nil {
		t.Error(err)
	}
}

// drawn fills a command's fields with anything that their types can hold.
func drawn(t *rapid.T, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				drawn(t, v.Field(i), name+"."+f.Name)
			}
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, name) {
			v.Set(reflect.New(v.Type().Elem()))
			drawn(t, v.Elem(), name)
		}
	case reflect.Slice:
		n := rapid.IntRange(0, 3).Draw(t, name)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			drawn(t, v.Index(i), fmt.Sprint(name, i))
		}
	case reflect.Array: // a UUID: few, so that they meet
		v.Index(0).SetUint(uint64(rapid.IntRange(0, 4).Draw(t, name)))
	case reflect.String:
		v.SetString(rapid.SampledFrom([]string{"", "n1", "n2", "disk", "10.0.0.1:7170", "\xff", strings.Repeat("x", 600)}).Draw(t, name))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, name))
	case reflect.Int64:
		v.SetInt(rapid.OneOf(rapid.Int64Range(0, 5), rapid.Int64()).Draw(t, name))
	default:
		v.SetUint(rapid.OneOf(rapid.Uint64Range(0, 5), rapid.Uint64Max(1<<v.Type().Bits()-1)).Draw(t, name))
	}
}

// TestProposedIsApplied shows that Apply takes every entry that Check lets be
// proposed, whatever came before, and answers what can be decoded; and that
// another replica, which began with a snapshot in between, agrees.
func TestProposedIsApplied(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one, two := New(), New()
		for range rapid.IntRange(1, 8).Draw(t, "entries") {
			var c Command
			drawn(t, reflect.ValueOf(&c).Elem(), "command")
			c.Kind = Kind(rapid.IntRange(0, 18).Draw(t, "kind"))
			c.Member.Level = min(c.Member.Level, MaxLevel) // what is above is of a later version, which refuses this one
			if c.Saved != nil {
				c.Saved.Level = min(c.Saved.Level, MaxLevel)
			}
			h := groupstate.Header{ClockEpoch: one.clock.Epoch, Elapsed: rapid.Int64Range(0, int64(time.Hour)).Draw(t, "elapsed")}
			entry := Encode(h, c)
			if Check(entry) != nil {
				continue
			}
			answer, _, err := one.Apply(entry)
			if err != nil {
				t.Fatalf("%+v: %v", c, err)
			}
			if err := protocol.DecodeLarge(answer, &Answer{}); err != nil {
				t.Fatalf("the answer to %+v: %v", c, err)
			}
			if rapid.Bool().Draw(t, "restored") {
				n := New()
				if err := n.Restore(bytes.NewReader(two.Snapshot())); err != nil {
					t.Fatal(err)
				}
				two = n
			}
			if again, _, err := two.Apply(entry); err != nil || !bytes.Equal(again, answer) {
				t.Fatalf("another replica answers %x, not %x (%v)", again, answer, err)
			}
		}
		if !bytes.Equal(one.Snapshot(), two.Snapshot()) {
			t.Fatal("replicas differ")
		}
	})
}

// openFrom opens n sessions from a source and returns how many there are.
func openFrom(t *testing.T, s *State, source byte, n int) (opened int, problem string) {
	t.Helper()
	for first := 0; first < n; first += MaxKeep {
		c := Command{Kind: KeepSessions}
		for i := first; i < min(n, first+MaxKeep); i++ {
			c.Opens = append(c.Opens, Opening{Client: protocol.UUID{source, byte(i >> 16), byte(i >> 8), byte(i)}, TTL: time.Hour, Source: fmt.Sprint("10.0.0.", source)})
		}
		for _, o := range apply(t, s, 0, c).Opened {
			if o.Session != 0 {
				opened++
			} else {
				problem = o.Problem
			}
		}
	}
	return opened, problem
}

// TestSessionsOfOneSource shows that whoever opens as many sessions as it can
// leaves as many to others, and that repeats are never refused.
func TestSessionsOfOneSource(t *testing.T) {
	s := founded(t)
	for source, want := range []int{maxSessions / 2, maxSessions / 4, maxSessions / 8} {
		n, problem := openFrom(t, s, byte(source+1), maxSessions)
		if n != want || !strings.Contains(problem, fmt.Sprint("10.0.0.", source+1)) {
			t.Fatalf("source %d has %d sessions, want %d: %s", source+1, n, want, problem)
		}
	}
	if n, _ := openFrom(t, s, 9, 100); n != 100 {
		t.Errorf("a gateway opens %d of 100 sessions beside them", n)
	}
	if n, _ := openFrom(t, s, 1, 100); n != 100 {
		t.Errorf("%d of 100 sessions are found again", n)
	}
	n := New()
	if err := n.Restore(bytes.NewReader(s.Snapshot())); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*State{s, n} {
		if n, _ := openFrom(t, s, 2, maxSessions/4+1); n != maxSessions/4 {
			t.Errorf("source 2 has %d sessions", n)
		}
		for id := protocol.SessionID(1); id <= maxSessions/2; id += MaxKeep { // the first source closes its own
			c := Command{Kind: KeepSessions}
			for i := id; i < id+MaxKeep && i <= maxSessions/2; i++ {
				c.Closes = append(c.Closes, i)
			}
			apply(t, s, 0, c)
		}
		if n, _ := openFrom(t, s, 3, 2*maxSessions/8); n != 2*maxSessions/8 {
			t.Errorf("source 3 has %d sessions after many were closed", n)
		}
	}
}

// TestEndedForEver shows that what a replica that lags says of a session that
// has ended is what all say later.
func TestEndedForEver(t *testing.T) {
	s := founded(t)
	one, two := open(t, s, 1, 10*time.Second, 0), open(t, s, 2, 10*time.Second, 0)
	apply(t, s, 0, Command{Kind: KeepSessions, Closes: []protocol.SessionID{one}})
	for id, want := range map[protocol.SessionID]bool{0: true, one: true, two: false, two + 1: false, 1 << 60: false} {
		if s.Over(id) != want || s.Ended(id) != want {
			t.Errorf("session %d: over %t, ended %t, want %t", id, s.Over(id), s.Ended(id), want)
		}
	}
}
