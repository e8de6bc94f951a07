package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/anishathalye/porcupine"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/dservice"
)

// Service records what a service's handle does with permanent instances, each ID an object
// of its own. A permanent instance is there until somebody takes it away: so every list can
// be explained exactly. What is bound to sessions is counted instead.
type Service struct {
	recorder
	service *dservice.Service
	ids     []string
}

// NewService returns a recorder of a service for one client. A list is an operation on each
// of the IDs.
func NewService(h *History, client int, name string, s *dservice.Service, ids []string) *Service {
	return &Service{recorder{h, client, object{kind: services, name: name}}, s, ids}
}

// Group records what a handle of a group does with permanent members, as Service does.
type Group struct {
	recorder
	group *dpresence.Group[int]
	ids   []string
}

// NewGroup returns a recorder of a group for one client. A list is an operation on each
// of the IDs.
func NewGroup(h *History, client int, name string, g *dpresence.Group[int], ids []string) *Group {
	return &Group{recorder{h, client, object{kind: presences, name: name}}, g, ids}
}

type rosterOp uint8

const (
	rosterRegister rosterOp = iota + 1
	rosterUpdate
	rosterDeregister
	rosterDrain
	rosterRemove
	rosterList
)

// rosterInput is an operation on one ID. number names a registration.
type rosterInput struct {
	op     rosterOp
	number int
	value  int
	on     bool
}

// rosterOutput is what came back: of a list what was there.
type rosterOutput struct {
	entry
	replaced bool // another registration has the ID
	existed  bool // of remove
}

// entry is what is under an ID. The zero entry is nothing.
type entry struct {
	number  int // of the registration; 0: of a list, where it is not known, or none
	value   int
	drained bool
}

// at returns the recorder of one ID.
func (r *recorder) at(id string) *recorder {
	o := r.object
	o.key = id
	return &recorder{r.history, r.client, o}
}

// registered notes the outcome of a registration. One that was not known in time, or came
// after its session was lost, is taken back some time.
func (r *recorder) registered(call int64, in rosterInput, err error) {
	if !unknown(err) && !errors.Is(err, quorate.ErrSessionLost) {
		r.answer(call, in, rosterOutput{}, err)
		return
	}
	for _, op := range []rosterOp{rosterRegister, rosterDeregister} {
		in.op = op
		r.history.add(Operation{Client: r.client, Object: r.object, Call: call, Return: Pending, Input: in})
	}
}

// changed notes the outcome of an operation on a registration.
func (r *recorder) changed(call int64, in rosterInput, err error) {
	switch {
	case unknown(err):
		r.record(call, in, nil, err)
	case errors.Is(err, dservice.ErrReplaced):
		r.record(call, in, rosterOutput{replaced: true}, nil)
	default:
		r.answer(call, in, rosterOutput{}, err)
	}
}

// Instance is a recorded registration.
type Instance struct {
	*recorder
	reg    *dservice.Registration
	number int
}

// Register records dservice.Service.Register, of a permanent instance with a value.
func (s *Service) Register(ctx context.Context, id string, value int) (*Instance, error) {
	r := s.at(id)
	in := rosterInput{op: rosterRegister, number: r.history.number(), value: value}
	call := r.history.now()
	reg, err := s.service.Register(ctx, dservice.Instance{ID: id, Port: value}, dservice.Permanent())
	r.registered(call, in, err)
	return &Instance{r, reg, in.number}, err
}

// Update records dservice.Registration.Update.
func (i *Instance) Update(ctx context.Context, value int) error {
	call := i.history.now()
	err := i.reg.Update(ctx, func(in *dservice.Instance) { in.Port = value })
	if errors.Is(err, dservice.ErrReplaced) || errors.Is(err, structures.ErrRevoked) {
		return err // which may have been known for a while: it says nothing of now
	}
	i.changed(call, rosterInput{op: rosterUpdate, number: i.number, value: value}, err)
	return err
}

