package shardgroups_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

// stray adds to a counter at its group and, as a member with an old table
// would have it, at the other one. It reports whether acknowledged adds are
// missing.
func stray(t *testing.T) error {
	t.Helper()
	c := newCluster(t)
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour)
	const p = protocol.PartitionID(0)
	wrong := protocol.SystemGroup + 1 + protocol.GroupID((p+1)%groups)
	acknowledged, refused := int64(0), 0
	for seq := uint64(1); seq <= 20; seq++ {
		if seq%2 == 0 {
			switch r := c.submitTo(wrong, add(s, p, seq)); r.Code {
			case protocol.CodeOK:
				acknowledged++
				continue
			case protocol.CodeNotOwner:
				refused++ // it has not entered: the owner may have it
			default:
				t.Fatalf("code %d: %q", r.Code, r.Body)
			}
		}
		if r := c.do(add(s, p, seq)); r.Code != protocol.CodeOK {
			t.Fatalf("code %d: %q", r.Code, r.Body)
		}
		acknowledged++
	}
	t.Logf("%d acknowledged, %d refused by the group that does not own", acknowledged, refused)
	if n := c.get(p); n != acknowledged {
		return fmt.Errorf("the counter is %d, %d were acknowledged", n, acknowledged)
	}
	return nil
}

// submitTo sends a request to the leader of a group until there is an answer
// that is definite, or that the group is not the owner.
func (c *cluster) submitTo(g protocol.GroupID, q protocol.Request) protocol.Reply {
	c.t.Helper()
	var r protocol.Reply
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		r = submit(c.hosts[c.leader(g)].Group(g), q)
		if r.Code == protocol.CodeNotOwner || r.Code.Class() == protocol.ClassDone || r.Code.Class() == protocol.ClassRefused {
			return r
		}
		q.Flags |= protocol.FlagRepeat
	}
	c.t.Fatalf("no answer: code %d", r.Code)
	return r
}

// TestGroup_RefusesWhatItDoesNotOwn shows that apply, not the sender's table,
// decides who owns a partition.
func TestGroup_RefusesWhatItDoesNotOwn(t *testing.T) {
	if err := stray(t); err != nil {
		t.Fatal(err)
	}
}

// TestHistoryBudget: the log of a group says how much of its events it keeps, to all
// members alike, whatever each is configured with, and after a start with another setting.
func TestHistoryBudget(t *testing.T) {
	configured := 0
	c := newTunedCluster(t, func(cfg *shardgroups.Config) {
		configured++
		cfg.HistoryBytes = configured << 20
	})
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour)
	agreed := map[protocol.GroupID]int{}
	for p := range protocol.PartitionID(groups) {
		c.do(add(s, p, 1))
		g := protocol.SystemGroup + 1 + protocol.GroupID(p)
		agreed[g] = c.hosts[c.leader(g)].Group(g).Status().State.MaxHistory
		if agreed[g] < 1<<20 || agreed[g] > members<<20 {
			t.Errorf("group %d keeps %d bytes, which nobody was configured", g, agreed[g])
		}
		c.sameHash(g)
	}
	c.close(0)
	c.open(0) // it is configured with 4 MiB
	c.start(0, false)
	for g, want := range agreed {
		c.sameHash(g)
		for i, h := range c.hosts {
			if n := h.Group(g).Status().State.MaxHistory; n != want {
				t.Errorf("group %d keeps %d bytes at member %d, %d were agreed", g, n, i, want)
			}
		}
	}
}
