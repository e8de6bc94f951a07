package client

import (
	"context"
	"fmt"
	"sync"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// life is one grid that the client has known. A grid in memory that has lost
// its majority is formed anew, as another one, and the client switches to it.
// Calls, sessions and connections belong to one life: what was begun in one
// never reaches another, where its session could be somebody else's.
type life struct {
	cluster protocol.UUID
	name    string // of the cluster
}

// stranger says that a member belongs to another grid, and has the scout look
// whether it is the one to follow.
func (c *Client) stranger(w *protocol.Welcome) error {
	c.strange.Store(true)
	return fmt.Errorf("%w: the member belongs to cluster %v, the client to %v: dial again to use that one", quorate.ErrInvalid, w.Cluster, c.Cluster())
}

// follow goes over to the grid that was formed anew in place of the client's
// own, where that is proved to be lost. It reports whether it did.
func (c *Client) follow() bool {
	if !c.strange.Swap(false) || c.durability != "memory" || c.alive() {
		return false
	}
	was := c.life.Load()
	w := c.successor(was)
	if w == nil {
		return false
	}
	c.log.Error("the grid has lost the memory of a majority and was formed anew, empty: the client switches to it",
		"lost", was.cluster.String(), "cluster", w.Cluster.String())
	c.routeMu.Lock()
	c.life.Store(&life{cluster: w.Cluster, name: w.Name})
	c.view = view{}
	c.view.merge(&w.Table)
	c.publish()
	c.routeMu.Unlock()
	for _, n := range c.connections() {
		if n.life == was {
			n.fail(quorate.ErrGridLost)
		}
	}
	if s := c.sessions.current.Load(); s != nil && s.life == was {
		s.ended.Store(true)
		s.loseBy(quorate.ErrGridLost, "the grid was lost")
		c.sessions.open()
	}
	return true
}

// successor returns the Welcome of a member of the grid that was formed in
// place of one in memory, nil where none is proved to be.
//
// Proof is that at most of the addresses of the members of old a member of one
// other grid of its name answers: at an address there is one process, and its
// memory is of one grid. Where nobody answers at any of them, the members have
// moved, and the seeds count in their place, as they do in Dial. Whoever
// answers for old, or for a third grid, is proof of the contrary.
func (c *Client) successor(old *life) *protocol.Welcome {
	members := map[string]bool{} // addresses; false: nobody answers
	for _, m := range c.routes.Load().members {
		members[m.Address] = false
	}
	seeds := map[string]bool{}
	for _, a := range c.cfg.seeds {
		seeds[a] = false
	}
	var found *protocol.Welcome
	for a, w := range c.welcomes(members, seeds) {
		if w.Cluster == (protocol.UUID{}) || len(w.Table.Partitions) == 0 {
			continue // blank, or not formed yet
		}
		if w.Cluster == old.cluster || w.Name != old.name || w.Durability != c.durability ||
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

// welcomes shakes hands at all addresses and returns who answers.
func (c *Client) welcomes(addresses ...map[string]bool) map[string]*protocol.Welcome {
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
