//go:build unix

package structures

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/child"
)

// registered is a registration that goes on.
type registered struct{ done chan struct{} }

func (registered) ID() string              { return "a" }
func (r registered) Done() <-chan struct{} { return r.done }
func (registered) Err() error              { return nil }

// TestRunCommand_SignalBefore: a signal that comes before there is a command to have it takes
// the registration back, and no command runs.
func TestRunCommand_SignalBefore(t *testing.T) {
	ran := filepath.Join(t.TempDir(), "ran")
	r := &registering{Command: child.Shell("echo > " + ran).Args}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	back := make(chan struct{}, 9)
	a := &cli.App{Stdout: io.Discard, Stderr: io.Discard}
	_, err := r.runCommand(ctx, a, child.Shell("").Path, "service", "web", registered{make(chan struct{})}, func() error {
		back <- struct{}{}
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("it ends with %v", err)
	}
	if _, err := os.Stat(ran); err == nil {
		t.Error("the command has run, and nobody passes the signal on to it")
	}
	select {
	case <-back:
	default:
		t.Error("the registration is not taken back")
	}
}

// TestRunCommand_KillAfter: a command that does not end after a signal is killed --kill-after
// later.
func TestRunCommand_KillAfter(t *testing.T) {
	r := &registering{Command: child.Shell(`trap "" TERM INT; echo begun >&2; while :; do sleep 0.05; done`).Args, KillAfter: 100 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	go func() { // the signal
		_, _ = in.Read(make([]byte, 1))
		cancel()
	}()
	a := &cli.App{Stdout: io.Discard, Stderr: out}
	done := make(chan int, 1)
	go func() {
		status, err := r.runCommand(ctx, a, child.Shell("").Path, "service", "web", registered{make(chan struct{})}, func() error { return nil })
		if err != nil {
			t.Error(err)
		}
		done <- status
	}()
	select {
	case status := <-done:
		if status != child.Signaled+9 {
			t.Errorf("exit status %d", status)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the command goes on")
	}
}
