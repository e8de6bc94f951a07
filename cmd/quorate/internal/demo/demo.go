package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/bench"
	"github.com/quorate/quorate/client"
	cmdbench "github.com/quorate/quorate/cmd/quorate/internal/bench"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/dsemaphore"
)

type DemoCommand struct {
	Dir  string `help:"Count the words of the text files below D instead of those of the Go library." type:"existingdir" placeholder:"D"`
	Keep bool   `help:"Keep the members' data and logs."`

	Bench time.Duration `hidden:"" default:"10s" help:"How long the benchmark measures."`
}

// Help is the long help of the command.
func (DemoCommand) Help() string {
	return `Starts three member processes with their data on disk and two worker processes with four workers each. The workers take file names from a queue, hold one of four permits of a semaphore while a file is open, and add the counts of its words to a map. On the way the member that leads most groups is killed, and started again; while it is away a setting is changed, which all workers follow, and a watch sees the words as they are counted. At the end every count is compared with a count made without the grid. Then three scheduler processes elect a leader, which records the results of jobs as long as it leads; it is killed, and its successor goes on. Only a wrong count, or a job that was not recorded once, makes the exit status 1.

  quorate demo
  quorate demo --dir ~/documents --keep`
}

// The points at which the demo kills a member and starts it again, in percent
// of the files, and its worker processes.
const (
	demoKillAt    = 30
	demoChangeAt  = 45 // the setting, while a member is away
	demoRestartAt = 60
	demoMembers   = 3
	demoProcesses = 2
	demoWorkers   = 4 // in a process

	demoReportEvery = 50 * time.Millisecond // the setting, once it is changed
)

// demo is a run of the demo.
type demo struct {
	*cli.App
	live    bool // stdout is a terminal
	root    string
	files   []string
	counts  map[string]int64 // made without the grid
	words   int64
	grid    *procgrid.Grid
	client  *client.Client
	tally   demoTally
	took    time.Duration
	applied uint64    // requests that came again after they had been applied
	changed time.Time // when the setting was set; zero: not yet
	watched demoWatched
}

// Run runs the command.
func (cmd *DemoCommand) Run(ctx context.Context, a *cli.App) (err error) {
	began := time.Now()
	d := &demo{App: a, live: cli.IsTerminal(a.Stdout)}
	if err := d.readInput(cmd.Dir); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "quorate-demo-")
	if err != nil {
		return err
	}
	defer func() {
		if cmd.Keep || err != nil {
			d.say("data and logs are in %s", dir)
			return
		}
		_ = os.RemoveAll(dir)
	}()
	if d.grid, err = procgrid.New(dir, demoMembers); err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = d.grid.Stop(10 * time.Second)
		}
	}()
	d.say("starting %d members, durability disk, on %s", demoMembers, strings.Join(d.grid.Addresses(), " "))
	if d.client, err = d.grid.StartAll(ctx, client.WithOperationTimeout(demoPatience), client.WithName("demo")); err != nil {
		return err
	}
	defer d.client.Close()
	if err := d.prepare(ctx); err != nil {
		return err
	}
	d.watched.follow(ctx, d.client)
	if err := d.work(ctx); err != nil {
		return err
	}
	wrong, err := d.check(ctx)
	if err != nil {
		return err
	}
	wrongJobs, err := d.schedule(ctx)
	if err != nil {
		return err
	}
	d.say("")
	if err := d.bench(ctx, cmd.Bench); err != nil {
		return err
	}
	d.client.Close()
	stopped = true
	if err := d.grid.Stop(30 * time.Second); err != nil {
		d.say("shutdown: %v", err)
	} else {
		d.say("shutdown      %d members ended cleanly", demoMembers)
	}
	d.say("total         %v", time.Since(began).Round(100*time.Millisecond))
	if wrong+wrongJobs > 0 {
		return cli.No(fmt.Errorf("%d counts and %d jobs are wrong", wrong, wrongJobs))
	}
	return nil
}

// say prints a line, after what was printed of a progress line.
func (d *demo) say(format string, args ...any) {
	if d.live {
		fmt.Fprint(d.Stdout, "\r\x1b[K")
	}
	fmt.Fprintf(d.Stdout, format+"\n", args...)
}

// readInput lists the files and counts their words without the grid.
func (d *demo) readInput(dir string) (err error) {
	list := textFiles
	if d.root = dir; dir == "" {
		list = goFiles
		if d.root, err = goSource(); err != nil {
			return err
		}
	}
	if d.root, err = filepath.Abs(d.root); err != nil {
		return err
	}
	if d.files, err = list(d.root); err != nil {
		return err
	}
	if len(d.files) == 0 {
		return fmt.Errorf("there are no files to read below %s", d.root)
	}
	d.counts = map[string]int64{}
	for _, file := range d.files {
		text, err := os.ReadFile(filepath.Join(d.root, file))
		if err != nil {
			return err
		}
		d.words += countWords(text, d.counts)
	}
	d.say("input: %d files below %s, %d words, %d of them different", len(d.files), d.root, d.words, len(d.counts))
	return nil
}

