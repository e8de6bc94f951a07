package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// What happens where a majority's data is lost (rule 27). A data group of a
// cluster in memory is replaced by an empty one. One on disk is replaced where
// a member offers its saved state. A cluster whose system group is lost is
// founded anew by a member that has saved states in its directory.

// replaceLost gives the partitions of a group that has lost its majority's data
// to a new, empty one. It reports whether it did.
func (c *Coordinator) replaceLost(ctx context.Context, h *shardgroups.Host) (bool, error) {
	v := h.System().View()
	if v.Settings.Durability != "memory" || !slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool { return isLost(v, g) }) {
		return false, nil
	}
	v, err := h.System().Refresh(ctx)
	if err != nil {
		return true, err
	}
	for _, g := range v.Groups {
		if !isLost(v, g) {
			continue
		}
		members := c.emptiest(v)
		if len(members) == 0 {
			return true, nil
		}
		next := systemstate.Group{}
		for _, id := range members {
			next.Replicas = append(next.Replicas, systemstate.Replica{Member: id})
		}
		return true, c.replace(ctx, h, v, g, next)
	}
	return false, nil
}

// isLost reports whether a data group has lost its majority's data.
func isLost(v *systemstate.Agreement, g systemstate.Group) bool {
	return g.ID != protocol.SystemGroup && g.Seed == 0 && v.LostMajority(g) != nil
}

// replace agrees on the successor of a group, and says loudly what is lost.
func (c *Coordinator) replace(ctx context.Context, h *shardgroups.Host, v *systemstate.Agreement, g, next systemstate.Group) error {
	a, err := h.System().Propose(ctx, systemstate.Command{
		Kind: systemstate.ReplaceGroup, Group: g.ID, Groups: []systemstate.Group{next},
	})
	if err != nil || a.Group == 0 {
		return err
	}
	made, _ := h.System().View().Group(a.Group)
	lost := "everything in its partitions is lost, and all sessions of the grid are ended"
	if next.Seed != 0 {
		lost = "what the saved state does not have is lost, and all sessions of the grid are ended"
	}
	c.log.Error("a group has lost the data of its majority and is replaced: "+lost,
		"group", g.ID, "successor", a.Group, "generation", made.Generation, "hold_off", made.HoldOff,
		"partitions", ranges(v.Partitions, g.ID), "replicas", c.placesOf(v, g))
	return nil
}

// placesOf says where a group's replicas were, and which are gone.
func (c *Coordinator) placesOf(v *systemstate.Agreement, g systemstate.Group) string {
	var all []string
	for _, r := range g.Replicas {
		o, _ := v.Member(r.Member)
		s := o.Name
		if o.Gone {
			s += " (gone)"
		}
		all = append(all, s)
	}
	return strings.Join(all, ", ")
}

// ranges prints the partitions of a group: "0-4,7".
func ranges(table []protocol.GroupID, g protocol.GroupID) string {
	var parts []string
	for p := 0; p < len(table); p++ {
		if table[p] != g {
			continue
		}
		first := p
		for p+1 < len(table) && table[p+1] == g {
			p++
		}
		if first == p {
			parts = append(parts, fmt.Sprint(p))
		} else {
			parts = append(parts, fmt.Sprintf("%d-%d", first, p))
		}
	}
	return strings.Join(parts, ",")
}

// emptiest returns members for the replicas of a new group, those with the
// fewest first. Of two members only one votes: else the loss of either would
// stop the group.
func (c *Coordinator) emptiest(v *systemstate.Agreement) []protocol.MemberID {
	load := map[protocol.MemberID]int{}
	for _, g := range v.Groups {
		if g.ID == protocol.SystemGroup || isLost(v, g) {
			continue
		}
		for _, r := range g.Replicas {
			load[r.Member]++
		}
	}
	var ids []protocol.MemberID
	for _, o := range v.Members {
		if !o.Gone && (o.ID == c.Self() || c.Heard(o.Incarnation)) {
			ids = append(ids, o.ID)
		}
	}
	slices.SortStableFunc(ids, func(a, b protocol.MemberID) int { return load[a] - load[b] })
	want := int(v.Settings.Replicas)
	if len(ids) == 2 && want > 2 {
		want = 1
	}
	ids = ids[:min(len(ids), want)]
	slices.Sort(ids)
	return ids
}

