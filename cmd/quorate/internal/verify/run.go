package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/verify"
	"github.com/quorate/quorate/verify/nemesis"
	"github.com/quorate/quorate/verify/network"
	"github.com/quorate/quorate/verify/workloads"
)

// verification is a run of verify.
type verification struct {
	*cli.App
	cmd   *verifyRun
	dir   string
	name  string // of the run: the names of its structures begin with it
	began time.Time
	rng   *rand.Rand

	grid       *nemesis.Grid // nil: the grid of others
	seeds      []string
	cutter     *network.Cutter
	clients    []*client.Client // of the workloads
	probing    []*client.Client
	load       *workloads.Run
	probes     *workloads.Probes
	sessions   *workloads.Sessions // nil before they hold anything
	loads      int                 // of their own, so far
	faults     []nemesis.Fault
	majority   []nemesis.Fault // memory: they take the data
	impossible []string
	undone     []string // faults that could not be injected
	times      timeline
	holders    int           // client processes so far
	asked      time.Duration // for how long faults and load were to go on
	lasted     time.Duration // how long they did
	closed     sync.Once

	mu       sync.Mutex // guards what follows
	broken   []string
	files    int            // histories that were written
	done     map[string]int // faults by name
	longest  map[string]time.Duration
	worstGap time.Duration
}

// probers is how many clients the probes share.
const probers = 3

// prepare starts the grid and connects.
func (v *verification) prepare(ctx context.Context) error {
	v.done, v.longest = map[string]int{}, map[string]time.Duration{}
	v.seeds = v.cmd.Endpoints
	dial := network.Dial
	if len(v.seeds) == 0 {
		v.Note("starting %d members, durability %s, seed %d, in %s", v.cmd.Members, v.cmd.Durability, v.cmd.Seed, v.dir)
		g, err := v.cmd.start(ctx, v.dir)
		if err != nil {
			return err
		}
		kind, _ := g.NetworkKind()
		v.Note("network: %s", kind)
		v.grid, v.seeds, dial = g, g.Seeds(), g.Dial
	}
	v.cutter = network.NewCutter(dial)
	if err := v.chooseFaults(); err != nil {
		return err
	}
	for i := range v.cmd.Clients {
		// Sessions of some are soon lost in an outage, those of others outlive it.
		c, err := v.dial(ctx, fmt.Sprint("verify ", i), client.WithSessionTTL(time.Duration(3+7*(i%2))*time.Second))
		if err != nil {
			return err
		}
		v.clients = append(v.clients, c)
	}
	for range probers {
		c, err := v.dial(ctx, "verify probe")
		if err != nil {
			return err
		}
		v.probing = append(v.probing, c)
	}
	return nil
}

func (v *verification) dial(ctx context.Context, name string, opts ...client.Option) (*client.Client, error) {
	return client.Dial(ctx, v.seeds, append(opts, client.WithName(name), client.WithDialer(v.cutter.Dial))...)
}

// ours has a new client refuse a stranger, which has the address of a member and the name of
// the cluster: only the id tells them apart.
func (v *verification) ours() client.Option {
	return client.WithClusterName(v.clients[0].Cluster().String())
}

// own makes a client that can be cut off from all members alone.
func (v *verification) own(ctx context.Context, ttl time.Duration) (*client.Client, func(bool), error) {
	k := network.NewCutter(v.cutter.Dial)
	c, err := client.Dial(ctx, v.seeds, client.WithName("verify owner"), client.WithSessionTTL(ttl), client.WithDialer(k.Dial), v.ours())
	return c, func(cut bool) {
		for _, address := range v.seeds {
			k.Set(address, cut)
		}
	}, err
}

func (v *verification) target() *nemesis.Target {
	return &nemesis.Target{Grid: v.grid, Seeds: v.seeds, Clients: v.cutter, Rand: v.rng, Client: v.holder, Load: v.startLoad, StallWatches: v.stallWatches}
}

// stallWatches has half of the watches of the load read nothing for a while.
func (v *verification) stallWatches() (end func()) { return v.load.StallWatches(v.rng) }

// chooseFaults says which of the faults that were asked for cannot be had.
func (v *verification) chooseFaults() error {
	asked, err := nemesis.Choose(v.cmd.Faults)
	if err != nil {
		return err
	}
	for _, f := range asked {
		switch why := f.Possible(v.target()); {
		case why != nil:
			v.impossible = append(v.impossible, fmt.Sprintf("%s: %v", f.Name, why))
			v.Note("not possible here: %s (%s): %v", f.Name, f.About, why)
		case f.Loses == nemesis.LosesMajority && v.grid.Durability() == "memory":
			v.majority = append(v.majority, f)
		default:
			v.faults = append(v.faults, f)
		}
	}
	return nil
}

