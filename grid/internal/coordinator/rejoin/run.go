package rejoin

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Runs tells the other members how often this one was started, and keeps what they say:
// a data directory that is an older copy is known by that. All but confirm and forget is
// safe for concurrent use.
type Runs struct {
	grid *membership.Grid

	// Of the goroutine of the controller's steps.
	confirmed   map[protocol.UUID]bool
	confirmedAt time.Time
}

func newRuns(grid *membership.Grid) *Runs {
	return &Runs{grid: grid, confirmed: map[protocol.UUID]bool{}}
}

// forget forgets members that are not listed any more.
func (r *Runs) forget(v *systemstate.ClusterState) {
	maps.DeleteFunc(r.confirmed, func(u protocol.UUID, _ bool) bool {
		_, listed := v.Incarnation(u)
		return !listed
	})
}

// note keeps the run that a member states, and returns the last that was
// kept before. A member discards its data if another is sure of a later run, so
// what anybody may have said is not enough: the member is asked at the address at
// which it is listed. Nothing is kept until it has confirmed the run, which it states
// again.
func (r *Runs) note(ctx context.Context, u protocol.UUID, l identity.Run) (before identity.Run, noted bool, err error) {
	m := r.grid.Member()
	before = m.RunOf(u)
	if before == l {
		return before, true, nil
	}
	address, ok := r.listedAt(&m, u)
	if !ok || l.OlderThan(before) {
		return before, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	q := peers.RunQuery{Cluster: m.Cluster, Incarnation: u, Run: l.Number, Nonce: l.Nonce}
	if err := r.grid.Ask(ctx, address, peers.AskRun, q, nil); err != nil {
		r.grid.Log.Debug("a run is not confirmed", "address", address, "run", l.Number, "err", err)
		return before, false, nil
	}
	return before, true, r.grid.Decide(func(dir *identity.Dir) error { return dir.NoteRun(u, address, l) })
}

// runTimeout bounds the question whether a run is a member's own, for which
// whoever tells of it waits.
const runTimeout = time.Second

// runAgain is how much later a run is stated again that was not confirmed.
const runAgain = 5 * time.Second

// listedAt returns the address of a member that is agreed, or was when this member was
// started. At the one of the gossip anybody may listen.
func (r *Runs) listedAt(m *identity.Member, u protocol.UUID) (string, bool) {
	if v := r.grid.View(); v != nil {
		if o, ok := v.Incarnation(u); ok && !o.Gone {
			return o.Address, true
		}
	}
	for _, p := range m.Peers {
		if p.Incarnation == u {
			return p.Address, true
		}
	}
	return "", false
}

// OnRun says whether a run is the present one of this member.
func (r *Runs) OnRun(q peers.RunQuery) error {
	m := r.grid.Member()
	if m.Cluster != q.Cluster {
		return peers.ErrAnotherCluster
	}
	if m.Incarnation != q.Incarnation || r.grid.Dir().Run() != (identity.Run{Number: q.Run, Nonce: q.Nonce}) {
		return peers.Refuse(protocol.CodeInvalid, "that is not the present run of this member")
	}
	return nil
}

// confirm announces this run to the members that have not noted it: those that were
// away when it began, and all if it began with the cluster.
func (r *Runs) confirm(ctx context.Context, m *identity.Member, noted func(protocol.UUID) bool) {
	if m.Durability == "memory" || time.Since(r.confirmedAt) < time.Second {
		return
	}
	untold := func(u protocol.UUID) bool {
		return !noted(u) && !r.confirmed[u] && r.grid.Heard(u)
	}
	if !slices.ContainsFunc(m.Peers, func(p identity.Peer) bool { return untold(p.Incarnation) }) {
		return
	}
	r.confirmedAt = time.Now()
	for _, by := range r.askAll(ctx, r.progressQuery(m), time.Second, untold) {
		r.confirmed[by.Self.Incarnation] = by.Noted
		if !by.Noted {
			r.confirmedAt = time.Now().Add(runAgain)
		}
	}
}

// endRunTimeout bounds how long a member that stops tells the others of it.
const endRunTimeout = 300 * time.Millisecond

// EndRun notes that the member stops in order, and tells the others: a copy of
// the directory that was made before is older than what they have heard. They ask
// back, so the member must still listen.
func (r *Runs) EndRun() {
	m := r.grid.Member()
	if m.Blank() || !m.Formed || m.Durability == "memory" {
		return
	}
	if err := r.grid.Decide((*identity.Dir).EndRun); err != nil {
		r.grid.Log.Warn("the end of this run is not noted", "err", err)
		return
	}
	r.askAll(context.Background(), r.progressQuery(&m), endRunTimeout, func(protocol.UUID) bool { return true })
}

// progressQuery tells of the present run, and asks of no replicas.
func (r *Runs) progressQuery(m *identity.Member) peers.ProgressQuery {
	l := r.grid.Dir().Run()
	return peers.ProgressQuery{
		Cluster: m.Cluster, Self: peers.Self{Incarnation: m.Incarnation, Name: m.Name, Address: r.grid.Address()},
		Run: l.Number, Nonce: l.Nonce,
	}
}

// askAll puts a question to all members that are found, except for those at known
// addresses that are not wanted, and returns the answers.
func (r *Runs) askAll(ctx context.Context, q peers.ProgressQuery, timeout time.Duration, want func(protocol.UUID) bool) []answer {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	at := map[string]protocol.UUID{}
	m := r.grid.Member()
	for _, p := range m.Peers {
		if a, ok := r.grid.Resolve(p.Incarnation); ok {
			at[a] = p.Incarnation
		}
	}
	targets := slices.DeleteFunc(r.grid.Targets(), func(a string) bool {
		u, known := at[a]
		return known && !want(u)
	})
	var all []answer
	for _, a := range membership.AskAll[peers.ProgressReply](ctx, r.grid, targets, peers.AskObserved, q) {
		if a.Says.Self.Incarnation != q.Self.Incarnation {
			all = append(all, answer{a.At, a.Says})
		}
	}
	return all
}
