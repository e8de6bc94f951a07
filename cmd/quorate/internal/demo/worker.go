package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/config"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// Names of what the demo keeps in the grid.
const (
	demoQueue     = "demo-files"     // queue of file names; an empty one says that there are no more
	demoSemaphore = "demo-open"      // semaphore: files open at once
	demoMap       = "demo-counts"    // map from word to count
	demoFiles     = "demo-files"     // counter of files
	demoWords     = "demo-words"     // counter of words
	demoAdds      = "demo-adds"      // counter of additions to the map
	demoSetting   = "demo-settings"  // ref: the settings of worker processes, changed while they work
	demoPermits   = 4                // of the semaphore
	demoPatience  = 10 * time.Minute // of one operation: longer than any outage of the demo
)

// DemoWorkerCommand is one of the demo's worker processes. It reports on
// stdout, one demoReport a line.
type DemoWorkerCommand struct {
	Endpoints []string `required:""`
	Root      string   `required:"" help:"Directory the file names are relative to."`
	Workers   int      `default:"4"`
}

// demoSettings are what all worker processes follow.
type demoSettings struct{ ReportEvery time.Duration }

func (s demoSettings) check() error {
	if s.ReportEvery < time.Millisecond {
		return fmt.Errorf("a report every %v", s.ReportEvery)
	}
	return nil
}

// demoReport is what happened in a worker process since the last one.
type demoReport struct {
	Files, Words, Adds int64
	Acks               []int64       // when operations were acknowledged, in Unix nanoseconds
	Held               [][2]int64    // from when to when a permit was held
	Every              time.Duration // the setting, when it has changed
	Stats              *client.Stats // in the last report
}

// Run runs the command.
func (cmd *DemoWorkerCommand) Run(ctx context.Context, a *cli.App) error {
	// The demo has ended when stdin closes.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = bufio.NewReader(a.Stdin).ReadByte()
		cancel()
	}()
	c, err := client.Dial(ctx, cmd.Endpoints, client.WithOperationTimeout(demoPatience), client.WithName("demo worker"))
	if err != nil {
		return err
	}
	defer c.Close()
	w := &demoWorker{
		root: cmd.Root, queue: dqueue.New[string](c, demoQueue), semaphore: dsemaphore.New(c, demoSemaphore),
		counts: dmap.New[string, int64](c, demoMap), files: dcounter.New(c, demoFiles),
		words: dcounter.New(c, demoWords), adds: dcounter.New(c, demoAdds),
	}
	settings, err := config.Follow(ctx, config.Ref(dref.New[demoSettings](c, demoSetting)), config.Default(demoSettings{100 * time.Millisecond}), config.Validate(demoSettings.check))
	if err != nil {
		return err
	}
	defer settings.Close()
	errs := make([]error, cmd.Workers)
	var workers sync.WaitGroup
	for i := range cmd.Workers {
		workers.Go(func() { errs[i] = w.work(ctx) })
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		workers.Wait()
	}()
	out, every := json.NewEncoder(a.Stdout), settings.Load().ReportEvery
	for running := true; running; {
		select {
		case <-ended:
			running = false
		case <-time.After(every):
		}
		r := w.takeReport()
		if now := settings.Load().ReportEvery; now != every {
			every, r.Every = now, now
		}
		if !running {
			stats := c.Stats()
			r.Stats = &stats
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	return errors.Join(errs...)
}

// demoWorker is what the workers of a process share.
type demoWorker struct {
	root               string
	queue              *dqueue.Queue[string]
	semaphore          *dsemaphore.Semaphore
	counts             *dmap.Map[string, int64]
	files, words, adds *dcounter.Counter

	mu     sync.Mutex
	report demoReport
}

// work takes file names until an empty one.
func (w *demoWorker) work(ctx context.Context) error {
	for {
		file, err := w.queue.Take(ctx)
		if err != nil {
			return err
		}
		w.acknowledged()
		if file == "" {
			return nil
		}
		if err := w.count(ctx, file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
}

// count counts the words of a file into the map, holding a permit while the
// file is open.
func (w *demoWorker) count(ctx context.Context, file string) error {
	permit, err := w.semaphore.Acquire(ctx, 1)
	if err != nil {
		return err
	}
	from := time.Now().UnixNano()
	w.acknowledged()
	words, adds, err := w.merge(ctx, file)
	to := time.Now().UnixNano()
	if err := errors.Join(err, permit.Release(ctx)); err != nil {
		return err
	}
	w.acknowledged()
	for _, add := range []struct {
		counter *dcounter.Counter
		n       int64
	}{{w.files, 1}, {w.words, words}, {w.adds, adds}} {
		if _, err := add.counter.Add(ctx, add.n); err != nil {
			return err
		}
		w.acknowledged()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.Files++
	w.report.Words += words
	w.report.Adds += adds
	w.report.Held = append(w.report.Held, [2]int64{from, to})
	return nil
}

// merge opens a file, counts its words and adds the counts to the map.
func (w *demoWorker) merge(ctx context.Context, file string) (words, adds int64, err error) {
	text, err := os.ReadFile(filepath.Join(w.root, file))
	if err != nil {
		return 0, 0, err
	}
	counts := map[string]int64{}
	words = countWords(text, counts)
	if err := dmap.AddAll(ctx, w.counts, maps.All(counts)); err != nil {
		return 0, 0, err
	}
	w.acknowledged()
	return words, int64(len(counts)), nil
}

// acknowledged notes that the grid has answered.
func (w *demoWorker) acknowledged() {
	now := time.Now().UnixNano()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.report.Acks = append(w.report.Acks, now)
}

// takeReport returns what happened since it was called last.
func (w *demoWorker) takeReport() demoReport {
	w.mu.Lock()
	defer w.mu.Unlock()
	r := w.report
	w.report = demoReport{}
	return r
}
