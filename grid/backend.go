package grid

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"strings"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// backend is the member as its server sees it.
type backend struct{ m *Member }

func (b *backend) Self() protocol.MemberID { return b.m.coordinator.Self() }

func (b *backend) Table() protocol.Table { return b.m.coordinator.Table() }

func (b *backend) LeaderOf(g protocol.GroupID) protocol.MemberID { return b.m.coordinator.LeaderOf(g) }

func (b *backend) AddressOf(id protocol.MemberID) (string, bool) {
	return b.m.coordinator.AddressOf(id)
}

func (b *backend) ServeGossip(c net.Conn) { b.m.coordinator.ServeGossip(c) }

func (b *backend) ServeRaft(c net.Conn) {
	h := b.m.coordinator.Host()
	if h == nil {
		return // not a member of anything yet; the peer tries again
	}
	if err := h.ServeRaft(c, c); err != nil {
		b.m.log.Debug("raft connection ends", "err", err)
	}
}

func (b *backend) Welcome() protocol.Welcome {
	self := b.m.coordinator.Member()
	w := protocol.Welcome{
		Cluster: self.Cluster, Name: self.ClusterName, Member: b.Self(), Durability: self.Durability, Table: b.Table(),
	}
	if self.Blank() {
		w.Name = b.m.cfg.Cluster
	}
	return w
}

func (b *backend) PartitionOf(q *protocol.Request, partitions int) protocol.PartitionID {
	return b.m.kinds.PartitionOf(q, partitions)
}

func (b *backend) OpenSessions(ctx context.Context, cluster protocol.UUID, opens []systemstate.Opening) ([]systemstate.Opened, error) {
	return b.m.coordinator.OpenSessions(ctx, cluster, opens)
}

func (b *backend) RenewSessions(ctx context.Context, cluster protocol.UUID, ids []protocol.SessionID) ([]protocol.SessionID, error) {
	return b.m.coordinator.RenewSessions(ctx, cluster, ids)
}

func (b *backend) Session(q protocol.SessionRequest, from systemstate.Origin, done func(protocol.Reply)) {
	h := b.m.coordinator.Host()
	if h == nil {
		done(protocol.Reply{ID: q.ID, Code: protocol.CodeNoLeader})
		return
	}
	h.System().Session(q, from, done)
}

func (b *backend) Peer(ctx context.Context, q protocol.PeerRequest) protocol.Reply {
	return b.m.coordinator.Peer(ctx, q)
}

func (b *backend) Admin(ctx context.Context, q protocol.AdminRequest) protocol.Reply {
	var answer any
	var err error
	switch q.What {
	case protocol.AdminStatus:
		answer = b.status()
	case protocol.AdminHash:
		answer, err = b.hash(ctx)
	case protocol.AdminKinds:
		answer = b.kinds()
	case protocol.AdminSessions:
		answer, err = withArgs(ctx, q.Args, b.sessions)
	case protocol.AdminHolds:
		answer, err = withArgs(ctx, q.Args, b.holds)
	case protocol.AdminKill:
		answer, err = withArgs(ctx, q.Args, b.kill)
	default:
		p := protocol.Problem{Detail: fmt.Sprintf("unknown question %q", q.What)}
		return protocol.Reply{Code: protocol.CodeUnsupported, Body: p.Append(nil)}
	}
	if err != nil {
		code := protocol.CodeBusy
		if errors.Is(err, quorate.ErrInvalid) {
			code = protocol.CodeInvalid
		}
		p := protocol.Problem{Detail: strings.TrimPrefix(err.Error(), quorate.ErrInvalid.Error()+": ")}
		return protocol.Reply{Code: code, Body: p.Append(nil)}
	}
	return protocol.Reply{Body: protocol.Encode(answer)}
}

// withArgs answers a question that has arguments.
func withArgs[Q, A any](ctx context.Context, args []byte, answer func(context.Context, *Q) (A, error)) (any, error) {
	var q Q
	if err := protocol.DecodeAnswer(args, &q); err != nil {
		return nil, fmt.Errorf("%w: the arguments of the question: %w", quorate.ErrInvalid, err)
	}
	return answer(ctx, &q)
}

