package workloads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/verify"
)

// Config says how a run goes.
type Config struct {
	Name    string // of the run: part of the names of its structures
	Clients []*client.Client
	Rate    float64       // operations a second to aim at; 0: as many as there are
	Epoch   time.Duration // of a history for porcupine; 0: 10 s
	Seed    uint64
	// Own makes a client for one worker alone, whose sessions have the given time to live,
	// and returns what cuts it off from all members and ends that; nil: none can be had.
	Own func(ctx context.Context, ttl time.Duration) (c *client.Client, cut func(bool), err error)
	// Quiet returns how much of a span was free of faults and of recovery.
	Quiet func(from, to time.Time) time.Duration
	// Broken is called with each promise that was broken, at once; the history is nil
	// if none shows it.
	Broken func(what string, h *verify.History, v verify.Verdict)
}

const (
	operationTime = 30 * time.Second // how long most operations may take
	checkTime     = 20 * time.Second // for the history of an epoch; more at the end
	lateCheckTime = 2 * time.Minute
	settleTime    = time.Minute // for an operation of the last checks
)

// Run is a run. Its methods are safe for concurrent use.
type Run struct {
	cfg  Config
	over context.Context // ends with the load
	stop context.CancelFunc
	// watching ends when those who observe have seen the last.
	watching context.Context
	unwatch  context.CancelFunc
	workers  sync.WaitGroup
	pace     time.Duration // of one worker

	calls    atomic.Int64 // answered
	failed   atomic.Int64 // with an error that says that nothing has changed
	unknown  atomic.Int64 // with an unknown outcome
	counted  atomic.Int64 // that a counting check has looked at
	searched atomic.Int64 // that porcupine has accepted
	broken   atomic.Int64
	revoked  atomic.Int64 // holds, by other clients
	told     atomic.Int64 // holders whose context has ended because of that

	watchEvents, watchResumes, watchGaps atomic.Int64
	stall                                stall

	mu        sync.Mutex // guards what follows
	epoch     *epoch
	epochs    int
	largest   int // operations of the largest history
	undecided []*epoch
	unsettled []*watched
	found     map[string]int
	checks    []check

	closing  sync.WaitGroup // epochs that are not decided
	deciding chan struct{}  // capacity 1: one at a time
}

// check is what a way of counting looks at when all is over.
type check struct {
	name string
	run  func(context.Context) error
}

// epoch is a span with objects of its own.
type epoch struct {
	number  int
	prefix  string // of the names of its objects
	history *verify.History
	ctx     context.Context // ends with the span: what waits is withdrawn
	cancel  context.CancelFunc
	using   sync.WaitGroup

	watched *watched
	views   verify.Views // of its service

	mu       sync.Mutex // guards prepared
	prepared map[string]bool
}

// prepare runs f, which settles what an object is, until it has succeeded once.
func (e *epoch) prepare(name string, f func() error) error {
	e.mu.Lock()
	done := e.prepared[name]
	e.mu.Unlock()
	if done {
		return nil
	}
	if err := f(); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.prepared[name] = true
	return nil
}

// Start starts the load.
func Start(cfg Config) *Run {
	if cfg.Epoch == 0 {
		cfg.Epoch = 10 * time.Second
	}
	r := &Run{cfg: cfg, deciding: make(chan struct{}, 1), found: map[string]int{}}
	r.over, r.stop = context.WithCancel(context.Background())
	r.watching, r.unwatch = context.WithCancel(context.Background())
	r.epoch = r.newEpoch()
	r.workers.Go(r.rotate)
	all := r.all()
	if cfg.Rate > 0 {
		r.pace = time.Duration(float64(len(all)) / cfg.Rate * float64(time.Second))
	}
	for i, w := range all {
		rng := rand.New(rand.NewPCG(cfg.Seed, uint64(i)))
		r.workers.Go(func() { r.work(rng, w) })
	}
	return r
}

// worker does one thing over and over. What it does is of the epoch it is
// given.
type worker func(ctx context.Context, e *epoch, rng *rand.Rand)

