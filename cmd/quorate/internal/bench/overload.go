package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/bench"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/structures/dmap"
)

type benchOverload struct {
	Duration   time.Duration `default:"10s" help:"How long each open loop is measured." placeholder:"D"`
	Peak       time.Duration `default:"5s" help:"How long each closed loop is measured." placeholder:"D"`
	Times      []float64     `default:"1.5,3" help:"Times the peak that are offered, one after the other." placeholder:"N"`
	Deadline   time.Duration `default:"1s" help:"What an operation may take to count." placeholder:"D"`
	Durability string        `default:"disk" enum:"disk,memory" help:"disk or memory." placeholder:"disk"`
	ValueSize  []int         `default:"128,1024,8192" help:"Bytes of a value, one after the other." placeholder:"B"`
	Keys       int           `default:"10000" help:"Keys." placeholder:"N"`
	Clients    int           `default:"4" help:"Clients, with connections of their own." placeholder:"N"`
	Limit      int64         `default:"1024" help:"MiB of memory that each member has (GOMEMLIMIT)." placeholder:"N"`
	InFlight   []int         `default:"256,1024,4096" help:"Operations in flight of the closed loops." placeholder:"N"`
	MostOpen   int           `default:"100000" help:"Operations under way at most; what is due beyond it waits, and is not begun once its deadline has passed." placeholder:"N"`
	Profile    string        `help:"Write a CPU profile of the last open loop to F." placeholder:"F"`
	Workload   string        `default:"a" enum:"a,put,c" help:"a, put or c." placeholder:"a"`
}

// Help is the long help of the command.
func (benchOverload) Help() string {
	return `Starts three member processes, finds how many operations a second they carry out in a closed loop, and then begins more than that, at times that are fixed beforehand, whatever becomes of them. What counts are those that have succeeded within the deadline from the time they were due. The peak is the mean of the best closed loop before and the same one after. Exit status 1 where less than 80 % of it is done.

Prints how long the members' and clients' queues were, what memory was resident, and what processor time members and load took for each operation that counts. The load is made on the same machine: it takes from the members what it costs.`
}

const (
	overloadTarget = 0.8
	overloadWarmup = 2 * time.Second // that does not count
)

