package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/verify/nemesis"
)

type benchFull struct {
	Duration   time.Duration `default:"10m" help:"How long to go on." placeholder:"D"`
	Durability string        `default:"disk" enum:"disk,memory" help:"disk or memory." placeholder:"disk"`
	Limit      int64         `default:"512" help:"MiB of memory that each member has (GOMEMLIMIT)." placeholder:"N"`
	ValueSize  int           `default:"16384" help:"Bytes of a value." placeholder:"B"`
	Writers    int           `default:"128" help:"Writes in flight." placeholder:"N"`
	Group      bool          `name:"control-group" help:"Give each member a control group with that limit, in place of GOMEMLIMIT (Linux, root)."`
	Keep       bool          `help:"Keep the members' data and logs."`
}

// Help is the long help of the command.
func (benchFull) Help() string {
	return `Starts three member processes with little memory and writes more than that into a map, over and over: until writes are refused (ErrMemoryFull); then it stays full for a while, deletes a part, waits until writing works again, and goes on. Reads, deletes, expiry and cancelled waits go on all the time. Exit status 1 if one of them failed, a process ended, or more memory was resident than the limit. With --control-group the kernel holds each member to the limit, and ends one that takes more.`
}

// full is a run of bench full.
type full struct {
	benchFull
	*cli.App
	grid   *procgrid.Grid
	client *client.Client
	watch  *watcher
	data   *dmap.Map[int, []byte]
	value  []byte
	groups []*nemesis.ControlGroup // by member; nil: none

	offered, stored, refused, unknown atomic.Int64 // writes
	next                              atomic.Int64 // key
	wanted                            atomic.Bool  // writers write

	mu      sync.Mutex
	keys    []int // stored
	failed  map[string]int
	took    map[string][]time.Duration
	cycles  int
	cleared []time.Duration // from the first delete until a write was let in
}

const (
	fullFullFor = 10 * time.Second // stays full
	fullTTL     = 5 * time.Second
)

// Run runs the command.
func (cmd *benchFull) Run(ctx context.Context, a *cli.App) (err error) {
	dir, err := os.MkdirTemp("", "quorate-full-")
	if err != nil {
		return err
	}
	defer func() {
		if cmd.Keep {
			a.Note("data and logs are in %s", dir)
		} else {
			_ = os.RemoveAll(dir)
		}
	}()
	f := &full{benchFull: *cmd, App: a, failed: map[string]int{}, took: map[string][]time.Duration{}, value: make([]byte, cmd.ValueSize)}
	rand.Read(f.value)
	if f.grid, err = procgrid.NewLimited(dir, cmd.Durability, cmd.Limit); err != nil {
		return err
	}
	if cmd.Group {
		defer func() { err = errors.Join(err, f.ungroup()) }()
		if err := f.group(); err != nil {
			return err
		}
	}
	f.client, err = f.grid.StartAll(ctx)
	stopped := false
	defer func() {
		if !stopped {
			_ = f.grid.Stop(30 * time.Second)
		}
	}()
	if err != nil {
		return err
	}
	defer f.client.Close()
	f.data = dmap.New[int, []byte](f.client, "data")
	f.watch = watchMembers(ctx, f.grid)
	err = f.work(ctx)
	f.watch.close()
	f.client.Close()
	stopped = true
	if stop := f.grid.Stop(30 * time.Second); err == nil {
		err = stop
	}
	if err != nil {
		return err
	}
	return f.verdict()
}

// group gives each member a control group in place of GOMEMLIMIT.
func (f *full) group() error {
	f.grid.Env = nil
	for _, m := range f.grid.Members {
		g, err := nemesis.NewMemoryGroup("full-"+m.Name, f.Limit<<20)
		if err != nil {
			return err
		}
		f.groups = append(f.groups, g)
		m.Through = g.Through()
	}
	return nil
}

// ungroup removes the control groups, whose members have ended. Its error is
// also that one was ended by the kernel.
func (f *full) ungroup() error {
	var all error
	for i, g := range f.groups {
		n, err := g.Killed()
		if n > 0 {
			err = cli.No(fmt.Errorf("the kernel has ended %s for want of memory", f.grid.Members[i].Name))
		}
		all = errors.Join(all, err, g.Remove())
	}
	return all
}

