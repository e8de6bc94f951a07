package shardgroups_test

import (
	"context"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// TestGroup_FallsOffTheListOfEnds ends more sessions at once than are listed. A
// group that knew the first of them ends it all the same, and none that lives.
func TestGroup_FallsOffTheListOfEnds(t *testing.T) {
	const g, p, others = protocol.SystemGroup + 1, protocol.PartitionID(0), 100
	c := newTunedCluster(t, func(cfg *shardgroups.Config) { cfg.TestHooks.EndedSessions = 8 })
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	dies, lives := c.session(1, time.Hour), c.session(2, time.Hour)
	for _, id := range []protocol.SessionID{dies, lives} {
		if r := c.do(add(id, p, 1)); r.Code != protocol.CodeOK {
			t.Fatalf("code %d", r.Code)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	propose := func(cmd systemstate.Command) systemstate.Answer {
		a, err := c.hosts[0].System().Propose(ctx, cmd)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	opens := systemstate.Command{Kind: systemstate.KeepSessions}
	for i := range others {
		opens.Opens = append(opens.Opens, systemstate.Opening{Client: protocol.UUID{8, byte(i)}, TTL: time.Hour})
	}
	closes := systemstate.Command{Kind: systemstate.KeepSessions, Closes: []protocol.SessionID{dies}}
	for _, o := range propose(opens).Opened {
		closes.Closes = append(closes.Closes, o.Session)
	}
	propose(closes)
	seq := uint64(1)
	wait(t, "end of the session in the group", func() bool {
		seq++
		r := submit(c.hosts[c.leader(g)].Group(g), add(dies, p, seq))
		return r.Code == protocol.CodeSessionEnded
	})
	if r := c.do(add(lives, p, 2)); r.Code != protocol.CodeOK {
		t.Errorf("the session that lives: code %d", r.Code)
	}
	late := c.session(3, time.Hour)
	if r := c.do(add(late, p, 1)); r.Code != protocol.CodeOK {
		t.Errorf("a session that was opened afterwards: code %d", r.Code)
	}
	c.sameHash(g)
}
