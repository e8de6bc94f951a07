package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client/nearcache"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/watch"
)

const (
	registerTime    = 2 * time.Second        // that the answer to a registration may take
	registerPause   = 50 * time.Millisecond  // before a registration that failed is tried again, doubled up to a second
	relistPause     = 100 * time.Millisecond // before a list begins anew that was overrun
	crowdedWatches  = 100                    // beyond which registrations come with jitter,
	registerJitter  = 200 * time.Millisecond // of this
	watchProbe      = 1 * time.Second        // without a word of a group, before its leader is asked for one,
	watchProbeEvery = 2 * time.Second        // at most so often,
	watchSilent     = 4 * time.Second        // and before its watches are given up there
)

// Watch begins a watch. The stream goes on by itself over changes of leaders and lost
// connections, until it is closed, the client is closed, or events are missing. ctx bounds
// nothing: see WatchStream.Next. Errors: [quorate.ErrInvalid] for a bad spec,
// [quorate.ErrClosed].
func (c *Client) Watch(ctx context.Context, spec structures.WatchSpec) (structures.WatchStream, error) {
	s, err := c.watch(spec)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *Client) watch(spec structures.WatchSpec) (*watch.Stream, error) {
	in := c.table.cluster.Load()
	s, err := watch.New(spec, in.id)
	if err != nil {
		return nil, err
	}
	w := &watcher{client: c, spec: spec, stream: s, busy: map[protocol.GroupID]int{}, again: make(chan struct{}, 1)}
	w.cluster.Store(in)
	c.watchers.add(w)
	if !c.tasks.spawn(w.run) {
		c.watchers.remove(w)
		return nil, &quorate.Error{Op: spec.Verb, Object: spec.Object(), Cause: quorate.ErrClosed}
	}
	return s, nil
}

// NearCache returns the near cache of a structure: see structures.Cacher. All near caches of
// a client together keep [WithNearCacheBytes].
func (c *Client) NearCache(spec structures.NearSpec) (structures.NearCache, error) {
	return c.near.NearCache(spec)
}

// nearGrid is a client as its near caches see it.
type nearGrid struct{ *Client }

func (g nearGrid) WatchNear(spec structures.WatchSpec) (nearcache.Stream, error) {
	s, err := g.watch(spec)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (g nearGrid) Spawn(f func()) bool { return g.tasks.spawn(f) }

// watchers are the watches of a client, and the counts of those that have ended.
type watchers struct {
	mu   sync.Mutex
	all  map[*watcher]struct{}
	past watch.Stats
}

func (ws *watchers) add(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.all == nil {
		ws.all = map[*watcher]struct{}{}
	}
	ws.all[w] = struct{}{}
}

func (ws *watchers) remove(w *watcher) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.all, w)
	addWatchStats(&ws.past, w.stream.Stats())
}

func addWatchStats(to *watch.Stats, s watch.Stats) {
	to.Resumes += s.Resumes
	to.Gaps += s.Gaps
	to.Relists += s.Relists
}

func (ws *watchers) count(s *Stats) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	sum := ws.past
	for w := range ws.all {
		addWatchStats(&sum, w.stream.Stats())
	}
	s.Watches, s.WatchResumes, s.WatchGaps, s.WatchRelists = len(ws.all), sum.Resumes, sum.Gaps, sum.Relists
}

func (ws *watchers) crowded() bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	return len(ws.all) > crowdedWatches
}

// watcher keeps a watch registered with the leaders of its partitions' groups.
type watcher struct {
	client  *Client
	spec    structures.WatchSpec
	stream  *watch.Stream
	cluster atomic.Pointer[cluster]
	again   chan struct{} // capacity 1: a registration has ended, well or not

	mu       sync.Mutex
	busy     map[protocol.GroupID]int // registrations under way, by group; 0 is one that is not known
	failures int
}

// run registers what is registered nowhere, until the watch has ended.
func (w *watcher) run() {
	c := w.client
	defer c.watchers.remove(w)
	var tick <-chan time.Time
	if d := w.spec.Progress; d > 0 {
		t := time.NewTicker(d)
		defer t.Stop()
		tick = t.C
	}
	for w.stream.Err() == nil {
		if in := c.table.cluster.Load(); in != w.cluster.Load() {
			w.cluster.Store(in)
			w.stream.GridLost(in.id)
		}
		r := c.table.routes()
		w.leaveDeposed(r)
		w.registerAll(r)
		select {
		case <-w.stream.Work():
		case <-w.again:
		case <-r.next:
		case <-tick:
			w.stream.Probe()
		case <-w.stream.Ended():
		case <-c.ctx.Done():
			w.stream.Fail(quorate.ErrClosed)
		}
	}
}

// leaveDeposed gives up the registrations with members that the table does not name as
// leaders any more, in a higher term. To wait until they say so themselves, or nothing at
// all, takes longer than the history lasts in a busy grid.
func (w *watcher) leaveDeposed(r *routes) {
	for _, reg := range w.stream.Registrations() {
		g := r.groups[reg.Group]
		if g != nil && reg.Member != 0 && g.term > reg.Term && g.leader != nil && g.leader.id != reg.Member {
			reg.End()
		}
	}
}

