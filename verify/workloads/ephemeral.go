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
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/verify"
)

// ephemerals are clients that store ephemeral entries and die: they close their session, are
// killed or cut off. While a session lives, as its client knows, each of its entries is there;
// when it has ended they go within a bound. The keys that the map numbers only grow. In the
// end the map has exactly the entries of the one client that lives.
type ephemerals struct {
	run  *Run
	name string

	mu      sync.Mutex // guards what follows
	largest string     // key of those that the map has numbered
	owners  []*owner
}

const (
	ownedEntries  = 20 // of one owner at most
	endOneOf      = 25 // steps of an owner is its last
	leftEntries   = 10 // in the end
	sequence      = "{sequence}/"
	leastOwnerTTL = 2 * time.Second
	lastOwnerTTL  = 10 * time.Second
)

func newEphemerals(r *Run) *ephemerals {
	e := &ephemerals{run: r, name: r.cfg.Name + "-ephemeral"}
	r.atEnd("ephemeral entries", e.check)
	return e
}

// owner is a client of its own and the entries of one of its sessions. One worker uses it.
type owner struct {
	client  *client.Client
	cut     func(bool)
	session client.Session
	put     int
	keys    []string // acknowledged
	unknown []string // may be there until the session ends
	// bound says how long they may be there; Ended is zero until the end.
	bound verify.Ephemeral
	// atOnce: the session was ended without waiting for its client.
	atOnce bool
}

// worker has one owner after another; reader is another client.
func (e *ephemerals) worker(id int, reader *client.Client) worker {
	m := dmap.New[string, int](reader, e.name)
	own := &owner{}
	if e.run.cfg.Own == nil {
		return func(context.Context, *epoch, *rand.Rand) { e.run.sleep(time.Second) }
	}
	e.owners = append(e.owners, own)
	n := 0
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		if own.client == nil {
			n++
			ttl := leastOwnerTTL + time.Duration(rng.IntN(3000))*time.Millisecond
			_ = e.run.seen(e.begin(ctx, own, ttl))
			return
		}
		if own.bound.Ended.IsZero() && own.session.Err() != nil {
			own.bound = verify.Ephemeral{TTL: own.session.TTL, Ended: time.Now()}
		}
		switch live := own.bound.Ended.IsZero(); {
		case !live && len(own.keys)+len(own.unknown) == 0:
			own.close()
		case live && rng.IntN(endOneOf) == 0:
			e.end(ctx, own, reader, rng)
		case live && own.put < ownedEntries && rng.IntN(2) == 0:
			e.store(ctx, own, fmt.Sprint(id, "-", n, "-", own.put), rng)
		case live && len(own.keys) > 0 && rng.IntN(4) == 0:
			e.replace(ctx, own, m, rng)
		case len(own.keys)+len(own.unknown) > 0:
			e.read(ctx, own, m, rng)
		}
	}
}

// begin connects an owner and has it open its session.
func (e *ephemerals) begin(ctx context.Context, own *owner, ttl time.Duration) error {
	c, cut, err := e.run.cfg.Own(ctx, ttl)
	if err != nil {
		return err
	}
	// Under which session this is stored is not known.
	if err := dmap.New[string, int](c, e.name).Put(ctx, "opening", 0, dmap.Ephemeral()); err != nil {
		return errors.Join(err, c.Close())
	}
	*own = owner{client: c, cut: cut, session: c.Session()}
	return nil
}

// close ends an owner whose entries have gone.
func (own *owner) close() {
	if own.client == nil {
		return
	}
	own.cut(false)
	_ = own.client.Close()
	*own = owner{}
}

// store stores another entry, under a key of its own or one that the map numbers.
func (e *ephemerals) store(ctx context.Context, own *owner, key string, rng *rand.Rand) {
	own.put++
	m := dmap.New[string, int](own.client, e.name)
	var err error
	if rng.IntN(3) == 0 {
		e.mu.Lock()
		before := e.largest
		e.mu.Unlock()
		key, err = dmap.PutSequential(ctx, m, sequence, own.put, dmap.Ephemeral())
		if e.run.count(err) != nil {
			return // if it is there, nobody knows its key
		}
		if key <= before {
			e.run.violates("sequential keys", "%s was given out after %s", key, before)
		}
		e.mu.Lock()
		e.largest = max(e.largest, key)
		e.mu.Unlock()
	} else {
		err = e.run.count(m.Put(ctx, key, own.put, dmap.Ephemeral()))
	}
	switch {
	case err == nil && own.client.Session().ID == own.session.ID && own.session.Err() == nil:
		own.keys = append(own.keys, key)
	case err == nil && own.session.Err() != nil: // stored under the next session: it goes with that
	case unknown(err):
		own.unknown = append(own.unknown, key)
	}
}

