package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/structures/dref"
)

const processes = 3

// TestMain lets the test's own binary be the program.
func TestMain(m *testing.M) {
	if os.Getenv("SETTINGS_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestSettings: three processes change their rate together while the leader of the settings
// is killed, pass over a bad rate, and go back.
func TestSettings(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir := t.TempDir()
	binary := filepath.Join(dir, "quorate")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", binary, "../../cmd/quorate").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	grid, err := procgrid.New(dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	grid.Binary = binary
	t.Cleanup(func() { _ = grid.Stop(20 * time.Second) })
	c, err := grid.StartAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	limits := dref.New[Limits](c, settings)
	if err := limits.Configure(ctx, dref.Keep(10)); err != nil {
		t.Fatal(err)
	}
	var all []*program
	for i := range processes {
		all = append(all, start(ctx, t, grid, filepath.Join(dir, fmt.Sprint(i, ".cbor"))))
	}
	want := func(line string) {
		t.Helper()
		for i, p := range all {
			if got := p.line(ctx, t); !strings.HasPrefix(got, line) {
				t.Fatalf("process %d: %q, want %q", i, got, line)
			}
		}
	}
	want("rate 10") // the default
	first, err := limits.Replace(ctx, 0, Limits{Rate: 20})
	if err != nil {
		t.Fatal(err)
	}
	want("rate 20")

	victim := leader(t, grid, c)
	victim.Process.Kill()
	victim.Process = nil
	if err := limits.Set(ctx, Limits{Rate: 30}); err != nil {
		t.Fatal(err)
	}
	want("rate 30")
	if err := grid.Start(victim); err != nil {
		t.Fatal(err)
	}
	if err := limits.Set(ctx, Limits{Rate: -1}); err != nil {
		t.Fatal(err)
	}
	want("rejected:")
	if _, err := limits.Rollback(ctx, first); err != nil {
		t.Fatal(err)
	}
	want("rate 20")
}

// leader returns the member that leads the group of the settings.
func leader(t *testing.T, g *procgrid.Grid, c *client.Client) *procgrid.Member {
	t.Helper()
	table := c.Table()
	group := table.Partitions[c.Partition(settings, nil)]
	for _, of := range table.Groups {
		for _, m := range table.Members {
			for _, member := range g.Members {
				if of.ID == group && of.Leader == m.ID && m.Name == member.Name {
					return member
				}
			}
		}
	}
	t.Fatalf("nobody leads group %d", group)
	return nil
}

// program is a process of the program.
type program struct{ lines chan string }

func start(ctx context.Context, t *testing.T, g *procgrid.Grid, file string) *program {
	t.Helper()
	cmd := exec.CommandContext(ctx, os.Args[0], "-endpoints", strings.Join(g.Addresses(), ","), "-file", file)
	cmd.Env = append(os.Environ(), "SETTINGS_PROGRAM=1")
	cmd.Stderr = os.Stderr
	r, w := io.Pipe()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = w.Close()
	})
	p := &program{lines: make(chan string, 100)}
	go func() {
		for s := bufio.NewScanner(r); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	return p
}

// line returns the next line that it prints.
func (p *program) line(ctx context.Context, t *testing.T) string {
	t.Helper()
	select {
	case line := <-p.lines:
		return line
	case <-ctx.Done():
		t.Fatal("it prints nothing")
		return ""
	}
}