// registerAll begins the registrations that are missing, one for each group.
func (w *watcher) registerAll(r *routes) {
	by := map[protocol.GroupID][]protocol.PartitionID{}
	for _, id := range w.stream.Unregistered() {
		of := protocol.GroupID(0)
		if g := r.of(id); g != nil {
			of = g.id
		}
		by[of] = append(by[of], id)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for of, ids := range by {
		if w.busy[of] > 0 {
			continue
		}
		w.busy[of]++
		if !w.client.tasks.spawn(func() { w.register(r, r.groups[of], of, ids) }) {
			return
		}
	}
}

// register registers partitions of a group with its leader, and then pauses if it could
// not.
func (w *watcher) register(r *routes, g *group, of protocol.GroupID, ids []protocol.PartitionID) {
	c := w.client
	pause := time.Duration(0)
	if c.watchers.crowded() {
		pause = rand.N(registerJitter)
	}
	if n := w.stream.Overruns(ids); n > 0 {
		pause += relistPause << min(n, 4)
	}
	w.sleep(pause, nil)
	wait := time.Duration(-1)
	if n := w.connect(r, g); n != nil {
		wait = w.registerAt(n, r, g, of, ids)
	}
	w.mu.Lock()
	if wait == 0 {
		w.failures = 0
	} else {
		w.failures++
	}
	if wait < 0 {
		wait = backoff(w.failures, registerPause, time.Second)
	}
	w.mu.Unlock()
	w.sleep(wait, r.next)
	w.mu.Lock()
	w.busy[of]--
	w.mu.Unlock()
	select {
	case w.again <- struct{}{}:
	default:
	}
}

// sleep waits for some time, less if the watch or the client ends, or a channel is closed.
func (w *watcher) sleep(d time.Duration, wake <-chan struct{}) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-wake:
	case <-w.stream.Ended():
	case <-w.client.ctx.Done():
	}
}

// connect returns the connection for watches to the leader of a group, nil if there is
// none yet. It is one of its own, so that events never stand before replies.
func (w *watcher) connect(r *routes, g *group) *conn {
	c := w.client
	m := c.seeds
	if m == nil {
		if g == nil || g.leader == nil {
			c.refresher.search()
			return nil
		}
		m = g.leader
	}
	l := &m.watching
	n := l.conn.Load()
	if n == nil {
		select {
		case <-l.open():
		case <-r.next:
		case <-w.stream.Ended():
		case <-c.ctx.Done():
		}
		if n = l.conn.Load(); n == nil {
			c.refresher.search()
			return nil
		}
	}
	if n.cluster != w.cluster.Load() {
		return nil
	}
	return n
}

// registerAt registers partitions on a connection. It returns how long to wait before the
// next attempt, 0 if it has succeeded, and -1 for as long as the failures in a row say.
func (w *watcher) registerAt(n *conn, r *routes, g *group, of protocol.GroupID, ids []protocol.PartitionID) time.Duration {
	c := w.client
	reg, body := w.stream.Register(ids)
	if body == nil {
		return 0
	}
	reg.Group, reg.Member = of, n.link.member
	if g != nil {
		reg.Term = g.term
	}
	q := protocol.Request{
		Partition: reg.Partition, Epoch: r.epoch, Flags: protocol.FlagRead, Kind: protocol.KindControl, Op: protocol.OpWatch, Name: w.spec.Name, Body: body,
	}
	a := &attempt{done: make(chan struct{}, 1), apart: true}
	now := c.now()
	id := uint64(0)
	err := n.sendMessage(a, now, now+registerTime, func(next uint64) []byte {
		id, q.ID = next, next
		n.serve(next, of, reg, now)
		return q.Append(nil)
	})
	if err != nil {
		reg.Lost()
		return -1
	}
	reg.Sent(id, func(m protocol.WatchControl) { n.controlWatch(m) })
	if reg.Over() { // it was closed meanwhile
		n.controlWatch(protocol.WatchControl{ID: id, Action: protocol.WatchEnd})
		return 0
	}
	select {
	case <-a.done:
	case <-w.stream.Ended():
		if !n.abandon(a) {
			<-a.done
		}
		return 0
	}
	if a.err != nil {
		reg.End()
		c.refresher.search()
		return -1
	}
	if reg.Over() { // it was given up meanwhile, and that is what the answer says
		n.forgetWatch(id)
		return 0
	}
	if a.reply.Code == protocol.CodeOK {
		if err := reg.Begun(a.reply.Body); err != nil {
			reg.End()
			n.fail(fmt.Errorf("read where a watch begins: %w", err))
			return -1
		}
		return 0
	}
	n.forgetWatch(id)
	reg.Lost()
	return w.refused(a.reply, n, of)
}

