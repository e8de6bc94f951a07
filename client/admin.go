package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Ask sends an operator's question to the member at one address, over a connection of
// its own. It needs neither a quorum nor a formed grid. what names the question, for
// example "status", and defines the answer, which is a CBOR map.
func Ask(ctx context.Context, address, what string, args []byte, opts ...Option) ([]byte, error) {
	cfg, err := newConfig([]string{address}, opts)
	if err != nil {
		return nil, err
	}
	var id protocol.UUID
	rand.Read(id[:])
	return ask(ctx, &cfg, id, address, what, args)
}

// Admin is Ask with the options of the client.
func (c *Client) Admin(ctx context.Context, address, what string, args []byte) ([]byte, error) {
	return ask(ctx, &c.cfg, c.id, address, what, args)
}

// maxAsked is how many sessions one question is about.
const maxAsked = 1000

// SessionInfo describes a session of the grid, as [Client.Sessions] lists it. Times are
// of the log, which stands still while the system group has no leader.
type SessionInfo struct {
	ID      protocol.SessionID
	Client  string        // the name of its client ([WithName]); may be empty
	UUID    string        // of its client
	Address string        // that it was opened from; for IPv6 the network; empty: from inside a member
	TTL     time.Duration // how long it is kept after its client's last heartbeat
	Left    time.Duration // until it ends, if nothing more is heard of its client
	Age     time.Duration
	Holds   int // what it has: holds, ephemeral entries, calls that wait
	// Kept says that its client sends heartbeats. Without, members keep the session, and
	// it holds nothing.
	Kept bool
	// Dying says that nothing keeps it alive any more, because it was killed, or because
	// a group has lost its data: it ends when Left has run.
	Dying  bool
	Reason string // why it was killed; may be empty
}

// Sessions lists the sessions of the grid that have not ended, by their number. It asks
// members with a replica of the system group, and counts what the sessions hold at
// members with replicas of each group.
//
// Errors: [quorate.ErrUnavailable] if a group has no member that answers.
func (c *Client) Sessions(ctx context.Context) ([]SessionInfo, error) {
	var all []SessionInfo
	for from := uint64(0); ; {
		var r protocol.SessionReport
		if err := c.question(ctx, protocol.SystemGroup, protocol.AdminSessions, &protocol.SessionsQuery{From: from, Most: maxAsked}, &r); err != nil {
			return nil, err
		}
		counts, err := c.countHolds(ctx, r.Sessions)
		if err != nil {
			return nil, err
		}
		for i, s := range r.Sessions {
			all = append(all, SessionInfo{
				ID: protocol.SessionID(s.ID), Client: s.Client, UUID: s.UUID, Address: s.Address, TTL: milliseconds(s.TTL),
				Left: milliseconds(s.Left), Age: milliseconds(s.Age), Holds: counts[i], Kept: s.Kept, Dying: s.Dying, Reason: s.Reason,
			})
		}
		if from = r.Next; from == 0 {
			return all, nil
		}
	}
}

// names are those of the clients of sessions, as members have said. A session keeps its
// name, and its number never comes back.
type names struct {
	asking chan struct{} // has room for the one that asks

	mu     sync.Mutex
	known  map[protocol.SessionID]string // empty: it has none, or has ended
	failed time.Time                     // when no member has answered last
}

// Limits of names.
const (
	maxNames  = 10_000
	nameTime  = time.Second     // so long an answer is waited for
	namePause = 5 * time.Second // so long nobody asks after nobody has answered
)

func (n *names) init() {
	n.asking, n.known = make(chan struct{}, 1), map[protocol.SessionID]string{}
}

// of returns the names that are known, and the sessions that have to be asked for,
// ascending.
func (n *names) of(ids []protocol.SessionID) (named map[protocol.SessionID]string, unknown []protocol.SessionID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	named = map[protocol.SessionID]string{}
	for _, id := range ids {
		name, known := n.known[id]
		switch {
		case name != "":
			named[id] = name
		case (!known || mutants.On(mutants.NameForgotten)) && id != 0 && time.Since(n.failed) > namePause:
			unknown = append(unknown, id)
		}
	}
	slices.Sort(unknown)
	return named, slices.Compact(unknown)
}

