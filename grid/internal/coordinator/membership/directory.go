package membership

import (
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
	"github.com/quorate/quorate/grid/internal/peers"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// Directory knows where members are, from the gossip, from themselves and from the
// tables. It is safe for concurrent use.
type Directory struct {
	cfg        Config
	conditions *Conditions

	starting sync.Mutex // held while the gossip is replaced; before mu

	mu      sync.Mutex // guards what follows
	gossip  Gossip
	label   string               // of the gossip
	callers map[string]time.Time // addresses of members that asked, and when
	known   map[protocol.UUID]string
	stated  map[protocol.UUID]stated
	state   gossip.State // announced
}

func newDirectory(cfg Config, c *Conditions) *Directory {
	return &Directory{
		cfg: cfg, conditions: c,
		callers: map[string]time.Time{}, known: map[protocol.UUID]string{}, stated: map[protocol.UUID]stated{},
		state: gossip.State{Behind: true},
	}
}

// maxCallers bounds how many addresses of members that asked are kept.
const maxCallers = 1024

// callerTTL is how long a member that asked is asked back.
const callerTTL = time.Minute

// stated is an address that a member itself has stated, and the one at which it was heard
// until then: news of the gossip since then count for more.
type stated struct{ address, heard string }

// maxKnown bounds how many incarnations this member keeps addresses of. It
// forgets those that are not listed as soon as it knows who is.
const maxKnown = 4096

// StartGossip announces the present incarnation, under a label: the name of the
// cluster. Only that is known to all before the cluster is formed, and it stays.
// Members of clusters of different names do not hear of each other, whoever has
// whose address. The gossip before is closed.
func (c *Directory) StartGossip(label string) error {
	c.starting.Lock()
	defer c.starting.Unlock()
	if old := c.swapGossip(nil, label); old != nil {
		old.Close()
	}
	m := c.cfg.Dir.Member()
	c.mu.Lock()
	state := c.state
	c.mu.Unlock()
	g, err := c.cfg.Gossip(gossip.Config{
		Label:       label,
		Incarnation: m.Incarnation, Name: m.Name, Address: c.cfg.Address, Cluster: m.Cluster, State: state,
		Network: c.cfg.Network, Packets: c.cfg.Packets, Logger: c.cfg.Logger,
		Seeds: c.Targets, Changed: c.announced,
	})
	if err != nil {
		return err
	}
	c.swapGossip(g, label)
	return nil
}

func (c *Directory) swapGossip(g Gossip, label string) (before Gossip) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before, c.gossip, c.label = c.gossip, g, label
	return before
}

// Label returns the label of the gossip.
func (c *Directory) Label() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.label
}

// Gossip returns the gossip, nil if there is none.
func (c *Directory) Gossip() Gossip {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.gossip
}

// SetState changes how this member announces itself.
func (c *Directory) SetState(change func(*gossip.State)) {
	c.mu.Lock()
	change(&c.state)
	state := c.state
	c.mu.Unlock()
	if g := c.Gossip(); g != nil {
		g.SetState(state)
	}
}

// StateOf returns how an incarnation is, as it has last said itself; this
// member's own is what it announces.
func (c *Directory) StateOf(u protocol.UUID) gossip.State {
	if c.cfg.Dir.Member().Incarnation == u {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.state
	}
	return c.conditions.conditionOf(u)
}

// Targets are the addresses at which others may be found.
func (c *Directory) Targets() []string {
	all := slices.Clone(c.cfg.Join)
	if g := c.Gossip(); g != nil {
		for _, h := range g.Hints() {
			if h.Alive {
				all = append(all, h.Address)
			}
		}
	}
	c.mu.Lock()
	for a, at := range c.callers {
		if time.Since(at) > callerTTL {
			delete(c.callers, a)
			continue
		}
		all = append(all, a)
	}
	for _, a := range c.known {
		all = append(all, a)
	}
	c.mu.Unlock()
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(a string) bool { return a == c.cfg.Address || a == "" })
}

// Resolve returns the address of an incarnation: the one that it has stated, else the
// one at which it is heard, else the one in the tables, or in those before this member
// was started, else the one at which it was heard last.
func (c *Directory) Resolve(u protocol.UUID) (string, bool) {
	heard, alive := c.heardAt(u)
	c.mu.Lock()
	defer c.mu.Unlock()
	if t, ok := c.stated[u]; ok && t.heard == heard {
		return t.address, true
	}
	if alive {
		return heard, true
	}
	if a, ok := c.known[u]; ok {
		return a, true
	}
	return heard, heard != ""
}

func (c *Directory) heardAt(u protocol.UUID) (address string, alive bool) {
	if g := c.Gossip(); g != nil {
		return g.Address(u)
	}
	return "", false
}

// NoteKnown keeps the addresses that others have said members to be at.
func (c *Directory) NoteKnown(all ...peers.Self) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range all {
		c.noteKnownLocked(s)
	}
}

// noteKnownLocked is NoteKnown for who holds mu.
func (c *Directory) noteKnownLocked(s peers.Self) {
	if _, ok := c.known[s.Incarnation]; ok || len(c.known) < maxKnown {
		c.known[s.Incarnation] = s.Address
	}
}

// ForgetUnlisted forgets the addresses and the condition of incarnations that are not
// listed any more. A
// grid in memory has a new one with each start of a member.
func (c *Directory) ForgetUnlisted(v *systemstate.ClusterState) {
	listed := make(map[protocol.UUID]bool, len(v.Members))
	for _, o := range v.Members {
		listed[o.Incarnation] = true
	}
	unlisted := func(u protocol.UUID) bool { return !listed[u] }
	c.conditions.forgetConditions(unlisted)
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.known, func(u protocol.UUID, _ string) bool { return unlisted(u) })
	maps.DeleteFunc(c.stated, func(u protocol.UUID, _ stated) bool { return unlisted(u) })
}

// Learn keeps the address that a member itself has stated.
func (c *Directory) Learn(s peers.Self) {
	heard, _ := c.heardAt(s.Incarnation)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noteKnownLocked(s)
	if _, ok := c.stated[s.Incarnation]; ok || len(c.stated) < maxKnown {
		c.stated[s.Incarnation] = stated{s.Address, heard}
	}
}

func (c *Directory) announced() {
	c.cfg.Wake()
	c.conditions.ConfirmSoon()
	c.cfg.Announced()
}

// ServeGossip takes over a gossip connection.
func (c *Directory) ServeGossip(conn net.Conn) {
	if g := c.Gossip(); g != nil {
		g.Serve(conn)
		return
	}
	_ = conn.Close() // the peer tries again
}

// Heard reports whether an incarnation was heard of lately.
func (c *Directory) Heard(u protocol.UUID) bool {
	h, ok := c.hint(u)
	return ok && h.Alive
}

func (c *Directory) hint(u protocol.UUID) (gossip.Hint, bool) {
	if g := c.Gossip(); g != nil {
		return g.Hint(u)
	}
	return gossip.Hint{}, false
}

// NoteCaller keeps the address of a member that asked, for a minute, and reports
// whether it was not known.
func (c *Directory) NoteCaller(address string) (unknown bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.callers[address]
	if !known && len(c.callers) >= maxCallers {
		return false
	}
	c.callers[address] = time.Now()
	return !known
}

// KnownAddresses returns the addresses that members are known to be at, but not by the
// gossip.
func (c *Directory) KnownAddresses() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Values(c.known))
}
