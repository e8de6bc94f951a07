package gridtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dqueue"
)

// writers add to counters and put elements into a queue until stop, and check
// that nothing acknowledged is lost.
type writers struct {
	t       *testing.T
	c       *gridtest.Cluster
	cl      *client.Client
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	added   [4]atomic.Int64
	unknown [4]atomic.Int64
	mu      sync.Mutex // guards put
	put     map[string]bool
}

func write(t *testing.T, c *gridtest.Cluster) *writers {
	ctx, cancel := context.WithCancel(context.Background())
	w := &writers{t: t, c: c, cl: c.Client(t), cancel: cancel, put: map[string]bool{}}
	t.Cleanup(w.stop)
	q := dqueue.New[string](w.cl, "elements")
	for i := range w.added {
		n := dcounter.New(w.cl, fmt.Sprint("count", i))
		w.wg.Go(func() {
			for k := 0; ctx.Err() == nil; k++ {
				// What was begun is answered, also when the load ends.
				op, done := context.WithTimeout(context.Background(), gridtest.WaitTimeout)
				if _, err := n.Add(op, 1); err == nil {
					w.added[i].Add(1)
				} else if errors.Is(err, quorate.ErrOutcomeUnknown) {
					w.unknown[i].Add(1)
				}
				if k%8 == 0 {
					e := fmt.Sprint(i, "-", k)
					if err := q.Put(op, e); err == nil {
						w.mu.Lock()
						w.put[e] = true
						w.mu.Unlock()
					}
				}
				done()
			}
		})
	}
	return w
}

// more waits until n more operations are acknowledged by each writer.
func (w *writers) more(n int64) {
	w.t.Helper()
	var from [len(w.added)]int64
	for i := range w.added {
		from[i] = w.added[i].Load()
	}
	w.c.Eventually("the load goes on", func() bool {
		for i := range w.added {
			if w.added[i].Load() < from[i]+n {
				return false
			}
		}
		return true
	})
}

// stop ends the load.
func (w *writers) stop() {
	w.cancel()
	w.wg.Wait()
}

// check ends the load and compares.
func (w *writers) check(limit time.Duration) error {
	w.stop()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var errs []error
	for i := range w.added {
		low := w.added[i].Load()
		high := low + w.unknown[i].Load()
		v, err := dcounter.New(w.cl, fmt.Sprint("count", i)).Get(ctx)
		if err != nil {
			errs = append(errs, err)
		} else if v < low || v > high {
			errs = append(errs, fmt.Errorf("counter %d is %d, and %d to %d were added", i, v, low, high))
		}
	}
	left, err := dqueue.New[string](w.cl, "elements").Drain(ctx, 1_000_000)
	if err != nil {
		errs = append(errs, err)
	}
	for _, e := range left {
		delete(w.put, e)
	}
	if len(w.put) > 0 {
		errs = append(errs, fmt.Errorf("%d acknowledged elements are not there", len(w.put)))
	}
	return errors.Join(errs...)
}

// spoil is what happens to the data directory of a member that is down.
type spoil struct {
	name string
	// pattern is of the files of which one is spoilt by how. Without a pattern the
	// folder is deleted: the member must come back as a new incarnation. Otherwise it
	// may go on as it was: files that are of no use any more lie beside those that are.
	pattern string
	how     func(*rand.Rand, []byte, int) ([]byte, string)
	folder  string
}

var spoils = []spoil{
	{name: "raft folder deleted", folder: "raft"},
	{name: "directory deleted", folder: "."},
	{name: "write-ahead log cut", pattern: "*.log", how: cut},
	{name: "write-ahead log flipped", pattern: "*.log", how: flip},
	{name: "table flipped", pattern: "*.sst", how: flip},
	{name: "table cut", pattern: "*.sst", how: cut},
	{name: "manifest flipped", pattern: "MANIFEST-*", how: flip},
	{name: "manifest cut", pattern: "MANIFEST-*", how: cut},
	{name: "snapshot flipped", pattern: "*.gbsnap", how: flip},
	{name: "snapshot cut", pattern: "*.gbsnap", how: cut},
}