// all returns the workers of all clients: one line for each structure, and for
// each way of counting.
func (r *Run) all() []worker {
	sums, elements, written, owned := newSums(r), newElements(r), newWritten(r), newOwned(r)
	permits, transfers, rosters := newPermits(r), newTransfers(r), newRosters(r)
	nears := newNear(r)
	meetings := newMeetings(r)
	exclusive := newExclusive(r)
	leaders := newLeaders(r)
	ephemeral := newEphemerals(r)
	ids, spent := newGiven(r), newSpent(r)
	var all []worker
	for i, c := range r.cfg.Clients {
		all = append(all,
			r.registers(i, c), r.registers(i, c), r.counters(i, c), r.semaphores(i, c), r.puts(i, c), r.takes(i, c),
			sums.worker(c), sums.worker(c), elements.puts(i, c), elements.takes(i, c), written.worker(i, c),
			owned.writer(i, c), owned.reader(i, c), r.lives(i, c), permits.worker(c), transfers.worker(i, c), r.writeWatched(i, c), r.transactions(i, c),
			references(r, i, c),
			rosters.services(i, c), rosters.groups(i, c), rosters.watches(c), rosters.present(i, c),
			locks(r, i, c), rwlocks(r, i, c), exclusive.worker(c),
		)
		all = append(all, r.latches(i, c))
		all = append(all, meetings.worker(c), meetings.worker(c))
		all = append(all, nears.worker(i, c))
		all = append(all, leaders.histories(i, c), leaders.worker(i, c))
		all = append(all, ids.worker(c), spent.worker(c))
		leaders.observe(c)
		all = append(all, ephemeral.worker(i, c))
	}
	return all
}

func (r *Run) work(rng *rand.Rand, w worker) {
	for r.over.Err() == nil {
		r.mu.Lock()
		e := r.epoch
		e.using.Add(1)
		r.mu.Unlock()
		// Some give up soon, so that unknown outcomes and withdrawn waits are common.
		limit := operationTime
		if rng.IntN(20) == 0 {
			limit = time.Duration(1+rng.IntN(300)) * time.Millisecond
		}
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		w(ctx, e, rng)
		cancel()
		e.using.Done()
		if r.pace > 0 {
			r.sleep(time.Duration(min(rng.ExpFloat64(), 5) * float64(r.pace)))
		}
	}
}

func (r *Run) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.over.Done():
	}
}

// rotate begins a new epoch whenever it is time.
func (r *Run) rotate() {
	for r.over.Err() == nil {
		r.sleep(r.cfg.Epoch)
		r.mu.Lock()
		last := r.epoch
		r.epoch = r.newEpoch()
		r.closing.Add(1)
		r.mu.Unlock()
		go r.close(last)
	}
}

// newEpoch is called with r.mu held, or before the run has started.
func (r *Run) newEpoch() *epoch {
	r.epochs++
	e := &epoch{number: r.epochs, prefix: fmt.Sprintf("%s-%d-", r.cfg.Name, r.epochs), history: verify.NewHistory(), prepared: map[string]bool{}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	e.watched = r.newWatched(e)
	return e
}

// close decides an epoch once nobody uses it.
func (r *Run) close(e *epoch) {
	defer r.closing.Done()
	e.cancel()
	e.using.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), settleWatches)
	settled := e.watched.close(ctx, false)
	cancel()
	r.checkViews(e)
	r.deciding <- struct{}{}
	decided := r.decide(e, checkTime)
	<-r.deciding
	if !decided {
		r.mu.Lock()
		r.undecided = append(r.undecided, e)
		r.mu.Unlock()
	}
	r.clean(e, settled)
	if !settled {
		r.mu.Lock()
		r.unsettled = append(r.unsettled, e.watched)
		r.mu.Unlock()
	}
}

// decide has porcupine look at the history of an epoch. It reports false where
// the time did not suffice.
func (r *Run) decide(e *epoch, limit time.Duration) bool {
	v := verify.Check(e.history, limit)
	switch v.Outcome {
	case verify.Undecided:
		return false
	case verify.Illegal:
		r.breaks("linearizable", fmt.Sprintf("epoch %d: %v", e.number, v), e.history, v)
	default:
		r.searched.Add(int64(v.Checked))
	}
	r.mu.Lock()
	r.largest = max(r.largest, v.Checked)
	r.mu.Unlock()
	return true
}

