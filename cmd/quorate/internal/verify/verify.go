package verify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/verify/nemesis"
)

type VerifyCommands struct {
	Run    verifyRun    `cmd:"" default:"withargs" help:"Use all structures under faults and check what came back."`
	Faults verifyFaults `cmd:"" help:"List the faults, and which of them this machine cannot have."`
	Gap    verifyGap    `cmd:"" help:"Measure how long writes stop when a leader is killed, paused or cut off."`
	Client verifyClient `cmd:"" hidden:"" help:"A client process that holds a permit and waits."`
	Writer verifyWriter `cmd:"" hidden:"" help:"A client process that holds a lock and writes."`
	Flood  verifyFlood  `cmd:"" hidden:"" help:"A process of hostile connections."`
}

// verifyGrid is the flags of what starts a grid to do things to.
type verifyGrid struct {
	Members    int    `help:"Members of the grid that is started." default:"3" placeholder:"N"`
	Durability string `help:"Durability of the grid that is started: ${enum}." enum:"disk,memory" default:"disk" placeholder:"D"`
	Dir        string `help:"For data, logs and what a broken promise leaves; a temporary directory if left out, kept if a promise broke." placeholder:"D"`
	Network    string `help:"What is between members: ${enum}. netns: each in a network namespace of its own (Linux, root); proxy: a proxy before each; auto: netns if it works; direct: nothing, and no faults of the network." enum:"auto,netns,proxy,direct" default:"auto" placeholder:"KIND"`
	History    int    `help:"Bytes of changes that each group of the grid that is started keeps for watches: few make gaps common; 0: as many as usual." default:"0" placeholder:"N"`

	smallDisk bool
}

type verifyRun struct {
	verifyGrid
	Endpoints []string      `help:"Verify the grid at these addresses instead of starting one; its processes are left alone." placeholder:"A,B"`
	Faults    []string      `help:"Faults and families of faults: see quorate verify faults. no-NAME takes one away." default:"all" placeholder:"LIST"`
	Duration  time.Duration `help:"How long the faults go on." default:"1m" placeholder:"D"`
	Count     int           `help:"End after N faults, however long it takes, instead of after --duration." placeholder:"N"`
	Clients   int           `help:"Clients, each with connections and a session of its own." default:"8" placeholder:"N"`
	Rate      float64       `help:"Operations a second to aim at while nothing is wrong; 0: as many as there are." default:"2500" placeholder:"R"`
	Epoch     time.Duration `help:"How long a history is that porcupine decides." default:"10s" placeholder:"D"`
	Seed      uint64        `help:"Seed of the random choices." placeholder:"S"`
	Output    string        `short:"o" help:"Form of the output: text, or json for one object." enum:"text,json" default:"text" placeholder:"FORM"`
}

// Help is the long help of the command.
func (verifyRun) Help() string {
	return `Starts a grid of member processes on this machine, uses all structures from many clients while members are killed, stopped, cut off and damaged, and finds out whether every promise was kept: histories of a few objects by porcupine, everything by counting, and at the end the hashes of all replicas. The seed repeats the choices, not the timing of processes.

Exit status 1, with the history as lines of JSON and as a page that shows it, where a promise was broken. A first signal stops the load and has what was done checked, exit status 130 if no promise was broken; a second one ends everything at once.

  quorate verify
  quorate verify --duration 10m --durability memory
  quorate verify --faults network,no-corrupt --seed 7
  quorate verify --history 65536
  quorate verify --durability memory --faults kill-leader,kill-follower --count 100
  quorate verify --endpoints 10.0.0.1:7170,10.0.0.2:7170 --faults clients`
}

// Validate checks what the grammar cannot.
func (cmd *verifyRun) Validate() error {
	if cmd.Duration <= 0 || cmd.Epoch <= 0 || cmd.Rate < 0 {
		return errors.New("--duration and --epoch must be positive, and --rate not negative")
	}
	if cmd.Count < 0 {
		return errors.New("--count must not be negative")
	}
	if cmd.Clients < 1 || cmd.Members < 1 {
		return errors.New("--clients and --members: want at least 1")
	}
	_, err := nemesis.Choose(cmd.Faults)
	return err
}

// config returns the grid that the flags ask for, below dir.
func (cmd *verifyGrid) config(dir string) (nemesis.Config, error) {
	binary, err := os.Executable()
	cfg := nemesis.Config{
		Command: []string{binary, "start"}, Dir: dir, Members: cmd.Members, Durability: cmd.Durability, Network: cmd.Network, SmallDisk: cmd.smallDisk,
	}
	if cmd.History > 0 {
		cfg.Arguments = []string{"--history-bytes", strconv.Itoa(cmd.History)}
	}
	return cfg, err
}

