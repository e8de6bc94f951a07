package coordinator

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// TestReadyBesideAGroupThatIsNeverRestored: a group whose backup does not come
// holds the member up for groupsGrace, and no longer where other groups can be used.
func TestReadyBesideAGroupThatIsNeverRestored(t *testing.T) {
	for _, test := range []struct {
		name    string
		backups []protocol.GroupID // of the data groups 2, 3 ...
		ready   bool
	}{
		{"one of two", []protocol.GroupID{0, 9}, true},
		{"a whole grid that is recovered", []protocol.GroupID{8, 9}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				c := idleMember(t, nobody, func(cfg *Config) { cfg.Logger = slog.New(slog.NewTextHandler(&out, nil)) })
				v := &systemstate.ClusterState{
					Partitions: []protocol.GroupID{2, 3},
					Groups:     []systemstate.Group{{ID: protocol.SystemGroup}},
				}
				for i, backup := range test.backups {
					v.Groups = append(v.Groups, systemstate.Group{ID: protocol.GroupID(2 + i), Backup: backup})
				}
				c.checkReady(v)
				time.Sleep(groupsGrace - time.Nanosecond)
				c.checkReady(v)
				if c.IsReady() || !strings.Contains(c.Waiting(), "the restore of group") {
					t.Fatalf("ready %t, waits for %q", c.IsReady(), c.Waiting())
				}
				time.Sleep(time.Nanosecond)
				c.checkReady(v)
				if c.IsReady() != test.ready {
					t.Fatalf("after the time it is ready: %t; it waits for %q", c.IsReady(), c.Waiting())
				}
				told := "the member serves although groups are not restored\" groups=\"group 3\""
				if strings.Contains(out.String(), told) != test.ready {
					t.Errorf("it logged:\n%s", out.String())
				}
				for i := range v.Groups {
					v.Groups[i].Backup = 0
				}
				if !test.ready {
					c.checkReady(v)
					if !c.IsReady() {
						t.Errorf("all states are loaded, and it waits for %q", c.Waiting())
					}
				}
			})
		})
	}
}

// TestWaitedForGroups: a group counts once that has neither a leader nor its
// state, and where no data group is left the member waits on.
func TestWaitedForGroups(t *testing.T) {
	v := &systemstate.ClusterState{Groups: []systemstate.Group{{ID: protocol.SystemGroup}, {ID: 2}, {ID: 3}}}
	ids := func(ids ...protocol.GroupID) []protocol.GroupID { return ids }
	for _, test := range []struct {
		name             string
		without, loading []protocol.GroupID
		want             bool
	}{
		{"a leader", ids(2), nil, true},
		{"a state", nil, ids(3), true},
		{"both of one group", ids(3), ids(3), true},
		{"the system group's leader", ids(protocol.SystemGroup), nil, true},
		{"the system group's leader and a state", ids(protocol.SystemGroup), ids(2), true},
		{"one of each group", ids(2), ids(3), false},
		{"all leaders", ids(protocol.SystemGroup, 2, 3), nil, false},
		{"all states", nil, ids(2, 3), false},
	} {
		var c Coordinator
		begun := time.Unix(1000, 0)
		if c.waitedForGroups(begun, v, test.without, test.loading) {
			t.Errorf("%s: no time was waited", test.name)
		}
		if got := c.waitedForGroups(begun.Add(groupsGrace), v, test.without, test.loading); got != test.want {
			t.Errorf("%s: got %t", test.name, got)
		}
	}
}