const (
	maxCounted = 6 * time.Hour    // for a number of faults
	aloneFor   = 10 * time.Second // without a fault, where only losses were asked for
)

// run loads the grid, injects faults until the time is over or a signal has come, and
// stops.
func (v *verification) run(told context.Context) {
	v.name = fmt.Sprintf("verify-%x", v.began.UnixMilli())
	v.began = time.Now()
	v.Note("load from %d clients, faults for %v", len(v.clients), v.cmd.Duration)
	v.load = workloads.Start(workloads.Config{
		Name: v.name, Clients: v.clients, Rate: v.cmd.Rate, Epoch: v.cmd.Epoch, Seed: v.cmd.Seed,
		Own: v.own, Quiet: v.times.quiet, Broken: v.breaks,
	})
	v.probes = workloads.StartProbes(v.name, v.probing, workloads.Groups(v.probing[0]), v.gap)
	if err := v.holdSessions(told); err != nil && told.Err() == nil {
		v.breaks(fmt.Sprintf("clients that hold permits cannot come: %v", err), nil, verify.Verdict{})
	}
	v.asked = v.cmd.Duration
	switch {
	case v.cmd.Count > 0:
		v.asked = maxCounted
	case len(v.faults) == 0 && len(v.majority) > 0:
		v.asked = min(v.asked, aloneFor)
	}
	over, cancel := context.WithTimeout(told, v.asked)
	defer cancel()
	reporting, stop := context.WithCancel(context.WithoutCancel(told))
	defer stop()
	reported := make(chan struct{})
	go func() {
		defer close(reported)
		v.report(reporting)
	}()
	v.torture(over, context.WithoutCancel(told))
	if v.cmd.Count > 0 {
		cancel()
	}
	<-over.Done()
	stop()
	<-reported
	if v.sessions != nil {
		v.sessions.Stop()
	}
	v.load.Stop()
	v.probes.Stop()
	v.lasted = time.Since(v.began)
}

// torture injects one fault after the other. Each that was begun is ended in
// ctx, also when the time is over.
func (v *verification) torture(over, ctx context.Context) {
	if len(v.faults) == 0 {
		return
	}
	var bag []nemesis.Fault
	for n := 0; v.cmd.Count == 0 || n < v.cmd.Count; n++ {
		if contexts.Sleep(over, time.Duration(200+v.rng.IntN(1500))*time.Millisecond) != nil {
			return
		}
		if len(bag) == 0 {
			bag = v.fill()
		}
		f := bag[0]
		bag = bag[1:]
		if !v.inject(ctx, over, f) {
			return
		}
	}
}

// fill returns each fault once, in random order, the slow ones seldom.
func (v *verification) fill() []nemesis.Fault {
	var bag []nemesis.Fault
	for _, f := range v.faults {
		if !f.Slow || len(v.faults) < 4 || v.rng.IntN(4) == 0 {
			bag = append(bag, f)
		}
	}
	if len(bag) == 0 {
		bag = append(bag, v.faults...)
	}
	v.rng.Shuffle(len(bag), func(i, j int) { bag[i], bag[j] = bag[j], bag[i] })
	return bag
}

// inject injects a fault, ends it, and waits until the grid is fully replicated. It
// reports false if the grid does not come back.
func (v *verification) inject(ctx, over context.Context, f nemesis.Fault) bool {
	v.times.begin(f.Name)
	defer v.times.end()
	in, err := f.Inject(over, v.target())
	v.times.detail(in.Detail)
	if err == nil {
		_ = contexts.Sleep(over, f.For(v.rng))
	}
	if in.Heal != nil {
		if herr := in.Heal(ctx); herr != nil {
			err = errors.Join(err, herr)
		}
	}
	var violation *nemesis.Violation
	switch {
	case err == nil:
		v.mu.Lock()
		v.done[f.Name]++
		v.mu.Unlock()
	case errors.As(err, &violation):
		v.breaks(fmt.Sprintf("after %s %s: %v", f.Name, in.Detail, violation), nil, verify.Verdict{})
	case over.Err() == nil:
		v.undone = append(v.undone, fmt.Sprintf("%s %s: %v", f.Name, in.Detail, err))
		v.Note("could not inject %s %s: %v", f.Name, in.Detail, err)
	default: // the end has cut it short
	}
	switch {
	case v.grid == nil:
		return true
	case errors.Is(over.Err(), context.Canceled):
		return false // by a signal: finish waits for the grid, without load
	}
	if err := v.grid.AwaitFull(ctx); err != nil {
		v.breaks(fmt.Sprintf("after %s %s the grid is not fully replicated again: %v", f.Name, in.Detail, err), nil, verify.Verdict{})
		return false
	}
	return true
}

