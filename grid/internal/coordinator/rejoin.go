package coordinator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/identity"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/extract"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// A replica that has forgotten what it acknowledged or voted for must never run
// again. Before a member starts the replicas that it had, it reads all of its
// data, and asks the others what they have seen of it. Where anything is
// missing the member becomes a new incarnation and joins its cluster without
// data.
//
//	inspect -> ask -> start the replicas
//	   |        |
//	   '--------'--> lost: wait for a leader -> set aside -> join

// tries is how often a member that is heard of, and does not answer, is asked
// before the answers of the others will do.
const tries = 3

// check is how far the member is with that, for one incarnation.
type check struct {
	incarnation protocol.UUID
	passed      bool
	inspected   bool
	stored      []shardgroups.Stored
	lost        string // why the data is not what it was; empty: nothing is known to be wrong
	said        bool   // lost was logged
	asked       map[protocol.UUID]int
	answers     map[protocol.UUID]progressReply
}

// progressQuery asks what a member has seen of the sender, and tells of the
// sender's life.
type progressQuery struct {
	_        struct{} `cbor:",toarray"`
	Cluster  protocol.UUID
	Self     self
	Life     uint64
	Nonce    uint64
	Replicas []replicaOf
}

// replicaOf names a replica.
type replicaOf struct {
	_       struct{} `cbor:",toarray"`
	Group   protocol.GroupID
	Replica protocol.ReplicaID
}

// progressReply is what a member has seen.
type progressReply struct {
	_     struct{} `cbor:",toarray"`
	Self  self
	Life  uint64 // number of the last that it was sure of before; 0: none
	Older bool   // that is later than the one it is told of, or another process's
	Noted bool   // it is sure of the one it is told of
	Seen  []shardgroups.ObservedProgress
	// Led says that the member knows the leader of the system group: then, and
	// only then, what follows is what the cluster has agreed.
	Led    bool
	Listed bool            // the sender belongs to the cluster
	Placed bool            // a group lists a replica of the sender, which may have been replaced
	Others []protocol.UUID // who else does
}

// complete reports whether the member may start the replicas that it had. Where
// data is lost it makes the member a new incarnation.
func (c *rejoin) complete(ctx context.Context, m *identity.Member) (bool, error) {
	if c.trusting(m) {
		return true, nil
	}
	if err := c.inspect(m); err != nil {
		return false, err
	}
	k := &c.check
	if k.passed {
		return true, nil
	}
	if len(m.Peers) == 0 {
		if k.lost != "" {
			return false, fatalf("%s: this is the only member, nobody can give the data back: restore a copy of the data directory, or start with an empty one", k.lost)
		}
		k.passed = true
		return true, nil
	}
	c.askProgress(ctx, m)
	if k.lost == "" {
		k.lost = c.verdict(m)
	}
	if k.lost != "" {
		return false, c.rejoinEmpty(m)
	}
	if n := c.unanswered(m); n > 0 {
		c.setWaiting("%d more of the other members to say what they have seen of this one's data", n)
		return false, nil
	}
	c.log.Info("the data on disk is complete, as far as others have seen", "answers", len(k.answers), "replicas", len(k.stored))
	k.passed = true
	return true, nil
}

// trusting reports whether the member takes its data as it is: in memory it
// has none.
func (c *rejoin) trusting(m *identity.Member) bool {
	var cfg shardgroups.Config
	c.cfg.Tune(&cfg)
	return m.Durability == "memory" || cfg.TestHooks.TrustDisk || c.host.Load() != nil || mutants.On(mutants.WipedReturns)
}

// inspect reads all of the member's data, once.
func (c *rejoin) inspect(m *identity.Member) error {
	k := &c.check
	if k.incarnation != m.Incarnation {
		*k = check{incarnation: m.Incarnation, asked: map[protocol.UUID]int{}, answers: map[protocol.UUID]progressReply{}}
	}
	if k.inspected {
		return nil
	}
	c.setWaiting("the data on disk to be verified")
	dir, err := c.dir.RaftDir()
	if err != nil {
		return err
	}
	began := time.Now()
	stored, err := extract.Inspect(c.ctx, dir, c.log, func(g protocol.GroupID, r protocol.ReplicaID) bool {
		had, ok := m.Replica(g)
		return ok && had.Replica == r
	})
	var damaged *extract.DamagedError
	switch {
	case errors.As(err, &damaged):
		k.lost = damaged.Error()
	case c.ctx.Err() != nil:
		return contexts.Err(c.ctx)
	case err != nil:
		return fatalf("verify the data on disk: %w", err)
	}
	k.inspected, k.stored = true, stored
	for _, r := range m.Started {
		if k.lost == "" && r.Started && !slices.ContainsFunc(stored, func(s shardgroups.Stored) bool { return s.Group == r.Group }) {
			k.lost = fmt.Sprintf("the log of group %d, replica %d, is missing from %s", r.Group, r.Replica, dir)
		}
	}
	c.log.Debug("the data on disk is verified", "took", time.Since(began), "replicas", len(stored))
	return nil
}