// learn takes an answer: of the sessions asked for those that it lacks have ended, up to
// where it ends. It returns those that are left.
func (n *names) learn(asked []protocol.SessionID, r *protocol.SessionReport) (left []protocol.SessionID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.known) > maxNames {
		clear(n.known)
	}
	listed := map[protocol.SessionID]string{}
	for _, s := range r.Sessions {
		listed[protocol.SessionID(s.ID)] = s.Client
	}
	for i, id := range asked {
		if r.Next != 0 && uint64(id) >= r.Next {
			return asked[i:]
		}
		n.known[id] = listed[id]
	}
	return nil
}

// SessionNames returns the names of the clients of sessions ([WithName]), without those
// that have none and those that have ended. It asks members with a replica of the system
// group, for a second at most, and once for each session: what they say is kept. If none
// answers the names are missing, and are not asked for again for a few seconds.
func (c *Client) SessionNames(ctx context.Context, ids ...protocol.SessionID) map[protocol.SessionID]string {
	named, unknown := c.names.of(ids)
	if len(unknown) == 0 {
		return named
	}
	within, cancel := context.WithTimeout(ctx, nameTime)
	defer cancel()
	select {
	case c.names.asking <- struct{}{}:
		defer func() { <-c.names.asking }()
	case <-within.Done():
		return named
	}
	_, unknown = c.names.of(ids) // another may have asked meanwhile
	for len(unknown) > 0 {
		q := protocol.SessionsQuery{From: uint64(unknown[0]), Most: 1}
		if len(unknown) > 1 {
			q.Most = maxAsked
		}
		var r protocol.SessionReport
		if err := c.question(within, protocol.SystemGroup, protocol.AdminSessions, &q, &r); err != nil {
			if ctx.Err() == nil {
				c.names.mu.Lock()
				c.names.failed = time.Now()
				c.names.mu.Unlock()
			}
			break
		}
		unknown = c.names.learn(unknown, &r)
	}
	named, _ = c.names.of(ids)
	return named
}

// countHolds returns how much each of at most maxAsked sessions has in all groups.
func (c *Client) countHolds(ctx context.Context, sessions []protocol.SessionInfo) ([]int, error) {
	counts := make([]int, len(sessions))
	q := protocol.HoldsQuery{}
	for _, s := range sessions {
		q.Count = append(q.Count, s.ID)
	}
	for _, g := range c.dataGroups() {
		q.Group = uint64(g)
		var r protocol.HoldReport
		if err := c.question(ctx, g, protocol.AdminHolds, &q, &r); err != nil {
			return nil, err
		}
		for i := range min(len(counts), len(r.Counts)) {
			counts[i] += int(r.Counts[i])
		}
	}
	return counts, nil
}

// SessionHold is something that a session has.
type SessionHold struct {
	Kind, Name string // of the structure
	// What is "hold", "entry" for an ephemeral entry, "wait" for a call that waits, or
	// "reserved" for an element that was granted and is not confirmed yet.
	What   string
	Hold   protocol.HoldID // of a hold, as [structures.Inspection] lists it
	Token  protocol.Token  // of a hold
	Amount int64           // of a hold, for example permits
	Mode   string          // of a hold; may be empty
	Note   string          // of a hold; may be empty
	Key    structures.EncodedKey
	// Operation is the one that waits.
	Operation string
	For       time.Duration // since when, of the log's time; 0 for entries
}

