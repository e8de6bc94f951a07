package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// cluster is one cluster that the client has known. A cluster in memory that has lost
// its majority is formed anew, as another one, and the client switches to it. Calls,
// sessions and connections belong to one cluster: a call that was begun in one is never
// sent to another, where its session number could be another client's.
type cluster struct {
	id   protocol.UUID
	name string
}

// foreignMember returns the error of a member that belongs to another cluster. The
// refresher then checks whether to switch to that cluster.
func (f *refresher) foreignMember(w *protocol.Welcome) error {
	f.foreign.Store(true)
	return fmt.Errorf("%w: the member belongs to cluster %v, the client to %v: dial again to use that one",
		quorate.ErrInvalid, w.Cluster, f.client.Cluster())
}

// switchCluster switches to the cluster that was formed in place of the client's own,
// if the client's own is proved to be lost. It reports whether it has switched.
func (f *refresher) switchCluster() bool {
	c := f.client
	if !f.foreign.Swap(false) || c.durability != "memory" || f.connected() {
		return false
	}
	was := c.table.cluster.Load()
	w := f.newCluster(was)
	if w == nil {
		return false
	}
	c.log.Error("switched to a new, empty cluster: the old one has lost the memory of a majority",
		"lost", was.id.String(), "cluster", w.Cluster.String())
	c.table.replace(&cluster{id: w.Cluster, name: w.Name}, &w.Table)
	for _, n := range c.conns.all() {
		if n.cluster == was {
			n.fail(quorate.ErrGridLost)
		}
	}
	if s := c.sessions.current.Load(); s != nil && s.cluster == was {
		s.ended.Store(true)
		s.loseBy(quorate.ErrGridLost, "the grid was lost")
		c.sessions.open()
	}
	return true
}

// newCluster returns the Welcome of a member of the cluster that was formed in
// place of one in memory; nil: there is no proof of one.
//
// The proof is that members of one other cluster, of the same name, answer at a
// majority of the addresses of old's members: at an address there is one process, and
// its memory belongs to one cluster. If nobody answers at any of these addresses the
// members have moved, and the addresses of the seeds count instead, as in Dial. A
// member that answers for old, or for a third cluster, refutes the proof.
func (f *refresher) newCluster(old *cluster) *protocol.Welcome {
	members := map[string]bool{} // addresses; false: nobody answers
	c := f.client
	for _, m := range c.table.routes().members {
		members[m.Address] = false
	}
	seeds := map[string]bool{}
	for _, a := range c.cfg.seeds {
		seeds[a] = false
	}
	var found *protocol.Welcome
	for a, w := range f.welcomes(members, seeds) {
		if w.Cluster == (protocol.UUID{}) || len(w.Table.Partitions) == 0 {
			continue // it is blank, or its cluster is not formed yet
		}
		if w.Cluster == old.id || w.Name != old.name || w.Durability != c.durability ||
			len(w.Table.Partitions) != c.partitions || found != nil && found.Cluster != w.Cluster {
			return nil
		}
		if found == nil || w.Table.Epoch > found.Table.Epoch {
			found = w
		}
		for _, of := range []map[string]bool{members, seeds} {
			if _, ok := of[a]; ok {
				of[a] = true
			}
		}
	}
	if n := count(members); 2*n > len(members) || n == 0 && 2*count(seeds) > len(seeds) {
		return found
	}
	return nil
}

func count(answers map[string]bool) int {
	n := 0
	for _, yes := range answers {
		if yes {
			n++
		}
	}
	return n
}

// welcomes shakes hands at all addresses and returns the answers, by address.
func (f *refresher) welcomes(addresses ...map[string]bool) map[string]*protocol.Welcome {
	c := f.client
	ctx, cancel := context.WithTimeout(c.ctx, dialTimeout)
	defer cancel()
	all := map[string]*protocol.Welcome{}
	var mu sync.Mutex // guards all
	var asking sync.WaitGroup
	asked := map[string]bool{}
	for _, set := range addresses {
		for a := range set {
			if asked[a] {
				continue
			}
			asked[a] = true
			asking.Go(func() {
				g, err := greet(ctx, &c.cfg, c.id, a)
				if err != nil {
					return
				}
				g.nc.Close()
				mu.Lock()
				defer mu.Unlock()
				all[a] = &g.welcome
			})
		}
	}
	asking.Wait()
	return all
}
