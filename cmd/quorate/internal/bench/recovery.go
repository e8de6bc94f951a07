package bench

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/cmd/quorate/internal/member"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

type benchRecovery struct {
	Sizes      []int         `default:"1,10,100" help:"MB of data, one grid for each." placeholder:"N,..."`
	Durability string        `default:"memory" enum:"disk,memory" help:"disk or memory; on disk the data of the member that is killed is removed." placeholder:"memory"`
	Rounds     int           `default:"6" help:"Members killed for each size." placeholder:"N"`
	ValueSize  int           `default:"1000" help:"Bytes of a value." placeholder:"B"`
	Writers    int           `default:"4" help:"Writes in flight meanwhile." placeholder:"N"`
	Patience   time.Duration `default:"5m" help:"How long to wait for a grid to be fully replicated again." placeholder:"D"`
	Seed       uint64        `help:"Seed of the choice of members." placeholder:"S"`
	Keep       bool          `help:"Keep the members' data and logs."`
}

// Help is the long help of the command.
func (benchRecovery) Help() string {
	return `Starts three member processes and fills a map. Then, under writes, kills one member after the other (SIGKILL), each after all groups are fully replicated again, and takes the time until they are, and how much memory is resident in a member: at most before the first kill, and at most until the groups are fully replicated again. Exit status 1 if an operation failed or anything acknowledged is lost.`
}

// Run runs the command.
func (cmd *benchRecovery) Run(ctx context.Context, a *cli.App) error {
	if cmd.Seed == 0 {
		cmd.Seed = rand.Uint64()
	}
	a.Note("seed %d", cmd.Seed)
	fmt.Fprintln(a.Stdout, "DURABILITY  MB    KILLS  P50     MAX     RESIDENT  PEAK      WRITES")
	for _, size := range cmd.Sizes {
		r := recovery{benchRecovery: *cmd, App: a, random: rand.New(rand.NewPCG(cmd.Seed, uint64(size)))}
		if err := r.run(ctx, size); err != nil {
			return cli.No(fmt.Errorf("%d MB, seed %d: %w", size, cmd.Seed, err))
		}
		slices.Sort(r.took)
		fmt.Fprintf(a.Stdout, "%-10s  %-4d  %-5d  %-6s  %-6s  %-8s  %-8s  %d\n", cmd.Durability, size, len(r.took),
			r.took[len(r.took)/2].Round(10*time.Millisecond), r.took[len(r.took)-1].Round(10*time.Millisecond),
			fmt.Sprint(r.settled>>20, " MiB"), fmt.Sprint(r.peak>>20, " MiB"), r.acknowledged)
	}
	return nil
}

// recovery is the run for one size.
type recovery struct {
	benchRecovery
	*cli.App
	random *rand.Rand
	grid   *procgrid.Grid
	client *client.Client
	took   []time.Duration

	settled uint64 // bytes resident in a member, at most, before the first kill
	peak    uint64 // the same since then

	mu           sync.Mutex // guards what follows
	acknowledged int64
	failed       error
}

func (r *recovery) run(ctx context.Context, size int) (err error) {
	dir, err := os.MkdirTemp("", "quorate-recovery-")
	if err != nil {
		return err
	}
	if r.Keep {
		r.Note("data and logs are in %s", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	if r.grid, err = procgrid.New(dir, 3); err != nil {
		return err
	}
	r.grid.Durability = r.Durability
	r.client, err = r.grid.StartAll(ctx)
	defer func() { _ = r.grid.Stop(30 * time.Second) }()
	if err != nil {
		return err
	}
	defer r.client.Close()
	keys := size * 1_000_000 / r.ValueSize
	data := dmap.New[int, []byte](r.client, "data")
	if err := data.PutAll(ctx, r.entries(keys)); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	if _, err := r.waitFull(ctx); err != nil {
		return err
	}
	r.settled, r.peak = r.peak, 0
	working, stop := context.WithCancel(ctx)
	var writers sync.WaitGroup
	for w := range r.Writers {
		writers.Go(func() { r.write(ctx, working, w) })
	}
	for round := 0; round < r.Rounds && err == nil; round++ {
		err = r.kill(ctx, round, size)
	}
	stop()
	writers.Wait()
	if err = errors.Join(err, r.failed); err != nil {
		return err
	}
	return r.check(ctx, data, keys)
}

func (r *recovery) entries(n int) iter.Seq2[int, []byte] {
	value := make([]byte, r.ValueSize)
	return func(yield func(int, []byte) bool) {
		for i := range n {
			if !yield(i, value) {
				return
			}
		}
	}
}

// write adds to a counter and puts what it counted into a map, until working
// ends.
func (r *recovery) write(ctx, working context.Context, w int) {
	counter := dcounter.New(r.client, fmt.Sprint("hits", w))
	log := dmap.New[string, int64](r.client, "log")
	for working.Err() == nil {
		n, err := counter.Add(ctx, 1)
		if err == nil {
			err = log.Put(ctx, fmt.Sprintf("%d/%d", w, n), n)
		}
		r.mu.Lock()
		if err != nil {
			r.failed = errors.Join(r.failed, err)
			r.mu.Unlock()
			return
		}
		r.acknowledged++
		r.mu.Unlock()
	}
}

// kill kills a member, starts it again, without data, and takes the time until
// the grid is full.
func (r *recovery) kill(ctx context.Context, round, size int) error {
	m := r.grid.Members[r.random.IntN(len(r.grid.Members))]
	if err := m.Process.Signal((*os.Process).Kill); err != nil {
		return err
	}
	_ = m.Process.Wait(10 * time.Second)
	if r.Durability == "disk" {
		if err := os.RemoveAll(filepath.Join(r.grid.Dir, m.Name)); err != nil {
			return err
		}
	}
	if err := r.grid.Start(m); err != nil {
		return err
	}
	took, err := r.waitFull(ctx)
	if err != nil {
		return err
	}
	r.took = append(r.took, took)
	r.Note("%d MB, kill %d of %d: %s full again after %s", size, round+1, r.Rounds, m.Name, took.Round(time.Millisecond))
	return nil
}

// waitFull waits until all members answer and nothing is missing.
func (r *recovery) waitFull(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	for {
		for _, m := range r.grid.Members {
			r.peak = max(r.peak, usageOf(m.Process.PID()).Resident)
		}
		lines := member.MergeStatus(cli.AskAll(ctx, r.grid.Addresses(), 3*time.Second)).Warnings()
		if len(lines) == 0 {
			return time.Since(began), nil
		}
		if err := contexts.Sleep(ctx, 20*time.Millisecond); err != nil {
			return 0, fmt.Errorf("not fully replicated again within %s: %v", r.Patience, lines)
		}
	}
}

// check compares what is there with what was acknowledged.
func (r *recovery) check(ctx context.Context, data *dmap.Map[int, []byte], keys int) error {
	total := int64(0)
	for w := range r.Writers {
		n, err := dcounter.New(r.client, fmt.Sprint("hits", w)).Get(ctx)
		if err != nil {
			return err
		}
		total += n
	}
	logged, err := dmap.New[string, int64](r.client, "log").Len(ctx)
	if err != nil {
		return err
	}
	filled, err := data.Len(ctx)
	if err != nil {
		return err
	}
	if total != r.acknowledged || int64(logged) != r.acknowledged || filled != keys {
		return fmt.Errorf("%d writes were acknowledged: the counters say %d, the map has %d; of %d entries %d are there",
			r.acknowledged, total, logged, keys, filled)
	}
	return nil
}
