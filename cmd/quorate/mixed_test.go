package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/ports"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
)

// patience bounds what is waited for: nothing here is measured.
const patience = 5 * time.Minute

// mixedGrid is a grid of processes of this version and of the next one, that is made
// up, under load.
type mixedGrid struct {
	*procgrid.Grid
	t         *testing.T
	now, next string // the binaries
	client    *client.Client

	loaded context.Context // ends with the load
	stop   context.CancelFunc
	load   sync.WaitGroup
	adds   atomic.Int64 // by handle, acknowledged
	calls  atomic.Int64 // by command of either version, acknowledged
	writes atomic.Int64 // of entries, acknowledged
	mu     sync.Mutex
	last   map[int]string // acknowledged, by key
}

// TestMixedVersions takes a grid of processes to the next version one by one, under
// load, back and forth: what each version reads of the other's is what it is to read.
func TestMixedVersions(t *testing.T) {
	t.Parallel()
	g := startMixed(t)
	n1, n2, n3 := g.Members[0], g.Members[1], g.Members[2]

	g.step("n1 is of the next version", n1, g.next)
	g.tripleIsRefused()
	// This version goes on with what the next one has written at the level of both:
	// member.json, log, snapshots, and reads it to recover it.
	g.end(n1)
	g.recovers(g.now, n1, "")
	g.step("n1 is of this version again", n1, g.now)
	g.step("n1 is of the next version, for good", n1, g.next)
	g.step("n2 is of the next version", n2, g.next)
	g.tripleIsRefused()
	// Who is left of this version rejoins empty, to leaders of the next.
	g.end(n3)
	if err := os.RemoveAll(filepath.Join(g.Dir, n3.Name)); err != nil {
		t.Fatal(err)
	}
	g.step("n3 is of this version, and was empty", n3, g.now)
	g.tripleIsRefused()
	for _, m := range g.Members {
		if level := g.level(m); level != 1 {
			t.Errorf("%s has level %d before all are of the next version", m.Name, level)
		}
	}
	g.step("n3 is of the next version", n3, g.next)

	// All are: the level rises, and with it comes the operation.
	g.await("level 2", func() bool {
		return !slices.ContainsFunc(g.Members, func(m *procgrid.Member) bool { return g.level(m) != 2 })
	})
	g.await("the new operation", func() bool { n, err := g.triple(); return err == nil && n == 0 })
	if _, err := dcounter.New(g.client, "third").Add(t.Context(), 5); err != nil {
		t.Error(err)
	}
	if n, err := g.triple(); err != nil || n != 15 {
		t.Errorf("3 * 5 = %d, %v", n, err)
	}
	g.step("n2 reads what it wrote at level 2", n2, g.next)
	g.endLoad()
	g.check("after the upgrade")

	// From here on this version is refused.
	g.end(n1)
	g.refused(n1, "the data directory's state has level 2, this version knows 1: start the version that wrote it, or a later one")
	g.recovers(g.now, n1, "level 2")
	g.recovers(g.next, n1, "")
	g.step("n1 is there again", n1, g.next)
	addresses, err := ports.Free(1)
	if err != nil {
		t.Fatal(err)
	}
	g.refused(&procgrid.Member{Name: "n4", Address: addresses[0]}, "the cluster's state has level 2, the version of member n4 understands 1: install a newer one")

	// All of it is on disk.
	if err := g.Grid.Stop(patience); err != nil {
		t.Fatal(err)
	}
	g.Binary = g.next
	for _, m := range g.Members {
		if err := g.Start(m); err != nil {
			t.Fatal(err)
		}
	}
	g.full("all are started again")
	g.check("after a restart of all")
	t.Logf("%d adds by handle, %d by command, %d entries written", g.adds.Load(), g.calls.Load(), g.writes.Load())
}