// askProgress asks all members that have not answered yet.
func (c *rejoin) askProgress(ctx context.Context, m *identity.Member) {
	k := &c.check
	q := c.progressQuery(m)
	for _, r := range k.stored {
		q.Replicas = append(q.Replicas, replicaOf{Group: r.Group, Replica: r.Replica})
	}
	replies := c.tell(ctx, q, askTimeout, func(u protocol.UUID) bool {
		a, ok := k.answers[u]
		return !ok || k.lost != "" && !a.Led
	})
	for _, r := range believed(replies, m.Peers, c.cfg.Join) {
		k.answers[r.Self.Incarnation] = r
	}
	for _, p := range m.Peers {
		k.asked[p.Incarnation]++
	}
}

func (c *rejoin) progressQuery(m *identity.Member) progressQuery {
	l := c.dir.Life()
	return progressQuery{
		Cluster: m.Cluster, Self: self{Incarnation: m.Incarnation, Name: m.Name, Address: c.cfg.Address},
		Life: l.Number, Nonce: l.Nonce,
	}
}

// testimony is what was answered at an address.
type testimony struct {
	at string
	progressReply
}

// believed returns the testimonies on which a member may discard its data. The
// gossip is not enough for that, since anybody may send it: they come from where
// the others were known to be, or were named to this member. One that has moved
// meanwhile is believed where nobody answers at its address.
func believed(all []testimony, peers []identity.Peer, named []string) []progressReply {
	var found []progressReply
	answers := map[string]bool{}
	for _, t := range all {
		answers[t.at] = true
	}
	for _, t := range all {
		known := slices.Contains(named, t.at)
		for _, p := range peers {
			moved := p.Incarnation == t.Self.Incarnation && !answers[p.Address]
			known = known || p.Address == t.at || moved
		}
		if known {
			found = append(found, t.progressReply)
		}
	}
	return found
}

// tell puts a progressQuery to whoever is found, except for those known to be
// at an address that are not wanted, and returns the answers.
func (c *rejoin) tell(ctx context.Context, q progressQuery, timeout time.Duration, want func(protocol.UUID) bool) []testimony {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	at := map[string]protocol.UUID{}
	m := c.member()
	for _, p := range m.Peers {
		if a, ok := c.Directory.resolve(p.Incarnation); ok {
			at[a] = p.Incarnation
		}
	}
	targets := slices.DeleteFunc(c.Directory.targets(), func(a string) bool {
		u, known := at[a]
		return known && !want(u)
	})
	replies := make([]*progressReply, len(targets))
	var wg sync.WaitGroup
	for i, address := range targets {
		wg.Go(func() {
			var r progressReply
			if err := ask(ctx, c.cfg.Network, address, askObserved, q, &r); err != nil {
				c.log.Debug("no answer about observed progress", "address", address, "err", err)
				return
			}
			replies[i] = &r
		})
	}
	wg.Wait()
	var all []testimony
	for i, r := range replies {
		if r != nil && r.Self.Incarnation != q.Self.Incarnation {
			all = append(all, testimony{targets[i], *r})
		}
	}
	return all
}

// verdict says what the answers prove to be lost; empty: nothing.
func (c *rejoin) verdict(m *identity.Member) string {
	now := c.dir.Life()
	for _, a := range c.check.answers {
		if a.Older {
			return fmt.Sprintf("the data directory is an older copy: it was started %d times, and %s has heard of start %d", now.Number, a.Self.Name, a.Life)
		}
		if a.Led && !a.Listed && len(m.Started) > 0 {
			return fmt.Sprintf("the cluster has given this incarnation's replicas to another, says %s", a.Self.Name)
		}
		for _, w := range a.Seen {
			r, _ := m.Replica(w.Group)
			for _, s := range c.check.stored {
				if s.Group == w.Group && s.Replica == w.Replica && w.Lost(s, r.Alone) {
					return fmt.Sprintf("replica %d of group %d has lost data: its log ends at entry %d in term %d, and %s has seen it further",
						s.Replica, s.Group, s.Last, s.Term, a.Self.Name)
				}
			}
		}
	}
	return ""
}

