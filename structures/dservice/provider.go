package dservice

import (
	"context"
	"errors"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/roster"
)

// Strategy says which instance a [Provider] picks. Make one with [RoundRobin], [Random],
// [Sticky] or [LeastFailing].
type Strategy struct {
	pick func(*Provider, []*candidate, string) *candidate
}

// RoundRobin picks one instance after the other.
func RoundRobin() Strategy {
	return Strategy{func(p *Provider, from []*candidate, _ string) *candidate {
		p.turn++
		return from[int(p.turn%uint64(len(from)))]
	}}
}

// Random picks any instance.
func Random() Strategy {
	return Strategy{func(_ *Provider, from []*candidate, _ string) *candidate { return from[rand.IntN(len(from))] }}
}

// Sticky picks for one [Key] the same instance, in every process, for as long as it can be
// used; when an instance comes or goes, few keys change theirs.
func Sticky() Strategy {
	return Strategy{func(_ *Provider, from []*candidate, key string) *candidate {
		return slices.MaxFunc(from, func(a, b *candidate) int {
			switch x, y := weight(key, a.entry.ID), weight(key, b.entry.ID); {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		})
	}}
}

// weight is that of an instance for a key: the largest of all is picked.
func weight(key, id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	h.Write([]byte{0})
	h.Write([]byte(id))
	// The low bits of a short difference barely reach the high ones: mix them.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	return x ^ x>>33
}

// LeastFailing picks the instance with the fewest failures of the last 30 seconds, see
// [Provider.Failed]; of several one after the other.
func LeastFailing() Strategy {
	return Strategy{func(p *Provider, from []*candidate, _ string) *candidate {
		now := p.now()
		least, best := 0, []*candidate(nil)
		for _, c := range from {
			n := p.failures(c.entry.ID, now)
			if best == nil || n < least {
				least, best = n, nil
			}
			if n == least {
				best = append(best, c)
			}
		}
		return RoundRobin().pick(p, best, "")
	}}
}

// PickOption changes what [Provider.Pick] picks. The zero PickOption changes nothing.
type PickOption struct {
	key string
	tag string
}

// Key is what [Sticky] picks by, for example a user.
func Key(key string) PickOption { return PickOption{key: key} }

// WithTag picks only an instance that has the tag.
func WithTag(tag string) PickOption { return PickOption{tag: tag} }

// An instance that has failed twice within asideWithin is put aside for asideFor.
const (
	asideWithin = 30 * time.Second
	asideFor    = 30 * time.Second
)

// candidate is an instance as a Provider knows it.
type candidate struct{ entry Entry }

// failing is what a Provider knows of the failures of an instance.
type failing struct {
	at    []time.Time // within asideWithin
	until time.Time   // it is aside until then
}

// providerProgress is how often a Provider asks whether what it has is up to date.
const providerProgress = 2 * time.Second

// Provider picks instances of one service, which it follows. It goes on with its last view
// while the grid is away (ROSTER-7). It is safe for concurrent use.
type Provider struct {
	service  *Service
	strategy Strategy
	now      func() time.Time
	cancel   context.CancelFunc
	over     chan struct{} // closed when nothing of it runs any more
	ready    chan struct{} // closed with the first view

	mu       sync.Mutex // guards what follows
	entries  map[string]Entry
	sorted   []Entry // entries by ID; nil: not yet
	view     Version
	seen     time.Time // when all was known
	turn     uint64
	failed   map[string]*failing
	lastErr  error
	hasFirst bool
}

// Provider returns a Provider that picks by a strategy, once it has a view. Close it. ctx
// bounds the wait for the view. Errors: [quorate.ErrInvalid] and [quorate.ErrTooLarge] for a
// bad name; [quorate.ErrClosed].
func (s *Service) Provider(ctx context.Context, strategy Strategy) (*Provider, error) {
	if strategy.pick == nil {
		strategy = RoundRobin()
	}
	following, cancel := context.WithCancel(context.Background())
	p := &Provider{
		service: s, strategy: strategy, now: time.Now, cancel: cancel,
		over: make(chan struct{}), ready: make(chan struct{}), failed: map[string]*failing{},
	}
	go p.follow(following)
	select {
	case <-p.ready:
		return p, nil
	case <-p.over: // it never will be
	case <-ctx.Done():
	}
	p.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lastErr != nil {
		return nil, p.lastErr
	}
	return nil, s.roster.Handle().Fail("follow", contexts.Unanswered(ctx), "")
}

// Close ends the provider. It may be called twice.
func (p *Provider) Close() {
	p.cancel()
	<-p.over
}

// follow keeps the view up to date, until an error says that it never can be.
func (p *Provider) follow(ctx context.Context) {
	defer close(p.over)
	for try := 0; ctx.Err() == nil; try++ {
		building := map[string]Entry{} // the next view, until it is complete; nil: changes go into the view
		for c, err := range p.service.roster.Watch(ctx, roster.Watching{Verb: "follow", Current: true, Progress: providerProgress}) {
			if err != nil {
				p.mu.Lock()
				p.lastErr = err
				p.mu.Unlock()
				if errors.Is(err, quorate.ErrInvalid) || errors.Is(err, quorate.ErrTooLarge) || errors.Is(err, quorate.ErrClosed) {
					return
				}
				break
			}
			try = 0
			if c.Type == structures.EventGap {
				building = map[string]Entry{}
				continue
			}
			entry, err := p.service.entry(&c.Entry)
			if err != nil { // of a later version: this provider cannot use it, nor what it was
				c.Type = structures.EventRemoved
			}
			if building != nil && c.Type != structures.EventSynced {
				takeIn(building, c.Type, entry)
				continue
			}
			p.take(building, &c, entry)
			building = nil
		}
		contexts.Pause(ctx, min(50*time.Millisecond<<min(try, 6), 2*time.Second))
	}
}

// takeIn takes a change of an entry into a view.
func takeIn(view map[string]Entry, what structures.EventType, e Entry) {
	switch what {
	case structures.EventPut, structures.EventCurrent:
		view[e.ID] = e
	case structures.EventDestroyed:
		clear(view)
	default:
		delete(view, e.ID)
	}
}

// take takes over a view that has become complete, or a change of the view.
func (p *Provider) take(built map[string]Entry, c *roster.Change, e Entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case built != nil:
		p.entries, p.sorted = built, nil
	case c.Type != structures.EventProgress && c.Type != structures.EventSynced:
		takeIn(p.entries, c.Type, e)
		p.sorted = nil
	}
	p.view, p.seen = max(p.view, c.View), p.now()
	if !p.hasFirst {
		p.hasFirst = true
		close(p.ready)
	}
	for id, f := range p.failed {
		if f.until.Before(p.seen) && p.failures(id, p.seen) == 0 {
			delete(p.failed, id)
		}
	}
}

