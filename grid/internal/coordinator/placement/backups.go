package placement

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
	"github.com/quorate/quorate/grid/internal/coordinator/membership"
	"github.com/quorate/quorate/protocol"
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
func (c *Controller) reconcileBackups(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, me protocol.MemberID) error {
	dir := c.grid.Dir().BackupDir()
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
		c.grid.Log.Info("a group is restored", "group", g.ID)
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
		if m := c.grid.Member(); m.Recovered != (protocol.UUID{}) {
			c.removeBackup(dir, protocol.SystemGroup)
		}
	}
	return nil
}

// offerBackup gives the partitions of a lost group to one that is restored from the
// backup which this member has.
func (c *Controller) offerBackup(ctx context.Context, h membership.Engine, v *systemstate.ClusterState, me protocol.MemberID, header archive.Header) error {
	g, ok := v.Group(header.Group)
	inUse := func(g systemstate.Group) bool { return g.Backup == header.Group }
	if header.Group == protocol.SystemGroup || ok && g.Backup != 0 || slices.ContainsFunc(v.Groups, inUse) {
		return nil
	}
	why := ""
	switch {
	case header.Cluster != v.Cluster && header.Cluster != c.grid.Member().Recovered:
		why = fmt.Sprintf("it is of cluster %s (%s), and this one is %s: remove the file", header.Name, header.Cluster, v.Cluster)
	case header.Cluster != v.Cluster:
		return nil // this cluster was founded from it
	case !ok:
		why = "the group no longer exists: remove the file"
	default:
		why = c.mayReplace(v, g)
	}
	if why == "" {
		if err := c.VerifyBackup(header.Group); err != nil {
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
	c.grid.Log.Warn("offering the backup of a group", "group", header.Group, "index", header.Index)
	return c.replace(ctx, h, v, g, systemstate.Group{Replicas: []systemstate.Replica{{Member: me}}, Backup: header.Group})
}

// VerifyBackup reads a backup to its end, unless it has not changed since that was
// done.
func (c *Controller) VerifyBackup(g protocol.GroupID) error {
	dir := c.grid.Dir().BackupDir()
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
func (c *Controller) mayReplace(v *systemstate.ClusterState, g systemstate.Group) string {
	if leader := c.grid.LeaderOf(g.ID); leader != 0 {
		if o, _ := v.Member(leader); leader == c.grid.Self() || c.grid.Heard(o.Incarnation) {
			return "the group has a leader: remove the file"
		}
	}
	voters, there := 0, 0
	for _, r := range g.Replicas {
		if r.NonVoting {
			continue
		}
		voters++
		if o, _ := v.Member(r.Member); !o.Gone && (r.Member == c.grid.Self() || c.grid.Heard(o.Incarnation)) {
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
func (c *Controller) logBackups(err error) {
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	for _, err := range errs {
		if err != nil && c.backups.news(err.Error()) {
			c.grid.Log.Warn("a backup is not used", "err", err)
		}
	}
}

func (c *Controller) removeBackup(dir string, g protocol.GroupID) {
	err := os.Remove(filepath.Join(dir, extract.BackupName(g)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.grid.Log.Warn("a backup from which a group was restored cannot be removed", "err", err)
	}
	_ = os.Remove(dir) // if it is empty
}