func startMixed(t *testing.T) *mixedGrid {
	t.Helper()
	g := &mixedGrid{t: t, last: map[int]string{}}
	g.now, g.next = newSource(t).snapshotOften().build("now"), newSource(t).snapshotOften().next().build("next")
	local, err := procgrid.New(t.TempDir(), 3)
	if err != nil {
		t.Fatal(err)
	}
	g.Grid = local
	g.Binary, g.Args = g.now, []string{"--http", "off", "--groups", "2"}
	t.Cleanup(func() {
		if t.Failed() {
			for _, m := range g.Members {
				t.Logf("%s:\n%s", m.Name, procgrid.Tail(g.LogFile(m)))
			}
		}
		_ = local.Stop(patience) // of what a failed test leaves
	})
	if g.client, err = g.StartAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.client.Close() })
	ctx, cancel := context.WithCancel(t.Context())
	g.loaded, g.stop = ctx, cancel
	t.Cleanup(func() { cancel(); g.load.Wait() })
	hits, users := dcounter.New(g.client, "hits"), dmap.New[int, string](g.client, "users")
	g.loop(func(int) error {
		_, err := hits.Add(t.Context(), 1)
		if err == nil {
			g.adds.Add(1)
		}
		return err
	})
	filler := strings.Repeat("x", 1000)
	g.loop(func(i int) error {
		key, value := i%100, fmt.Sprint(i, filler)
		if err := users.Put(t.Context(), key, value); err != nil {
			return err
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		g.last[key] = value
		g.writes.Add(1)
		return nil
	})
	g.loop(func(i int) error {
		_, err := g.run([]string{g.now, g.next}[i%2], "counter", "add", "calls", "1")
		if err == nil {
			g.calls.Add(1)
		}
		return err
	})
	g.progress()
	return g
}

// loop calls f again and again, until the load ends.
func (g *mixedGrid) loop(f func(i int) error) {
	g.load.Go(func() {
		for i := 0; g.loaded.Err() == nil; i++ {
			if err := f(i); err != nil {
				g.t.Errorf("after %d: %v", i, err)
				return
			}
		}
	})
}

// progress waits until all of the load has gone on, if there is any.
func (g *mixedGrid) progress() {
	g.t.Helper()
	if g.loaded.Err() != nil {
		return
	}
	adds, calls, writes := g.adds.Load()+20, g.calls.Load()+2, g.writes.Load()+100
	g.await("the load", func() bool { return g.adds.Load() >= adds && g.calls.Load() >= calls && g.writes.Load() >= writes })
}

func (g *mixedGrid) await(what string, f func() bool) {
	g.t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(20 * time.Millisecond) {
		if g.t.Failed() || time.Now().After(deadline) {
			g.t.Fatalf("%s: it does not come", what)
		}
	}
}

// run runs a command of a version and returns what it prints.
func (g *mixedGrid) run(binary string, args ...string) (string, error) {
	cmd := exec.CommandContext(g.t.Context(), binary, args...)
	cmd.Env = append(os.Environ(), "QUORATE_ENDPOINTS="+strings.Join(g.Addresses(), ","))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %v: %w: %s", filepath.Base(binary), args, err, errs.String())
	}
	return strings.TrimSpace(string(out)), err
}

// end ends a member in an orderly way.
func (g *mixedGrid) end(m *procgrid.Member) {
	g.t.Helper()
	if err := m.Process.Terminate(patience); err != nil {
		g.t.Fatalf("%s: %v\n%s", m.Name, err, procgrid.Tail(g.LogFile(m)))
	}
}

// step has a member go on with a version, under load, and waits until the grid is
// fully replicated: both versions say so, and that all replicas are the same.
func (g *mixedGrid) step(what string, m *procgrid.Member, binary string) {
	g.t.Helper()
	if over, _ := m.Process.Ended(); !over {
		g.end(m)
	}
	g.Binary = binary
	if err := g.Start(m); err != nil {
		g.t.Fatal(err)
	}
	g.full(what)
	g.progress()
	g.t.Logf("%s: %d adds by handle, %d by command, %d entries written", what, g.adds.Load(), g.calls.Load(), g.writes.Load())
}

func (g *mixedGrid) full(what string) {
	g.t.Helper()
	for _, binary := range []string{g.now, g.next} {
		for _, args := range [][]string{{"--wait-full"}, {"--hash"}} {
			g.await(what+", "+args[0], func() bool {
				_, err := g.run(binary, append([]string{"status", "--timeout", "5s"}, args...)...)
				for _, m := range g.Members {
					if over, status := m.Process.Ended(); over {
						g.t.Fatalf("%s: %s ends with %v: %v", what, m.Name, status, err)
					}
				}
				return err == nil
			})
		}
	}
}