// SessionHolds lists what a session has, group by group. A session that has ended, or
// never was, has nothing, as has one that only writes.
//
// Errors: [quorate.ErrUnavailable] if a group has no member that answers.
func (c *Client) SessionHolds(ctx context.Context, id protocol.SessionID) ([]SessionHold, error) {
	var all []SessionHold
	for _, g := range c.dataGroups() {
		q := protocol.HoldsQuery{Group: uint64(g), Session: uint64(id)}
		for more := true; more; more = len(q.Cursor) > 0 {
			var r protocol.HoldReport
			if err := c.question(ctx, g, protocol.AdminHolds, &q, &r); err != nil {
				return nil, err
			}
			for _, h := range r.Holds {
				key, _ := structures.DecodeKey[structures.EncodedKey](h.Key) // without a key there is none
				all = append(all, SessionHold{
					Kind: h.Kind, Name: h.Name, What: h.What, Hold: protocol.HoldID(h.Hold), Token: protocol.Token(h.Token),
					Amount: h.Amount, Mode: h.Mode, Note: h.Note, Key: key, Operation: h.Operation, For: milliseconds(h.For),
				})
			}
			q.Cursor = r.Cursor
		}
	}
	return all, nil
}

// KillOption changes how [Client.KillSession] ends a session.
type KillOption struct {
	now    bool
	reason string
}

// Now ends the session at once. Others are granted what it held while its client may
// still believe to hold it: only tokens protect what they protected.
func Now() KillOption { return KillOption{now: true} }

// KillReason is why, for the log and for the session's client: at most 255 bytes. With [Now]
// the client is not told, because nothing is left of the session that could say so.
func KillReason(text string) KillOption { return KillOption{reason: text} }

// KillSession ends a session of another client. Its client is refused the next
// heartbeat, ends the contexts of all that the session holds, and opens another session:
// a kill keeps nobody out. The session itself ends when its TTL has run since the last
// heartbeat, as if its client had died, or at once with [Now]; left is how long that
// takes. existed is false for a session that has ended already, or never was.
//
// Errors: [quorate.ErrInvalid] for a reason that is too long; [quorate.ErrUnavailable]
// if no member answers: the session may be killed all the same, and to kill it again
// does no harm.
func (c *Client) KillSession(ctx context.Context, id protocol.SessionID, opts ...KillOption) (existed bool, left time.Duration, err error) {
	q := protocol.KillQuery{Session: uint64(id)}
	for _, o := range opts {
		q.Now = q.Now || o.now
		q.Reason = cmp.Or(o.reason, q.Reason)
	}
	var r protocol.KillReport
	err = c.question(ctx, protocol.SystemGroup, protocol.AdminKill, &q, &r)
	return r.Existed, milliseconds(r.Left), err
}

func milliseconds(n uint64) time.Duration { return time.Duration(n) * time.Millisecond }

// dataGroups returns the groups that own partitions.
func (c *Client) dataGroups() []protocol.GroupID {
	groups := slices.Clone(c.table.export().Partitions)
	slices.Sort(groups)
	return slices.Compact(groups)
}

// question asks members with a replica of a group, its leader first, until one answers.
// A client that reaches its seeds only asks those.
func (c *Client) question(ctx context.Context, g protocol.GroupID, what string, args, answer any) error {
	var addresses []string
	table := c.table.export()
	i := slices.IndexFunc(table.Groups, func(x protocol.TableGroup) bool { return x.ID == g })
	switch {
	case c.cfg.forward:
		addresses = c.cfg.seeds
	case i >= 0:
		members := slices.Insert(slices.Clone(table.Groups[i].Replicas), 0, table.Groups[i].Leader)
		for _, id := range members {
			m := slices.IndexFunc(table.Members, func(m protocol.TableMember) bool { return m.ID == id })
			if m >= 0 && !slices.Contains(addresses, table.Members[m].Address) {
				addresses = append(addresses, table.Members[m].Address)
			}
		}
	}
	err := error(&quorate.Error{Op: what, Object: fmt.Sprintf("group %d", g), Cause: quorate.ErrUnavailable, Detail: "no member with a replica is known"})
	for _, address := range addresses {
		var body []byte
		if body, err = c.Admin(ctx, address, what, protocol.Encode(args)); err == nil {
			if err = protocol.DecodeAnswer(body, answer); err != nil {
				return &quorate.Error{Op: what, Object: "member " + address, Cause: err}
			}
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, quorate.ErrInvalid) {
			break
		}
	}
	return err
}