// work runs all that goes on until the time is over.
func (f *full) work(ctx context.Context) error {
	permits := dsemaphore.New(f.client, "permits")
	if err := permits.Init(ctx, 1); err != nil {
		return err
	}
	held, err := permits.Acquire(ctx, 1)
	if err != nil {
		return err
	}
	// Not a deadline: the last calls would have no time for an answer.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer time.AfterFunc(f.Duration, cancel).Stop()
	var all sync.WaitGroup
	for range f.Writers {
		all.Go(func() { f.write(ctx) })
	}
	for range 4 {
		all.Go(func() { f.read(ctx) })
	}
	all.Go(func() { f.cancelWaits(ctx, permits) })
	all.Go(func() { f.expire(ctx) })
	for ctx.Err() == nil && len(f.watch.dead()) == 0 {
		f.cycle(ctx)
	}
	cancel()
	all.Wait()
	return held.Release(context.WithoutCancel(ctx))
}

// did notes an operation that should have succeeded.
func (f *full) did(ctx context.Context, what string, began time.Time, err error) {
	if err != nil && ctx.Err() != nil {
		return // the run is over
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.took[what] = append(f.took[what], time.Since(began))
	if err != nil {
		f.failed[what]++
		if f.failed[what] <= 5 {
			f.Note("%s: %v", what, err)
		}
	}
}

func (f *full) write(ctx context.Context) {
	for ctx.Err() == nil {
		if !f.wanted.Load() {
			_ = contexts.Sleep(ctx, 20*time.Millisecond)
			continue
		}
		k := int(f.next.Add(1))
		f.offered.Add(int64(f.ValueSize))
		began := time.Now()
		err := f.data.Put(ctx, k, f.value)
		switch {
		case err == nil:
			f.stored.Add(int64(f.ValueSize))
			f.mu.Lock()
			f.keys = append(f.keys, k)
			f.mu.Unlock()
		case errors.Is(err, quorate.ErrMemoryFull):
			f.refused.Add(1)
		case errors.Is(err, quorate.ErrOutcomeUnknown), errors.Is(err, quorate.ErrOverloaded), errors.Is(err, quorate.ErrUnavailable):
			f.unknown.Add(1) // too slow: it may be stored or not
		default:
			f.did(ctx, "write", began, err)
		}
	}
}

func (f *full) read(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		f.mu.Lock()
		key := -1
		if len(f.keys) > 0 {
			key = f.keys[(n*7919+n*n)%len(f.keys)]
		}
		f.mu.Unlock()
		began := time.Now()
		v, ok, err := f.data.Get(ctx, key)
		if err == nil && ok && len(v) != f.ValueSize {
			err = fmt.Errorf("key %d has %d bytes", key, len(v))
		}
		f.did(ctx, "read", began, err)
		_ = contexts.Sleep(ctx, 5*time.Millisecond)
	}
}

// cancelWaits waits for a permit that is held, and gives up.
func (f *full) cancelWaits(ctx context.Context, permits *dsemaphore.Semaphore) {
	for ctx.Err() == nil {
		began := time.Now()
		waiting, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		_, err := permits.Acquire(waiting, 1)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			err = nil
		} else if err == nil {
			err = errors.New("a permit was granted twice")
		}
		f.did(ctx, "cancel", began, err)
		_ = contexts.Sleep(ctx, 300*time.Millisecond)
	}
}

// expire writes entries that live a short time, and looks whether they go. They are
// written while there is space.
func (f *full) expire(ctx context.Context) {
	m := dmap.New[int, string](f.client, "short")
	for n := 0; ctx.Err() == nil; n++ {
		_ = contexts.Sleep(ctx, 100*time.Millisecond)
		if err := m.Put(ctx, n, "x", dmap.TTL(fullTTL)); err != nil {
			continue
		}
		put := time.Now()
		go func(k int) {
			if contexts.Sleep(ctx, fullTTL) != nil {
				return
			}
			for ctx.Err() == nil {
				_, ok, err := m.Get(ctx, k)
				if err == nil && !ok {
					f.did(ctx, "expiry", put.Add(fullTTL), nil)
					return
				}
				if time.Since(put) > fullTTL+30*time.Second {
					f.did(ctx, "expiry", put.Add(fullTTL), cmp.Or(err, errors.New("still there after 30 s")))
					return
				}
				_ = contexts.Sleep(ctx, 50*time.Millisecond)
			}
		}(n)
	}
}