// refused handles the refusal of a registration.
func (w *watcher) refused(reply protocol.Reply, n *conn, of protocol.GroupID) time.Duration {
	c := w.client
	p := problemOf(reply)
	switch code := reply.Code; {
	case code == protocol.CodeNotLeader:
		c.table.hint(of, n.link.member, p.Leader)
		c.refresher.refresh()
		if p.Leader != 0 {
			return time.Millisecond
		}
	case code == protocol.CodeWaiters, code.Class() == protocol.ClassRefused:
		w.stream.Fail(fmt.Errorf("%w: %s", code.Err(), p.Detail))
	default:
		c.refresher.search()
		if p.Wait > 0 {
			return time.Duration(p.Wait) * time.Millisecond
		}
	}
	return -1
}

// served are the watches of a connection that are of one group.
type served struct {
	regs  map[uint64]*watch.Registration // by ID
	heard time.Duration                  // when something of them came last, on the client's clock
	asked time.Duration                  // when the leader was last asked for a word
}

// serve notes a registration, before its request is sent. mu is held.
func (n *conn) serve(id uint64, g protocol.GroupID, reg *watch.Registration, now time.Duration) {
	if n.watches == nil {
		n.watches, n.watched = map[uint64]protocol.GroupID{}, map[protocol.GroupID]*served{}
	}
	of := n.watched[g]
	if of == nil {
		of = &served{regs: map[uint64]*watch.Registration{}, heard: now}
		n.watched[g] = of
	}
	n.watches[id], of.regs[id] = g, reg
}

func (n *conn) forgetWatch(id uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forgetWatchLocked(id)
}

func (n *conn) forgetWatchLocked(id uint64) {
	g, ok := n.watches[id]
	if !ok {
		return
	}
	delete(n.watches, id)
	of := n.watched[g]
	if delete(of.regs, id); len(of.regs) == 0 {
		delete(n.watched, g)
	}
}

// controlWatch tells the member of a watch.
func (n *conn) controlWatch(m protocol.WatchControl) {
	if m.Action == protocol.WatchEnd {
		n.forgetWatch(m.ID)
	}
	_ = n.sendMessage(nil, n.client.now(), 0, func(uint64) []byte { return m.Append(nil) }) // a lost connection ends them all
}

// registration returns the registration of an ID; nil: there is none any more.
func (n *conn) registration(id uint64) *watch.Registration {
	now := n.client.now()
	n.mu.Lock()
	defer n.mu.Unlock()
	g, ok := n.watches[id]
	if !ok {
		return nil
	}
	of := n.watched[g]
	of.heard = now
	return of.regs[id]
}

// watchEvents hands events to their watches. The member is told of a watch that is none.
func (n *conn) watchEvents(frame []byte) error {
	var m protocol.WatchEvents
	if err := m.Decode(frame); err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	for _, id := range m.IDs {
		if reg := n.registration(id); reg != nil {
			reg.Take(m.Sections)
		} else {
			n.controlWatch(protocol.WatchControl{ID: id, Action: protocol.WatchEnd})
		}
	}
	return nil
}

// watchNote hands a note to its watch.
func (n *conn) watchNote(frame []byte) error {
	var m protocol.WatchNote
	if err := m.Decode(frame); err != nil {
		return fmt.Errorf("read a note of a watch: %w", err)
	}
	reg := n.registration(m.ID)
	if reg == nil {
		return nil
	}
	over, code, leader := reg.Note(&m)
	if !over {
		return nil
	}
	n.forgetWatch(m.ID)
	if code == protocol.CodeNotLeader || code == protocol.CodeNoLeader {
		n.client.table.hint(reg.Group, reg.Member, leader)
	}
	n.client.refresher.search()
	return nil
}

// loseWatches ends the registrations of a lost connection.
func (n *conn) loseWatches() {
	n.mu.Lock()
	all := n.watched
	n.watches, n.watched = nil, nil
	n.mu.Unlock()
	for _, of := range all {
		for _, reg := range of.regs {
			reg.Lost()
		}
	}
}

// sweepWatches asks for a word of the groups of which none has come, and gives up the
// watches of those that stay silent, though the connection may stand: the member may be
// cut off from its group (WATCH-21). It reports whether there are any watches.
func (n *conn) sweepWatches(now time.Duration) bool {
	var ask, leave []*watch.Registration
	n.mu.Lock()
	for _, of := range n.watched {
		switch silent := now - of.heard; {
		case silent > watchSilent:
			for _, reg := range of.regs {
				leave = append(leave, reg)
			}
		case silent > watchProbe && now-of.asked > watchProbeEvery:
			of.asked = now
			for _, reg := range of.regs {
				ask = append(ask, reg)
				break
			}
		}
	}
	if mutants.On(mutants.WatchSilent) {
		leave = nil
	}
	any := len(n.watches) > 0
	n.mu.Unlock()
	for _, reg := range ask {
		reg.KeepAlive()
	}
	for _, reg := range leave {
		n.client.table.hint(reg.Group, reg.Member, 0)
		reg.End()
		n.client.refresher.search()
	}
	return any
}