// breaks records a broken promise. The first of a kind are reported in full.
func (r *Run) breaks(kind, what string, h *verify.History, v verify.Verdict) {
	r.broken.Add(1)
	r.mu.Lock()
	r.found[kind]++
	n := r.found[kind]
	r.mu.Unlock()
	if n <= 10 {
		r.cfg.Broken(kind+": "+what, h, v)
	}
}

func (r *Run) violates(kind, format string, args ...any) {
	r.breaks(kind, fmt.Sprintf(format, args...), nil, verify.Verdict{})
}

// seen counts an answer, and returns err.
func (r *Run) seen(err error) error {
	switch {
	case err == nil:
		r.calls.Add(1)
	case errors.Is(err, quorate.ErrOutcomeUnknown):
		r.unknown.Add(1)
	default:
		r.failed.Add(1)
	}
	return err
}

// count is seen for an operation that a counting check has looked at.
func (r *Run) count(err error) error {
	if err == nil {
		r.counted.Add(1)
	}
	return r.seen(err)
}

func unknown(err error) bool { return errors.Is(err, quorate.ErrOutcomeUnknown) }

// Progress is how far a run has come.
type Progress struct {
	Calls, Failed, Unknown   int64
	Counted, Searched        int64
	Broken                   int64
	WatchEvents              int64 // that watches were told
	WatchResumes, WatchGaps  int64 // how often one went on behind a cursor, and was told of a gap
	Revoked, RevokedNotified int64 // holds, and holders that held until they were notified
}

// Progress returns how far the run has come.
func (r *Run) Progress() Progress {
	return Progress{
		Calls: r.calls.Load(), Failed: r.failed.Load(), Unknown: r.unknown.Load(),
		Counted: r.counted.Load(), Searched: r.searched.Load(), Broken: r.broken.Load(),
		WatchEvents: r.watchEvents.Load(), WatchResumes: r.watchResumes.Load(), WatchGaps: r.watchGaps.Load(),
		Revoked: r.revoked.Load(), RevokedNotified: r.told.Load(),
	}
}

// Stop ends the load and waits for what is in flight.
func (r *Run) Stop() {
	r.stop()
	r.mu.Lock()
	e := r.epoch
	r.mu.Unlock()
	e.cancel()
	r.workers.Wait()
}

// Report is the outcome of a run.
type Report struct {
	Progress
	Epochs    int
	Undecided int      // epochs that porcupine could not decide in time
	Unchecked []string `json:",omitempty"` // what there was no time for
	Largest   int      // operations of the largest history
}

// Finish looks at what is left when the load has ended and the grid is at full
// strength, and returns the outcome. What it has no time for before ctx ends is
// in it by name.
func (r *Run) Finish(ctx context.Context) Report {
	r.mu.Lock()
	last := r.epoch
	r.closing.Add(1)
	r.mu.Unlock()
	r.close(last)
	r.closing.Wait()
	var unchecked []string
	for _, c := range r.checks {
		err := c.run(ctx)
		switch {
		case err != nil && ctx.Err() != nil:
			unchecked = append(unchecked, c.name)
		case err != nil:
			r.violates(c.name, "%v", err)
		}
	}
	r.mu.Lock()
	again, unsettled := r.undecided, r.unsettled
	r.undecided, r.unsettled = nil, nil
	r.mu.Unlock()
	for _, w := range unsettled {
		late, cancel := context.WithTimeout(ctx, settleTime)
		w.close(late, true)
		w.clean(ctx)
		cancel()
	}
	for _, e := range again {
		if ctx.Err() != nil || !r.decide(e, lateCheckTime) {
			r.undecided = append(r.undecided, e)
		}
	}
	return Report{Progress: r.Progress(), Epochs: r.epochs, Undecided: len(r.undecided), Unchecked: unchecked, Largest: r.largest}
}

// atEnd has a check run when all is over.
func (r *Run) atEnd(name string, f func(context.Context) error) {
	r.checks = append(r.checks, check{name, f})
}

// patiently repeats an operation of the last checks until it is answered.
func patiently(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, quorate.ErrInvalid) {
			return err
		}
		t := time.NewTimer(100 * time.Millisecond)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return err
		}
	}
}

func has(list []error, err error) bool {
	return slices.ContainsFunc(list, func(e error) bool { return errors.Is(err, e) })
}