// prepare puts the permits into the semaphore and the first files into the
// queue; the rest follow while the workers work.
func (d *demo) prepare(ctx context.Context) error {
	if err := dsemaphore.New(d.client, demoSemaphore).Init(ctx, demoPermits); err != nil {
		return err
	}
	return dqueue.New[string](d.client, demoQueue).Configure(ctx, dqueue.Capacity(demoBacklog))
}

// demoBacklog is the capacity of the queue of file names.
const demoBacklog = 100

// feed puts the file names, and an empty one for each worker, into the queue.
func (d *demo) feed(ctx context.Context) error {
	q := dqueue.New[string](d.client, demoQueue)
	for _, file := range d.files {
		if err := q.Put(ctx, filepath.ToSlash(file)); err != nil {
			return fmt.Errorf("put %s: %w", file, err)
		}
	}
	for range demoProcesses * demoWorkers {
		if err := q.Put(ctx, ""); err != nil {
			return err
		}
	}
	return nil
}

// work runs the workers to the end, and the accidents on the way.
func (d *demo) work(ctx context.Context) error {
	d.say("%d worker processes with %d workers each count, holding one of %d permits while a file is open", demoProcesses, demoWorkers, demoPermits)
	began := time.Now()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var all sync.WaitGroup
	run := func(f func(context.Context) error) {
		all.Go(func() {
			if err := f(ctx); err != nil {
				cancel(err)
			}
		})
	}
	run(d.feed)
	for range demoProcesses {
		run(d.runWorker)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		all.Wait()
	}()
	err := d.watch(ctx, ended)
	if err != nil {
		cancel(err)
	}
	<-ended
	d.took = time.Since(began)
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// runWorker runs one worker process and takes its reports.
func (d *demo) runWorker(ctx context.Context) error {
	r, w := io.Pipe()
	var stderr strings.Builder
	p, err := procgrid.StartProcess(procgrid.Spec{
		Command: []string{
			d.grid.Binary, "demo-worker", "--endpoints", strings.Join(d.grid.Addresses(), ","), "--root", d.root,
			"--workers", fmt.Sprint(demoWorkers),
		},
		Stdout: w, Stderr: &stderr,
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, p.Kill)()
	go func() {
		<-p.Done
		w.Close()
	}()
	for in := json.NewDecoder(bufio.NewReader(r)); ; {
		var report demoReport
		if err := in.Decode(&report); err != nil {
			break
		}
		d.tally.add(report)
	}
	if err := p.Wait(time.Minute); err != nil {
		return fmt.Errorf("worker process: %w\n%s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}

// watch shows progress, kills a member and starts it again, until ended.
func (d *demo) watch(ctx context.Context, ended <-chan struct{}) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var victim *procgrid.Member
	killed, restarted := false, false
	began := time.Now()
	lastPercent := int64(-1)
	for {
		running := true
		select {
		case <-ended:
			running = false
		case <-tick.C:
		}
		files, words, adds := d.tally.progress()
		percent := files * 100 / int64(len(d.files))
		if !killed && percent >= demoKillAt {
			killed = true
			var leads int
			victim, leads = d.grid.LeadsMost(d.client.Table())
			victim.Process.Kill()
			victim.Process = nil
			d.say("%3d %%  SIGKILL  member %s, which leads %d of %d groups", percent, victim.Name, leads, len(d.client.Table().Groups))
		}
		if killed && d.changed.IsZero() && (percent >= demoChangeAt || !running) {
			d.changed = time.Now()
			go func() { _ = d.change(ctx) }()
			d.say("%3d %%  setting  the workers shall report every %v", percent, demoReportEvery)
		}
		if killed && !restarted && (percent >= demoRestartAt || !running) {
			restarted = true
			if err := d.grid.Start(victim); err != nil {
				return err
			}
			d.say("%3d %%  started  member %s again", percent, victim.Name)
		}
		line := fmt.Sprintf("%3d %%  %d of %d files  %d words  %d adds  %.0f adds/s", percent, files, len(d.files), words, adds, float64(adds)/time.Since(began).Seconds())
		switch {
		case d.live:
			fmt.Fprintf(d.Stdout, "\r\x1b[K%s", line)
		case percent/10 != lastPercent/10 || lastPercent < 0:
			d.say("%s", line)
		}
		lastPercent = percent
		if !running {
			return contexts.Err(ctx)
		}
		for _, m := range d.grid.Members {
			if m.Process == nil {
				continue
			}
			if ended, status := m.Process.Ended(); ended {
				return fmt.Errorf("member %s ended: %v\n%s", m.Name, status, procgrid.Tail(d.grid.LogFile(m)))
			}
		}
	}
}

// change changes the setting of the workers.
func (d *demo) change(ctx context.Context) error {
	return dref.New[demoSettings](d.client, demoSetting).Set(ctx, demoSettings{demoReportEvery})
}

// check compares what the grid has counted with the truth and prints what was
// seen. It returns how many counts are wrong.
func (d *demo) check(ctx context.Context) (wrong int, err error) {
	files, words, adds := d.tally.progress()
	totals := map[string]int64{}
	for _, name := range []string{demoFiles, demoWords, demoAdds} {
		if totals[name], err = dcounter.New(d.client, name).Get(ctx); err != nil {
			return 0, err
		}
	}
	var attempts, repeats uint64
	for _, s := range append(d.tally.stats, d.client.Stats()) {
		attempts += s.Attempts
		repeats += s.Repeats
	}
	d.applied = d.answeredFromRecords(ctx)
	wrongWords, err := d.differences(ctx)
	if err != nil {
		return 0, err
	}
	d.say("")
	d.say("files         %d", totals[demoFiles])
	d.say("words         %d", totals[demoWords])
	d.say("adds          %d in %v, %.0f a second", totals[demoAdds], d.took.Round(100*time.Millisecond), float64(adds)/d.took.Seconds())
	d.say("longest gap   %v between acknowledgements", d.tally.longestGap().Round(time.Millisecond))
	d.say("repeated      %d of %d requests; %d of them had been applied already and were answered from the record", repeats, attempts, d.applied)
	d.say("permits       at most %d of %d held at once", d.tally.mostHeld(), demoPermits)
	n, last := d.tally.followers()
	if n > 0 {
		d.say("setting       followed by %d of %d worker processes %v after it was changed", n, demoProcesses, last.Sub(d.changed).Round(time.Millisecond))
	}
	seen, changes := d.watched.await(totals[demoWords])
	d.say("watched       %d words, in %d changes of their counter", seen, changes)
	for _, l := range []struct {
		what      string
		got, want int64
	}{
		{"counter of files", totals[demoFiles], int64(len(d.files))},
		{"counter of words", totals[demoWords], d.words},
		{"counter of adds", totals[demoAdds], adds},
		{"files the workers report", files, int64(len(d.files))},
		{"words the workers report", words, d.words},
		{"words the watch has seen", seen, d.words},
	} {
		if l.got != l.want {
			wrong++
			d.say("WRONG         %s: %d, but it should be %d", l.what, l.got, l.want)
		}
	}
	if most := d.tally.mostHeld(); most > demoPermits {
		wrong++
		d.say("WRONG         %d permits were held at once, there are %d", most, demoPermits)
	}
	for _, w := range wrongWords[:min(len(wrongWords), 10)] {
		d.say("WRONG         %s", w)
	}
	d.say("differences   %d, of %d words compared with a count made without the grid", len(wrongWords), len(d.counts))
	return wrong + len(wrongWords), nil
}

// differences compares the map with the counts made without the grid, word by
// word.
func (d *demo) differences(ctx context.Context) ([]string, error) {
	m := dmap.New[string, int64](d.client, demoMap)
	missing := make(map[string]int64, len(d.counts))
	maps.Copy(missing, d.counts)
	var wrong []string
	for e, err := range m.All(ctx) {
		if err != nil {
			return nil, fmt.Errorf("read the counts: %w", err)
		}
		if want := d.counts[e.Key]; want != e.Value {
			wrong = append(wrong, fmt.Sprintf("%q: %d, but it should be %d", e.Key, e.Value, want))
		}
		delete(missing, e.Key)
	}
	for w, n := range missing {
		wrong = append(wrong, fmt.Sprintf("%q: missing, but it should be %d", w, n))
	}
	sort.Strings(wrong)
	return wrong, nil
}

// answeredFromRecords returns how many requests came again after they had been
// applied. Every replica counts them as it applies: the largest count of each
// group is the one of a member that has been there throughout.
func (d *demo) answeredFromRecords(ctx context.Context) uint64 {
	most := map[uint64]uint64{}
	for _, a := range cli.AskAll(ctx, d.grid.Addresses(), 3*time.Second) {
		for _, g := range a.Status.Groups {
			most[g.ID] = max(most[g.ID], g.Repeats)
		}
	}
	var sum uint64
	for _, n := range most {
		sum += n
	}
	return sum
}

// bench measures workload a.
func (d *demo) bench(ctx context.Context, measure time.Duration) error {
	waiting, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := procgrid.Settled(waiting, d.client, demoMembers); err != nil {
		d.say("the benchmark runs while %v", err)
	}
	r, m, err := cmdbench.RunBench(ctx, []*client.Client{d.client}, bench.Config{
		Workload: "a", InFlight: 256, Duration: measure, Warmup: 2 * time.Second, Distribution: bench.Uniform,
		Progress: func(p bench.Progress) {
			if d.live {
				fmt.Fprintf(d.Stdout, "\r\x1b[Kbenchmark, %s: %.0f operations a second", p.Phase, p.Rate)
			}
		},
	})
	if err != nil {
		return errors.Join(errors.New("benchmark"), err)
	}
	if m.FirstError != nil {
		d.say("benchmark     an error: %v", m.FirstError)
	}
	get, put := m.Operations["get"], m.Operations["put"]
	d.say("benchmark     %.0f operations a second for %v: 50 %% put (p50 %v, p99 %v), 50 %% get (p50 %v, p99 %v), %d in flight, durability %s",
		r.OpsPerSec, measure, round(put.P50), round(put.P99), round(get.P50), round(get.P99), 256, r.Durability)
	return nil
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Microsecond) }