// Deregister records dservice.Registration.Deregister.
func (i *Instance) Deregister(ctx context.Context) error {
	call := i.history.now()
	err := i.reg.Deregister(ctx)
	i.changed(call, rosterInput{op: rosterDeregister, number: i.number}, err)
	return err
}

// Drain records dservice.Service.Drain and Undrain.
func (s *Service) Drain(ctx context.Context, id string, on bool) error {
	r := s.at(id)
	call := r.history.now()
	drain := s.service.Undrain
	if on {
		drain = func(ctx context.Context, id string) (bool, error) { return s.service.Drain(ctx, id) }
	}
	_, err := drain(ctx, id)
	r.answer(call, rosterInput{op: rosterDrain, on: on}, rosterOutput{}, err)
	return err
}

// Remove records dservice.Service.Remove.
func (s *Service) Remove(ctx context.Context, id string) error {
	r := s.at(id)
	call := r.history.now()
	existed, err := s.service.Remove(ctx, id)
	r.answer(call, rosterInput{op: rosterRemove}, rosterOutput{existed: existed}, err)
	return err
}

// List records dservice.Service.List, and returns it.
func (s *Service) List(ctx context.Context, views *Views) error {
	call := s.history.now()
	list, view, err := s.service.List(ctx, dservice.AnyHealth())
	if err != nil {
		return err
	}
	state := map[string]string{}
	for i := range list {
		state[list[i].ID] = viewText(&list[i])
	}
	views.Listed(view, state)
	for _, id := range s.ids {
		out := rosterOutput{}
		if i := slices.IndexFunc(list, func(e dservice.Entry) bool { return e.ID == id }); i >= 0 {
			out.entry = entry{value: list[i].Port, drained: list[i].Drained}
		}
		s.at(id).record(call, rosterInput{op: rosterList}, out, nil)
	}
	return nil
}

// Member is a recorded membership.
type Member struct {
	*recorder
	member *dpresence.Member[int]
	number int
}

// Join records dpresence.Group.Join, of a permanent member with a value.
func (p *Group) Join(ctx context.Context, id string, value int) (*Member, error) {
	r := p.at(id)
	in := rosterInput{op: rosterRegister, number: r.history.number(), value: value}
	call := r.history.now()
	m, err := p.group.Join(ctx, value, dpresence.ID(id), dpresence.Permanent())
	r.registered(call, in, err)
	return &Member{r, m, in.number}, err
}

// Leave records dpresence.Member.Leave.
func (m *Member) Leave(ctx context.Context) error {
	call := m.history.now()
	err := m.member.Leave(ctx)
	m.changed(call, rosterInput{op: rosterDeregister, number: m.number}, err)
	return err
}

// List records dpresence.Group.List.
func (p *Group) List(ctx context.Context) error {
	call := p.history.now()
	list, _, err := p.group.List(ctx)
	if err != nil {
		return err
	}
	for _, id := range p.ids {
		out := rosterOutput{}
		if i := slices.IndexFunc(list, func(e dpresence.Entry[int]) bool { return e.ID == id }); i >= 0 {
			out.entry = entry{value: list[i].Payload}
		}
		p.at(id).record(call, rosterInput{op: rosterList}, out, nil)
	}
	return nil
}

var (
	serviceChecker  = checker{name: "service", keyed: true, model: rosterModel}
	presenceChecker = checker{name: "presence", keyed: true, model: rosterModel}
)

