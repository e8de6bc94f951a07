package verify_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/verify"
)

// trial is a grid of three members under load from several clients, with what
// they saw.
type trial struct {
	t       *testing.T
	cluster *gridtest.Cluster
	clients []*client.Client
	history *verify.History
	rng     *rand.Rand

	over    context.Context // ends with the load
	stop    context.CancelFunc
	workers sync.WaitGroup

	added        []atomic.Int64 // acknowledged, by counter
	unknown      []atomic.Int64
	mu           sync.Mutex // guards the following
	put          []string
	maybe        []string
	taken        []string
	takesUnknown int // that may have taken one element
}

const (
	trialClients = 4
	permits      = 2
	counters     = 4
)

// trialSeed is QUORATE_SEED, or another each time.
func trialSeed(t *testing.T) uint64 {
	t.Helper()
	text := os.Getenv("QUORATE_SEED")
	if text == "" {
		return uint64(time.Now().UnixNano())
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return seed
}

func newTrial(t *testing.T) *trial {
	t.Helper()
	seed := trialSeed(t)
	t.Logf("seed %d", seed)
	r := &trial{
		t: t, history: verify.NewHistory(), rng: rand.New(rand.NewPCG(seed, 1)),
		added: make([]atomic.Int64, counters), unknown: make([]atomic.Int64, counters),
	}
	r.over, r.stop = context.WithCancel(t.Context())
	r.cluster = gridtest.Start(t, 3, gridtest.WithSeed(seed), gridtest.WithTuning(func(c *shardgroups.Config) {
		c.SnapshotBytes, c.RetainBytes = 256<<10, 64<<10
	}))
	for range trialClients {
		r.clients = append(r.clients, r.cluster.Client(t))
	}
	return r
}

// work runs f over and over until the trial ends.
func (r *trial) work(client int, f func(ctx context.Context, rng *rand.Rand)) {
	rng := rand.New(rand.NewPCG(r.rng.Uint64(), uint64(client)))
	r.workers.Go(func() {
		for r.over.Err() == nil {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			f(ctx, rng)
			cancel()
		}
	})
}

// load starts the workload of every client on all four structures.
func (r *trial) load() {
	ctx, cancel := context.WithTimeout(context.Background(), gridtest.WaitTimeout)
	defer cancel()
	first := verify.NewSemaphore(r.history, trialClients, "permits", dsemaphore.New(r.clients[0], "permits"))
	if err := first.Init(ctx, permits); err != nil {
		r.t.Fatal(err)
	}
	for i, c := range r.clients {
		m := verify.NewMap(r.history, i, "entries", dmap.New[string, string](c, "entries"))
		r.work(i, func(ctx context.Context, rng *rand.Rand) {
			key, value := fmt.Sprint("k", rng.IntN(5)), fmt.Sprint(i, "-", rng.Uint32())
			switch rng.IntN(6) {
			case 0, 1:
				_, _, _ = m.Get(ctx, key)
			case 2:
				_ = m.Put(ctx, key, value)
			case 3:
				_, _, _ = m.Swap(ctx, key, value)
			case 4:
				_, _, _ = m.PutIfAbsent(ctx, key, value)
			default:
				_, _, _ = m.Remove(ctx, key)
			}
			pause(rng)
		})
		n := r.rng.IntN(counters)
		name := fmt.Sprint("hits", n)
		hits := verify.NewCounter(r.history, i, name, dcounter.New(c, name))
		r.work(i, func(ctx context.Context, rng *rand.Rand) {
			_, err := hits.Add(ctx, 1)
			switch {
			case err == nil:
				r.added[n].Add(1)
			case errors.Is(err, quorate.ErrOutcomeUnknown):
				r.unknown[n].Add(1)
			}
			pause(rng)
		})
		s := verify.NewSemaphore(r.history, i, "permits", dsemaphore.New(c, "permits"))
		r.work(i, func(ctx context.Context, rng *rand.Rand) {
			held, err := s.Acquire(ctx, 1, dsemaphore.Wait(200*time.Millisecond))
			if err == nil {
				pause(rng)
				_ = held.Release(ctx)
			}
		})
		q := verify.NewQueue(r.history, i, "jobs", dqueue.New[string](c, "jobs"))
		r.work(i, func(ctx context.Context, rng *rand.Rand) {
			v := fmt.Sprint(i, "-", rng.Uint64())
			if err := q.Put(ctx, v); err == nil {
				r.note(&r.put, v)
			} else if errors.Is(err, quorate.ErrOutcomeUnknown) {
				r.note(&r.maybe, v)
			}
			pause(rng)
		})
		r.work(i, func(ctx context.Context, rng *rand.Rand) {
			if rng.IntN(3) == 0 { // a wait that is often withdrawn
				short, cancel := context.WithTimeout(ctx, time.Duration(rng.IntN(20))*time.Millisecond)
				defer cancel()
				ctx = short
			}
			// A take that waits when the load ends is withdrawn, too.
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			defer context.AfterFunc(r.over, cancel)()
			v, err := q.Take(ctx)
			switch {
			case err == nil:
				r.note(&r.taken, v)
			case errors.Is(err, quorate.ErrOutcomeUnknown):
				r.mu.Lock()
				r.takesUnknown++
				r.mu.Unlock()
			}
		})
	}
}

func (r *trial) note(list *[]string, v string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, v)
}

