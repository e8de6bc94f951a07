package dns

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/structures/roster"
)

const (
	progress   = 2 * time.Second // how often a watch says that nothing has changed
	firstWait  = 2 * time.Second // how long a question waits for the first list: stubs wait for 5 s
	maxAge     = time.Hour       // a list that was not confirmed for longer is not told (DNS-4)
	maxMirrors = 512
	maxWaiting = 1000 // questions that wait at once

	// A mirror is left when it was not asked for so long.
	keepAsked = 5 * time.Minute
	keepEmpty = 30 * time.Second // without instances
	keepAway  = maxAge           // while the grid is away, and the list could not be had again
	awayAfter = 5 * progress     // without a word of the watch
	// For a new mirror, when there are maxMirrors, one may go that was not asked for so long.
	spareAsked = time.Minute
	spareEmpty = 5 * time.Second

	sweepEvery = 10 * time.Second
	warnEvery  = time.Minute
)

var (
	errNotReady = errors.New("the member is not ready")
	errUnknown  = errors.New("the instances are not known yet")
	errTooOld   = errors.New("the instances were not confirmed for too long")
	errFull     = errors.New("too many services are asked for")
	errBusy     = errors.New("too many questions wait")
	errClosed   = errors.New("closed")
)

// Follow iterates over what is registered in a service, and over what changes, like
// [roster.Roster.Watch].
type Follow func(ctx context.Context, name string) iter.Seq2[roster.Change, error]

// Services follows services through a client, which is nil before the member is ready.
func Services(c func() *client.Client) Follow {
	kind := dservice.Kind()
	return func(ctx context.Context, name string) iter.Seq2[roster.Change, error] {
		cl := c()
		if cl == nil {
			return func(yield func(roster.Change, error) bool) { yield(roster.Change{}, errNotReady) }
		}
		return roster.New(cl, &kind, name, nil).Watch(ctx, roster.Watching{Verb: "follow", Current: true, Progress: progress})
	}
}

// instance is what DNS shows of an instance.
type instance struct {
	id      string
	ip      netip.Addr // invalid: its address is none
	host    string     // its address, if that is the name of a host: with the final dot
	port    uint16
	tags    []string // that are labels, in lower case
	usable  bool     // passing or warning, and not drained (DNS-2)
	warning bool
}

// instanceOf reads an entry; false: this version cannot.
func instanceOf(e *roster.Entry) (instance, bool) {
	var in dservice.Instance
	if err := structures.DecodeValue(structures.CBOR, e.Data, &in); err != nil {
		return instance{}, false
	}
	d := dservice.Entry{Health: e.Health, Drained: e.Drained}
	i := instance{id: e.ID, port: uint16(in.Port), usable: mutantUsable(d.Usable()), warning: e.Health == dservice.Warning}
	if ip, err := netip.ParseAddr(in.Address); err == nil && ip.Zone() == "" {
		i.ip = ip.Unmap()
	} else {
		i.host = hostOf(in.Address)
	}
	for _, t := range in.Tags {
		if isLabel(t) {
			i.tags = append(i.tags, strings.ToLower(t))
		}
	}
	return i, true
}

// mirror is what is known of one service.
type mirror struct {
	name   string
	leave  context.CancelFunc
	asked  time.Time     // guarded by mirrors.mu
	tried  chan struct{} // closed with the first list, or the first failure
	tryEnd func()        // closes tried, once

	mu     sync.Mutex          // guards what follows
	all    map[string]instance // by ID; nil: never known
	sorted []instance          // all, by ID; nil: not yet since a change. Never changed itself
	seen   time.Time           // when all was known to be so
}

// run keeps the mirror up to date until ctx ends.
func (m *mirror) run(ctx context.Context, follow Follow) {
	for try := 0; ctx.Err() == nil; try++ {
		building := map[string]instance{} // the next list, until it is complete; nil: changes go into the list
		for c, err := range follow(ctx, m.name) {
			if err != nil {
				break
			}
			try = 0
			switch {
			case c.Type == structures.EventGap:
				building = map[string]instance{}
			case building != nil && !mutantComplete(c.Type == structures.EventSynced):
				takeIn(building, &c)
			case building != nil:
				m.replace(building)
				building = nil
			default:
				m.take(&c)
			}
		}
		m.tryEnd()
		contexts.Pause(ctx, min(50*time.Millisecond<<min(try, 6), 2*time.Second))
	}
}

// takeIn takes a change into a list.
func takeIn(list map[string]instance, c *roster.Change) {
	switch c.Type {
	case structures.EventPut, structures.EventCurrent:
		if i, ok := instanceOf(&c.Entry); ok {
			list[i.id] = i
		} else {
			delete(list, c.Entry.ID)
		}
	case structures.EventDestroyed:
		clear(list)
	case structures.EventProgress, structures.EventSynced:
	default:
		delete(list, c.Entry.ID)
	}
}

