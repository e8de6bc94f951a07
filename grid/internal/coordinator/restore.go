package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// backupLook is how often the directory of backups is looked at.
const backupLook = 2 * time.Second

// backups is what the coordinator knows of the backups in its directory.
type backups struct {
	looked   time.Time
	wrong    map[string]bool // what is wrong with them, as of the last look and this one
	before   map[string]bool // as of the last look
	verified map[protocol.GroupID]verified
}

// verified is what came of reading a backup to its end.
type verified struct {
	size     int64
	modified time.Time
	err      error
}

// reconcileBackups reports groups that are restored, and offers backups that are
// needed.
func (c *placement) reconcileBackups(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, me protocol.MemberID) error {
	dir := c.dir.BackupDir()
	if dir == "" || time.Since(c.backups.looked) < backupLook {
		return nil
	}
	c.backups.look(time.Now())
	headers, err := extract.Backups(dir)
	c.logBackups(err)
	loading := false
	for _, g := range v.Groups {
		if g.Backup == 0 || !slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool { return r.Member == me }) {
			continue
		}
		local := h.Group(g.ID)
		if local == nil || !local.Begun() {
			loading = true
			continue
		}
		if _, busy := local.Loading(); busy {
			loading = true
			continue
		}
		if _, err := h.System().Propose(ctx, systemstate.Command{Kind: systemstate.Restored, Group: g.ID}); err != nil {
			return err
		}
		c.log.Info("a group is restored", "group", g.ID)
		c.removeBackup(dir, g.Backup)
	}
	if loading {
		return nil
	}
	for _, header := range headers {
		if err := c.offerBackup(ctx, h, v, me, header); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool { return g.Backup != 0 }) {
		if m := c.member(); m.Recovered != (protocol.UUID{}) {
			c.removeBackup(dir, protocol.SystemGroup)
		}
	}
	return nil
}

// offerBackup gives the partitions of a lost group to one that is restored from the
// backup which this member has.
func (c *placement) offerBackup(ctx context.Context, h *shardgroups.Host, v *systemstate.ClusterState, me protocol.MemberID, header archive.Header) error {
	g, ok := v.Group(header.Group)
	inUse := func(g systemstate.Group) bool { return g.Backup == header.Group }
	if header.Group == protocol.SystemGroup || ok && g.Backup != 0 || slices.ContainsFunc(v.Groups, inUse) {
		return nil
	}
	why := ""
	switch {
	case header.Cluster != v.Cluster && header.Cluster != c.member().Recovered:
		why = fmt.Sprintf("it is of cluster %s (%s), and this one is %s: remove the file", header.Name, header.Cluster, v.Cluster)
	case header.Cluster != v.Cluster:
		return nil // this cluster was founded from it
	case !ok:
		why = "the group no longer exists: remove the file"
	default:
		why = c.mayReplace(v, g)
	}
	if why == "" {
		if err := c.verifyBackup(header.Group); err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		c.logBackups(fmt.Errorf("the backup of group %d: %s", header.Group, why))
		return nil
	}
	v, err := h.System().Refresh(ctx)
	if err != nil {
		return err
	}
	c.log.Warn("offering the backup of a group", "group", header.Group, "index", header.Index)
	return c.replace(ctx, h, v, g, systemstate.Group{Replicas: []systemstate.Replica{{Member: me}}, Backup: header.Group})
}

// verifyBackup reads a backup to its end, unless it has not changed since that was
// done.
func (c *placement) verifyBackup(g protocol.GroupID) error {
	dir := c.dir.BackupDir()
	st, err := os.Stat(filepath.Join(dir, extract.BackupName(g)))
	if err != nil {
		return err
	}
	if v, ok := c.backups.verified[g]; ok && v.size == st.Size() && v.modified.Equal(st.ModTime()) {
		return v.err
	}
	b, err := extract.OpenBackup(dir, g)
	if err == nil {
		_, err = b.Verify(c.cfg.Kinds)
		err = errors.Join(err, b.Close())
	}
	if c.backups.verified == nil {
		c.backups.verified = map[protocol.GroupID]verified{}
	}
	c.backups.verified[g] = verified{st.Size(), st.ModTime(), err}
	return err
}