// list returns the view by ID. mu is held.
func (p *Provider) list() []Entry {
	if p.sorted == nil {
		p.sorted = slices.SortedFunc(maps.Values(p.entries), func(a, b Entry) int { return strings.Compare(a.ID, b.ID) })
	}
	return p.sorted
}

// failures returns how often an instance has failed lately. mu is held.
func (p *Provider) failures(id string, now time.Time) int {
	f := p.failed[id]
	if f == nil {
		return 0
	}
	f.at = slices.DeleteFunc(f.at, func(t time.Time) bool { return now.Sub(t) > asideWithin })
	return len(f.at)
}

// Pick returns an instance: a passing one if there is any, else one that is warning; never
// one that is critical or drained. Instances that are put aside, see [Provider.Failed], are
// picked only if there is no other. The error is [ErrNoInstance].
func (p *Provider) Pick(opts ...PickOption) (Instance, error) {
	var o PickOption
	for _, opt := range opts {
		if opt.key != "" {
			o.key = opt.key
		}
		if opt.tag != "" {
			o.tag = opt.tag
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	var ranks [4][]*candidate // passing, warning, and those of both that are aside
	all := p.list()
	for i := range all {
		e := &all[i]
		if !e.Usable() || o.tag != "" && !slices.Contains(e.Tags, o.tag) {
			continue
		}
		rank := 0
		if e.Health == Warning {
			rank = 1
		}
		if f := p.failed[e.ID]; f != nil && now.Before(f.until) {
			rank += 2
		}
		ranks[rank] = append(ranks[rank], &candidate{*e})
	}
	for _, from := range ranks {
		if len(from) > 0 {
			return p.strategy.pick(p, from, o.key).entry.clone(), nil
		}
	}
	return Instance{}, p.service.roster.Handle().Fail("pick", ErrNoInstance, "")
}

// Failed notes that an instance has failed its caller. One that has failed twice within 30 s
// is put aside for 30 s, by this provider alone.
func (p *Provider) Failed(i Instance) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	f := p.failed[i.ID]
	if f == nil {
		f = &failing{}
		p.failed[i.ID] = f
	}
	f.at = append(f.at, now)
	if p.failures(i.ID, now) >= 2 {
		f.until = now.Add(asideFor)
	}
}

// All returns all instances of the last view by ID, whatever their health.
func (p *Provider) All() []Entry {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Clone(p.list())
	for i := range list {
		list[i].Instance = list[i].clone()
	}
	return list
}

// View returns the version of the last view.
func (p *Provider) View() Version {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.view
}

// Age returns how long ago the last view was known to be that of the grid. It is 2 s at
// most, and the time that a change takes to come, unless the grid is away.
func (p *Provider) Age() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now().Sub(p.seen)
}
