//go:build unix

package child

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes of this binary a process that runs a command and ends with its
// status, to be sent signals.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || os.Args[1] != "holder" && os.Args[1] != "interactive" && os.Args[1] != "until" {
		os.Exit(m.Run())
	}
	hold, lose := context.WithCancel(context.Background())
	run := Run
	if os.Args[1] == "until" {
		hold, lose = signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		run = RunUntil
	}
	killAfter, err := time.ParseDuration(os.Args[2])
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(os.Args[3], os.Args[4:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if os.Args[1] == "interactive" {
		cmd.Stdin = os.Stdin
	} else {
		go func() { // the hold is lost when stdin ends
			_, _ = io.Copy(io.Discard, os.Stdin)
			lose()
		}()
	}
	status, err := run(hold, cmd, killAfter)
	if err != nil {
		status = 99
	}
	os.Exit(status)
}

// holder is a process that runs a command.
type holder struct {
	t     *testing.T
	cmd   *exec.Cmd
	lose  io.Closer // ends what it holds
	lines *bufio.Scanner
}

// hold starts a holder of a script, in its own process group.
func hold(t *testing.T, killAfter time.Duration, script string) *holder {
	t.Helper()
	return begin(t, "holder", killAfter, script)
}

// begin is hold, or, until, one that holds nothing.
func begin(t *testing.T, how string, killAfter time.Duration, script string) *holder {
	t.Helper()
	cmd := exec.Command(os.Args[0], how, killAfter.String(), "sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h := &holder{t: t, cmd: cmd, lose: stdin, lines: bufio.NewScanner(stdout)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_, _ = cmd.Process.Wait()
	})
	return h
}

// line returns the next line that the command prints.
func (h *holder) line() string {
	h.t.Helper()
	if !h.lines.Scan() {
		h.t.Fatalf("the command ended: %v", h.lines.Err())
	}
	return h.lines.Text()
}

// pid returns the next line as a number.
func (h *holder) pid() int {
	h.t.Helper()
	pid, err := strconv.Atoi(h.line())
	if err != nil {
		h.t.Fatal(err)
	}
	return pid
}

func (h *holder) send(s syscall.Signal) {
	h.t.Helper()
	if err := h.cmd.Process.Signal(s); err != nil {
		h.t.Fatal(err)
	}
}

// status waits for the end of the holder; -1 stands for a signal that has ended
// the holder itself.
func (h *holder) status() int {
	for h.lines.Scan() {
		h.t.Logf("printed: %s", h.lines.Text())
	}
	_ = h.cmd.Wait()
	return h.cmd.ProcessState.ExitCode()
}

// dead reports whether a process has ended; one that nobody has waited for has.
func dead(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.HasPrefix(strings.TrimSpace(string(out)), "Z")
}

// await waits until a process has ended.
func await(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !dead(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d runs on", pid)
		}
	}
}

// TestStatus: the status of a command is its own, also where it is one of ours.
func TestStatus(t *testing.T) {
	for _, status := range []int{0, 1, 2, 3, 4, 5, 78, 124, 125, 126, 127, 128, 130, 255} {
		cmd := exec.Command("sh", "-c", fmt.Sprintf("exit %d", status))
		got, err := Run(t.Context(), cmd, time.Second)
		if got != status || err != nil {
			t.Errorf("exit %d: %d, %v", status, got, err)
		}
	}
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGSEGV} {
		cmd := exec.Command("sh", "-c", fmt.Sprintf("kill -%d $$", int(s)))
		if got, err := Run(t.Context(), cmd, time.Second); got != 128+int(s) || err != nil {
			t.Errorf("%v: %d, %v", s, got, err)
		}
	}
}

func TestNotStarted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), exec.Command(file), time.Second); !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v", err)
	}
}

var ending = []syscall.Signal{
	syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGALRM, syscall.SIGTERM,
	syscall.SIGTRAP, syscall.SIGSYS, syscall.SIGUSR1, syscall.SIGUSR2,
}

// TestSignalEndsCommand: a signal to the holder alone ends the command, and the
// holder with the command's status.
func TestSignalEndsCommand(t *testing.T) {
	for _, s := range ending {
		t.Run(s.String(), func(t *testing.T) {
			h := hold(t, time.Minute, "ulimit -c 0; echo $$; sleep 100")
			pid := h.pid()
			h.send(s)
			if got := h.status(); got != 128+int(s) {
				t.Errorf("status %d", got)
			}
			if !dead(pid) {
				t.Error("the command runs on")
			}
		})
	}
}

// TestSignalIsTheCommands: a command that catches a signal goes on, held, and its
// status is what it chooses.
func TestSignalIsTheCommands(t *testing.T) {
	for _, s := range ending {
		t.Run(s.String(), func(t *testing.T) {
			h := hold(t, time.Minute, fmt.Sprintf("trap 'n=$((n+1)); echo $n; [ $n = 2 ] && exit 1' %d; echo ready; while :; do sleep 0.01; done", int(s)))
			h.line()
			h.send(s)
			if got := h.line(); got != "1" {
				t.Errorf("printed %q", got)
			}
			h.send(s)
			if got := h.status(); got != 1 {
				t.Errorf("status %d", got)
			}
		})
	}
}

