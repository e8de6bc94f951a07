package formation

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// savedCluster is what is left of a lost cluster, as found in this member's
// directory.
type savedCluster struct {
	header archive.Header // of the system group's backup
	state  *systemstate.State
	has    map[protocol.GroupID]bool
}

// restoredGroups returns the data groups of a lost cluster that are restored, of
// which there are backups, and those that begin empty.
func restoredGroups(v *systemstate.ClusterState, has map[protocol.GroupID]bool) (restored, empty []protocol.GroupID) {
	for _, g := range v.Groups {
		switch {
		case g.ID == protocol.SystemGroup:
		case has[g.ID]:
			restored = append(restored, g.ID)
		default:
			empty = append(empty, g.ID)
		}
	}
	return restored, empty
}

func (s *savedCluster) clusterState() *systemstate.ClusterState { return s.state.ClusterState() }

// findSavedCluster returns what this member is to found its cluster from, nil if there
// is nothing. Every backup is verified before anything is founded on it.
func (c *Controller) findSavedCluster() (*savedCluster, error) {
	dir := c.grid.Dir().BackupDir()
	if dir == "" {
		return nil, nil
	}
	b, err := extract.OpenBackup(dir, protocol.SystemGroup)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &membership.FatalError{Err: err}
	}
	defer b.Close()
	saved := &savedCluster{header: b.Header, has: map[protocol.GroupID]bool{}}
	if saved.state, err = b.State(); err != nil {
		return nil, &membership.FatalError{Err: err}
	}
	headers, err := extract.Backups(dir)
	if err != nil {
		return nil, &membership.FatalError{Err: err}
	}
	for _, h := range headers {
		if h.Cluster != saved.header.Cluster {
			return nil, membership.Fatalf("the backups of the system group and of group %d are of different clusters, %s and %s: keep those of one", h.Group, saved.header.Cluster, h.Cluster)
		}
		if err := c.cfg.Placement.VerifyBackup(h.Group); err != nil {
			return nil, &membership.FatalError{Err: err}
		}
		saved.has[h.Group] = true
	}
	return saved, nil
}

// foundAnew is the step of a blank member that has the backups of a lost cluster: it
// founds one of the same name and settings, alone.
func (c *Controller) foundAnew(ctx context.Context, saved *savedCluster) error {
	v := saved.clusterState()
	s := v.Settings
	err := c.agree(v.Name, peers.Settings{Durability: s.Durability, Partitions: s.Partitions, Groups: s.Groups, Replicas: s.Replicas})
	if err != nil {
		return err
	}
	for _, o := range c.probe(ctx) {
		switch {
		case o.Formed && o.Cluster == saved.header.Cluster:
			c.grid.SetWaiting("%s, which still belongs to the lost cluster, to be stopped", o.Self.Address)
			return nil
		case o.Formed && o.Recovered == saved.header.Cluster:
			return membership.Fatalf("the cluster was recovered before, and runs at %s: start this member with an empty data directory", o.Self.Address)
		}
	}
	restored, empty := restoredGroups(v, saved.has)
	c.grid.Log.Error("founding a cluster from the backups of a lost one", "lost", saved.header.Cluster, "name", v.Name, "restored", restored, "empty", empty)
	return c.grid.Decide(func(dir *identity.Dir) error {
		return dir.Update(func(m *identity.Member) {
			m.Cluster, m.ClusterName = identity.NewUUID(), v.Name
			m.Founder, m.FounderAddress, m.Recovered = m.Incarnation, c.grid.Address(), saved.header.Cluster
			m.Durability, m.Partitions, m.Groups, m.Replicas = s.Durability, s.Partitions, s.Groups, s.Replicas
		})
	})
}

// found adds what is left of a lost cluster to the command that founds one.
func (s *savedCluster) found(cmd *systemstate.Command) {
	cmd.Settings = s.clusterState().Settings
	cmd.Saved = s.state.SavedCluster(func(g protocol.GroupID) bool { return s.has[g] })
}

// recoveredLook is how often a member whose system group has no leader looks
// whether its cluster was recovered without it.
const recoveredLook = 2 * time.Second

// checkRecovered ends a member of a lost cluster that meets the one which was
// founded from its backups.
func (c *Controller) checkRecovered(ctx context.Context, m *identity.Member) error {
	if h := c.grid.Engine(); h != nil && h.System().Leader().Replica != 0 || time.Since(c.lookedRecovered) < recoveredLook {
		return nil
	}
	c.lookedRecovered = time.Now()
	for _, r := range c.probe(ctx) {
		if r.Formed && r.Recovered == m.Cluster {
			return membership.Fatalf("the cluster was lost and recovered from a survivor, as the one that runs at %s: this member's data belongs to the lost one. Set its data directory aside and start it with an empty one", r.Self.Address)
		}
	}
	return nil
}
