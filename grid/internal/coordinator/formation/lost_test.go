package formation

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/coordinatortest"
	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// idle returns a Controller that does nothing by itself.
func idle(t *testing.T, join []string, others coordinatortest.AskerFunc) *Controller {
	t.Helper()
	dir, err := identity.Volatile("n1")
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{}, membership.New(membership.Config{
		Dir: dir, Join: join, Address: "127.0.0.1:1", Logger: slog.New(slog.DiscardHandler), Peers: others,
	}))
}

// TestMembersAreAskedAtTheSameTime: who looks whether members are over, or releases
// them, asks all before the first answers. Each may be silent for 3 s.
func TestMembersAreAskedAtTheSameTime(t *testing.T) {
	var all sync.WaitGroup
	c := idle(t, nil, func(_ context.Context, _, what string, _ []byte) (any, error) {
		all.Done()
		all.Wait()
		if what == peers.AskState {
			return peers.StateReply{Self: peers.Self{Incarnation: identity.NewUUID()}}, nil
		}
		return nil, peers.Refuse(protocol.CodeBusy, "being released")
	})
	v := &systemstate.ClusterState{}
	var g systemstate.Group
	for i := range 4 {
		o := systemstate.Member{ID: protocol.MemberID(i + 1), Incarnation: identity.NewUUID(), Address: fmt.Sprintf("127.0.0.1:%d", 7001+i)}
		v.Members = append(v.Members, o)
		g.Replicas = append(g.Replicas, systemstate.Replica{ID: protocol.ReplicaID(i + 1), Member: o.ID})
	}
	m := c.grid.Member()
	all.Add(len(v.Members))
	if dead := c.deadOf(t.Context(), nil, &m, v, g); len(dead) != len(v.Members) {
		t.Errorf("dead are %v of %d members", dead, len(v.Members))
	}
	all.Add(len(v.Members))
	if err := c.disband(t.Context(), &m, v); err == nil || strings.Count(err.Error(), "being released") != len(v.Members) {
		t.Errorf("released: %v", err)
	}
}

// TestLogThatNeverComes: a member in memory that waits for the log of the system
// group goes on waiting while somebody answers who belongs to its cluster, and
// begins anew once nobody does.
func TestLogThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster, formed := identity.NewUUID(), true
		c := idle(t, []string{"127.0.0.1:2"}, func(context.Context, string, string, []byte) (any, error) {
			return peers.StateReply{Cluster: cluster, Formed: formed, Self: peers.Self{Incarnation: protocol.UUID{1}, Address: "127.0.0.1:2"}}, nil
		})
		if err := c.grid.Decide(func(dir *identity.Dir) error {
			return dir.Update(func(m *identity.Member) {
				m.Cluster, m.ClusterName, m.Formed, m.Durability = cluster, "quorate", true, "memory"
			})
		}); err != nil {
			t.Fatal(err)
		}
		neverComes := func() bool {
			m := c.grid.Member()
			return c.logNeverComes(t.Context(), &m)
		}
		for range 5 {
			if neverComes() {
				t.Error("it begins anew beside a member of its cluster")
			}
			time.Sleep(lostAfter)
		}
		formed = false
		if !neverComes() {
			t.Error("it waits for a log that nobody has")
		}
	})
}