func (b *backend) status() protocol.Status {
	c := b.m.coordinator
	self := c.Member()
	s := protocol.Status{
		ClusterName: self.ClusterName, Formed: self.Formed, Durability: self.Durability,
		Partitions: int(self.Partitions), Member: uint64(c.Self()), Name: self.Name, Address: b.m.address,
		Version: version(), Ready: c.IsReady(), Memory: b.m.memoryStatus(), Disk: b.m.diskStatus(),
		Members: []protocol.StatusMember{}, Groups: []protocol.StatusGroup{},
	}
	if !self.Blank() {
		s.Cluster = self.Cluster.String()
	}
	if !s.Ready {
		s.Waiting = c.Waiting()
	}
	h := c.Host() // once: a member that forgets its cluster has none from then on
	if h == nil {
		return s
	}
	for _, g := range h.Groups() {
		s.Watches += g.Hub().Stats().Watches
	}
	v := c.View()
	if v == nil {
		return s
	}
	s.Epoch = uint64(v.Epoch)
	for _, o := range v.Members {
		address, _ := c.AddressOf(o.ID)
		state := protocol.StateSilent
		switch {
		case o.Gone:
			state = protocol.StateDead
		case o.Incarnation == self.Incarnation && !s.Ready:
			state = protocol.StateForming
		case o.Incarnation == self.Incarnation || c.Directory.Heard(o.Incarnation):
			state = protocol.StateServing
		}
		announced := c.Directory.StateOf(o.Incarnation)
		s.Members = append(s.Members, protocol.StatusMember{
			ID: uint64(o.ID), Name: o.Name, Address: address, Incarnation: o.Incarnation.String(), State: state,
			MemoryFull: announced.MemoryFull, DiskFull: announced.DiskFull,
		})
	}
	owned := map[protocol.GroupID]int{}
	for _, g := range v.Partitions {
		owned[g]++
	}
	missing := c.Placement.Missing()
	for _, g := range v.Groups {
		group := b.group(h, v, g)
		group.Partitions, group.Missing, group.NoHeadroom = owned[g.ID], missing[g.ID], c.Placement.NoHeadroom(g.ID)
		s.Groups = append(s.Groups, group)
	}
	return s
}

func (b *backend) group(h *shardgroups.Host, v *systemstate.ClusterState, g systemstate.Group) protocol.StatusGroup {
	leader, term := b.m.coordinator.Leader(g.ID)
	s := protocol.StatusGroup{
		ID: uint64(g.ID), Leader: uint64(leader), Term: term,
		Sizes: []protocol.StatusSize{}, Replicas: []protocol.StatusReplica{},
	}
	s.Generation, s.Lost = uint64(g.Generation), h.System().View().LostDetail(g.ID)
	if g.ID == protocol.SystemGroup {
		s.Applied = h.System().Applied()
	} else if local := h.Group(g.ID); local != nil {
		status := local.Status()
		s.Applied, s.Repeats, s.Waiting = status.Applied, status.Repeats, uint64(status.Waiting)
		s.Snapshots, s.Rows = status.Snapshots, uint64(status.State.Rows)
		if p := local.Pressure(); p != nil && status.Leader.Self {
			s.Refuses = p.Detail
		}
		local.Sizes(func(id protocol.PartitionID, bytes int) {
			s.Sizes = append(s.Sizes, protocol.StatusSize{Partition: uint64(id), Bytes: uint64(bytes)})
		})
	}
	for _, r := range g.Replicas {
		state := protocol.ReplicaFollower
		o, _ := v.Member(r.Member)
		switch {
		case o.Gone:
			state = protocol.ReplicaDead
		case r.Member == leader:
			state = protocol.ReplicaLeader
		case r.NonVoting:
			state = protocol.ReplicaNonVoting
		}
		s.Replicas = append(s.Replicas, protocol.StatusReplica{Replica: uint64(r.ID), Member: uint64(r.Member), State: state})
	}
	return s
}

func (b *backend) kinds() protocol.KindReport {
	r := protocol.KindReport{Member: uint64(b.Self()), Kinds: []protocol.KindInfo{}}
	for _, k := range b.m.kinds {
		if k != nil && k.ID != protocol.KindTxn { // that is no structure
			r.Kinds = append(r.Kinds, k.Info())
		}
	}
	return r
}

// version is what the binary was built from.
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return ""
}