// cycle fills the members, keeps them full for a while, and frees space.
func (f *full) cycle(ctx context.Context) {
	refused := f.refused.Load()
	f.wanted.Store(true)
	for ctx.Err() == nil && len(f.watch.dead()) == 0 && f.refused.Load() == refused {
		_ = contexts.Sleep(ctx, 50*time.Millisecond)
	}
	f.Note("offered %d MiB, stored %d MiB, %d refused; resident at most %s", f.offered.Load()>>20, f.stored.Load()>>20, f.refused.Load(), f.watch.resident())
	_ = contexts.Sleep(ctx, fullFullFor)
	f.wanted.Store(false)
	f.mu.Lock()
	deleted := f.keys[:len(f.keys)/2]
	f.keys = slices.Clone(f.keys[len(f.keys)/2:])
	f.mu.Unlock()
	began := time.Now()
	var deleting sync.WaitGroup
	todo := make(chan int)
	for range 16 {
		deleting.Go(func() {
			for k := range todo {
				began := time.Now()
				_, err := f.data.Delete(ctx, k)
				f.did(ctx, "delete", began, err)
			}
		})
	}
	for _, k := range deleted {
		if ctx.Err() != nil {
			break
		}
		todo <- k
	}
	close(todo)
	deleting.Wait()
	for ctx.Err() == nil {
		if err := f.data.Put(ctx, 0, f.value); err == nil {
			f.mu.Lock()
			f.cycles++
			f.cleared = append(f.cleared, time.Since(began))
			f.mu.Unlock()
			f.Note("%d deleted; %v after the first delete writing works again", len(deleted), time.Since(began).Round(time.Millisecond))
			return
		} else if time.Since(began) > 2*time.Minute {
			f.did(ctx, "write after deletes", began, err)
			return
		}
	}
}

func (f *full) verdict() error {
	var wrong []string
	limited := fmt.Sprintf("GOMEMLIMIT=%dMiB each, no control group of their own", f.Limit)
	if f.Group {
		limited = fmt.Sprintf("each in a control group of %d MiB", f.Limit)
	}
	fmt.Fprintf(f.Stdout, "three members, durability %s, %s; values of %d bytes, %d writes in flight; %v\n\n",
		f.Durability, limited, f.ValueSize, f.Writers, f.Duration)
	fmt.Fprintf(f.Stdout, "written    %d MiB offered, %d MiB acknowledged, %d writes refused (ErrMemoryFull), %d not answered in time\n",
		f.offered.Load()>>20, f.stored.Load()>>20, f.refused.Load(), f.unknown.Load())
	fmt.Fprintf(f.Stdout, "cycles     %d from full to writing again; from the first delete: %v\n", f.cycles, f.cleared)
	for _, what := range []string{"read", "delete", "cancel", "expiry"} {
		d := f.took[what]
		slices.Sort(d)
		if len(d) == 0 {
			wrong = append(wrong, "no "+what)
			continue
		}
		fmt.Fprintf(f.Stdout, "%-10s %d, %d failed; p50 %v, p99 %v, at most %v\n", what, len(d), f.failed[what],
			d[len(d)/2].Round(time.Microsecond), d[len(d)*99/100].Round(time.Microsecond), d[len(d)-1].Round(time.Microsecond))
	}
	fmt.Fprintf(f.Stdout, "resident   at most %s\n", f.watch.resident())
	for what, n := range f.failed {
		wrong = append(wrong, fmt.Sprintf("%d of %s failed", n, what))
	}
	for _, d := range f.watch.dead() {
		wrong = append(wrong, "process ended: "+d)
	}
	if f.refused.Load() == 0 {
		wrong = append(wrong, "no write was refused")
	}
	for name, n := range f.watch.peak {
		if n > uint64(f.Limit)<<20 {
			wrong = append(wrong, fmt.Sprintf("%s had %d MiB resident", name, n>>20))
		}
	}
	if len(wrong) > 0 {
		return cli.No(errors.New(strings.Join(wrong, "; ")))
	}
	fmt.Fprintln(f.Stdout, "all held")
	return nil
}
