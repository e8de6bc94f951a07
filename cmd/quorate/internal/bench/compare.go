package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate/bench"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/cmd/quorate/internal/member"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/shardgroups/baseline"
)

type benchBaseline struct {
	InFlight  int           `default:"256"`
	Duration  time.Duration `default:"10s"`
	Warmup    time.Duration `default:"3s"`
	Keys      int           `default:"10000"`
	ValueSize int           `default:"100"`
	Storage   string        `enum:"disk,memory,memory-pebble" default:"disk"`
	Dir       string        `help:"For the logs; a temporary directory if left out."`
}

// baselineResult is what bench baseline prints.
type baselineResult struct {
	OpsPerSec float64 `json:"ops_per_sec"`
	MeanUS    float64 `json:"mean_us"`
	Errors    int64   `json:"errors"`
	LoopUS    float64 `json:"loopback_us"` // a round trip of the size of a write
}

// Run runs the command.
func (cmd *benchBaseline) Run(ctx context.Context, a *cli.App) error {
	member.TuneMemory(ctx)
	baseline.Quiet()
	dir := cmd.Dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "quorate-baseline-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	starting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	c, err := baseline.Start(starting, baseline.Storage(cmd.Storage), dir)
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := c.Run(ctx, baseline.Config{
		InFlight: cmd.InFlight, Duration: cmd.Duration, Warmup: cmd.Warmup, Keys: cmd.Keys, ValueSize: cmd.ValueSize,
	})
	if err != nil {
		return err
	}
	loop, err := baseline.LoopbackRoundTrip(ctx, cmd.ValueSize+50, min(cmd.Duration, time.Second))
	if err != nil {
		return err
	}
	micros := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	return json.NewEncoder(a.Stdout).Encode(baselineResult{r.OpsPerSecond, micros(r.Mean), r.Errors, micros(loop)})
}

type benchCompare struct {
	Output   string        `short:"o" enum:"text,json" default:"text" help:"Form of the output: text or json." placeholder:"FORM"`
	Runs     int           `help:"Runs of each, one after the other." default:"5" placeholder:"N"`
	Duration time.Duration `help:"How long each run measures." default:"10s" placeholder:"D"`
	Warmup   time.Duration `help:"How long each runs before that." default:"3s" placeholder:"D"`
	InFlight []int         `help:"Operations in flight; for 1 puts only are measured, by their mean latency." default:"1,256,1024" placeholder:"N"`
	Keys     int           `help:"Keys, chosen uniformly." default:"10000" placeholder:"N"`
	Dir      string        `help:"Where the members keep their data; a temporary directory if left out." placeholder:"D"`

	Durability string `help:"Of the grid and of the baseline: disk or memory." enum:"disk,memory" default:"disk" placeholder:"disk"`
	Log        string `help:"The baseline's log store in memory: own, as the grid's, or pebble, dragonboat's on a file system in memory." enum:"own,pebble" default:"own" placeholder:"own"`
}

// Help is the long help of the command.
func (benchCompare) Help() string {
	return `Starts three member processes on this machine and alternates runs of workload a with the baseline: three dragonboat hosts in one process, three groups, one write per log entry, proposed at the leaders, with a member's own tick, engine, log store and file system. Prints medians and their ratio. With one operation in flight it compares a put with a proposal inside the process plus a round trip over the loopback interface.

  quorate bench compare
  quorate bench compare --runs 3 --in-flight 256
  quorate bench compare --durability memory --in-flight 64,256,1024`
}

// comparison is one line of the result.
type comparison struct {
	InFlight int `json:"in_flight"`
	// Operations a second, median and all; with one in flight mean latency in
	// microseconds.
	Unit         string    `json:"unit"`
	Grid         float64   `json:"grid"`
	Baseline     float64   `json:"baseline"`
	Ratio        float64   `json:"ratio"`
	Target       float64   `json:"target,omitempty"`
	Met          bool      `json:"met"`
	GridRuns     []float64 `json:"grid_runs"`
	BaselineRuns []float64 `json:"baseline_runs"`
	Commit       string    `json:"commit"`
	Go           string    `json:"go"`
	CPUs         int       `json:"cpus"`
	Durability   string    `json:"durability"`
	Storage      string    `json:"baseline_storage"`
}

// compareTargets are what the ratio should be at least, by durability and
// operations in flight; for one operation, at most.
var compareTargets = map[string]map[int]float64{
	"disk":   {1: 1.3, 256: 4, 1024: 1.4},
	"memory": {256: 1.6, 1024: 2},
}

// storage is the baseline's.
func (cmd *benchCompare) storage() string {
	if cmd.Durability == "memory" && cmd.Log == "pebble" {
		return string(baseline.MemoryPebble)
	}
	return cmd.Durability
}