// pause keeps histories short enough to check.
func pause(rng *rand.Rand) { time.Sleep(time.Duration(5+rng.IntN(15)) * time.Millisecond) }

// end stops the load and returns what the checks found.
func (r *trial) end() error {
	r.t.Helper()
	r.stop()
	done := make(chan struct{})
	go func() { r.workers.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(gridtest.WaitTimeout):
		return errors.New("a call does not return")
	}
	r.cluster.WaitReady()
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), gridtest.WaitTimeout)
	defer cancel()
	c := r.clients[0]
	for n := range r.added {
		value, err := dcounter.New(c, fmt.Sprint("hits", n)).Get(ctx)
		if err != nil {
			errs = append(errs, err)
		} else if low, high := r.added[n].Load(), r.added[n].Load()+r.unknown[n].Load(); value < low || value > high {
			errs = append(errs, fmt.Errorf("counter %d: %d, and %d to %d were added", n, value, low, high))
		}
	}
	left, err := dqueue.New[string](c, "jobs").Drain(ctx, 100_000)
	if err != nil {
		errs = append(errs, err)
	}
	if err := verify.CheckElements(verify.Elements{
		Put: r.put, PutUnknown: r.maybe, Taken: r.taken, TakesUnknown: r.takesUnknown, Left: left,
	}); err != nil {
		errs = append(errs, err)
	}
	v := verify.Check(r.history, 2*time.Minute)
	r.t.Log(v)
	if v.Outcome == verify.Illegal {
		errs = append(errs, errors.New(v.String()))
	}
	return errors.Join(errs...)
}

// sameHashes waits until all replicas have the same state.
func (r *trial) sameHashes() {
	r.t.Helper()
	r.cluster.Eventually("the same hashes on all members", func() bool {
		seen := map[uint64]protocol.GroupHash{}
		for i := range r.cluster.Len() {
			report, err := r.cluster.Hashes(i)
			if err != nil {
				return false
			}
			for _, g := range report.Groups {
				if o, ok := seen[g.ID]; ok && (o.Applied != g.Applied || o.Hash != g.Hash) {
					if o.Applied == g.Applied {
						r.t.Fatalf("group %d: replicas at index %d differ", g.ID, g.Applied)
					}
					return false
				}
				seen[g.ID] = g
			}
		}
		return true
	})
}

