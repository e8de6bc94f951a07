package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/bench"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dmap"
)

type benchOverload struct {
	Duration   time.Duration `default:"30s" help:"How long to overload." placeholder:"D"`
	Peak       time.Duration `default:"5s" help:"How long each closed loop runs that looks for the peak." placeholder:"D"`
	Times      float64       `default:"3" help:"Times the peak that are offered." placeholder:"N"`
	Deadline   time.Duration `default:"1s" help:"What an operation may take to count." placeholder:"D"`
	Durability string        `default:"disk" enum:"disk,memory" help:"disk or memory." placeholder:"disk"`
	ValueSize  int           `default:"8192" help:"Bytes of a value." placeholder:"B"`
	Keys       int           `default:"10000" help:"Keys." placeholder:"N"`
	Clients    int           `default:"4" help:"Clients, with connections of their own." placeholder:"N"`
	Limit      int64         `default:"1024" help:"MiB of memory that each member has (GOMEMLIMIT)." placeholder:"N"`
	InFlight   []int         `default:"64,256,1024" help:"Operations in flight of the closed loops." placeholder:"N"`
	MostOpen   int           `default:"100000" help:"Operations under way at most; what is due beyond it is not started, and counts as failed." placeholder:"N"`
	Profile    string        `help:"Write a CPU profile of the load to F." placeholder:"F"`
	Workload   string        `default:"a" enum:"a,put,c" help:"a, put or c." placeholder:"a"`
}

// Help is the long help of the command.
func (benchOverload) Help() string {
	return `Starts three member processes, finds how many operations a second they carry out in a closed loop, and then starts three times as many, whatever becomes of them, each with a deadline. Prints how many are done within it, against the peak, how long the members' queues were, what memory was resident, and the closed loop again afterwards. Exit status 1 where less than 80 % is done. The load is made on the same machine: it takes from the members what it costs.`
}

const overloadTarget = 0.8