// rosterModel is one ID: what is registered there, and whether it is drained.
var rosterModel = porcupine.Model{
	Init: func() any { return entry{} },
	Step: func(state, input, output any) (bool, any) {
		now, in := state.(entry), input.(rosterInput)
		out, known := output.(rosterOutput)
		next := now
		own := now.number == in.number
		switch in.op {
		case rosterRegister: // the last one wins
			next.number, next.value = in.number, in.value
		case rosterUpdate:
			if own {
				next.value = in.value
			}
			return !known || own, next
		case rosterDeregister:
			if own {
				next.number, next.value = 0, 0
			}
			return !known || out.replaced == (!own && now.number != 0), next
		case rosterRemove:
			next.number, next.value = 0, 0
			return !known || out.existed == (now.number != 0), next
		case rosterDrain:
			next.drained = in.on
		case rosterList:
			seen := entry{value: now.value, drained: now.drained && now.number != 0}
			return !known || out.entry == seen, now
		}
		return true, next
	},
	DescribeOperation: func(input, output any) string {
		in := input.(rosterInput)
		names := []string{"", "register", "update", "deregister", "drain", "remove", "list"}
		return fmt.Sprintf("%s(%d, %d, %t) -> %+v", names[in.op], in.number, in.value, in.on, output)
	},
}

// viewText is what Views compares of an instance.
func viewText(e *dservice.Entry) string {
	return strconv.Itoa(e.Port) + " " + e.Health.String() + " " + e.Note + " " + strconv.FormatBool(e.Drained) + e.Reason
}

// Views holds what watchers make of a service's changes against what was listed: at the
// view of a list, every watcher has exactly that list. It is safe for concurrent use.
type Views struct {
	mu    sync.Mutex
	lists []listed
	spans []*viewSpan
}

type listed struct {
	view  structures.Version
	state map[string]string
}

// viewSpan is what one watcher saw between two gaps: from the view of its first Synced to
// that of its last change.
type viewSpan struct {
	from, to structures.Version
	building bool
	base     map[string]string
	changes  []viewChange
}

type viewChange struct {
	view  structures.Version
	id    string
	text  string // empty: it has gone
	clear bool
}

// Listed takes a list in.
func (v *Views) Listed(view structures.Version, state map[string]string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.lists = append(v.lists, listed{view, state})
}

// Watcher returns what takes the changes of one watch in, which begins with what is there.
func (v *Views) Watcher() func(*dservice.Change) {
	var s *viewSpan
	begin := func() { s = &viewSpan{building: true, base: map[string]string{}} }
	begin()
	return func(c *dservice.Change) {
		v.mu.Lock()
		defer v.mu.Unlock()
		switch c.Type {
		case dservice.Gap:
			begin()
			return
		case dservice.Synced:
			if s.building {
				s.building, s.from, s.to = false, c.View, c.View
				v.spans = append(v.spans, s)
			}
			return
		}
		change := viewChange{view: c.View, id: c.Entry.ID, clear: c.Type == dservice.Destroyed}
		if c.Type == dservice.Put || c.Type == dservice.Current {
			change.text = viewText(&c.Entry)
		}
		if s.building {
			change.apply(s.base)
			return
		}
		s.changes, s.to = append(s.changes, change), max(s.to, c.View)
	}
}

func (c *viewChange) apply(state map[string]string) {
	switch {
	case c.clear:
		clear(state)
	case c.text == "":
		delete(state, c.id)
	default:
		state[c.id] = c.text
	}
}

// Check compares every list with every watcher that has come so far, and returns how many
// comparisons it made, and the first that differs.
func (v *Views) Check() (compared int, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	slices.SortFunc(v.lists, func(a, b listed) int {
		switch {
		case a.view < b.view:
			return -1
		case a.view > b.view:
			return 1
		}
		return 0
	})
	for _, s := range v.spans {
		state, at := s.base, 0
		for _, l := range v.lists {
			if l.view < s.from || l.view > s.to {
				continue
			}
			for ; at < len(s.changes) && s.changes[at].view <= l.view; at++ {
				if at > 0 && s.changes[at].view < s.changes[at-1].view {
					return compared, fmt.Errorf("a watch goes back from version %d to %d", s.changes[at-1].view, s.changes[at].view)
				}
				s.changes[at].apply(state)
			}
			compared++
			if fmt.Sprint(state) != fmt.Sprint(l.state) {
				return compared, fmt.Errorf("at the view %d a watcher has %v, the list %v", l.view, state, l.state)
			}
		}
		s.from = s.to + 1 // its base has moved on
	}
	return compared, nil
}