// Run runs the command.
func (cmd *benchCompare) Run(ctx context.Context, a *cli.App) (err error) {
	if cmd.Runs < 1 {
		return &cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf("--runs=%d: want at least 1", cmd.Runs)}
	}
	member.TuneMemory(ctx)
	dir := cmd.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "quorate-compare-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	g, err := procgrid.New(dir, 3)
	if err != nil {
		return err
	}
	g.Durability = cmd.Durability
	c, err := g.StartAll(ctx)
	defer func() { err = errors.Join(err, g.Stop(30*time.Second)) }()
	if err != nil {
		return err
	}
	defer c.Close()
	var all []comparison
	for _, n := range cmd.InFlight {
		line, err := cmd.compare(ctx, a, g, c, n)
		if err != nil {
			return err
		}
		all = append(all, line)
		if a.JSON {
			if err := cli.JsonEncoder(a.Stdout).Encode(line); err != nil {
				return err
			}
		}
	}
	if a.JSON {
		return nil
	}
	fmt.Fprintf(a.Stdout, "three members, durability %s, workload a, %d keys uniform, 100 byte values; baseline's log %s; median of %d runs of %v\ncommit %s, %s, %d CPUs\n\n",
		c.Durability(), cmd.Keys, cmd.storage(), cmd.Runs, cmd.Duration, bench.Commit(), runtime.Version(), runtime.NumCPU())
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "in flight\tgrid\tbaseline\tunit\tratio\ttarget\t")
	for _, l := range all {
		target := "-"
		if l.Target > 0 {
			target = fmt.Sprintf(">= %.1f", l.Target)
			if l.InFlight == 1 {
				target = fmt.Sprintf("<= %.1f", l.Target)
			}
			if !l.Met {
				target += " MISSED"
			}
		}
		fmt.Fprintf(t, "%d\t%.0f\t%.0f\t%s\t%.2f\t%s\t\n", l.InFlight, l.Grid, l.Baseline, l.Unit, l.Ratio, target)
	}
	return t.Flush()
}

// compare alternates runs at n operations in flight.
func (cmd *benchCompare) compare(ctx context.Context, a *cli.App, g *procgrid.Grid, c *client.Client, n int) (comparison, error) {
	line := comparison{
		InFlight: n, Unit: "ops/s", Target: compareTargets[cmd.Durability][n], Commit: bench.Commit(), Go: runtime.Version(),
		CPUs: runtime.NumCPU(), Durability: c.Durability(), Storage: cmd.storage(),
	}
	config := bench.Config{
		Workload: "a", InFlight: n, Duration: cmd.Duration, Warmup: cmd.Warmup, Keys: cmd.Keys, Distribution: bench.Uniform,
	}
	if n == 1 {
		config.Workload, line.Unit = "put", "us"
	}
	for run := range cmd.Runs {
		config.NoLoad = run > 0
		r, m, err := RunBench(ctx, []*client.Client{c}, config)
		if err != nil {
			return line, err
		}
		if m.FirstError != nil {
			return line, fmt.Errorf("errors while measuring: %w", m.FirstError)
		}
		base, err := cmd.baseline(ctx, g, n)
		if err != nil {
			return line, err
		}
		grid, bare := r.OpsPerSec, base.OpsPerSec
		if n == 1 {
			grid, bare = float64(m.Operations["put"].Mean)/float64(time.Microsecond), base.MeanUS+base.LoopUS
		}
		a.Note("%d in flight, run %d of %d: grid %.0f %s, baseline %.0f %s", n, run+1, cmd.Runs, grid, line.Unit, bare, line.Unit)
		line.GridRuns = append(line.GridRuns, grid)
		line.BaselineRuns = append(line.BaselineRuns, bare)
	}
	line.Grid, line.Baseline = median(line.GridRuns), median(line.BaselineRuns)
	line.Ratio = line.Grid / line.Baseline
	line.Met = line.Target == 0 || (line.Ratio >= line.Target) == (n != 1)
	return line, nil
}

// baseline measures the baseline in a process of its own.
func (cmd *benchCompare) baseline(ctx context.Context, g *procgrid.Grid, n int) (r baselineResult, err error) {
	dir := filepath.Join(g.Dir, "baseline")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	child := exec.CommandContext(ctx, g.Binary, "bench", "baseline", "--in-flight", fmt.Sprint(n), "--duration", cmd.Duration.String(),
		"--warmup", cmd.Warmup.String(), "--keys", fmt.Sprint(cmd.Keys), "--storage", cmd.storage(), "--dir", dir)
	child.Stderr = os.Stderr
	out, err := child.Output()
	if err != nil {
		return r, fmt.Errorf("baseline: %w", err)
	}
	return r, json.Unmarshal(out, &r)
}

func median(s []float64) float64 {
	s = slices.Sorted(slices.Values(s))
	if len(s)%2 == 1 {
		return s[len(s)/2]
	}
	return (s[len(s)/2-1] + s[len(s)/2]) / 2
}