// TestUntil_KilledAfter: a command that holds nothing gets the signal that it was sent, and no
// other, and is killed if it does not end.
func TestUntil_KilledAfter(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		h := begin(t, "until", 3*time.Second, "trap 'echo SIGINT' INT; trap 'echo SIGTERM' TERM; echo $$; while :; do sleep 0.01; done")
		pid := h.pid()
		h.send(s)
		if got, want := h.line(), map[syscall.Signal]string{syscall.SIGINT: "SIGINT", syscall.SIGTERM: "SIGTERM"}[s]; got != want {
			t.Errorf("%v: it got %s", s, got)
		}
		if h.lines.Scan() {
			t.Errorf("%v: it got %s, too", s, h.lines.Text())
		}
		if got := h.status(); got != Signaled+int(syscall.SIGKILL) {
			t.Errorf("%v: status %d", s, got)
		}
		await(t, pid)
	}
}

// TestUntil_Ends: a command that ends after the signal has its own status, and one that no
// signal was passed on to gets SIGTERM.
func TestUntil_Ends(t *testing.T) {
	h := begin(t, "until", time.Minute, "trap 'exit 3' INT; echo ready; while :; do sleep 0.01; done")
	h.line()
	h.send(syscall.SIGINT)
	if got := h.status(); got != 3 {
		t.Errorf("status %d", got)
	}
	end, cancel := context.WithCancel(t.Context())
	cancel()
	cmd := exec.Command("sleep", "100")
	if got, err := RunUntil(end, cmd, time.Minute); got != Signaled+int(syscall.SIGTERM) || err != nil {
		t.Errorf("without a signal: %d, %v", got, err)
	}
}

// TestChildrenOfCommandEndWithIt: who passes signals on ends what a script has
// started, also what does not hear them.
func TestChildrenOfCommandEndWithIt(t *testing.T) {
	for _, child := range []string{"sleep 100", "sh -c \"trap '' INT TERM HUP; while :; do sleep 0.01; done\""} {
		for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			h := hold(t, 100*time.Millisecond, "("+child+") & trap 'exit 7' INT TERM HUP; echo $!; while :; do sleep 0.01; done")
			pid := h.pid()
			h.send(s)
			if got := h.status(); got != 7 {
				t.Errorf("%s, %v: status %d", child, s, got)
			}
			await(t, pid)
		}
	}
}

// TestKilledCommandLeavesNothing: what a command that was killed has started does
// not run on beside the next holder.
func TestKilledCommandLeavesNothing(t *testing.T) {
	h := hold(t, time.Minute, "sleep 100 & echo $!; kill -9 $$")
	pid := h.pid()
	if got := h.status(); got != 137 {
		t.Errorf("status %d", got)
	}
	await(t, pid)
}

// TestBackgroundStays: a command that ends by itself may leave a process behind.
func TestBackgroundStays(t *testing.T) {
	h := hold(t, time.Minute, "sleep 100 >/dev/null & echo $!; exit 3")
	pid := h.pid()
	if got := h.status(); got != 3 {
		t.Errorf("status %d", got)
	}
	if dead(pid) {
		t.Error("it was ended")
	}
	_ = syscall.Kill(pid, syscall.SIGKILL)
}

// TestLossEndsGroup: when what is held is lost, the whole group gets SIGTERM, and
// SIGKILL in time.
func TestLossEndsGroup(t *testing.T) {
	t.Run("in order", func(t *testing.T) {
		h := hold(t, time.Minute, "trap 'echo told; exit 5' TERM; echo ready; while :; do sleep 0.01; done")
		h.line()
		h.lose.Close()
		if got := h.line(); got != "told" {
			t.Errorf("printed %q", got)
		}
		if got := h.status(); got != 5 {
			t.Errorf("status %d", got)
		}
	})
	deaf := "trap '' TERM; echo $$; while :; do sleep 0.01; done"
	t.Run("killed", func(t *testing.T) {
		h := hold(t, 100*time.Millisecond, deaf)
		pid := h.pid()
		h.lose.Close()
		if got := h.status(); got != 137 {
			t.Errorf("status %d", got)
		}
		await(t, pid)
	})
	t.Run("child killed", func(t *testing.T) {
		h := hold(t, 100*time.Millisecond, "sh -c \"trap '' TERM; echo \\$\\$; while :; do sleep 0.01; done\"; exit 9")
		pid := h.pid()
		h.lose.Close()
		_ = h.status()
		await(t, pid)
	})
	t.Run("stopped", func(t *testing.T) {
		h := hold(t, time.Minute, "trap 'exit 5' TERM; echo $$; while :; do sleep 0.01; done")
		pid := h.pid()
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		h.lose.Close()
		if got := h.status(); got != 5 {
			t.Errorf("status %d", got)
		}
	})
}

// TestIgnoredStaysIgnored: under nohup a hang-up ends nobody.
func TestIgnoredStaysIgnored(t *testing.T) {
	cmd := exec.Command("sh", "-c", "trap '' HUP; exec \"$0\" holder 1m sh -c 'kill -HUP $PPID; kill -HUP $$; echo alive; exit 4'", os.Args[0])
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	out, err := cmd.CombinedOutput()
	if string(out) != "alive\n" || cmd.ProcessState.ExitCode() != 4 {
		t.Errorf("%q, %v", out, err)
	}
}

func TestShell(t *testing.T) {
	cmd := Shell("exit $((20 + 3))")
	if got, err := Run(t.Context(), cmd, time.Second); got != 23 || err != nil {
		t.Errorf("%d, %v", got, err)
	}
}
