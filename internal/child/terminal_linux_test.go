package child

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openPTY returns the two ends of a pseudo-terminal.
func openPTY(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close() })
	if err := unix.IoctlSetPointerInt(int(ours.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(ours.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { theirs.Close() })
	return ours, theirs
}

// TestTerminal: a command reads the terminal, its keys reach the command once,
// and the one that stops jobs does not stop it. When it has ended the terminal is
// the holder's again.
func TestTerminal(t *testing.T) {
	const script = `trap 'n=$((n+1)); echo int $n' INT; echo ready; read x; echo "got $x"; until read y; do :; done; echo "then $y"; exit 6`
	for name, piped := range map[string]bool{"alone": false, "output into a pipe": true} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := openPTY(t)
			cmd := exec.Command("sh", "-c", "\"$0\" interactive 1m sh -c '"+strings.ReplaceAll(script, "'", `'\''`)+"'; s=$?; read z; echo back $z $s", os.Args[0])
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			cmd.Stdin, cmd.Stdout, cmd.Stderr = theirs, theirs, theirs
			out := ours
			if piped {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				defer w.Close()
				out, cmd.Stdout = r, w
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				_ = cmd.Wait()
			}()
			lines := bufio.NewScanner(out)
			await := func(text string) {
				t.Helper()
				for lines.Scan() {
					if strings.Contains(lines.Text(), text) {
						return
					}
				}
				t.Fatalf("%q was not printed: %v", text, lines.Err())
			}
			keys := func(s string) {
				t.Helper()
				if _, err := ours.WriteString(s); err != nil {
					t.Fatal(err)
				}
			}
			await("ready")
			keys("one\n")
			await("got one")
			keys("\x1a") // stop
			keys("\x03") // interrupt
			await("int 1")
			keys("two\n")
			await("then two")
			keys("three\n")
			await("back three 6")
		})
	}
}
