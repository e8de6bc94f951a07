package groupstate_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

const diaries = protocol.KindID(77)

const (
	diaryWrite   protocol.Op = 1
	diaryDestroy protocol.Op = 2
)

// diary is a Machine whose mutations write and remove any number of entries. Of
// entries with an odd key it does nothing when they are due or their owner is gone;
// of some it emits the value before.
type diary struct{ structures.Base }

// note is one change of a diary.
type note struct {
	key    byte
	remove bool
	size   int // of the value
	fill   byte
	ttl    time.Duration
	owned  bool // by the session of the call
}

func (n note) value() []byte { return bytes.Repeat([]byte{n.fill}, n.size) }

func keepsOld(key byte) bool { return key%3 == 0 }

func diaryBody(notes []note) []byte {
	b := protocol.AppendArray(nil, len(notes))
	for _, n := range notes {
		b = protocol.AppendUint(b, uint64(n.key))
		b = protocol.AppendBool(b, n.remove)
		b = protocol.AppendUint(b, uint64(n.size))
		b = protocol.AppendUint(b, uint64(n.fill))
		b = protocol.AppendUint(b, uint64(n.ttl))
		b = protocol.AppendBool(b, n.owned)
	}
	return b
}

func readDiary(body []byte) []note {
	r := protocol.NewReader(body)
	notes := make([]note, r.ArrayLen())
	for i := range notes {
		notes[i] = note{
			key: byte(r.Uint()), remove: r.Bool(), size: int(r.Uint()), fill: byte(r.Uint()),
			ttl: time.Duration(r.Uint()), owned: r.Bool(),
		}
	}
	return notes
}

func (diary) Check(protocol.Op, []byte) error                             { return nil }
func (diary) Read(structures.View, protocol.Op, []byte) structures.Result { return structures.OK(nil) }

func (diary) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	if op == diaryDestroy {
		if env.Exists() {
			env.Destroy()
		}
		return structures.OK(nil)
	}
	notes := readDiary(body)
	rows, live, due := make([]structures.Row, len(notes)), make([]bool, len(notes)), make([]bool, len(notes))
	for i, n := range notes {
		if rows[i], live[i] = env.Get([]byte{n.key}); !live[i] {
			rows[i], due[i] = env.WasDue([]byte{n.key})
		}
	}
	for i, n := range notes {
		key, previous := []byte{n.key}, rows[i].Version
		var old []byte
		if live[i] && keepsOld(n.key) {
			old = rows[i].Value
		}
		if due[i] {
			env.Emit(structures.Event{Type: structures.EventExpired, Key: key, Previous: previous})
			previous = 0
		}
		if n.remove {
			if live[i] || due[i] {
				env.Delete(key)
			}
			if live[i] {
				env.Emit(structures.Event{Type: structures.EventRemoved, Key: key, Previous: previous, Old: old})
			}
			continue
		}
		row := structures.Row{Value: n.value()}
		if n.ttl > 0 {
			row.Deadline = env.Now().Add(n.ttl)
		}
		if n.owned {
			row.Owner = env.Caller().Session
		}
		env.Put(key, row)
		env.Emit(structures.Event{Type: structures.EventPut, Key: key, Value: row.Value, Previous: previous, Old: old})
	}
	return structures.OK(nil)
}

func (diary) Due(env structures.Env, key []byte, row structures.Row) {
	leave(env, structures.EventExpired, key, row)
}

func (diary) Ended(env structures.Env, key []byte, row structures.Row) {
	leave(env, structures.EventSessionEnded, key, row)
}

func leave(env structures.Env, what structures.EventType, key []byte, row structures.Row) {
	switch key[0] % 4 {
	case 1:
		return
	case 3:
		panic("planted")
	}
	env.Delete(key)
	env.Emit(structures.Event{Type: what, Key: key, Previous: row.Version})
}

// told is a Change as tests compare it.
type told struct {
	Type         structures.EventType
	Name         string
	Key          string
	Value, Old   string
	Version, End protocol.Version
	Previous     protocol.Version
	Kind         protocol.KindID
}

func (e *told) size() int { return 96 + len(e.Key) + len(e.Value) + len(e.Old) }

// historyModel is the history of a group, and what of the structures decides about
// it, in a slow and obvious way.
type historyModel struct {
	budget int
	now    protocol.LogTime
	turn   int // whose rows expire first
	parts  []*partModel
}

type partModel struct {
	id        protocol.PartitionID
	base      protocol.Version // the generation
	revision  protocol.Version
	floor     protocol.Version
	events    []told
	instances map[string]*instanceModel
	// garbage says that a row of a structure that this entry has destroyed is due: it
	// is swept in its turn, without an event.
	garbage bool
}

type instanceModel struct {
	born protocol.Version
	rows map[byte]rowModel
}

