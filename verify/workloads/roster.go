package workloads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/verify"
)

// rosters are services and groups of members. In each epoch porcupine explains what is
// listed of permanent instances and members, and what watchers make of the changes is held
// against the lists of the same views. All the time each client is a member of one group,
// bound to its session: while that lives it is in every list.
type rosters struct {
	run  *Run
	name string

	mu      sync.Mutex // guards members
	members []*dpresence.Member[int]
}

var rosterIDs = []string{"a", "b", "c"}

func newRosters(r *Run) *rosters {
	return &rosters{run: r, name: r.cfg.Name + "-present"}
}

// services registers, changes, drains and lists instances.
func (s *rosters) services(id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		name := e.prefix + "service"
		v := verify.NewService(e.history, id, name, dservice.New(c, name), rosterIDs)
		on := rosterIDs[rng.IntN(len(rosterIDs))]
		switch rng.IntN(8) {
		case 0, 1, 2:
			i, err := v.Register(ctx, on, 1+rng.IntN(60_000))
			if s.run.seen(err) != nil {
				return
			}
			if rng.IntN(2) == 0 {
				_ = s.run.seen(expected(i.Update(ctx, 1+rng.IntN(60_000))))
			}
			s.run.sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
			back, cancel := context.WithTimeout(context.Background(), operationTime)
			defer cancel()
			_ = s.run.seen(expected(i.Deregister(back)))
		case 3:
			_ = s.run.seen(v.Drain(ctx, on, rng.IntN(2) == 0))
		case 4:
			_ = s.run.seen(v.Remove(ctx, on))
		default:
			_ = s.run.seen(v.List(ctx, &e.views))
		}
	}
}

// expected is err, or nil for an end of a registration that others bring about.
func expected(err error) error {
	if errors.Is(err, dservice.ErrReplaced) || errors.Is(err, structures.ErrRevoked) {
		return nil
	}
	return err
}

// groups joins, leaves and lists permanent members.
func (s *rosters) groups(id int, c *client.Client) worker {
	return func(ctx context.Context, e *epoch, rng *rand.Rand) {
		name := e.prefix + "presence"
		v := verify.NewGroup(e.history, id, name, dpresence.New[int](c, name), rosterIDs)
		if rng.IntN(2) == 0 {
			_ = s.run.seen(v.List(ctx))
			return
		}
		m, err := v.Join(ctx, rosterIDs[rng.IntN(len(rosterIDs))], 1+rng.IntN(1000))
		if s.run.seen(err) != nil {
			return
		}
		s.run.sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
		back, cancel := context.WithTimeout(context.Background(), operationTime)
		defer cancel()
		_ = s.run.seen(expected(m.Leave(back)))
	}
}

// watches follows the service of an epoch for as long as that lasts.
func (s *rosters) watches(c *client.Client) worker {
	return func(_ context.Context, e *epoch, _ *rand.Rand) {
		watcher := e.views.Watcher()
		for change, err := range dservice.New(c, e.prefix+"service").Watch(e.ctx, dservice.WithCurrent()) {
			if err != nil {
				break
			}
			watcher(&change)
		}
		s.run.sleep(10 * time.Millisecond)
	}
}

// checkViews holds the watchers of an epoch against its lists.
func (r *Run) checkViews(e *epoch) {
	n, err := e.views.Check()
	r.counted.Add(int64(n))
	if err != nil {
		r.violates("views of services", "epoch %d: %v", e.number, err)
	}
}

// present lists the group in which every client is a member, bound to its session. Who was
// bound to a living session before and after the list must be in it.
func (s *rosters) present(id int, c *client.Client) worker {
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		s.run.sleep(50 * time.Millisecond)
		own := s.member(id)
		g := dpresence.New[int](c, s.name)
		if own == nil || own.Err() != nil {
			m, err := g.Join(ctx, id, dpresence.ID(fmt.Sprint("client-", id)))
			if s.run.count(err) == nil {
				s.joined(id, m)
			}
			return
		}
		type bound struct {
			id  string
			ctx context.Context
		}
		var before []bound
		for _, m := range s.all() {
			if b := m.Bound(); m.Err() == nil && b.Err() == nil {
				before = append(before, bound{m.ID(), b})
			}
		}
		list, view, err := g.List(ctx)
		if s.run.count(err) != nil {
			return
		}
		for _, b := range before {
			there := slices.ContainsFunc(list, func(e dpresence.Entry[int]) bool { return e.ID == b.id })
			if !there && b.ctx.Err() == nil {
				s.run.violates("presence", "%s is not in the list of view %d, and its session lives", b.id, view)
			}
		}
	}
}

func (s *rosters) member(id int) *dpresence.Member[int] {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id < len(s.members) {
		return s.members[id]
	}
	return nil
}

func (s *rosters) joined(id int, m *dpresence.Member[int]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.members) <= id {
		s.members = append(s.members, nil)
	}
	s.members[id] = m
}

func (s *rosters) all() (list []*dpresence.Member[int]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.members {
		if m != nil {
			list = append(list, m)
		}
	}
	return list
}
