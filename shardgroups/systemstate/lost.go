package systemstate

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/protocol"
)

// replaceGroup gives the partitions of a group that has lost the data of its majority
// to a new group (LOSS-1). The old group is not asked any more: its rows, its holders
// and its exactly-once records are lost, or come back from a backup that may lack the
// latest. So all sessions end: their clients learn with the next heartbeat or call that
// they hold nothing.
func (s *State) replaceGroup(a *ClusterState, c *Command) Answer {
	i := slices.IndexFunc(a.Groups, func(g Group) bool { return g.ID == c.Group })
	switch {
	case c.Group == protocol.SystemGroup || c.Group >= a.NextGroup || len(c.Groups) != 1 || len(c.Groups[0].Replicas) == 0:
		return refuse("no such group, or no replicas for its successor")
	case i < 0:
		return Answer{} // it is replaced already
	case a.Groups[i].Generation == math.MaxUint16:
		return refuse("the generations of the group are used up")
	}
	g := Group{
		ID: a.NextGroup, NextReplica: 1, Generation: a.Groups[i].Generation + 1, Revision: a.Groups[i].Revision,
		GracePeriod: s.longestTTL(), Ends: s.ends, Backup: c.Groups[0].Backup,
	}
	if c.Floor > FloorOf(a.Groups[i].Generation, a.Groups[i].Revision) {
		// Above everything that the group can have given out, and not above the clock's
		// time after the whole grid is lost.
		g.Generation, g.Revision = c.Floor.Generation(), c.Floor.Revision()
	}
	for _, r := range c.Groups[0].Replicas {
		if m, ok := a.Member(r.Member); !ok || m.Gone {
			return refuse("no such member")
		}
		g.Replicas = append(g.Replicas, Replica{ID: g.NextReplica, Member: r.Member, Initial: true})
		g.NextReplica++
	}
	a.NextGroup++
	a.Groups = append(slices.Delete(a.Groups, i, i+1), g)
	for p := range a.Partitions {
		if a.Partitions[p] == c.Group {
			a.Partitions[p] = g.ID
		}
	}
	a.Epoch++
	s.over = s.next
	s.leaving, s.sources = len(s.sessions), map[string]int{}
	return Answer{Group: g.ID}
}

// longestTTL returns the longest time until every present holder knows that it holds
// nothing any more.
func (s *State) longestTTL() time.Duration {
	longest := time.Duration(0)
	for _, v := range s.sessions {
		longest = max(longest, v.TTL)
	}
	return longest
}

// restore makes a new cluster start with what is left of a lost one.
func (s *State) restore(a *ClusterState, saved *SavedCluster) {
	a.Epoch, a.NextGroup, a.Partitions = saved.Epoch+1, max(a.NextGroup, saved.NextGroup), saved.Partitions
	a.Level = max(a.Level, saved.Level)
	s.next, s.ends = max(s.next, saved.Next), saved.Ends
	first := a.Groups[0].Replicas[0]
	for _, g := range saved.Groups {
		g.Replicas, g.NextReplica = []Replica{first}, first.ID+1
		g.Ends = saved.Ends
		a.Groups = append(a.Groups, g)
		a.NextGroup = max(a.NextGroup, g.ID+1)
	}
}

// LongestTTL returns the longest TTL of a session that has not ended in all groups yet.
func (s *State) LongestTTL() time.Duration { return s.longestTTL() }

// Allowances for what the survivor of a lost cluster may not have seen: the last
// sessions that were opened, and their TTL.
const (
	unseenSessions = 1 << 20
	minGracePeriod = 10 * time.Second
)

// SavedCluster returns what a cluster that is founded anew takes from this one, which
// is lost. has reports whether a group has a backup; groups without one begin empty.
func (s *State) SavedCluster(has func(protocol.GroupID) bool) *SavedCluster {
	a := s.cluster
	saved := &SavedCluster{
		Epoch: a.Epoch, Level: a.Level, Next: s.next + unseenSessions, Ends: s.ends + uint64(len(s.sessions)), NextGroup: a.NextGroup, Partitions: a.Partitions,
	}
	for _, g := range a.Groups {
		if g.ID == protocol.SystemGroup {
			continue
		}
		n := Group{ID: g.ID, Generation: g.Generation + 1, Revision: g.Revision, GracePeriod: max(s.longestTTL(), minGracePeriod)}
		if has(g.ID) {
			n.Backup = g.ID
		}
		saved.Groups = append(saved.Groups, n)
	}
	return saved
}

// SessionIDs returns the sessions that live, in their order.
func (s *State) SessionIDs() []protocol.SessionID {
	ids := slices.Sorted(maps.Keys(s.sessions))
	return slices.DeleteFunc(ids, func(id protocol.SessionID) bool { return id < s.over || s.sessions[id].Dying })
}

// LostMajority returns the members whose data is lost for ever, if they have so many of
// a group's votes that it can never have a majority again; else nil. lives reports
// whether a member that was replaced lives all the same, and so has its data; nil: none
// does.
func (a *ClusterState) LostMajority(g Group, lives func(Member) bool) []Member {
	var gone []Member
	voters := 0
	for _, r := range g.Replicas {
		if r.NonVoting {
			continue
		}
		voters++
		if m, ok := a.Member(r.Member); ok && m.Gone && (lives == nil || !lives(m)) {
			gone = append(gone, m)
		}
	}
	if voters-len(gone) >= voters/2+1 {
		return nil
	}
	return gone
}

// LostDetail says that a group has lost the data of its majority, and what to do; empty
// if it has not.
func (a *ClusterState) LostDetail(id protocol.GroupID) string {
	g, ok := a.Group(id)
	if !ok {
		return ""
	}
	gone := a.LostMajority(g, nil)
	if gone == nil {
		return ""
	}
	names := make([]string, len(gone))
	for i, m := range gone {
		names[i] = m.Name
	}
	way := "it begins again, empty, once enough members run"
	if a.Settings.Durability != "memory" {
		way = fmt.Sprintf("bring it back from a survivor with quorate recover --group %d", id)
	}
	return fmt.Sprintf("group %d has lost the data of its majority (%s): %s", id, strings.Join(names, ", "), way)
}
