package formation

import (
	"context"
	"errors"

	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Admission lists members that want to join a formed cluster, and their addresses. It is
// safe for concurrent use.
type Admission struct{ grid *membership.Grid }

// NewAdmission returns the Admission of a member.
func NewAdmission(grid *membership.Grid) *Admission { return &Admission{grid} }

// atLeader returns the engine if this member leads the system group; if another does, it
// passes the question on and returns nil.
func (a *Admission) atLeader(ctx context.Context, q protocol.PeerRequest, j peers.Join) (membership.Engine, error) {
	h, err := a.grid.Leading(j.Cluster)
	var r *peers.Refusal
	if !errors.As(err, &r) || r.Code != protocol.CodeNotLeader || q.Forwarded {
		return h, err
	}
	address, ok := a.grid.AddressOf(r.Leader)
	if !ok || r.Leader == a.grid.Self() {
		return nil, err
	}
	return nil, a.grid.Forward(ctx, address, q.What, j, nil)
}

// OnAddress notes where a member is now, for this member and for all.
func (a *Admission) OnAddress(ctx context.Context, q protocol.PeerRequest, j peers.Join) error {
	if v := a.grid.View(); v == nil || v.Cluster != j.Cluster {
		return peers.ErrAnotherCluster
	}
	// The news may be old: the member has moved on, or is no more.
	if _, err := a.callBack(ctx, j.Cluster, j.Self()); err != nil {
		return err
	}
	a.grid.Learn(j.Self())
	h, err := a.atLeader(ctx, q, j)
	if h == nil || err != nil {
		return err
	}
	return membership.SetAddress(ctx, h, j)
}

// OnJoin lists a member of a formed cluster, at the leader or by asking it. Package
// placement gives it its replicas.
func (a *Admission) OnJoin(ctx context.Context, q protocol.PeerRequest, j peers.Join) error {
	h, err := a.atLeader(ctx, q, j)
	if h == nil || err != nil {
		return err
	}
	v := h.System().View()
	if !v.Formed {
		return peers.Refuse(protocol.CodeBusy, "the cluster is not formed yet")
	}
	return a.list(ctx, h, v, j.Self())
}

// list has the system group list a member that wants to join. Another
// incarnation of its name is gone with it.
//
// The question may be an old one: its asker, or who passed it on, was paused, and
// the name has a newer incarnation by now. So the member is called back at its
// address first; the one it replaces is looked for there, too; and the command
// names it, so that between the look and the entry nobody else is replaced.
func (a *Admission) list(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, s peers.Self) error {
	if old, ok := v.Incarnation(s.Incarnation); ok && !old.Gone {
		a.grid.Wake()
		return nil
	}
	r, err := a.callBack(ctx, v.Cluster, s)
	if err != nil {
		return err
	}
	floor := systemstate.Floor(0)
	if v.Settings.Durability == "memory" {
		floor = r.Floor
	}
	replaces, err := a.mayTakeName(ctx, v, s)
	if err != nil {
		return err
	}
	a.grid.Learn(s)
	_, err = h.System().Propose(ctx, systemstate.Command{
		Kind:     systemstate.AddMember,
		Member:   systemstate.Member{Incarnation: s.Incarnation, Name: s.Name, Address: s.Address, Level: s.Level},
		Replaces: replaces, Floor: floor,
	})
	if err == nil && replaces != (protocol.UUID{}) {
		a.grid.Log.Warn("a member rejoins without its data: it gets its replicas back", "name", s.Name, "address", s.Address,
			"lost", replaces.String(), "incarnation", s.Incarnation.String())
	}
	a.grid.Wake()
	return err
}

// callBack returns the answer of a member that is at its address, as it has said,
// and belongs to a cluster or wants to.
func (a *Admission) callBack(ctx context.Context, cluster protocol.UUID, s peers.Self) (r peers.StateReply, err error) {
	if err := a.grid.Ask(ctx, s.Address, peers.AskState, a.grid.Me(), &r); err != nil {
		return r, peers.Refuse(protocol.CodeBusy, "nobody answers at %s: %v: advertise an address at which the other members reach this one", s.Address, err)
	}
	if r.Self != s || r.Cluster != cluster {
		return r, peers.Refuse(protocol.CodeInvalid, "the member at %s has become another in the meantime", s.Address)
	}
	return r, nil
}

// mayTakeName returns the incarnation that a member replaces, zero if its name is
// free. It refuses a member whose name another has that lives. Only one member can
// be at an address: a name that returns there has lost its data.
func (a *Admission) mayTakeName(ctx context.Context, v *systemstate.ClusterState, s peers.Self) (replaces protocol.UUID, err error) {
	old, ok := v.Named(s.Name)
	if !ok {
		return protocol.UUID{}, nil
	}
	address := a.grid.AddressOrListed(old)
	if address == s.Address {
		return old.Incarnation, nil
	}
	var r peers.StateReply
	err = a.grid.Ask(ctx, address, peers.AskState, a.grid.Me(), &r)
	if err == nil && r.Self.Incarnation != old.Incarnation || err != nil && !a.grid.Heard(old.Incarnation) {
		return old.Incarnation, nil
	}
	return protocol.UUID{}, peers.Refuse(protocol.CodeSettings, "a member called %s runs at %s: give one of them another name", s.Name, address)
}
