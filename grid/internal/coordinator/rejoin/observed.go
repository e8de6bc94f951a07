package rejoin

import (
	"context"
	"fmt"
	"slices"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// askProgress asks all members that have not answered yet.
func (c *Controller) askProgress(ctx context.Context, m *identity.Member) {
	k := &c.check
	q := c.Runs.progressQuery(m)
	for _, r := range k.stored {
		q.Replicas = append(q.Replicas, peers.ReplicaOf{Group: r.Group, Replica: r.Replica})
	}
	replies := c.Runs.askAll(ctx, q, peers.AskTimeout, func(u protocol.UUID) bool {
		a, ok := k.answers[u]
		return !ok || k.lost != "" && !a.Led
	})
	for _, r := range believed(replies, m.Peers, c.grid.Join()) {
		k.answers[r.Self.Incarnation] = r
	}
	for _, p := range m.Peers {
		k.asked[p.Incarnation]++
	}
}

// answer is what was answered at an address.
type answer struct {
	at string
	peers.ProgressReply
}

// believed returns the answers on which a member may discard its data. The
// gossip is not enough for that, since anybody may send it: they come from where
// the others were known to be, or were named to this member. One that has moved
// meanwhile is believed if nobody answers at its address.
func believed(all []answer, listed []identity.Peer, named []string) []peers.ProgressReply {
	var found []peers.ProgressReply
	answers := map[string]bool{}
	for _, t := range all {
		answers[t.at] = true
	}
	for _, t := range all {
		known := slices.Contains(named, t.at)
		for _, p := range listed {
			moved := p.Incarnation == t.Self.Incarnation && !answers[p.Address]
			known = known || p.Address == t.at || moved
		}
		if known {
			found = append(found, t.ProgressReply)
		}
	}
	return found
}

// verdict says what the answers prove to be lost; empty: nothing.
func (c *Controller) verdict(m *identity.Member) string {
	now := c.grid.Dir().Run()
	for _, a := range c.check.answers {
		if a.Older {
			return fmt.Sprintf("the data directory is an older copy: it was started %d times, and %s has heard of start %d", now.Number, a.Self.Name, a.Run)
		}
		if a.Led && !a.Listed && len(m.Started) > 0 {
			return fmt.Sprintf("the cluster has given this incarnation's replicas to another, says %s", a.Self.Name)
		}
		for _, w := range a.Seen {
			r, _ := m.Replica(w.Group)
			for _, s := range c.check.stored {
				if s.Group == w.Group && s.Replica == w.Replica && w.Lost(s, r.Alone) {
					return fmt.Sprintf("replica %d of group %d has lost data: its log ends at entry %d in term %d, and %s has seen it further",
						s.Replica, s.Group, s.Last, s.Term, a.Self.Name)
				}
			}
		}
	}
	return ""
}

// unanswered returns how many more members must answer: with this member a
// majority of those with whom it votes, without which it would have no quorum
// anyway, and those that are heard of.
func (c *Controller) unanswered(m *identity.Member) int {
	k := &c.check
	voters, missing, heard := 0, 0, 0
	for _, p := range m.Peers {
		if !c.counts(p) {
			continue
		}
		if p.Voter {
			voters++
		}
		if _, ok := k.answers[p.Incarnation]; ok {
			continue
		}
		if p.Voter {
			missing++
		}
		if k.asked[p.Incarnation] < tries && (c.grid.Heard(p.Incarnation) || k.asked[p.Incarnation] == 0) {
			heard++
		}
	}
	need := (voters + 1) / 2
	if need == 0 && len(k.answers) == 0 && len(m.Started) == 0 {
		return 1 // to be admitted it needs one anyway
	}
	return max(need-(voters-missing), heard, 0)
}

// counts reports whether a peer still belongs to the cluster, by those who know.
func (c *Controller) counts(p identity.Peer) bool {
	for _, a := range c.check.answers {
		if a.Led && !slices.Contains(a.Others, p.Incarnation) && a.Self.Incarnation != p.Incarnation {
			return false
		}
	}
	return true
}

// OnObserved says what this member has seen of another.
func (c *Controller) OnObserved(ctx context.Context, q peers.ProgressQuery) (any, error) {
	m := c.grid.Member()
	if m.Cluster != q.Cluster {
		return nil, peers.ErrAnotherCluster
	}
	now := identity.Run{Number: q.Run, Nonce: q.Nonce}
	before, noted, err := c.Runs.note(ctx, q.Self.Incarnation, now)
	if err != nil {
		return nil, err
	}
	r := peers.ProgressReply{Self: c.grid.Me(), Run: before.Number, Older: now.OlderThan(before), Noted: noted}
	h := c.grid.Engine()
	if h == nil {
		return r, nil
	}
	for _, o := range q.Replicas {
		if w, ok := h.ObservedProgress(o.Group, o.Replica); ok {
			r.Seen = append(r.Seen, w)
		}
	}
	if h.System().Leader().Replica == 0 {
		return r, nil
	}
	v := h.System().View()
	if !membership.IsListed(v, q.Self.Incarnation) {
		// What is known here may be older than the member: only what is agreed now
		// proves that it does not belong.
		ctx, cancel := context.WithTimeout(ctx, peers.AskTimeout/2)
		defer cancel()
		if v, err = h.System().Refresh(ctx); err != nil {
			return r, nil
		}
	}
	r.Led, r.Listed = v.Formed, membership.IsListed(v, q.Self.Incarnation)
	o, _ := v.Incarnation(q.Self.Incarnation)
	r.Placed = slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool {
		return slices.ContainsFunc(g.Replicas, func(x systemstate.Replica) bool { return o.ID != 0 && x.Member == o.ID })
	})
	for _, o := range v.Members {
		if !o.Gone && o.Incarnation != q.Self.Incarnation {
			r.Others = append(r.Others, o.Incarnation)
		}
	}
	return r, nil
}
