package gridtest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

// members are the members of a cluster, and how they see the grid.
type members struct {
	t     testing.TB
	nodes []*node
}

// add makes a node, and returns its number.
func (ms *members) add() int {
	ms.nodes = append(ms.nodes, &node{})
	return len(ms.nodes) - 1
}

// WaitReady waits until every running member serves.
func (ms *members) WaitReady() {
	ms.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), WaitTimeout)
	defer cancel()
	for i, n := range ms.nodes {
		if m := n.running(); m != nil {
			if err := m.Ready(ctx); err != nil {
				ms.t.Fatalf("member %d: %v\n%s", i, err, ms.Diagnose())
			}
		}
	}
}

// Len returns how many members there are, running or not.
func (ms *members) Len() int { return len(ms.nodes) }

// Member returns a member, nil while it is down.
func (ms *members) Member(i int) *grid.Member { return ms.nodes[i].running() }

// Addrs returns the addresses of all members.
func (ms *members) Addrs() []string {
	var all []string
	for _, n := range ms.nodes {
		n.mu.Lock()
		all = append(all, n.address)
		n.mu.Unlock()
	}
	return all
}

// WaitFull waits until every running member serves and knows all of them, and
// every group has all its replicas and they have caught up.
func (ms *members) WaitFull() {
	ms.t.Helper()
	ms.WaitReady()
	ms.Eventually("every group fully replicated", ms.full)
}

func (ms *members) full() bool {
	var epoch uint64
	names := map[string]bool{}
	for i := range ms.nodes {
		if ms.Member(i) == nil {
			continue
		}
		s, err := ms.Status(i)
		if err != nil || !s.Ready || len(s.Groups) == 0 || epoch != 0 && s.Epoch != epoch {
			return false
		}
		epoch = s.Epoch
		for _, g := range s.Groups {
			if g.Missing > 0 || g.Leader == 0 {
				return false
			}
		}
		own := false
		for _, m := range s.Members {
			own = own || m.ID == s.Member
			names[m.Address] = names[m.Address] || m.State == protocol.StateServing
		}
		if !own {
			return false
		}
	}
	for _, n := range ms.nodes {
		n.mu.Lock()
		known := !n.up || names[n.address]
		n.mu.Unlock()
		if !known {
			return false
		}
	}
	return true
}

// Status returns how a running member sees the grid.
func (ms *members) Status(i int) (protocol.Status, error) {
	var s protocol.Status
	err := ms.ask(i, protocol.AdminStatus, &s)
	return s, err
}

// Hashes returns the hashes of a running member's replicas.
func (ms *members) Hashes(i int) (protocol.HashReport, error) {
	var r protocol.HashReport
	err := ms.ask(i, protocol.AdminHash, &r)
	return r, err
}

func (ms *members) ask(i int, what string, out any) error {
	m := ms.Member(i)
	if m == nil {
		return fmt.Errorf("member %d is down", i)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	b, err := client.Ask(ctx, m.Addr(), what, nil)
	if err != nil {
		return err
	}
	return protocol.DecodeAnswer(b, out)
}

// Groups returns the groups of the cluster, as member i knows them.
func (ms *members) Groups(i int) []protocol.GroupID {
	ms.t.Helper()
	h := ms.host(i)
	var all []protocol.GroupID
	for _, g := range h.System().View().Groups {
		all = append(all, g.ID)
	}
	return all
}

func (ms *members) host(i int) *shardgroups.Host {
	ms.t.Helper()
	h := ms.nodes[i].host.Load()
	if ms.Member(i) == nil || h == nil {
		ms.t.Fatalf("member %d is down, or has not begun to form the cluster", i)
	}
	return h
}

// LeaderOf waits until the members that run, and are not paused, agree who leads
// a group, and returns that member.
func (ms *members) LeaderOf(g protocol.GroupID) int {
	ms.t.Helper()
	found := -1
	ms.Eventually(fmt.Sprintf("a leader of group %d", g), func() bool {
		found = ms.agreedLeader(g)
		return found >= 0
	})
	return found
}

func (ms *members) agreedLeader(g protocol.GroupID) int {
	agreed := ""
	for i, n := range ms.nodes {
		if ms.Member(i) == nil || n.paused.Load() {
			continue
		}
		s, err := ms.Status(i)
		if err != nil {
			return -1
		}
		name := leaderName(s, g)
		if name == "" || agreed != "" && agreed != name {
			return -1
		}
		agreed = name
	}
	for i, n := range ms.nodes {
		if n.running() != nil && agreed == memberName(i) {
			return i
		}
	}
	return -1
}

func leaderName(s protocol.Status, id protocol.GroupID) string {
	for _, g := range s.Groups {
		if g.ID != uint64(id) {
			continue
		}
		for _, m := range s.Members {
			if m.ID == g.Leader {
				return m.Name
			}
		}
	}
	return ""
}

// Leader returns the member that leads the partition of a key of a structure;
// key is as structures.AppendKey encodes it, nil for a structure without keys.
func (ms *members) Leader(cl *client.Client, name string, key []byte) int {
	ms.t.Helper()
	t := cl.Table()
	return ms.LeaderOf(t.Partitions[cl.Partition(name, key)])
}

// Eventually waits until f is true, and fails the test if that takes longer than
// WaitTimeout.
func (ms *members) Eventually(what string, f func() bool) {
	ms.t.Helper()
	for deadline := time.Now().Add(WaitTimeout); !f(); {
		if time.Now().After(deadline) {
			ms.t.Fatalf("not within %v: %s\n%s", WaitTimeout, what, ms.Diagnose())
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// Diagnose returns how every member sees the grid, for a failing test.
func (ms *members) Diagnose() string {
	var b strings.Builder
	for i := range ms.nodes {
		if ms.Member(i) == nil {
			fmt.Fprintf(&b, "member %d: down\n", i)
			continue
		}
		s, err := ms.Status(i)
		if err != nil {
			fmt.Fprintf(&b, "member %d: %v\n", i, err)
			continue
		}
		fmt.Fprintf(&b, "member %d: ready=%t waiting=%q formed=%t epoch=%d\n", i, s.Ready, s.Waiting, s.Formed, s.Epoch)
		for _, m := range s.Members {
			fmt.Fprintf(&b, "  member %d %s at %s: %s\n", m.ID, m.Name, m.Address, m.State)
		}
		for _, g := range s.Groups {
			fmt.Fprintf(&b, "  group %d: leader %d term %d applied %d missing %d replicas", g.ID, g.Leader, g.Term, g.Applied, g.Missing)
			for _, r := range g.Replicas {
				fmt.Fprintf(&b, " %d@%d(%s)", r.Replica, r.Member, r.State)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}