// makeDir returns the directory of a run, and what removes it again where it
// is a temporary one.
func (cmd *verifyGrid) makeDir() (dir string, remove func(), err error) {
	if cmd.Dir == "" {
		dir, err = os.MkdirTemp("", "quorate-verify-")
		return dir, func() { _ = os.RemoveAll(dir) }, err
	}
	dir, err = filepath.Abs(cmd.Dir)
	return dir, func() {}, errors.Join(err, os.MkdirAll(dir, 0o700))
}

// start starts the grid and waits until it is fully replicated.
func (cmd *verifyGrid) start(ctx context.Context, dir string) (*nemesis.Grid, error) {
	cfg, err := cmd.config(dir)
	if err != nil {
		return nil, err
	}
	g, err := nemesis.New(cfg)
	if err != nil {
		return nil, err
	}
	if err = g.StartAll(); err == nil {
		err = g.AwaitFull(ctx)
	}
	if err != nil {
		crashes := g.Crashes()
		g.Close()
		return nil, fmt.Errorf("start the grid: %w\n%s", err, strings.Join(crashes, "\n"))
	}
	return g, nil
}

// Run runs the command.
func (cmd *verifyRun) Run(ctx context.Context, a *cli.App) error {
	if cmd.Seed == 0 {
		cmd.Seed = rand.Uint64() >> 32
	}
	dir, remove, err := cmd.makeDir()
	if err != nil {
		return err
	}
	asked, _ := nemesis.Choose(cmd.Faults)
	cmd.smallDisk = slices.ContainsFunc(asked, func(f nemesis.Fault) bool { return f.Name == "disk-full" })
	v := &verification{App: a, cmd: cmd, dir: dir, began: time.Now(), rng: rand.New(rand.NewPCG(cmd.Seed, 0))}
	defer v.close()
	if err := v.prepare(ctx); err != nil {
		v.close()
		remove()
		if ctx.Err() != nil {
			return interrupted("interrupted before anything was checked")
		}
		return err
	}
	defer context.AfterFunc(ctx, func() {
		a.Note("interrupted: the load stops, what was done is checked; a second signal ends everything at once")
	})()
	v.run(ctx)
	report := v.finish(ctx)
	if a.JSON {
		err = cli.JsonEncoder(a.Stdout).Encode(report)
	} else {
		_, err = fmt.Fprint(a.Stdout, report)
	}
	if err != nil {
		return err
	}
	if len(report.Violations) > 0 || !report.Passed && !report.Interrupted {
		a.Note("quorate: data, logs and histories are in %s", dir)
		return &cli.ExitError{Code: cli.ExitNo, Err: cli.ErrSilent}
	}
	v.close()
	remove()
	if report.Interrupted {
		return &cli.ExitError{Code: cli.ExitInterrupted, Err: cli.ErrSilent} // the report has said so
	}
	return nil
}

// interrupted is the error of a command that a signal has ended.
func interrupted(what string) error {
	return &cli.ExitError{Code: cli.ExitInterrupted, Err: errors.New(what)}
}

type verifyFaults struct {
	verifyGrid
	Output string `short:"o" help:"Form of the output: text, or json for one object a line." enum:"text,json" default:"text" placeholder:"FORM"`
}

// Run runs the command.
func (cmd *verifyFaults) Run(_ context.Context, a *cli.App) error {
	dir, err := os.MkdirTemp("", "quorate-verify-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd.smallDisk = true
	cfg, err := cmd.config(dir)
	if err != nil {
		return err
	}
	g, err := nemesis.New(cfg)
	if err != nil {
		return err
	}
	defer g.Close()
	kind, lacks := g.NetworkKind()
	a.Note("network: %s", kind)
	if lacks != "" {
		a.Note("not here: %s", lacks)
	}
	t := &nemesis.Target{Grid: g}
	family := ""
	for _, f := range nemesis.Faults() {
		if f.Family != family && !a.JSON {
			family = f.Family
			fmt.Fprintf(a.Stdout, "%s\n", family)
		}
		line, o := fmt.Sprintf("  %-18s %s", f.Name, f.About), cli.Object{"name": f.Name, "family": f.Family, "about": f.About}
		if f.OnlyByName {
			line += " (only by name)"
			o["only_by_name"] = true
		}
		if why := f.Possible(t); why != nil {
			line += fmt.Sprintf("\n  %-18s   not here: %v", "", why)
			o["impossible"] = why.Error()
		}
		if err := a.PrintLine(line, o); err != nil {
			return err
		}
	}
	return nil
}