// seedLook is how often the directory of seeds is looked at.
const seedLook = 2 * time.Second

// seeds is what the coordinator knows of saved states in its directory.
type seeds struct {
	looked time.Time
	said   string
}

// seedDir is where seeds may lie; empty where the member has no directory.
func (c *Coordinator) seedDir() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dir.SeedDir()
}

// tendSeeds tells that a state is loaded, and offers those that are needed.
func (c *Coordinator) tendSeeds(ctx context.Context, h *shardgroups.Host, v *systemstate.Agreement, me protocol.MemberID) error {
	dir := c.seedDir()
	if dir == "" || time.Since(c.seeds.looked) < seedLook {
		return nil
	}
	c.seeds.looked = time.Now()
	infos, err := shardgroups.Seeds(dir)
	c.saySeed(err)
	loading := false
	for _, g := range v.Groups {
		if g.Seed == 0 || !slices.ContainsFunc(g.Replicas, func(r systemstate.Replica) bool { return r.Member == me }) {
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
		if _, err := h.System().Propose(ctx, systemstate.Command{Kind: systemstate.Seeded, Group: g.ID}); err != nil {
			return err
		}
		c.log.Info("a group has its state again", "group", g.ID)
		c.removeSeed(dir, g.Seed)
	}
	if loading {
		return nil
	}
	for _, info := range infos {
		if err := c.offerSeed(ctx, h, v, me, info); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool { return g.Seed != 0 }) {
		if m := c.member(); m.Recovered != (protocol.UUID{}) {
			c.removeSeed(dir, protocol.SystemGroup)
		}
	}
	return nil
}

// offerSeed gives the partitions of a lost group to one that loads the state
// which this member has.
func (c *Coordinator) offerSeed(ctx context.Context, h *shardgroups.Host, v *systemstate.Agreement, me protocol.MemberID, info shardgroups.SeedInfo) error {
	g, ok := v.Group(info.Group)
	if info.Cluster != v.Cluster || info.Group == protocol.SystemGroup || !ok || g.Seed != 0 {
		return nil
	}
	if why := c.mayReplace(v, g); why != "" {
		c.saySeed(fmt.Errorf("a saved state of group %d is not used: %s", info.Group, why))
		return nil
	}
	v, err := h.System().Refresh(ctx)
	if err != nil {
		return err
	}
	c.log.Warn("this member offers the saved state of a group", "group", info.Group, "applied", info.Applied)
	return c.replace(ctx, h, v, g, systemstate.Group{Replicas: []systemstate.Replica{{Member: me}}, Seed: info.Group})
}

// mayReplace says why a group is not to be replaced by its saved state: only
// one that cannot serve is.
func (c *Coordinator) mayReplace(v *systemstate.Agreement, g systemstate.Group) string {
	if leader := c.LeaderOf(g.ID); leader != 0 {
		if o, _ := v.Member(leader); leader == c.Self() || c.Heard(o.Incarnation) {
			return "the group has a leader: remove the file"
		}
	}
	voters, there := 0, 0
	for _, r := range g.Replicas {
		if r.NonVoting {
			continue
		}
		voters++
		if o, _ := v.Member(r.Member); !o.Gone && (r.Member == c.Self() || c.Heard(o.Incarnation)) {
			there++
		}
	}
	if there >= voters/2+1 {
		return "a majority of the group's members run: remove the file"
	}
	return ""
}

// saySeed logs what is wrong with the seeds, once.
func (c *Coordinator) saySeed(err error) {
	if err == nil || err.Error() == c.seeds.said {
		return
	}
	c.seeds.said = err.Error()
	c.log.Warn("saved states", "error", err)
}

func (c *Coordinator) removeSeed(dir string, g protocol.GroupID) {
	err := os.Remove(filepath.Join(dir, shardgroups.SeedName(g)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("a saved state that is loaded cannot be removed", "error", err)
	}
	_ = os.Remove(dir) // where it is empty
}

// remains is what is left of a lost cluster, as found in this member's
// directory.
type remains struct {
	info  shardgroups.SeedInfo
	state *systemstate.State
	has   map[protocol.GroupID]bool
}

func (r *remains) agreement() *systemstate.Agreement { return r.state.Agreement() }

// findRemains returns what this member is to found its cluster from, nil where
// there is nothing. Every state is checked before anything is founded on it.
func (c *Coordinator) findRemains() (*remains, error) {
	dir := c.seedDir()
	if dir == "" {
		return nil, nil
	}
	if _, err := os.Stat(filepath.Join(dir, shardgroups.SeedName(protocol.SystemGroup))); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	b, info, err := shardgroups.SystemSeed(dir)
	if err != nil {
		return nil, &fatalError{fmt.Errorf("the saved state of the system group: %w", err)}
	}
	r := &remains{info: info, state: systemstate.New(), has: map[protocol.GroupID]bool{}}
	if err := r.state.Restore(bytes.NewReader(b)); err != nil {
		return nil, &fatalError{fmt.Errorf("the saved state of the system group: %w", err)}
	}
	infos, err := shardgroups.Seeds(dir)
	if err != nil {
		return nil, &fatalError{err}
	}
	for _, i := range infos {
		if i.Cluster != info.Cluster {
			return nil, fatalf("the saved states of groups %d and %d are of different clusters", info.Group, i.Group)
		}
		s, err := shardgroups.OpenSeed(filepath.Join(dir, shardgroups.SeedName(i.Group)))
		if err == nil {
			err = errors.Join(s.Check(), s.Close())
		}
		if err != nil {
			return nil, &fatalError{fmt.Errorf("the saved state of group %d: %w", i.Group, err)}
		}
		r.has[i.Group] = true
	}
	return r, nil
}

// seekAnew is the step of a blank member that has the remains of a cluster: it
// founds one of the same name and settings, alone.
func (c *Coordinator) seekAnew(ctx context.Context, r *remains) error {
	v := r.agreement()
	s := v.Settings
	err := c.agree(v.Name, settings{Durability: s.Durability, Partitions: s.Partitions, Groups: s.Groups, Replicas: s.Replicas})
	if err != nil {
		return err
	}
	for _, o := range c.probe(ctx) {
		switch {
		case o.Formed && o.Cluster == r.info.Cluster:
			c.setWaiting("%s, which still belongs to the lost cluster, to be stopped", o.Self.Address)
			return nil
		case o.Formed && o.Recovered == r.info.Cluster:
			return fatalf("the cluster was recovered before, and runs at %s: start this member with an empty data directory", o.Self.Address)
		}
	}
	c.log.Error("a cluster is founded from what is left of a lost one", "lost", r.info.Cluster, "name", v.Name, "groups", len(r.has)-1)
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dir.Update(func(m *identity.Member) {
		m.Cluster, m.ClusterName = identity.NewUUID(), v.Name
		m.Founder, m.FounderAddress, m.Recovered = m.Incarnation, c.cfg.Address, r.info.Cluster
		m.Durability, m.Partitions, m.Groups, m.Replicas = s.Durability, s.Partitions, s.Groups, s.Replicas
	})
}

// sow adds to the command that founds the cluster what is left of a lost one.
func (r *remains) sow(cmd *systemstate.Command) {
	cmd.Settings = r.agreement().Settings
	cmd.Seed = r.state.Seed(func(g protocol.GroupID) bool { return r.has[g] })
}

// recoveredLook is how often a member whose system group has no leader looks
// whether its cluster was recovered without it.
const recoveredLook = 2 * time.Second

// checkRecovered ends a member of a lost cluster that meets the one which was
// founded from its remains.
func (c *Coordinator) checkRecovered(ctx context.Context, m *identity.Member) error {
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
