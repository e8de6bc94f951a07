package procgrid_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/protocol"
)

// binary is the command that members are started with.
var binary string

// TestMain builds the command.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "procgrid")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()   // what is left is the system's to clear
	binary = filepath.Join(dir, "quorate.exe") // a name that every system runs
	if out, err := exec.Command("go", "build", "-o", binary, "../../cmd/quorate").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the command: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// TestGrid starts a member process, which serves, stops it in order, starts it
// again with its data, and kills it.
func TestGrid(t *testing.T) {
	g, err := procgrid.New(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	g.Binary, g.Args = binary, []string{"--http", "off"}
	m := g.Members[0]
	t.Cleanup(func() { _ = g.Stop(10 * time.Second) }) // of what a failed test leaves
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	cluster := serve(ctx, t, g)
	if err := g.Stop(30 * time.Second); err != nil || m.Process != nil {
		t.Fatalf("stop: %v, the process is %v", err, m.Process)
	}
	log, err := os.ReadFile(g.LogFile(m))
	if err != nil || len(log) == 0 {
		t.Fatalf("it has logged %q, %v", log, err)
	}
	if tail := procgrid.Tail(g.LogFile(m)); tail == "" || !strings.HasSuffix(strings.TrimSpace(string(log)), tail) {
		t.Errorf("the tail of its log is %q", tail)
	}

	if again := serve(ctx, t, g); again != cluster {
		t.Errorf("it has come back with the cluster %s, had %s", again, cluster)
	}
	p := m.Process
	if !p.Running() || p.PID() == 0 {
		t.Fatal("it serves, and does not run")
	}
	p.Kill()
	if ended, status := p.Ended(); !ended || status == nil {
		t.Errorf("it is killed: ended %t, status %v", ended, status)
	}
}

// serve starts the member, sees that it serves, and returns its cluster.
func serve(ctx context.Context, t *testing.T, g *procgrid.Grid) protocol.UUID {
	t.Helper()
	c, err := g.StartAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	table := c.Table()
	most, led := g.LeadsMost(table)
	if most != g.Members[0] || led != len(table.Groups) || led < 2 {
		t.Errorf("%s leads %d of %d groups", most.Name, led, len(table.Groups))
	}
	return c.Cluster()
}

// TestStartThatFails: a member that ends instead of serving is reported with its
// own words.
func TestStartThatFails(t *testing.T) {
	g, err := procgrid.New(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	g.Binary, g.Args = binary, []string{"--replicas", "many"}
	if _, err := g.StartAll(t.Context()); err == nil || !strings.Contains(err.Error(), "member n1 ended") || !strings.Contains(err.Error(), "--replicas") {
		t.Errorf("it starts with %v", err)
	}
	if err := g.Stop(time.Second); err == nil {
		t.Error("it has ended in order")
	}
}

// TestFlags: flags that are not set are left to the member.
func TestFlags(t *testing.T) {
	for _, c := range []struct {
		flags procgrid.Flags
		want  string
	}{
		{procgrid.Flags{Name: "a", Listen: "l"}, "--name a --listen l --end-with-stdin"},
		{
			procgrid.Flags{Name: "a", Listen: "l", Advertise: "v", Join: []string{"x", "y"}, Expect: 3, Cluster: "c", Durability: "disk", Dir: "d", HTTP: "off", Insecure: true},
			"--name a --listen l --end-with-stdin --advertise v --join x,y --bootstrap-expect 3 --cluster c --durability disk --data-dir d --http off --insecure",
		},
		{procgrid.Flags{Name: "a", Listen: "l", Durability: "memory", Dir: "d"}, "--name a --listen l --end-with-stdin --durability memory"},
	} {
		if diff := cmp.Diff(c.want, strings.Join(c.flags.Args(), " ")); diff != "" {
			t.Error(diff)
		}
	}
}