// TestPromisesUnderFaults shows that histories of all four structures are
// linearizable, counters exact, and elements taken once, while connections
// are cut, members killed, restarted and cut off, and snapshots taken.
func TestPromisesUnderFaults(t *testing.T) {
	r := newTrial(t)
	r.load()
	for range 4 {
		r.cluster.CutClients()
		time.Sleep(300 * time.Millisecond)
		victim := r.rng.IntN(3)
		r.cluster.Kill(victim)
		time.Sleep(700 * time.Millisecond)
		r.cluster.CutClients()
		r.cluster.Restart(victim)
		r.cluster.WaitReady()
		cut := r.rng.IntN(3)
		r.cluster.Pause(cut)
		time.Sleep(600 * time.Millisecond)
		r.cluster.Resume(cut)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	r.sameHashes()
}

// TestAllKilledUnderLoad shows that no acknowledged write is lost when all
// members are killed at once and start again.
func TestAllKilledUnderLoad(t *testing.T) {
	r := newTrial(t)
	r.load()
	for range 2 {
		time.Sleep(time.Second)
		for i := range 3 {
			r.cluster.Kill(i)
		}
		for i := range 3 {
			r.cluster.Restart(i)
		}
		r.cluster.WaitReady()
	}
	time.Sleep(500 * time.Millisecond)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
	r.sameHashes()
}

// TestRepeatsAreNotAppliedAgain cuts connections after requests were sent, so
// that clients repeat what may have been done.
func TestRepeatsAreNotAppliedAgain(t *testing.T) {
	r := newTrial(t)
	r.load()
	for range 10 {
		r.cluster.CutClients()
		time.Sleep(150 * time.Millisecond)
	}
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
}

// takes runs a queue whose takers withdraw at the moment elements arrive.
func (r *trial) takes() {
	for i, c := range r.clients {
		q := dqueue.New[string](c, "jobs")
		r.work(i, func(ctx context.Context, rng *rand.Rand) {
			v := fmt.Sprint(i, "-", rng.Uint64())
			if err := q.Put(ctx, v); err == nil {
				r.note(&r.put, v)
			} else if errors.Is(err, quorate.ErrOutcomeUnknown) {
				r.note(&r.maybe, v)
			}
			time.Sleep(time.Duration(rng.IntN(4)) * time.Millisecond)
		})
		for range 3 {
			r.work(i, func(ctx context.Context, rng *rand.Rand) {
				ctx, cancel := context.WithTimeout(ctx, time.Duration(rng.IntN(6000))*time.Microsecond)
				defer cancel()
				v, err := q.Take(ctx)
				switch {
				case err == nil:
					r.note(&r.taken, v)
				case errors.Is(err, quorate.ErrOutcomeUnknown):
					r.mu.Lock()
					r.takesUnknown++
					r.mu.Unlock()
				}
			})
		}
	}
}

func TestCancelledTakesTakeNothing(t *testing.T) {
	r := newTrial(t)
	r.takes()
	time.Sleep(3 * time.Second)
	if err := r.end(); err != nil {
		t.Fatal(err)
	}
}

// waitOverLeaderChange lets a Take wait while its leader is killed, puts an
// element, and reports what the Take comes to.
func waitOverLeaderChange(t *testing.T) error {
	r := newTrial(t)
	c := r.clients[0]
	q := dqueue.New[string](c, "jobs")
	ctx, cancel := context.WithTimeout(context.Background(), gridtest.WaitTimeout)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		v, err := q.Take(ctx)
		if err == nil && v != "late" {
			err = fmt.Errorf("took %q", v)
		}
		result <- err
	}()
	leader := r.cluster.Leader(c, "jobs", nil)
	r.cluster.Eventually("a call waits", func() bool {
		n, err := waitingCalls(r, leader)
		return err == nil && n > 0
	})
	r.cluster.Kill(leader)
	if err := q.Put(ctx, "late"); err != nil {
		t.Fatal(err)
	}
	err := <-result
	r.cluster.Restart(leader)
	r.cluster.WaitReady()
	return err
}

func waitingCalls(r *trial, member int) (uint64, error) {
	s, err := r.cluster.Status(member)
	n := uint64(0)
	for _, g := range s.Groups {
		n += g.Waiting
	}
	return n, err
}

func TestWaitersOutliveTheirLeader(t *testing.T) {
	if err := waitOverLeaderChange(t); err != nil {
		t.Fatal(err)
	}
}