// Run runs the command.
func (cmd *benchOverload) Run(ctx context.Context, a *cli.App) (err error) {
	// The load's own garbage is not what is measured, in closed loops neither.
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	dir, err := os.MkdirTemp("", "quorate-overload-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	g, err := procgrid.NewLimited(dir, cmd.Durability, cmd.Limit)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Stop(30*time.Second)) }()
	// A call has the time that its context gives it, or else this: a context for
	// each would cost as much as to refuse it.
	patience := client.WithOperationTimeout(cmd.Deadline)
	first, err := g.StartAll(ctx, patience)
	if err != nil {
		return err
	}
	clients := []*client.Client{first}
	defer func() {
		for _, c := range clients {
			c.Close()
		}
	}()
	for len(clients) < cmd.Clients {
		c, err := client.Dial(ctx, g.Addresses(), patience)
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	fmt.Fprintf(a.Stdout, "three members, durability %s, GOMEMLIMIT=%dMiB each; workload %s, %d keys, %d clients, deadline %v, open loops of %v\n",
		cmd.Durability, cmd.Limit, cmd.Workload, cmd.Keys, cmd.Clients, cmd.Deadline, cmd.Duration)
	var wrong []string
	for _, size := range cmd.ValueSize {
		short, err := cmd.measure(ctx, a, g, clients, size)
		if err != nil {
			return err
		}
		wrong = append(wrong, short...)
	}
	if len(wrong) > 0 {
		return cli.No(errors.New(strings.Join(wrong, "; ")))
	}
	return nil
}

// measure measures with values of one size and returns what falls short.
func (cmd *benchOverload) measure(ctx context.Context, a *cli.App, g *procgrid.Grid, clients []*client.Client, size int) (short []string, err error) {
	var peak loop
	at := 0
	for i, n := range cmd.InFlight {
		l, err := cmd.closed(ctx, g, clients, size, n, i == 0)
		if err != nil {
			return nil, err
		}
		a.Note("values of %d bytes, closed loop, %d in flight: %.0f ops/s", size, n, l.rate)
		if l.rate > peak.rate {
			peak, at = l, n
		}
	}
	for _, times := range cmd.Times {
		watch := watchMembers(ctx, g, "quorate_group_queued_requests", "quorate_group_queued_bytes", "go_goroutines")
		o, err := cmd.open(ctx, a, g, clients, size, peak.rate*times)
		watch.close()
		if err != nil {
			return nil, err
		}
		after, err := cmd.closed(ctx, g, clients, size, at, false)
		if err != nil {
			return nil, err
		}
		mean := (peak.rate + after.rate) / 2
		ratio := o.rate / mean
		fmt.Fprintf(a.Stdout, "\nvalues of %d bytes\n", size)
		fmt.Fprintf(a.Stdout, "  peak       %.0f ops/s: closed loop of %d, %.0f before and %.0f after\n", mean, at, peak.rate, after.rate)
		fmt.Fprintf(a.Stdout, "  offered    %.0f ops/s, %.1f times the one before\n", o.offered, o.offered/peak.rate)
		fmt.Fprintf(a.Stdout, "  goodput    %.0f ops/s, %.0f %% of the peak (aim %.0f %%)\n", o.rate, 100*ratio, 100*overloadTarget)
		fmt.Fprintf(a.Stdout, "  the rest   %s\n", o.rest)
		fmt.Fprintf(a.Stdout, "  sent       %.0f requests/s, repeats among them\n", o.sent)
		fmt.Fprintf(a.Stdout, "  processor  %s; closed loop: %s\n", o.costs(), peak.costs())
		fmt.Fprintf(a.Stdout, "  queues     members at most %.0f requests and %.1f MiB, goroutines %.0f; clients at most %d in flight, %d waiting for room\n",
			watch.largest("quorate_group_queued_requests"), watch.largest("quorate_group_queued_bytes")/(1<<20), watch.largest("go_goroutines"), o.inFlight, o.backlog)
		fmt.Fprintf(a.Stdout, "  resident   at most %s; the load %d MiB\n", watch.resident(), o.resident>>20)
		for _, d := range watch.dead() {
			short = append(short, "process ended: "+d)
		}
		if ratio < overloadTarget {
			short = append(short, fmt.Sprintf("%d bytes, %.1f times: goodput is %.0f %% of the peak", size, times, 100*ratio))
		}
		if peak = after; after.rate == 0 {
			return append(short, "nothing succeeds afterwards"), nil
		}
	}
	return short, nil
}

// loop is what was measured of a closed or an open loop.
type loop struct {
	rate          float64 // operations a second that count
	members, load float64 // microseconds of processor time for each of those

	// Of an open loop.
	offered, sent     float64 // operations and requests a second
	rest              string  // what became of the operations that do not count
	inFlight, backlog int     // in the clients, at most
	resident          uint64
}

func (l *loop) costs() string {
	return fmt.Sprintf("%.0f us in members and %.0f us in the load for each that counts", l.members, l.load)
}

// closed measures a closed loop.
func (cmd *benchOverload) closed(ctx context.Context, g *procgrid.Grid, clients []*client.Client, size, inFlight int, fill bool) (loop, error) {
	c := bench.Config{
		Workload: cmd.Workload, InFlight: inFlight, Duration: cmd.Peak, Warmup: cmd.Peak / 4, Keys: cmd.Keys, ValueSize: size,
		Distribution: bench.Uniform, NoLoad: true,
	}
	if fill {
		load := c
		load.NoLoad, load.Duration, load.Warmup, load.Workload = false, time.Millisecond, -1, "put"
		if _, _, err := RunBench(ctx, clients, load); err != nil {
			return loop{}, err
		}
	}
	meter := meterAfter(c.Warmup, func() time.Duration { return membersCPU(g) }, ownCPU)
	_, m, err := RunBench(ctx, clients, c)
	if err != nil {
		return loop{}, err
	}
	used := meter.stop()
	l := loop{rate: m.OpsPerSecond}
	l.cost(used, l.rate*m.Elapsed.Seconds())
	return l, nil
}

// cost notes what processor time n operations took, of members and load.
func (l *loop) cost(used []time.Duration, n float64) {
	l.members = used[0].Seconds() * 1e6 / max(n, 1)
	l.load = used[1].Seconds() * 1e6 / max(n, 1)
}

// outcomes counts what became of the operations of an open loop.
type outcomes struct {
	done, refused, late, unbegun atomic.Int64

	mu    sync.Mutex // guards other
	other map[string]int
}

// open begins rate operations a second. Which is due when, and on which key, is
// fixed beforehand.
func (cmd *benchOverload) open(ctx context.Context, a *cli.App, g *procgrid.Grid, clients []*client.Client, size int, rate float64) (loop, error) {
	var all []*dmap.Map[string, []byte]
	for _, c := range clients {
		all = append(all, dmap.New[string, []byte](c, "bench"))
	}
	keys := make([]string, cmd.Keys)
	for i := range keys {
		keys[i] = fmt.Sprintf("user%06d", i)
	}
	writes := map[string]uint64{"a": 50, "put": 100, "c": 0}[cmd.Workload]
	value := make([]byte, size)
	first := int64(rate * overloadWarmup.Seconds())
	o := outcomes{other: map[string]int{}}
	load := arrivals{
		Rate: rate, Count: first + int64(rate*cmd.Duration.Seconds()), Most: cmd.MostOpen,
		Tell: func(passed time.Duration, n int) {
			a.Note("%2.0fs: %d under way, %d done, %d refused", passed.Seconds(), n, o.done.Load(), o.refused.Load())
		},
		Do: func(i int64, due time.Time) {
			if time.Since(due) > cmd.Deadline {
				if i >= first {
					o.unbegun.Add(1)
				}
				return
			}
			r := mix(uint64(i))
			m, key := all[i%int64(len(all))], keys[r%uint64(len(keys))]
			var err error
			if r>>32%100 < writes {
				err = m.Put(ctx, key, value)
			} else {
				_, _, err = m.Get(ctx, key)
			}
			if i >= first {
				o.count(err, time.Since(due) <= cmd.Deadline)
			}
		},
	}
	stopProfile, err := cmd.profile()
	if err != nil {
		return loop{}, err
	}
	defer stopProfile()
	var l loop
	meter := meterAfter(overloadWarmup, func() time.Duration { return membersCPU(g) }, ownCPU)
	sent := make(chan uint64, 1)
	mark := time.AfterFunc(overloadWarmup, func() { sent <- sumStats(clients).Attempts })
	defer mark.Stop()
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			s := sumStats(clients)
			l.inFlight, l.backlog = max(l.inFlight, s.InFlight), max(l.backlog, s.Backlog)
			l.resident = max(l.resident, usageOf(os.Getpid()).Resident)
			select {
			case <-ended:
				return
			case <-time.After(usageEvery):
			}
		}
	}()
	load.run(ctx)
	used := meter.stop()
	close(ended)
	<-watched
	if ctx.Err() != nil {
		return l, contexts.Err(ctx)
	}
	seconds := cmd.Duration.Seconds()
	l.rate = float64(o.done.Load()) / seconds
	l.offered = float64(load.Count-first) / seconds
	l.sent = float64(sumStats(clients).Attempts-<-sent) / seconds
	l.cost(used, float64(o.done.Load()))
	l.rest = o.text()
	return l, nil
}

