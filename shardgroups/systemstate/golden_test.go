package systemstate

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
)

var rewrite = flag.Bool("rewrite", false, "write the golden log in testdata")

// The golden log of level 1: entries with the answers they give, and the
// snapshot of the state after them. What is there stays true for ever.
const (
	goldenLog      = "testdata/level1.log"
	goldenSnapshot = "testdata/level1.snapshot"
)

// golden are commands of every kind, and when they are proposed.
func golden() []struct {
	at time.Duration
	c  Command
} {
	type step = struct {
		at time.Duration
		c  Command
	}
	settings := Settings{Durability: "disk", Partitions: 4, Groups: 2, Replicas: 3, Limits: protocol.DefaultLimits()}
	replicas := []Replica{{ID: 1, Member: 1, Initial: true}, {ID: 2, Member: 2, Initial: true}}
	var steps []step
	add := func(at time.Duration, c Command) { steps = append(steps, step{at, c}) }
	add(0, Command{Kind: Found, Cluster: protocol.UUID{1}, Name: "golden", Settings: settings, Member: Member{Name: "n1", Incarnation: protocol.UUID{2}, Address: "a:1", Level: 1}})
	add(0, Command{Kind: Claim, Nonce: 5})
	add(0, Command{Kind: AddMember, Member: Member{Name: "n2", Incarnation: protocol.UUID{3}, Address: "b:1"}})
	add(0, Command{Kind: SetAddress, Member: Member{Name: "n2", Incarnation: protocol.UUID{3}, Address: "b:2", Level: 1}})
	add(0, Command{Kind: AddReplica, Group: 1, Member: Member{ID: 2}})
	add(0, Command{Kind: SetReplica, Group: 1, Replica: Replica{ID: 2, Member: 2}})
	add(0, Command{Kind: Form})
	add(0, Command{Kind: CreateGroups, Partitions: []protocol.GroupID{2, 3, 2, 3}, Groups: []Group{
		{ID: 2, Replicas: replicas, NextReplica: 3}, {ID: 3, Replicas: replicas, NextReplica: 3, Revision: 7},
	}})
	for i := range byte(3) {
		add(time.Second, Command{Kind: KeepSessions, Opens: []Opening{{Client: protocol.UUID{7, i}, TTL: time.Duration(i+2) * time.Second, Source: "10.0.0.1"}}})
	}
	add(2*time.Second, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{1, 2, 9}})
	add(3*time.Second, Command{Kind: KeepSessions, Closes: []protocol.SessionID{2}})
	add(5*time.Second, Command{Kind: KeepSessions})
	add(5*time.Second, Command{Kind: AddMember, Member: Member{Name: "n2", Incarnation: protocol.UUID{4}, Address: "c:1"}})
	add(5*time.Second, Command{Kind: AddMember, Member: Member{Name: "n2", Incarnation: protocol.UUID{4}, Address: "c:1"}, Replaces: protocol.UUID{3}})
	add(5*time.Second, Command{Kind: RemoveReplica, Group: 2, Replica: Replica{ID: 2}})
	add(5*time.Second, Command{Kind: RemoveMember, Member: Member{ID: 2}})
	add(5*time.Second, Command{Kind: KeepSessions, Opens: []Opening{{Client: protocol.UUID{8}, TTL: time.Minute, Source: "10.0.0.1"}}})
	add(5*time.Second, Command{Kind: ReplaceGroup, Group: 3, Groups: []Group{{Replicas: []Replica{{Member: 3}}, Backup: 3}}})
	add(6*time.Second, Command{Kind: KeepSessions, Opens: []Opening{{Client: protocol.UUID{8}, TTL: time.Minute, Source: "10.0.0.1"}}})
	add(6*time.Second, Command{
		Kind: KeepSessions, Keeps: []protocol.SessionID{3, 5}, Closes: []protocol.SessionID{5, 99},
		Opens: []Opening{{Client: protocol.UUID{9}, TTL: time.Minute, Source: "10.0.0.2"}, {Client: protocol.UUID{9}, TTL: time.Hour, Source: "10.0.0.2"}},
	})
	add(6*time.Second, Command{Kind: Restored, Group: 4})
	add(6*time.Second, Command{Kind: KeepSessions, Opens: []Opening{
		{Client: protocol.UUID{9}, TTL: time.Minute, Greets: true}, {Client: protocol.UUID{10}, TTL: time.Minute, Greets: true},
	}})
	add(7*time.Second, Command{Kind: KeepSessions, Renews: []protocol.SessionID{2, 6, 7, 8, 9}})
	add(7*time.Second, Command{Kind: KillSession, Kill: &Kill{Session: 7, Reason: "maintenance"}})
	add(7*time.Second, Command{Kind: KillSession, Kill: &Kill{Session: 8, Now: true}})
	add(7*time.Second, Command{Kind: KillSession, Kill: &Kill{Session: 99}})
	add(7*time.Second, Command{Kind: KeepSessions, Keeps: []protocol.SessionID{6, 7}, Opens: []Opening{{Client: protocol.UUID{11}, TTL: time.Minute, Source: "10.0.0.3", Name: "worker"}}})
	add(7*time.Second, Command{Kind: 99})
	return steps
}

// TestGolden replays the golden log. It must give the same answers and the
// same snapshot in every version, also where a snapshot stands for its
// beginning.
func TestGolden(t *testing.T) {
	if *rewrite {
		s := New()
		var log bytes.Buffer
		for _, x := range golden() {
			goldenEntry(t, s, &log, Encode(groupstate.Header{ClockEpoch: s.clock.Epoch, Elapsed: int64(x.at)}, x.c))
		}
		for file, b := range map[string][]byte{goldenLog: log.Bytes(), goldenSnapshot: s.Snapshot()} {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := os.ReadFile(goldenLog)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := os.ReadFile(goldenSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	for reborn := -1; reborn < len(golden()); reborn++ { // -1: never
		s := New()
		var log bytes.Buffer
		lines := bufio.NewScanner(bytes.NewReader(want))
		for n := 0; lines.Scan(); {
			text, ok := strings.CutPrefix(lines.Text(), "entry ")
			if !ok {
				continue
			}
			if n++; n-1 == reborn {
				again := New()
				if err := again.Restore(bytes.NewReader(s.Snapshot())); err != nil {
					t.Fatal(err)
				}
				s = again
			}
			entry, err := hex.DecodeString(text)
			if err != nil {
				t.Fatal(err)
			}
			goldenEntry(t, s, &log, entry)
		}
		if diff := cmp.Diff(string(want), log.String()); diff != "" {
			t.Errorf("restored at entry %d: the log says otherwise (-want +got):\n%s", reborn, diff)
		}
		if !bytes.Equal(s.Snapshot(), snapshot) {
			t.Errorf("restored at entry %d: another snapshot", reborn)
		}
	}
}

func goldenEntry(t *testing.T, s *State, log *bytes.Buffer, entry []byte) {
	t.Helper()
	answer, changed, err := s.Apply(entry)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(log, "entry %x\n  changed %t, answers %x\n", entry, changed, answer)
}