// replace has another client write an entry, which keeps its owner (EPHEMERAL-1).
func (e *ephemerals) replace(ctx context.Context, own *owner, m *dmap.Map[string, int], rng *rand.Rand) {
	key := own.keys[rng.IntN(len(own.keys))]
	entry, ok, err := m.Entry(ctx, key)
	if e.run.count(err) == nil && ok {
		_, err := m.Replace(ctx, key, entry.Version, rng.IntN(1000))
		_ = e.run.count(err)
	}
}

// read reads one of the entries of an owner, and checks that it may be there, or not.
func (e *ephemerals) read(ctx context.Context, own *owner, m *dmap.Map[string, int], rng *rand.Rand) {
	i := rng.IntN(len(own.keys) + len(own.unknown))
	list := &own.keys
	if i >= len(own.keys) {
		i, list = i-len(own.keys), &own.unknown
	}
	key := (*list)[i]
	asked := time.Now()
	_, there, err := m.Get(ctx, key)
	if e.run.count(err) != nil {
		return
	}
	lives := list == &own.keys && !own.atOnce && own.session.Err() == nil
	if err := verify.CheckEphemeral(own.bound, there, lives, asked, e.run.cfg.Quiet); err != nil {
		e.run.violates("ephemeral entries", "entry %s of session %d: %v", key, own.session.ID, err)
		there = false
	}
	ended := own.bound.Ended
	if !ended.IsZero() && own.session.Err() == nil && asked.Sub(ended) > own.session.TTL+verify.LateBound {
		e.run.violates("sessions", "session %d has ended at %v, and its client holds by it %v later", own.session.ID, ended, asked.Sub(ended))
		there = false
	}
	if !there && !ended.IsZero() {
		*list = slices.Delete(*list, i, i+1)
	}
}

// end ends the session of an owner in one of the ways in which sessions end.
func (e *ephemerals) end(ctx context.Context, own *owner, other *client.Client, rng *rand.Rand) {
	s := own.session
	ended := verify.Ephemeral{TTL: s.TTL}
	switch way := rng.IntN(5); way {
	case 0:
		if err := e.run.count(s.Close(ctx)); err == nil {
			ended.TTL = 0
		}
	case 1:
		_ = e.run.count(own.client.Close())
	case 2:
		own.cut(true)
	default:
		opts := []client.KillOption{client.KillReason("verify")}
		if way == 3 {
			own.atOnce, ended.TTL = true, 0
			opts = append(opts, client.Now())
		}
		existed, left, err := other.KillSession(ctx, s.ID, opts...)
		if e.run.count(err) != nil {
			return // it may live on
		}
		if !existed && !own.atOnce && s.Err() == nil {
			e.run.violates("sessions", "session %d lives, and was not there to be killed", s.ID)
		}
		if left > s.TTL {
			e.run.violates("sessions", "session %d was killed and has %v left, with a time to live of %v", s.ID, left, s.TTL)
		}
	}
	ended.Ended = time.Now()
	own.bound = ended
}

// check closes all owners, and counts the entries of one that lives.
func (e *ephemerals) check(ctx context.Context) error {
	if e.run.cfg.Own == nil {
		return nil
	}
	for _, own := range e.owners {
		own.close()
	}
	for {
		lost, err := e.left(ctx)
		if err == nil || !lost || ctx.Err() != nil {
			return errors.Join(err, patiently(ctx, func(ctx context.Context) error { return e.has(ctx, nil) }))
		}
	}
}

// left counts the entries of a client that lives. It reports whether that has lost its session
// meanwhile.
func (e *ephemerals) left(ctx context.Context) (lost bool, err error) {
	last := &owner{}
	defer last.close()
	err = patiently(ctx, func(ctx context.Context) error { return e.begin(ctx, last, lastOwnerTTL) })
	if err != nil {
		return false, err
	}
	m := dmap.New[string, int](last.client, e.name)
	var keys []string
	for i := range leftEntries {
		keys = append(keys, fmt.Sprint("left-", i))
		err = patiently(ctx, func(ctx context.Context) error { return m.Put(ctx, keys[i], i, dmap.Ephemeral()) })
		if err != nil {
			return last.session.Err() != nil, err
		}
	}
	err = patiently(ctx, func(ctx context.Context) error {
		if _, err := m.Delete(ctx, "opening"); err != nil {
			return err
		}
		return e.has(ctx, keys)
	})
	e.run.counted.Add(leftEntries)
	return last.session.Err() != nil, err
}

// has returns an error if the map has other entries, or counts another number.
func (e *ephemerals) has(ctx context.Context, want []string) error {
	m := dmap.New[string, int](e.run.cfg.Clients[0], e.name)
	var keys []string
	for k, err := range m.Keys(ctx) {
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	n, err := m.Len(ctx)
	if err != nil {
		return err
	}
	slices.Sort(keys)
	if !slices.Equal(keys, want) || n != len(want) {
		return fmt.Errorf("the map counts %d entries and has %q, and who lives has %q", n, keys, want)
	}
	return nil
}