// profile takes a profile of the processor until it is stopped, if one is asked for.
func (cmd *benchOverload) profile() (stop func(), err error) {
	if cmd.Profile == "" {
		return func() {}, nil
	}
	f, err := os.Create(cmd.Profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}

func (o *outcomes) count(err error, inTime bool) {
	var e *quorate.Error
	switch {
	case err == nil && inTime:
		o.done.Add(1)
	case err == nil:
		o.late.Add(1)
	case errors.As(err, &e) && e.Cause == quorate.ErrOverloaded && !e.Unknown: // the rule here: it must cost little
		o.refused.Add(1)
	default:
		why := bench.ErrorName(err)
		o.mu.Lock()
		o.other[why]++
		o.mu.Unlock()
	}
}

func (o *outcomes) text() string {
	all := []string{
		fmt.Sprintf("%d refused at once or before their time was over", o.refused.Load()),
		fmt.Sprintf("%d too late", o.late.Load()), fmt.Sprintf("%d not begun", o.unbegun.Load()),
	}
	for _, why := range slices.Sorted(maps.Keys(o.other)) {
		all = append(all, fmt.Sprintf("%d %s", o.other[why], why))
	}
	return strings.Join(all, ", ")
}

// mix is SplitMix64: numbers without a pattern, fixed beforehand.
func mix(i uint64) uint64 {
	i = (i + 1) * 0x9e3779b97f4a7c15
	i = (i ^ i>>30) * 0xbf58476d1ce4e5b9
	i = (i ^ i>>27) * 0x94d049bb133111eb
	return i ^ i>>31
}

func sumStats(clients []*client.Client) (all client.Stats) {
	for _, c := range clients {
		s := c.Stats()
		all.Attempts += s.Attempts
		all.InFlight += s.InFlight
		all.Backlog += s.Backlog
	}
	return all
}
