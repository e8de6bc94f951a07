package shardgroups

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/lni/dragonboat/v4/raftio"
	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/engine"
)

// A leader whose process has ended is not waited for. Its machine closes its
// connections and refuses new ones, which no process that lives does; so a
// member that loses a connection to another dials it once, and where it is
// refused, stands for the groups that the other led, as if it had been told to
// by the leader itself. One who votes for it votes for a log that has all that
// was acknowledged, as always: whoever is wrong about the other's end has cost
// the group an election, and nothing else.
//
// All who are left see it at the same time. They take turns, in the order of
// their numbers, as long as nobody leads; after that it is as if nothing had
// been noticed.

const (
	inquireLimit = time.Second
	lastsLimit   = 100 * time.Millisecond
	standRounds  = 2 // turns that each of those who are left has
)

// inquire finds out whether the process at an address has ended. While its
// machine closes what it had open it may still accept; such a connection does
// not last. One that does is a process's that lives.
func (t *transport) inquire(address string) {
	ctx, cancel := context.WithTimeout(t.ctx, inquireLimit)
	defer cancel()
	for pause := time.Millisecond; ctx.Err() == nil; pause *= 2 {
		conn, err := t.dial(ctx, address, protocol.PurposeRaft)
		if errors.Is(err, syscall.ECONNREFUSED) {
			t.ended(address)
		}
		if err != nil || lasts(conn) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// lasts closes a connection over which nothing comes, and reports whether the
// other end has not done so first.
func lasts(conn net.Conn) bool {
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(lastsLimit)); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 1))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// processEnded has the groups led at an address elect somebody else.
func (h *Host) processEnded(address string) {
	specs := map[protocol.GroupID]protocol.ReplicaID{}
	h.mu.RLock()
	for id, s := range h.specs {
		specs[id] = s.Replica
	}
	closed := h.closed
	h.mu.RUnlock()
	if closed {
		return
	}
	for id, me := range specs {
		l := h.LeaderOf(id)
		if l.Replica == 0 || l.Self {
			continue
		}
		if a, _, err := h.reg.Resolve(uint64(id), uint64(l.Replica)); err != nil || a != address {
			continue
		}
		turn, of := h.turn(id, me, l.Replica)
		key := standKey{id, l}
		if turn < 0 {
			continue
		}
		if _, stands := h.standing.LoadOrStore(key, true); stands {
			continue
		}
		h.spawn(func() {
			defer h.standing.Delete(key)
			h.stand(id, me, l, turn, of)
		})
	}
}

type standKey struct {
	group protocol.GroupID
	gone  Leader
}

// turn returns this replica's place among the voters that are left of a group,
// and how many these are. A replica that has no vote has no place: -1.
func (h *Host) turn(id protocol.GroupID, me, gone protocol.ReplicaID) (turn, of int) {
	g, _ := h.system.View().Group(id)
	var left []protocol.ReplicaID
	for _, r := range g.Replicas {
		if !r.NonVoting && r.ID != gone {
			left = append(left, r.ID)
		}
	}
	slices.Sort(left)
	return slices.Index(left, me), len(left)
}

// stand has this replica stand whenever it is its turn, until somebody leads.
func (h *Host) stand(id protocol.GroupID, me protocol.ReplicaID, gone Leader, turn, of int) {
	pause := h.electionTime() / 2
	for range standRounds {
		for k := range of {
			l := h.LeaderOf(id)
			if l.Replica != 0 && l != gone {
				return
			}
			if k == turn {
				h.cfg.Logger.Info("campaigning early: the leader's process has ended", "group", uint64(id), "term", l.Term, "leader", uint64(gone.Replica))
				h.takeUp(id, me, gone.Replica, l.Term)
			}
			select {
			case <-h.ctx.Done():
				return
			case <-time.After(pause):
			}
		}
	}
}

// takeUp hands the engine what a leader sends that passes the lead on.
func (h *Host) takeUp(id protocol.GroupID, me, from protocol.ReplicaID, term uint64) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	if h.closed { // the engine is about to be gone
		return
	}
	h.trans.t.messages(raftpb.MessageBatch{
		DeploymentId: engine.DeploymentID(h.cfg.Cluster), BinVer: raftio.TransportBinVersion,
		Requests: []raftpb.Message{{
			Type: raftpb.TimeoutNow, ShardID: uint64(id), From: uint64(from), To: uint64(me), Term: term,
		}},
	})
}