// breaks notes a broken promise and writes its history.
func (v *verification) breaks(what string, h *verify.History, verdict verify.Verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fault := v.times.now()
	what = fmt.Sprintf("%v: %s (%s)", time.Since(v.began).Round(time.Millisecond), what, fault)
	v.broken = append(v.broken, what)
	v.Note("BROKEN %s", what)
	if h == nil || v.files >= 5 {
		return
	}
	v.files++
	base := filepath.Join(v.dir, fmt.Sprint("history-", v.files))
	f, err := os.Create(base + ".jsonl")
	if err == nil {
		err = errors.Join(h.WriteJSON(f), f.Close())
	}
	if err := errors.Join(err, verdict.Visualize(base+".html")); err != nil {
		v.Note("quorate: %v", err)
		return
	}
	v.Note("       its history: %s.jsonl, %s.html", base, base)
}

// gap is called with each time between two acknowledgements of a group.
func (v *verification) gap(g workloads.Gap) {
	d := g.To.Sub(g.From)
	if d < 20*time.Millisecond {
		return
	}
	fault := v.times.during(g.From, g.To)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.longest[fault] = max(v.longest[fault], d)
	v.worstGap = max(v.worstGap, d)
}

// longWait is how long a group acknowledges nothing before the reason is logged.
const longWait = 10 * time.Second

// report prints a line every few seconds.
func (v *verification) report(ctx context.Context) {
	live := cli.IsTerminal(v.Stderr)
	every := 5 * time.Second
	if live {
		every = time.Second
	}
	told := time.Now()
	for contexts.Sleep(ctx, every) == nil {
		if waiting := v.probes.Waiting(); v.grid != nil && waiting > longWait && time.Since(told) > longWait {
			told = time.Now()
			v.Note("a group has not acknowledged anything for %.1f s:\n  %s", waiting.Seconds(), strings.Join(v.grid.Views(ctx), "\n  "))
		}
		p := v.load.Progress()
		v.mu.Lock()
		faults, worst := 0, v.worstGap
		for _, n := range v.done {
			faults += n
		}
		broken := len(v.broken)
		v.mu.Unlock()
		line := fmt.Sprintf("%4.0fs of %.0fs  %8d operations  %3d faults  longest gap %5.2fs  %s",
			time.Since(v.began).Seconds(), v.asked.Seconds(), p.Calls, faults,
			max(worst, v.probes.Waiting()).Seconds(), v.times.now())
		if broken > 0 {
			line += fmt.Sprintf("  %d BROKEN", broken)
		}
		v.ProgressLine(live, line)
	}
	if live {
		fmt.Fprintln(v.Stderr)
	}
}

// How long the last checks may take.
const (
	finishTime    = 10 * time.Minute
	interruptTime = time.Minute // once a signal has come
)

// finish looks at what is left and returns the verdict. What a signal leaves no
// time for is said not to be checked.
func (v *verification) finish(told context.Context) *verifyReport {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(told), finishTime)
	defer cancel()
	defer context.AfterFunc(told, func() {
		_ = contexts.Sleep(ctx, interruptTime)
		cancel()
	})()
	r := &verifyReport{}
	look := func(what string, f func(context.Context) error) bool {
		began := time.Now()
		err := f(ctx)
		switch {
		case err == nil:
			v.Note("%s: %.1f s", what, time.Since(began).Seconds())
		case ctx.Err() != nil:
			r.Unchecked = append(r.Unchecked, what)
		default:
			v.breaks(fmt.Sprintf("%s: %v", what, err), nil, verify.Verdict{})
		}
		return err == nil
	}
	if v.grid != nil {
		look("fully replicated at the end", func(ctx context.Context) error { return errors.Join(v.grid.StartAll(), v.grid.AwaitFull(ctx)) })
	}
	look("the last histories and what is left", func(ctx context.Context) error {
		r.Report = v.load.Finish(ctx)
		return nil
	})
	for _, c := range append(v.clients, v.probing...) {
		_ = c.Close()
	}
	if v.grid != nil {
		r.Hashes = look("hashes of replicas", v.grid.Hashes)
		if told.Err() == nil {
			v.loseMajority(told, r)
		}
		look("orderly end", func(context.Context) error { return v.grid.Stop() })
		for _, c := range v.grid.Crashes() {
			v.breaks(c, nil, verify.Verdict{})
		}
		if n := v.grid.Network(); n != nil {
			r.Damaged = n.Damaged()
		}
	}
	r.Interrupted = told.Err() != nil
	v.fillReport(r)
	return r
}

func (v *verification) close() {
	v.closed.Do(func() {
		for _, c := range append(v.clients, v.probing...) {
			_ = c.Close()
		}
		if v.grid != nil {
			v.grid.Close()
		}
	})
}

// durabilityOf says what the durability of the grid at hand is.
func (v *verification) durability() string {
	if len(v.clients) > 0 {
		return v.clients[0].Durability()
	}
	return v.cmd.Durability
}
