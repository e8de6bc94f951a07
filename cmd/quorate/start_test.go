package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/internal/ports"
	"github.com/quorate/quorate/internal/procgrid"
)

// TestStartThatPanics: a replica that the engine panics on when it is started
// ends the process, with the reason in one line.
func TestStartThatPanics(t *testing.T) {
	g, err := procgrid.New(t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if g.Binary, err = exec.LookPath("quorate"); err != nil {
		t.Fatal(err)
	}
	g.Args = []string{"--http", "off"}
	t.Cleanup(func() { _ = g.Stop(10 * time.Second) }) // of what a failed test leaves
	c, err := g.StartAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := g.Stop(30 * time.Second); err != nil {
		t.Fatal(err)
	}
	m := g.Members[0]
	snapshots, err := filepath.Glob(filepath.Join(g.Dir, m.Name, "raft", "*", "*", "*", "snapshot-part-*", "snapshot-*"))
	if err != nil || len(snapshots) == 0 {
		t.Fatalf("no folder of snapshots: %v", err)
	}
	spoilt := snapshots[len(snapshots)-1]
	if err := os.RemoveAll(spoilt); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(spoilt, []byte("not a folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := g.Start(m); err != nil {
		t.Fatal(err)
	}
	select {
	case <-m.Process.Done:
	case <-time.After(time.Minute):
		t.Fatalf("it does not end:\n%s", procgrid.Tail(g.LogFile(m)))
	}
	_, status := m.Process.Ended()
	log, err := os.ReadFile(g.LogFile(m))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(log)), "\n")
	last := lines[len(lines)-1]
	if status == nil || !strings.Contains(last, "cannot be started") || !strings.Contains(last, filepath.Base(spoilt)) || !strings.Contains(last, "set its data directory aside") {
		t.Errorf("it ends with %v and says last:\n%s", status, last)
	}
}

// TestStartWhereItDoesNotReachItself: a member at whose advertised address nobody
// answers from its own host says that it serves, and goes on.
func TestStartWhereItDoesNotReachItself(t *testing.T) {
	free, err := ports.Free(2)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := exec.LookPath("quorate")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	flags := procgrid.Flags{Name: "n1", Listen: free[0], Advertise: free[1], Durability: "memory", HTTP: "off"}
	cmd := exec.CommandContext(ctx, binary, append([]string{"start"}, flags.Args()...)...)
	end, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var logs strings.Builder
	cmd.Stderr = &logs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if !strings.HasPrefix(line, "ready ") || !strings.Contains(line, " address="+free[1]+" ") {
		t.Errorf("it says %q", line)
	}
	if err := end.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ends with %v:\n%s", err, logs.String())
	}
}