// Member is a member of the grid.
type Member struct {
	ID      protocol.MemberID
	Name    string
	Address string
	// State is as in `quorate status`: protocol.StateServing, StateSilent, StateForming or
	// StateDead, as the member that answers sees it.
	State string
}

// Members returns the members of the grid by ID, as one member sees them: the leader of the
// system group, if it answers, or another one with a replica of that. The error is
// [quorate.ErrUnavailable] if none answers.
func (c *Client) Members(ctx context.Context) ([]Member, error) {
	var s protocol.Status
	if err := c.question(ctx, protocol.SystemGroup, protocol.AdminStatus, nil, &s); err != nil {
		return nil, err
	}
	list := make([]Member, 0, len(s.Members))
	for _, m := range s.Members {
		list = append(list, Member{protocol.MemberID(m.ID), m.Name, m.Address, m.State})
	}
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}

// membersEvery is how often WatchMembers asks, beside the changes of the table that it is
// told of.
const membersEvery = 2 * time.Second

// WatchMembers iterates over the members of the grid: those of now, and then the newest
// whenever a member has come, gone, or changed its address or state, until the loop is left,
// ctx ends or the client is closed, which is the last thing that comes. What changes for a
// short time may be left out, and while no member answers nothing comes. A change of the
// table is noticed at once, another one within 2 s.
func (c *Client) WatchMembers(ctx context.Context) iter.Seq2[[]Member, error] {
	return func(yield func([]Member, error) bool) {
		var last []Member
		for {
			next := c.table.routes().next
			list, err := c.Members(ctx)
			if err == nil && !slices.Equal(list, last) {
				if last = list; !yield(slices.Clone(list), nil) {
					return
				}
			}
			t := time.NewTimer(membersEvery)
			select {
			case <-next:
				// Several changes of the table come together.
				contexts.Pause(ctx, 50*time.Millisecond)
			case <-t.C:
			case <-c.ctx.Done():
			case <-ctx.Done():
			}
			t.Stop()
			cause := contexts.Err(ctx)
			if c.ctx.Err() != nil {
				cause = quorate.ErrClosed
			}
			if cause != nil {
				yield(nil, &quorate.Error{Op: "watch", Object: "the members", Cause: cause})
				return
			}
		}
	}
}

func ask(ctx context.Context, cfg *config, id protocol.UUID, address, what string, args []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.operationTimeout)
	defer cancel()
	fail := func(cause error, detail string) error {
		return &quorate.Error{Op: what, Object: "member " + address, Cause: cause, Detail: detail}
	}
	unavailable := func(err error) error {
		if ended := contexts.Err(ctx); ended != nil {
			err = ended
		}
		return fail(fmt.Errorf("%w: %w", quorate.ErrUnavailable, err), "")
	}
	g, err := greet(ctx, cfg, id, address)
	if err != nil {
		return nil, unavailable(err)
	}
	defer g.nc.Close()
	stop := context.AfterFunc(ctx, func() { g.nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	q := protocol.AdminRequest{Type: protocol.TypeAdmin, ID: 1, What: what, Args: args}
	b := append(protocol.BeginFrame(nil), protocol.Encode(&q)...)
	if _, err := g.nc.Write(protocol.EndFrame(b, 0)); err != nil {
		return nil, unavailable(err)
	}
	for {
		frame, err := g.frames.Next()
		if err != nil {
			return nil, unavailable(err)
		}
		if protocol.PeekType(frame) != protocol.TypeReply {
			continue // the member's table has changed, or it says goodbye
		}
		var r protocol.Reply
		if err := r.Decode(frame); err != nil {
			return nil, unavailable(err)
		}
		if r.Code != protocol.CodeOK {
			cause := r.Code.Err()
			if cause == nil {
				cause = quorate.ErrInvalid
			}
			return nil, fail(cause, problemOf(r).Detail)
		}
		return r.Body, nil
	}
}
