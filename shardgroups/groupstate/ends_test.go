package groupstate_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// endsModel is a system group that lists few ends, two members whose views of it
// lag, and a group that either of them leads in turn.
type endsModel struct {
	t       *rapid.T
	log     [][]byte // of the system group
	truth   *systemstate.State
	live    []protocol.SessionID
	views   [2]*systemstate.State
	seen    [2]int // entries of the log
	group   *groupstate.State
	read    []groupstate.Checked // sessions that were read to live, at which end
	flying  [][]byte             // entries of the group's log that are not applied yet
	clients byte
}

const endsListed = 3

func lister() *systemstate.State {
	s := systemstate.New()
	s.SetMaxEnded(endsListed)
	return s
}

func (m *endsModel) agree(c systemstate.Command) (a systemstate.Answer) {
	e := systemstate.Encode(groupstate.Header{}, c)
	answer, _, err := m.truth.Apply(e)
	if err == nil {
		err = protocol.DecodeLarge(answer, &a)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.log = append(m.log, e)
	return a
}

func (m *endsModel) see(view, upTo int) {
	for ; m.seen[view] < upTo; m.seen[view]++ {
		if _, _, err := m.views[view].Apply(m.log[m.seen[view]]); err != nil {
			m.t.Fatal(err)
		}
	}
}

func (m *endsModel) propose(f func(*groupstate.Builder)) {
	var b groupstate.Builder
	b.Reset(groupstate.Header{}, 64)
	f(&b)
	m.flying = append(m.flying, b.Bytes())
}

// follow is what a leader logs of the ends, by its view.
func (m *endsModel) follow(view, limit int) {
	v := m.views[view]
	ids, listed := v.EndsAfter(m.group.Sessions().Ends(), limit)
	switch end, next := v.UpTo(); {
	case !listed:
		m.propose(func(b *groupstate.Builder) { b.PassOver(end, next) })
	case len(ids) > 0:
		m.propose(func(b *groupstate.Builder) { b.Ends(m.group.Sessions().Ends(), ids) })
	}
	c, ok := m.group.Sessions().Unchecked(limit)
	if end, next := v.UpTo(); ok && end >= c.End && next >= c.To {
		c.IDs = slices.DeleteFunc(c.IDs, func(id protocol.SessionID) bool { return !v.Ended(id) })
		m.propose(func(b *groupstate.Builder) { b.Ended(c) })
	}
}

// apply applies an entry of the group. Nobody who lives may lose by it, and it
// goes the same way after a snapshot.
func (m *endsModel) apply() {
	known := map[protocol.SessionID]bool{}
	for _, id := range m.live {
		known[id] = m.group.Sessions().Knows(id)
	}
	if err := m.group.Apply(m.flying[0], deaf{}); err != nil {
		m.t.Fatal(err)
	}
	m.flying = m.flying[1:]
	for _, id := range m.live {
		if known[id] && !m.group.Sessions().Knows(id) {
			m.t.Fatalf("session %d instances, and the group has ended it", id)
		}
	}
}

// TestEndsPassedOver lets sessions be opened, attached and ended while a group
// that falls off the list of ends is led by members that know more or less, whose
// entries come late or not at all. It never ends a session that lives, and in the
// end knows none that does not.
func TestEndsPassedOver(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &endsModel{t: t, truth: lister(), views: [2]*systemstate.State{lister(), lister()}, group: fuzzedState()}
		m.propose(func(b *groupstate.Builder) {
			b.Own(groupstate.Ownership{Partitions: 2, Owned: []protocol.PartitionID{0, 1}, Limits: protocol.DefaultLimits()})
		})
		m.apply()
		view := 0
		t.Repeat(map[string]func(*rapid.T){
			"open": func(*rapid.T) {
				m.clients++
				open := systemstate.Opening{Client: protocol.UUID{1, m.clients}, TTL: time.Hour}
				m.live = append(m.live, m.agree(systemstate.Command{Kind: systemstate.KeepSessions, Opens: []systemstate.Opening{open}}).Opened[0].Session)
			},
			"close": func(t *rapid.T) {
				n := rapid.IntRange(0, len(m.live)).Draw(t, "sessions")
				m.agree(systemstate.Command{Kind: systemstate.KeepSessions, Closes: m.live[:n]})
				m.live = slices.Clone(m.live[n:])
			},
			"see": func(t *rapid.T) {
				i := rapid.IntRange(0, 1).Draw(t, "view")
				m.see(i, rapid.IntRange(m.seen[i], len(m.log)).Draw(t, "entries"))
			},
			"another leader": func(*rapid.T) { view = 1 - view },
			"follow":         func(t *rapid.T) { m.follow(view, rapid.IntRange(1, 3).Draw(t, "limit")) },
			"read": func(t *rapid.T) { // linearizably
				m.see(view, len(m.log))
				_, next := m.truth.UpTo()
				id := protocol.SessionID(rapid.Uint64Range(1, uint64(next)).Draw(t, "session"))
				if lives, end := m.truth.Lookup(id); lives {
					m.read = append(m.read, groupstate.Checked{End: end, From: id})
				}
			},
			"attach": func(t *rapid.T) {
				if len(m.read) > 0 {
					i := rapid.IntRange(0, len(m.read)-1).Draw(t, "which")
					r := m.read[i]
					m.read = slices.Delete(m.read, i, i+1)
					m.propose(func(b *groupstate.Builder) { b.Attach(r.From, r.End) })
				}
			},
			"apply": func(*rapid.T) {
				if len(m.flying) > 0 {
					m.apply()
				}
			},
			"drop": func(t *rapid.T) {
				if len(m.flying) > 0 {
					i := rapid.IntRange(0, len(m.flying)-1).Draw(t, "which")
					m.flying = slices.Delete(m.flying, i, i+1)
				}
			},
		})
		end, _ := m.truth.UpTo()
		for {
			for len(m.flying) > 0 {
				m.apply()
			}
			if _, unchecked := m.group.Sessions().Unchecked(1); !unchecked && m.group.Sessions().Ends() == end {
				break
			}
			m.see(view, len(m.log))
			m.follow(view, 2)
		}
		for _, id := range m.group.Sessions().IDs() {
			if !slices.Contains(m.live, id) {
				t.Fatalf("session %d has ended, and the group still knows it", id)
			}
		}
	})
}