// replace takes over a list that is complete (DNS-3).
func (m *mirror) replace(list map[string]instance) {
	m.mu.Lock()
	m.all, m.sorted, m.seen = list, nil, time.Now()
	m.mu.Unlock()
	m.tryEnd()
}

func (m *mirror) take(c *roster.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Type != structures.EventProgress {
		takeIn(m.all, c)
		m.sorted = nil
	}
	m.seen = time.Now()
}

// list returns the instances by ID, whatever their health. The slice must not be changed.
func (m *mirror) list() ([]instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.all == nil && mutantUnknown():
		return nil, errUnknown
	case m.all != nil && time.Since(m.seen) > mutantMaxAge(maxAge):
		return nil, errTooOld
	}
	if m.sorted == nil {
		m.sorted = slices.SortedFunc(maps.Values(m.all), func(a, b instance) int { return strings.Compare(a.id, b.id) })
	}
	return m.sorted, nil
}

// isEmpty reports whether nothing is known to be registered.
func (m *mirror) isEmpty() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.all) == 0
}

// keep returns how long the mirror is kept without questions.
func (m *mirror) keep() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case len(m.all) == 0:
		return keepEmpty
	case time.Since(m.seen) > awayAfter:
		return keepAway
	}
	return keepAsked
}

// mirrors are those of all services that are asked for. It is safe for concurrent use.
type mirrors struct {
	follow  Follow
	log     *slog.Logger
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	waiting chan struct{} // of capacity maxWaiting: questions that wait

	mu     sync.Mutex         // guards what follows; before mirror.mu
	all    map[string]*mirror // Invariant: at most maxMirrors
	warned time.Time
}

func newMirrors(follow Follow, log *slog.Logger) *mirrors {
	s := &mirrors{follow: follow, log: log, waiting: make(chan struct{}, maxWaiting), all: map[string]*mirror{}}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.running.Go(s.sweep)
	return s
}

// close leaves all mirrors. What waits fails.
func (s *mirrors) close() {
	s.mu.Lock()
	s.stop()
	s.mu.Unlock()
	s.running.Wait()
}

func (s *mirrors) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// list returns the instances of a service by ID, whatever their health; nil if there are
// none. If the service was not asked for lately it waits for the first list, a short time.
func (s *mirrors) list(name string) ([]instance, error) {
	m, err := s.get(name)
	if err != nil {
		return nil, err
	}
	select {
	case <-m.tried:
		return m.list()
	default:
	}
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return nil, errBusy
	}
	ctx, cancel := context.WithTimeout(s.ctx, firstWait)
	defer cancel()
	select {
	case <-m.tried:
	case <-ctx.Done():
	}
	return m.list()
}

// get returns the mirror of a service, and begins it if there is none.
func (s *mirrors) get(name string) (*mirror, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if m := s.all[name]; m != nil {
		m.asked = now
		return m, nil
	}
	switch {
	case s.ctx.Err() != nil:
		return nil, errClosed
	case len(s.all) >= maxMirrors && !s.makeRoom(now):
		if now.Sub(s.warned) > warnEvery {
			s.warned = now
			s.log.Warn("too many services are asked for over DNS", "followed", len(s.all), "service", name)
		}
		return nil, errFull
	}
	ctx, leave := context.WithCancel(s.ctx)
	tried := make(chan struct{})
	m := &mirror{name: name, leave: leave, asked: now, tried: tried, tryEnd: sync.OnceFunc(func() { close(tried) })}
	s.all[name] = m
	s.running.Go(func() { m.run(ctx, s.follow) })
	return m, nil
}

// makeRoom leaves the mirror that was not asked for longest, and reports whether it may:
// names that somebody makes up push out neither each other at any rate nor services that
// are asked for (DNS-5). mu is held.
func (s *mirrors) makeRoom(now time.Time) bool {
	var oldest *mirror
	for _, m := range s.all {
		spare := spareAsked
		if m.isEmpty() {
			spare = spareEmpty
		}
		if now.Sub(m.asked) >= mutantSpare(spare) && (oldest == nil || m.asked.Before(oldest.asked)) {
			oldest = m
		}
	}
	if oldest == nil {
		return false
	}
	s.leave(oldest)
	return true
}

// leave ends the watch of a mirror. mu is held.
func (s *mirrors) leave(m *mirror) {
	delete(s.all, m.name)
	m.leave()
}

// sweep leaves mirrors that nobody asks for any more.
func (s *mirrors) sweep() {
	for contexts.Pause(s.ctx, sweepEvery) {
		s.mu.Lock()
		now := time.Now()
		for _, m := range s.all {
			if now.Sub(m.asked) > m.keep() {
				s.leave(m)
			}
		}
		s.mu.Unlock()
	}
}