// can reports whether dir has what is to be spoilt.
func (s spoil) can(dir string) bool {
	return s.pattern == "" || len(dataFiles(dir, s.pattern)) > 0
}

// do spoils and says what.
func (s spoil) do(t *testing.T, rng *rand.Rand, dir string) string {
	t.Helper()
	if s.pattern == "" {
		remove(t, filepath.Join(dir, s.folder))
		return "deleted"
	}
	return harm(t, rng, dir, s.pattern, s.how)
}

// lostGrid is a grid whose members have snapshots and tables on disk, under
// load.
func lostGrid(t *testing.T) (*gridtest.Cluster, *writers, *rand.Rand) {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("QUORATE_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("seed %d", seed)
	c := gridtest.Start(t, 3, gridtest.WithTuning(func(cfg *shardgroups.Config) {
		cfg.SnapshotBytes, cfg.RetainBytes = 64<<10, 16<<10
	}))
	w := write(t, c)
	w.more(100)
	return c, w, rand.New(rand.NewPCG(seed, 0))
}

// rounds is how often a test does what it does: once, or as QUORATE_SOAK says.
func rounds() int {
	n, _ := strconv.Atoi(os.Getenv("QUORATE_SOAK"))
	return max(n, 1)
}

// TestLostData spoils the data of a member in one way, or more under make soak:
// it comes back, as what it was or as a new incarnation, the groups are full
// again, and nothing acknowledged is lost. Where member.json is damaged it
// refuses.
func TestLostData(t *testing.T) {
	t.Parallel()
	c, w, rng := lostGrid(t)
	order := rng.Perm(len(spoils))
	for n := range rounds() {
		s, i := spoils[order[n%len(order)]], rng.IntN(3)
		if n > 0 {
			c.WaitFull()
		}
		c.Kill(i) // a start makes tables of the write-ahead log
		c.Restart(i)
		c.WaitReady()
		w.more(20)
		c.Eventually("what is to be spoilt", func() bool { return s.can(c.Dir(i)) })
		before := incarnation(t, c, i)
		c.Kill(i)
		refusesDamagedFile(t, rng, c, i)
		what := s.do(t, rng, c.Dir(i))
		w.more(20)
		began := time.Now()
		c.Restart(i)
		c.WaitFull()
		after := incarnation(t, c, i)
		t.Logf("member %d: %s: %s: full after %v, renewed %t", i, s.name, what, time.Since(began).Round(time.Millisecond), after != before)
		if s.pattern == "" && after == before {
			t.Errorf("member %d: %s: %s: it goes on as it was", i, s.name, what)
		}
	}
	if err := w.check(gridtest.WaitTimeout); err != nil {
		t.Fatal(err)
	}
	sameHashes(t, c)
}

// refusesDamagedFile flips a bit of member.json, and back.
func refusesDamagedFile(t *testing.T, rng *rand.Rand, c *gridtest.Cluster, i int) {
	t.Helper()
	file := filepath.Join(c.Dir(i), "member.json")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, what := flip(rng, bytes.Clone(whole), len(whole))
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := c.TryRestart(i); err == nil {
		t.Fatalf("member.json: %s: the member starts", what)
	} else if !strings.Contains(err.Error(), "damaged") && !strings.Contains(err.Error(), "newer") {
		t.Errorf("member.json: %s: %v", what, err)
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestOlderCopy restores a copy of a member's directory that was made after an
// orderly stop, or while it ran: the member comes back as a new incarnation.
func TestOlderCopy(t *testing.T) {
	t.Parallel()
	c, w, rng := lostGrid(t)
	first := rng.IntN(2)
	for n := range rounds() {
		cold, i := (first+n)%2 == 0, rng.IntN(3)
		if n > 0 {
			c.WaitFull()
		}
		kept := filepath.Join(t.TempDir(), "copy")
		if cold {
			c.Close(i)
		}
		copyDir(t, kept, c.Dir(i))
		if cold {
			c.Restart(i)
			c.WaitReady()
		}
		w.more(50)
		before := incarnation(t, c, i)
		c.Kill(i)
		remove(t, c.Dir(i))
		copyDir(t, c.Dir(i), kept)
		c.Restart(i)
		c.WaitFull()
		if incarnation(t, c, i) == before {
			t.Errorf("member %d goes on with an older copy (cold: %t)", i, cold)
		}
	}
	if err := w.check(gridtest.WaitTimeout); err != nil {
		t.Fatal(err)
	}
	sameHashes(t, c)
}

// restoreVoter has member 1 restored from an older copy while only member 2 is
// there, which was away when the last writes were acknowledged: together they are
// a majority that has never heard of those writes. It returns once member 1 is
// started again.
func restoreVoter(t *testing.T) (*gridtest.Cluster, *writers) {
	t.Helper()
	c, w, _ := lostGrid(t)
	kept := filepath.Join(t.TempDir(), "copy")
	c.Close(1)
	copyDir(t, kept, c.Dir(1))
	c.Restart(1)
	c.WaitReady()
	w.more(50)
	c.Kill(2)
	w.more(50)
	w.stop() // what follows is the grid's to keep
	c.Kill(0)
	c.Kill(1)
	remove(t, c.Dir(1))
	copyDir(t, c.Dir(1), kept)
	c.Restart(2)
	c.Restart(1)
	return c, w
}

// TestLostVoterDoesNotVote shows that a member that runs on an older copy does
// not help to elect a leader that lacks what it has acknowledged.
func TestLostVoterDoesNotVote(t *testing.T) {
	t.Parallel()
	c, w := restoreVoter(t)
	c.Eventually("the member to say that its data is older", func() bool {
		s, err := c.Status(1)
		if err == nil && s.Ready {
			t.Fatalf("it votes: %v", w.check(5*time.Second))
		}
		return err == nil && strings.Contains(s.Waiting, "older copy")
	})
	for _, i := range []int{1, 2} {
		if s, err := c.Status(i); err != nil || s.Ready {
			t.Errorf("member %d: ready %t, %v", i, s.Ready, err)
		}
	}
	c.Restart(0)
	c.WaitFull()
	if err := w.check(gridtest.WaitTimeout); err != nil {
		t.Fatal(err)
	}
	sameHashes(t, c)
}

func copyDir(t *testing.T, to, from string) {
	t.Helper()
	// Files come and go below a member that runs: what a copy made by hand has.
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func incarnation(t *testing.T, c *gridtest.Cluster, i int) string {
	t.Helper()
	s, err := c.Status(i)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Members {
		if m.ID == s.Member {
			return m.Incarnation
		}
	}
	t.Fatalf("member %d is not listed:\n%s", i, c.Diagnose())
	return ""
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func flip(rng *rand.Rand, b []byte, end int) ([]byte, string) {
	at := rng.IntN(max(end, 1))
	b[at] ^= 1 << rng.IntN(8)
	return b, fmt.Sprintf("bit flipped in byte %d of %d", at, end)
}

func cut(rng *rand.Rand, b []byte, end int) ([]byte, string) {
	at := rng.IntN(max(end, 1))
	return b[:at], fmt.Sprintf("cut to %d of %d bytes", at, end)
}

// dataFiles are the files of a member's engine in dir that match pattern and are
// not empty. The member may be running.
func dataFiles(dir, pattern string) []string {
	var files []string
	_ = filepath.WalkDir(filepath.Join(dir, "raft"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone meanwhile
		}
		if ok, _ := filepath.Match(pattern, d.Name()); ok && !strings.Contains(path, ".lost") {
			if info, err := d.Info(); err == nil && info.Size() > 0 {
				files = append(files, path)
			}
		}
		return nil
	})
	return files
}

// harm changes one file below dir, of those that fit a pattern.
func harm(t *testing.T, rng *rand.Rand, dir, pattern string, how func(*rand.Rand, []byte, int) ([]byte, string)) string {
	t.Helper()
	files := dataFiles(dir, pattern)
	if len(files) == 0 {
		t.Fatalf("no file %s in %s", pattern, dir)
	}
	file := files[rng.IntN(len(files))]
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, what := how(rng, b, len(strings.TrimRight(string(b), "\x00")))
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return filepath.Base(file) + " " + what
}