type rowModel struct {
	version  protocol.Version
	value    string
	deadline protocol.LogTime
	owner    protocol.SessionID
}

func (p *partModel) version() protocol.Version { return p.base + p.revision }

func (p *partModel) bytes() int {
	n := 0
	for i := range p.events {
		n += p.events[i].size()
	}
	return n
}

// mutation is one mutation: its events, which trim the history at once.
func (m *historyModel) mutation(p *partModel, events ...told) {
	p.revision++
	for _, e := range events {
		e.Version, e.End, e.Kind = p.version(), p.version(), diaries
		p.events = append(p.events, e)
	}
	if len(events) > 0 {
		m.trim()
	}
}

// trim drops the oldest mutation of whoever has most, as long as there is too much
// and who has most has more than its share; the newest mutation of each stays.
func (m *historyModel) trim() {
	for {
		total := 0
		var most *partModel
		for _, p := range m.parts {
			total += p.bytes()
			if n := len(p.events); n == 0 || p.events[0].End == p.events[n-1].End {
				continue
			}
			if most == nil || p.bytes() > most.bytes() {
				most = p
			}
		}
		if total <= m.budget || most == nil || most.bytes() <= m.budget/len(m.parts) {
			return
		}
		most.floor = most.events[0].End
		for len(most.events) > 0 && most.events[0].End == most.floor {
			most.events = most.events[1:]
		}
	}
}

func (m *historyModel) due(r rowModel) bool { return r.deadline != 0 && r.deadline <= m.now }

func (m *historyModel) write(p *partModel, session protocol.SessionID, name string, notes []note) {
	l := p.instances[name]
	var events []told
	wrote := false
	for _, n := range notes {
		var row rowModel
		var had, due bool
		if l != nil {
			row, had = l.rows[n.key]
			due = had && m.due(row)
		}
		e := told{Name: name, Key: string([]byte{n.key}), Previous: row.version}
		if had && !due && keepsOld(n.key) {
			e.Old = row.value
		}
		if due {
			events = append(events, told{Type: structures.EventExpired, Name: name, Key: e.Key, Previous: row.version})
			e.Previous = 0
		}
		if n.remove {
			if wrote = wrote || had; had && !due {
				e.Type = structures.EventRemoved
				events = append(events, e)
			}
			if had {
				delete(l.rows, n.key)
			}
			continue
		}
		wrote = true
		if l == nil {
			l = &instanceModel{born: p.revision + 1, rows: map[byte]rowModel{}}
			p.instances[name] = l
		}
		e.Type, e.Value = structures.EventPut, string(n.value())
		events = append(events, e)
		row = rowModel{version: p.version() + 1, value: e.Value}
		if n.ttl > 0 {
			row.deadline = m.now.Add(n.ttl)
		}
		if n.owned {
			row.owner = session
		}
		l.rows[n.key] = row
	}
	if wrote {
		m.mutation(p, events...)
	}
	p.vanish()
}

// vanish forgets the structures of which nothing is left.
func (p *partModel) vanish() {
	for name, l := range p.instances {
		if len(l.rows) == 0 {
			delete(p.instances, name)
		}
	}
}

func (m *historyModel) destroy(p *partModel, name string) {
	l := p.instances[name]
	if l == nil {
		return
	}
	for _, row := range l.rows {
		p.garbage = p.garbage || m.due(row)
	}
	delete(p.instances, name)
	m.mutation(p, told{Type: structures.EventDestroyed, Name: name})
}

// found is a row that goes.
type found struct {
	at   protocol.LogTime
	name string
	born protocol.Version
	key  byte
}

// sweep ends the rows of a partition that are meant, by deadline where that counts.
func (m *historyModel) sweep(p *partModel, what structures.EventType, meant func(rowModel) bool) bool {
	var all []found
	for name, l := range p.instances {
		for key, row := range l.rows {
			if meant(row) {
				f := found{name: name, born: l.born, key: key}
				if what == structures.EventExpired {
					f.at = row.deadline
				}
				all = append(all, f)
			}
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		switch {
		case a.at != b.at:
			return int(a.at - b.at)
		case a.born != b.born:
			return int(a.born) - int(b.born)
		}
		return int(a.key) - int(b.key)
	})
	for _, f := range all {
		l := p.instances[f.name]
		row := l.rows[f.key]
		delete(l.rows, f.key)
		m.mutation(p, told{Type: what, Name: f.name, Key: string([]byte{f.key}), Previous: row.version})
	}
	p.vanish()
	return len(all) > 0
}