// Run runs the command.
func (cmd *benchOverload) Run(ctx context.Context, a *app) (err error) {
	dir, err := os.MkdirTemp("", "quorate-overload-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	g, err := newLocalGrid(dir, 3)
	if err != nil {
		return err
	}
	g.durability = cmd.Durability
	g.env = []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", cmd.Limit)}
	defer func() { err = errors.Join(err, g.stop(30*time.Second)) }()
	first, err := g.startAll(ctx)
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
		c, err := client.Dial(ctx, g.addresses())
		if err != nil {
			return err
		}
		clients = append(clients, c)
	}
	peak, at := 0.0, 0
	for i, n := range cmd.InFlight {
		ops, err := cmd.closed(ctx, clients, n, i > 0)
		if err != nil {
			return err
		}
		a.note("closed loop, %d in flight: %.0f ops/s", n, ops)
		if ops > peak {
			peak, at = ops, n
		}
	}
	queued := []string{"quorate_group_queued_requests", "quorate_group_queued_bytes", "go_goroutines"}
	watch := watchMembers(ctx, g, queued...)
	if cmd.Profile != "" {
		f, err := os.Create(cmd.Profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
	}
	before := sumStats(clients)
	o := cmd.overload(ctx, a, clients, peak*cmd.Times)
	sent := sumStats(clients) - before
	pprof.StopCPUProfile()
	watch.close()
	after, err := cmd.closed(ctx, clients, at, true)
	if err != nil {
		return err
	}
	ratio := o.goodput() / peak
	fmt.Fprintf(a.stdout, "three members, durability %s, workload %s, %d keys, values of %d bytes, %d clients, deadline %v; %v\n\n",
		cmd.Durability, cmd.Workload, cmd.Keys, cmd.ValueSize, cmd.Clients, cmd.Deadline, cmd.Duration)
	fmt.Fprintf(a.stdout, "peak       %.0f ops/s in a closed loop of %d\n", peak, at)
	fmt.Fprintf(a.stdout, "offered    %.0f ops/s, %.1f times that; %d were not started, %d under way already\n", o.rate(), o.rate()/peak, o.dropped.Load(), cmd.MostOpen)
	fmt.Fprintf(a.stdout, "goodput    %.0f ops/s, %.0f %% of the peak (aim %.0f %%)\n", o.goodput(), 100*ratio, 100*overloadTarget)
	fmt.Fprintf(a.stdout, "sent       %d requests, repeats among them\n", sent)
	for _, why := range slices.Sorted(maps.Keys(o.errors)) {
		fmt.Fprintf(a.stdout, "failed     %d: %s\n", o.errors[why], why)
	}
	fmt.Fprintf(a.stdout, "queues     at most %.0f requests and %.1f MiB in a member; goroutines at most %.0f\n",
		watch.largest(queued[0]), watch.largest(queued[1])/(1<<20), watch.largest(queued[2]))
	fmt.Fprintf(a.stdout, "resident   at most %s\n", watch.resident())
	fmt.Fprintf(a.stdout, "afterwards %.0f ops/s, %.0f %% of the peak\n", after, 100*after/peak)
	if dead := watch.dead(); len(dead) > 0 {
		return no(errors.New("process ended: " + strings.Join(dead, "; ")))
	}
	if ratio < overloadTarget {
		return no(fmt.Errorf("goodput is %.0f %% of the peak", 100*ratio))
	}
	return nil
}

func sumStats(clients []*client.Client) (attempts uint64) {
	for _, c := range clients {
		attempts += c.Stats().Attempts
	}
	return attempts
}

// closed measures a closed loop.
func (cmd *benchOverload) closed(ctx context.Context, clients []*client.Client, inFlight int, loaded bool) (float64, error) {
	_, m, err := runBench(ctx, clients, bench.Config{
		Workload: cmd.Workload, InFlight: inFlight, Duration: cmd.Peak, Warmup: cmd.Peak / 3, Keys: cmd.Keys, ValueSize: cmd.ValueSize,
		Distribution: bench.Uniform, NoLoad: loaded,
	})
	if err != nil {
		return 0, err
	}
	return m.OpsPerSecond, nil
}

// overloading is what became of an open loop.
type overloading struct {
	took                           time.Duration
	offered, done, dropped, active atomic.Int64

	mu     sync.Mutex
	errors map[string]int
}

func (o *overloading) rate() float64    { return float64(o.offered.Load()) / o.took.Seconds() }
func (o *overloading) goodput() float64 { return float64(o.done.Load()) / o.took.Seconds() }

// overload starts rate operations a second. What is due in the first two
// seconds is not counted.
func (cmd *benchOverload) overload(ctx context.Context, a *app, clients []*client.Client, rate float64) *overloading {
	const (
		warmup = 2 * time.Second
		tick   = 2 * time.Millisecond
	)
	o := &overloading{errors: map[string]int{}, took: cmd.Duration}
	var maps []*dmap.Map[string, []byte]
	for _, c := range clients {
		maps = append(maps, dmap.New[string, []byte](c, "bench"))
	}
	writes := map[string]int{"a": 50, "put": 100, "c": 0}[cmd.Workload]
	value := make([]byte, cmd.ValueSize)
	begin := time.Now()
	// Those who carry the operations out are kept: to begin one must cost little
	// beside what it costs the members.
	jobs := make(chan job)
	var all sync.WaitGroup
	defer all.Wait()
	defer close(jobs)
	worker := func(j job) {
		for ok := true; ok; j, ok = <-jobs {
			cmd.one(ctx, o, j)
		}
	}
	started, shown := int64(0), begin
	for ctx.Err() == nil {
		now := time.Now()
		passed := now.Sub(begin)
		if passed >= warmup+cmd.Duration {
			break
		}
		counts := passed >= warmup
		for due := int64(rate * passed.Seconds()); started < due; started++ {
			if counts {
				o.offered.Add(1)
			}
			if o.active.Load() >= int64(cmd.MostOpen) {
				if counts {
					o.dropped.Add(1)
				}
				continue
			}
			o.active.Add(1)
			j := job{
				m: maps[started%int64(len(maps))], key: fmt.Sprintf("user%06d", rand.IntN(cmd.Keys)), value: value,
				write: rand.IntN(100) < writes, counts: counts, due: now,
			}
			select {
			case jobs <- j:
			default:
				all.Go(func() { worker(j) })
			}
		}
		if now.Sub(shown) >= 5*time.Second {
			shown = now
			a.note("%2.0fs: %d under way, %d done", passed.Seconds(), o.active.Load(), o.done.Load())
		}
		_ = sleep(ctx, tick)
	}
	return o
}

// job is an operation that is to be carried out.
type job struct {
	m      *dmap.Map[string, []byte]
	key    string
	value  []byte
	write  bool
	counts bool
	due    time.Time
}

// one is one operation of the open loop.
func (cmd *benchOverload) one(ctx context.Context, o *overloading, j job) {
	defer o.active.Add(-1)
	ctx, cancel := context.WithDeadline(ctx, j.due.Add(cmd.Deadline))
	defer cancel()
	var err error
	if j.write {
		err = j.m.Put(ctx, j.key, j.value)
	} else {
		_, _, err = j.m.Get(ctx, j.key)
	}
	if !j.counts {
		return
	}
	if err == nil && time.Since(j.due) <= cmd.Deadline {
		o.done.Add(1)
		return
	}
	why := "too late"
	if err != nil {
		why = bench.ErrorName(err)
	}
	o.mu.Lock()
	o.errors[why]++
	o.mu.Unlock()
}