// mayReplace says why a group is not to be replaced by one that is restored from its
// backup: only one that cannot serve is.
func (c *placement) mayReplace(v *systemstate.ClusterState, g systemstate.Group) string {
	if leader := c.LeaderOf(g.ID); leader != 0 {
		if o, _ := v.Member(leader); leader == c.Self() || c.Directory.Heard(o.Incarnation) {
			return "the group has a leader: remove the file"
		}
	}
	voters, there := 0, 0
	for _, r := range g.Replicas {
		if r.NonVoting {
			continue
		}
		voters++
		if o, _ := v.Member(r.Member); !o.Gone && (r.Member == c.Self() || c.Directory.Heard(o.Incarnation)) {
			there++
		}
	}
	if there >= voters/2+1 {
		return "a majority of the group's members run: remove the file"
	}
	return ""
}

// look begins another look at the directory.
func (b *backups) look(now time.Time) {
	b.looked, b.before, b.wrong = now, b.wrong, map[string]bool{}
}

// news reports whether the last look has not found the same, nor this one before.
func (b *backups) news(wrong string) bool {
	old := b.before[wrong] || b.wrong[wrong]
	b.wrong[wrong] = true
	return !old
}

// logBackups logs what is wrong with the backups, each once.
func (c *placement) logBackups(err error) {
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		if err != nil && c.backups.news(err.Error()) {
			c.log.Warn("a backup is not used", "err", err)
		}
	}
}

func (c *placement) removeBackup(dir string, g protocol.GroupID) {
	err := os.Remove(filepath.Join(dir, extract.BackupName(g)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("a backup from which a group was restored cannot be removed", "err", err)
	}
	_ = os.Remove(dir) // where it is empty
}

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
func (c *formation) findSavedCluster() (*savedCluster, error) {
	dir := c.dir.BackupDir()
	if dir == "" {
		return nil, nil
	}
	b, err := extract.OpenBackup(dir, protocol.SystemGroup)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, &fatalError{err}
	}
	defer b.Close()
	saved := &savedCluster{header: b.Header, has: map[protocol.GroupID]bool{}}
	if saved.state, err = b.State(); err != nil {
		return nil, &fatalError{err}
	}
	headers, err := extract.Backups(dir)
	if err != nil {
		return nil, &fatalError{err}
	}
	for _, h := range headers {
		if h.Cluster != saved.header.Cluster {
			return nil, fatalf("the backups of the system group and of group %d are of different clusters, %s and %s: keep those of one", h.Group, saved.header.Cluster, h.Cluster)
		}
		if err := c.Placement.verifyBackup(h.Group); err != nil {
			return nil, &fatalError{err}
		}
		saved.has[h.Group] = true
	}
	return saved, nil
}

// foundAnew is the step of a blank member that has the backups of a lost cluster: it
// founds one of the same name and settings, alone.
func (c *formation) foundAnew(ctx context.Context, saved *savedCluster) error {
	v := saved.clusterState()
	s := v.Settings
	err := c.agree(v.Name, settings{Durability: s.Durability, Partitions: s.Partitions, Groups: s.Groups, Replicas: s.Replicas})
	if err != nil {
		return err
	}
	for _, o := range c.probe(ctx) {
		switch {
		case o.Formed && o.Cluster == saved.header.Cluster:
			c.setWaiting("%s, which still belongs to the lost cluster, to be stopped", o.Self.Address)
			return nil
		case o.Formed && o.Recovered == saved.header.Cluster:
			return fatalf("the cluster was recovered before, and runs at %s: start this member with an empty data directory", o.Self.Address)
		}
	}
	restored, empty := restoredGroups(v, saved.has)
	c.log.Error("founding a cluster from the backups of a lost one", "lost", saved.header.Cluster, "name", v.Name, "restored", restored, "empty", empty)
	c.deciding.Lock()
	defer c.deciding.Unlock()
	return c.dir.Update(func(m *identity.Member) {
		m.Cluster, m.ClusterName = identity.NewUUID(), v.Name
		m.Founder, m.FounderAddress, m.Recovered = m.Incarnation, c.cfg.Address, saved.header.Cluster
		m.Durability, m.Partitions, m.Groups, m.Replicas = s.Durability, s.Partitions, s.Groups, s.Replicas
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
func (c *formation) checkRecovered(ctx context.Context, m *identity.Member) error {
	if h := c.host.Load(); h != nil && h.System().Leader().Replica != 0 || time.Since(c.lookedRecovered) < recoveredLook {
		return nil
	}
	c.lookedRecovered = time.Now()
	for _, r := range c.probe(ctx) {
		if r.Formed && r.Recovered == m.Cluster {
			return fatalf("the cluster was lost and recovered from a survivor, as the one that runs at %s: this member's data belongs to the lost one. Set its data directory aside and start it with an empty one", r.Self.Address)
		}
	}
	return nil
}