// cleanUp does what comes behind every entry.
func (m *historyModel) cleanUp(ended protocol.SessionID) {
	if ended != 0 {
		for _, p := range m.parts {
			m.sweep(p, structures.EventSessionEnded, func(r rowModel) bool { return r.owner == ended })
		}
	}
	for i, from := 0, m.turn; i < len(m.parts); i++ {
		p := m.parts[(from+i)%len(m.parts)]
		if m.sweep(p, structures.EventExpired, m.due) || p.garbage {
			m.turn = int(p.id) + 1
		}
		p.garbage = false
	}
}

// historyRun applies random entries to states and to the model.
type historyRun struct {
	t     *testing.T
	rnd   *rand.Rand
	model historyModel
	one   *groupstate.State // never restored
	other *groupstate.State // restored before each entry
	kinds []structures.Kind
	b     groupstate.Builder

	elapsed   time.Duration
	sequences map[slot]uint64
	sessions  []protocol.SessionID // that live
	opened    protocol.SessionID
	ended     uint64
	kept      []*groupstate.Snapshot
	bodies    [][]byte
}

func newHistoryRun(t *testing.T, rnd *rand.Rand) *historyRun {
	r := &historyRun{
		t: t, rnd: rnd, sequences: map[slot]uint64{},
		kinds: []structures.Kind{{
			ID: diaries, Name: "diary", Level: 1, Machine: diary{}, Watch: structures.WatchEntries,
			Ops: []structures.OpInfo{{Op: diaryWrite, Name: "write"}, {Op: diaryDestroy, Name: "destroy"}},
		}},
	}
	r.one, r.other = groupstate.New(r.kinds), groupstate.New(r.kinds)
	parts := 1 + rnd.IntN(12)
	o := groupstate.Ownership{
		Partitions: parts, Limits: protocol.DefaultLimits(), History: 2_000 + rnd.IntN(60_000),
		Generation: uint16(rnd.IntN(3)), Revision: protocol.Revision(rnd.IntN(3) * 100),
	}
	r.model.budget = o.History
	for i := range parts {
		id := protocol.PartitionID(i)
		p := &partModel{id: id, base: protocol.Version(o.Generation) << 48, revision: protocol.Version(o.Revision), instances: map[string]*instanceModel{}}
		p.floor = p.version()
		r.model.parts = append(r.model.parts, p)
		o.Owned = append(o.Owned, id)
	}
	r.entry(0, func() {
		r.b.Own(o)
		r.b.Claim(1)
		r.open()
	})
	return r
}

func (r *historyRun) entry(after time.Duration, fill func()) {
	r.t.Helper()
	r.elapsed += after
	r.model.now = protocol.LogTime(r.elapsed)
	r.b.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: int64(r.elapsed)}, 1<<12)
	fill()
	for _, s := range []*groupstate.State{r.one, r.other} {
		if err := s.Apply(r.b.Bytes(), deaf{}); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *historyRun) open() {
	r.opened++
	r.b.Attach(r.opened, r.ended)
	r.sessions = append(r.sessions, r.opened)
}

func (r *historyRun) call(p *partModel, session protocol.SessionID, name string, op protocol.Op, body []byte) {
	in := slot{session, p.id, uint16(r.rnd.IntN(3))}
	r.sequences[in]++
	q := protocol.Request{
		Partition: p.id, Kind: diaries, Op: op, Name: name, Body: body, Highest: 3,
		Caller: protocol.Caller{Session: session, Slot: in.slot, Sequence: r.sequences[in]},
	}
	r.b.Request(q.Append(nil))
}

// notes draws a mutation: most are small, some large, and some larger than all
// history may be.
func (r *historyRun) notes() []note {
	n := 1
	if r.rnd.IntN(5) == 0 {
		n = r.rnd.IntN(40)
	}
	keys := r.rnd.Perm(64)[:n]
	slices.Sort(keys)
	notes := make([]note, n)
	for i := range notes {
		notes[i] = note{
			key: byte(keys[i]), remove: r.rnd.IntN(4) == 0, size: r.rnd.IntN(120), fill: byte(r.rnd.IntN(256)),
			owned: r.rnd.IntN(6) == 0,
		}
		if r.rnd.IntN(4) == 0 {
			notes[i].ttl = time.Duration(1+r.rnd.IntN(400)) * time.Millisecond
		}
	}
	if n > 0 && r.rnd.IntN(40) == 0 {
		notes[0].size = r.rnd.IntN(2 * r.model.budget)
	}
	return notes
}