// level returns the level that a member has noted.
func (g *mixedGrid) level(m *procgrid.Member) int {
	g.t.Helper()
	b, err := os.ReadFile(filepath.Join(g.Dir, m.Name, "member.json"))
	var file struct{ Level int }
	if err == nil {
		err = json.Unmarshal(b, &file)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return file.Level
}

// triple has the next version's operation carried out.
func (g *mixedGrid) triple() (n int64, err error) {
	kind := dcounter.Kind()
	h := structures.NewHandle(g.client, &kind, "third", nil)
	r, err := h.Invoke(g.t.Context(), h.Call("triple", opTriple, 0, h.Partition(nil), []byte{0x80}))
	if err != nil {
		return 0, err
	}
	if len(r.Body) != 2 {
		return 0, fmt.Errorf("answer %x", r.Body)
	}
	return int64(r.Body[1]), nil
}

func (g *mixedGrid) tripleIsRefused() {
	g.t.Helper()
	if _, err := g.triple(); err == nil || !strings.Contains(err.Error(), "know") {
		g.t.Errorf("the operation of level 2 is carried out at level 1: %v", err)
	}
}

// endLoad ends the load.
func (g *mixedGrid) endLoad() {
	g.t.Helper()
	g.progress()
	g.stop()
	g.load.Wait()
}

// check compares what is there with what was acknowledged, as both versions read it.
func (g *mixedGrid) check(when string) {
	g.t.Helper()
	for _, binary := range []string{g.now, g.next} {
		for name, want := range map[string]int64{"hits": g.adds.Load(), "calls": g.calls.Load(), "third": 15} {
			if got, err := g.run(binary, "counter", "get", name); err != nil || got != strconv.FormatInt(want, 10) {
				g.t.Errorf("%s: by %s counter %s is %s, %v, want %d", when, filepath.Base(binary), name, got, err, want)
			}
		}
	}
	got := map[int]string{}
	for e, err := range dmap.New[int, string](g.client, "users").All(g.t.Context()) {
		if err != nil {
			g.t.Fatal(err)
		}
		got[e.Key] = e.Value
	}
	if diff := cmp.Diff(g.last, got); diff != "" {
		g.t.Errorf("%s: entries (-want +got):\n%s", when, diff)
	}
}

// recovers reads a member's directory with a version: it is refused with the reason,
// or all of its groups are read.
func (g *mixedGrid) recovers(binary string, m *procgrid.Member, refusal string) {
	g.t.Helper()
	out, err := g.run(binary, "recover", "--data-dir", filepath.Join(g.Dir, m.Name), "--to", filepath.Join(g.t.TempDir(), "new"))
	switch {
	case refusal == "" && (err != nil || strings.Contains(out, "no replica can apply")):
		g.t.Errorf("%s is not recovered: %v\n%s", m.Name, err, out)
	case refusal != "" && (err == nil || !strings.Contains(err.Error(), refusal)):
		g.t.Errorf("%s is recovered: %v\n%s", m.Name, err, out)
	}
}

// refused starts a member of this version, which says in one line why it cannot be
// one any more.
func (g *mixedGrid) refused(m *procgrid.Member, why string) {
	g.t.Helper()
	g.Binary = g.now
	if err := os.RemoveAll(g.LogFile(m)); err != nil {
		g.t.Fatal(err)
	}
	if err := g.Start(m); err != nil {
		g.t.Fatal(err)
	}
	said := ""
	g.await(m.Name+" is refused: "+why, func() bool {
		b, err := os.ReadFile(g.LogFile(m))
		if err != nil {
			g.t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if strings.Contains(line, why) {
				said = line
			}
		}
		over, _ := m.Process.Ended()
		return said != "" || over
	})
	g.t.Logf("%s: %s", m.Name, strings.TrimSpace(said))
	if over, err := m.Process.Ended(); said == "" || over && err == nil {
		g.t.Errorf("%s ends with %v and says\n%s", m.Name, err, procgrid.Tail(g.LogFile(m)))
	} else if !over {
		m.Process.Kill()
	}
}