// unanswered returns how many more members must answer: with this member a
// majority of those with whom it votes, without which it would have no quorum
// anyway, and those that are heard of.
func (c *rejoin) unanswered(m *identity.Member) int {
	k := &c.check
	voters, missing, heard := 0, 0, 0
	for _, p := range m.Peers {
		if !c.counts(p) {
			continue
		}
		if p.Voter {
			voters++
		}
		if _, ok := k.answers[p.Incarnation]; ok {
			continue
		}
		if p.Voter {
			missing++
		}
		if k.asked[p.Incarnation] < tries && (c.Directory.Heard(p.Incarnation) || k.asked[p.Incarnation] == 0) {
			heard++
		}
	}
	need := (voters + 1) / 2
	if need == 0 && len(k.answers) == 0 && len(m.Started) == 0 {
		return 1 // to be admitted it needs one anyway
	}
	return max(need-(voters-missing), heard, 0)
}

// counts reports whether a peer still belongs to the cluster, by those who know.
func (c *rejoin) counts(p identity.Peer) bool {
	for _, a := range c.check.answers {
		if a.Led && !slices.Contains(a.Others, p.Incarnation) && a.Self.Incarnation != p.Incarnation {
			return false
		}
	}
	return true
}

// rejoinEmpty makes a member whose data is lost a new incarnation, once
// somebody is there who can admit it: until then the data stays where it is.
func (c *rejoin) rejoinEmpty(m *identity.Member) error {
	k := &c.check
	led := false
	for _, a := range k.answers {
		led = led || a.Led
	}
	if !led {
		if !k.said {
			k.said = true
			c.log.Error("this member's data is lost: it waits for a leader that can admit it without", "reason", k.lost)
		}
		c.setWaiting("a leader that can admit this member without its data (%s)", k.lost)
		return nil
	}
	c.deciding.Lock()
	err := c.dir.Renew()
	now := c.dir.Member()
	c.deciding.Unlock()
	if err != nil {
		return err
	}
	c.log.Error("this member's data is lost: it comes back as a new incarnation and gets the others' data", "reason", k.lost,
		"lost", m.Incarnation.String(), "incarnation", now.Incarnation.String())
	if g := c.gossip.Load(); g != nil {
		g.Leave() // the others need not miss it first
	}
	return c.Directory.startGossip()
}

// onObserved says what this member has seen of another.
func (c *rejoin) onObserved(ctx context.Context, q progressQuery) (any, error) {
	m := c.member()
	if m.Cluster != q.Cluster {
		return nil, errAnotherCluster
	}
	now := identity.Life{Number: q.Life, Nonce: q.Nonce}
	before, noted, err := c.noteRun(ctx, q.Self.Incarnation, now)
	if err != nil {
		return nil, err
	}
	r := progressReply{Self: c.self(), Life: before.Number, Older: now.OlderThan(before), Noted: noted}
	h := c.host.Load()
	if h == nil {
		return r, nil
	}
	for _, o := range q.Replicas {
		if w, ok := h.ObservedProgress(o.Group, o.Replica); ok {
			r.Seen = append(r.Seen, w)
		}
	}
	if h.System().Leader().Replica == 0 {
		return r, nil
	}
	v := h.System().View()
	if !isListed(v, q.Self.Incarnation) {
		// What is known here may be older than the member: only what is agreed now
		// proves that it does not belong.
		ctx, cancel := context.WithTimeout(ctx, askTimeout/2)
		defer cancel()
		if v, err = h.System().Refresh(ctx); err != nil {
			return r, nil
		}
	}
	r.Led, r.Listed = v.Formed, isListed(v, q.Self.Incarnation)
	o, _ := v.Incarnation(q.Self.Incarnation)
	r.Placed = slices.ContainsFunc(v.Groups, func(g systemstate.Group) bool {
		return slices.ContainsFunc(g.Replicas, func(x systemstate.Replica) bool { return o.ID != 0 && x.Member == o.ID })
	})
	for _, o := range v.Members {
		if !o.Gone && o.Incarnation != q.Self.Incarnation {
			r.Others = append(r.Others, o.Incarnation)
		}
	}
	return r, nil
}