// step applies an entry of some requests, perhaps the end of a session.
func (r *historyRun) step() {
	var snapshot bytes.Buffer
	prepared := r.one.Prepare()
	if err := r.other.Prepare().WriteTo(&snapshot, nil); err != nil {
		r.t.Fatal(err)
	}
	r.kept, r.bodies = append(r.kept, prepared), append(r.bodies, bytes.Clone(snapshot.Bytes()))
	r.other = groupstate.New(r.kinds)
	if err := r.other.Restore(&snapshot, nil); err != nil {
		r.t.Fatal(err)
	}
	var ended protocol.SessionID
	hot := r.model.parts[r.rnd.IntN(len(r.model.parts))]
	r.entry(time.Duration(r.rnd.IntN(100))*time.Millisecond, func() {
		if r.rnd.IntN(6) == 0 {
			r.open()
		}
		for range r.rnd.IntN(12) {
			p := hot
			if r.rnd.IntN(3) == 0 {
				p = r.model.parts[r.rnd.IntN(len(r.model.parts))]
			}
			session, name := r.sessions[r.rnd.IntN(len(r.sessions))], fmt.Sprint("d", r.rnd.IntN(3))
			if r.rnd.IntN(15) == 0 {
				r.call(p, session, name, diaryDestroy, nil)
				r.model.destroy(p, name)
				continue
			}
			notes := r.notes()
			r.call(p, session, name, diaryWrite, diaryBody(notes))
			r.model.write(p, session, name, notes)
		}
		if len(r.sessions) > 1 && r.rnd.IntN(8) == 0 {
			i := r.rnd.IntN(len(r.sessions))
			ended = r.sessions[i]
			r.sessions = slices.Delete(r.sessions, i, i+1)
			r.b.Ends(r.ended, []protocol.SessionID{ended})
			r.ended++
		}
	})
	r.model.cleanUp(ended)
}

func (r *historyRun) compare() {
	r.t.Helper()
	if one, other := r.one.Prepare().Hash(), r.other.Prepare().Hash(); one != other {
		r.t.Errorf("a state that was restored before each entry has the hash %016x, the other %016x", other, one)
	}
	for _, p := range r.model.parts {
		for what, s := range map[string]*groupstate.State{"": r.one, " of the restored state": r.other} {
			if diff := cmp.Diff(p.events, r.read(s, p, groupstate.Position{Version: p.floor}, 1<<30), cmpopts.EquateEmpty()); diff != "" {
				r.t.Fatalf("the events of partition %d%s (-model +state):\n%s", p.id, what, diff)
			}
		}
		if p.floor > 0 {
			if _, _, ok := r.one.Changes(p.id, groupstate.Position{Version: p.floor - 1}, 1); ok {
				r.t.Fatalf("partition %d serves a position before its floor %d", p.id, p.floor)
			}
		}
		// From anywhere, in pages of any size.
		at := groupstate.Position{Version: p.floor}
		if d := p.version() - p.floor; d > 0 {
			at.Version += protocol.Version(r.rnd.Uint64N(uint64(d) + 1))
		}
		var want []told
		for _, e := range p.events {
			if e.End > at.Version {
				want = append(want, e)
			}
		}
		if diff := cmp.Diff(want, r.read(r.one, p, at, 1+r.rnd.IntN(30)), cmpopts.EquateEmpty()); diff != "" {
			r.t.Fatalf("the events of partition %d behind %v (-model +state):\n%s", p.id, at, diff)
		}
	}
}

// read reads what is behind a position, page by page.
func (r *historyRun) read(s *groupstate.State, p *partModel, at groupstate.Position, page int) (all []told) {
	r.t.Helper()
	for {
		changes, next, ok := s.Changes(p.id, at, page)
		switch {
		case !ok:
			r.t.Fatalf("partition %d does not serve %v; the floor is %d", p.id, at, p.floor)
		case len(changes) == 0 && next.Version != p.version() || len(changes) > page:
			r.t.Fatalf("partition %d, at version %d: %d events behind %v, then %v", p.id, p.version(), len(changes), at, next)
		case len(changes) == 0:
			return all
		}
		for _, c := range changes {
			all = append(all, told{
				Type: c.Type, Name: c.Name, Key: string(c.Key), Value: string(c.Value), Old: string(c.Old),
				Version: c.Version, End: c.End, Previous: c.Previous, Kind: c.Kind,
			})
		}
		at = next
	}
}

// TestHistoryAgainstModel compares what is kept of events, in all partitions of a
// group and after every entry, with a model: the budget and the fair shares, floors,
// what each event says, expiry, ends of sessions and structures that are destroyed.
// One of two states is restored from a snapshot before every entry, and must stay the
// other's equal. Snapshots that are written late are those of their time.
func TestHistoryAgainstModel(t *testing.T) {
	programs, entries := 20, 50
	for range programs {
		seed := rand.Uint64()
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := newHistoryRun(t, rand.New(rand.NewPCG(seed, 0)))
			for range entries {
				r.step()
				if r.compare(); t.Failed() {
					return
				}
			}
			for i, s := range r.kept {
				var late bytes.Buffer
				if err := s.WriteTo(&late, nil); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(late.Bytes(), r.bodies[i]) {
					t.Fatalf("the snapshot before entry %d has changed since", i)
				}
			}
		})
	}
}