// runQuery asks a member whether a life is its own, and the present one.
type runQuery struct {
	_           struct{} `cbor:",toarray"`
	Cluster     protocol.UUID
	Incarnation protocol.UUID
	Life        uint64
	Nonce       uint64
}

// noteRun keeps the life that a member tells of, and returns the last that was
// kept before. A member discards its data where another is sure of a later life, so
// what anybody may have said is not enough: the member is asked at the address where
// it is listed. Until it has confirmed the life, which it tells of again, nothing is
// kept.
func (c *rejoin) noteRun(ctx context.Context, u protocol.UUID, l identity.Life) (before identity.Life, noted bool, err error) {
	m := c.member()
	before = m.LifeOf(u)
	if before == l {
		return before, true, nil
	}
	address, ok := c.listedAt(&m, u)
	if !ok || l.OlderThan(before) {
		return before, false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, lifeTimeout)
	defer cancel()
	q := runQuery{Cluster: m.Cluster, Incarnation: u, Life: l.Number, Nonce: l.Nonce}
	if err := ask(ctx, c.cfg.Network, address, askRun, q, nil); err != nil {
		c.log.Debug("a run is not confirmed", "address", address, "run", l.Number, "err", err)
		return before, false, nil
	}
	c.deciding.Lock()
	defer c.deciding.Unlock()
	return before, true, c.dir.NoteLife(u, address, l)
}

// lifeTimeout bounds the question whether a life is a member's own, for which
// whoever tells of it waits.
const lifeTimeout = time.Second

// lifeAgain is how much later a life is told again that was not confirmed.
const lifeAgain = 5 * time.Second

// listedAt returns where a member is as is agreed, or was when this member was
// started; where the gossip hears it anybody may listen.
func (c *rejoin) listedAt(m *identity.Member, u protocol.UUID) (string, bool) {
	if v := c.View(); v != nil {
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

func (c *rejoin) onRun(q runQuery) error {
	m := c.member()
	if m.Cluster != q.Cluster {
		return errAnotherCluster
	}
	if m.Incarnation != q.Incarnation || c.dir.Life() != (identity.Life{Number: q.Life, Nonce: q.Nonce}) {
		return &refusal{code: protocol.CodeInvalid, detail: "that is not the present run of this member"}
	}
	return nil
}

func isListed(v *systemstate.ClusterState, u protocol.UUID) bool {
	o, ok := v.Incarnation(u)
	return ok && !o.Gone
}

// confirmRun tells members of this life that have not been told: those that were
// away when it began, and all where it began with the cluster.
func (c *rejoin) confirmRun(ctx context.Context, m *identity.Member) {
	if m.Durability == "memory" || time.Since(c.runConfirmedAt) < time.Second {
		return
	}
	untold := func(u protocol.UUID) bool {
		return !c.check.answers[u].Noted && !c.runConfirmed[u] && c.Directory.Heard(u)
	}
	if !slices.ContainsFunc(m.Peers, func(p identity.Peer) bool { return untold(p.Incarnation) }) {
		return
	}
	c.runConfirmedAt = time.Now()
	for _, r := range c.tell(ctx, c.progressQuery(m), time.Second, untold) {
		c.runConfirmed[r.Self.Incarnation] = r.Noted
		if !r.Noted {
			c.runConfirmedAt = time.Now().Add(lifeAgain)
		}
	}
}

// endLifeTimeout bounds how long a member that stops tells the others of it.
const endLifeTimeout = 300 * time.Millisecond

// EndLife notes that the member stops in order, and tells the others: a copy of
// the directory that was made before is older than what they have heard. They ask
// back, so the member must still listen.
func (c *rejoin) EndLife() {
	m := c.member()
	if m.Blank() || !m.Formed || m.Durability == "memory" {
		return
	}
	c.deciding.Lock()
	err := c.dir.EndLife()
	c.deciding.Unlock()
	if err != nil {
		c.log.Warn("the end of this run is not noted", "err", err)
		return
	}
	c.tell(context.Background(), c.progressQuery(&m), endLifeTimeout, func(protocol.UUID) bool { return true })
}
