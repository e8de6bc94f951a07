package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/quorate/quorate/bench"
)

// BenchProgress prints progress to stderr: over and over in one line of a
// terminal.
func (a *App) BenchProgress() func(bench.Progress) {
	live := IsTerminal(a.Stderr)
	return func(p bench.Progress) {
		line := fmt.Sprintf("%-8s %4.0fs of %.0fs  %8.0f ops/s", p.Phase, p.Elapsed.Seconds(), p.Total.Seconds(), p.Rate)
		if p.Phase == "load" {
			line = fmt.Sprintf("%-8s %d of %d  %8.0f/s", p.Phase, p.Done, p.Target, p.Rate)
		}
		if p.Errors > 0 {
			line += fmt.Sprintf("  %d errors", p.Errors)
		}
		a.ProgressLine(live, line)
		if live && p.Phase == "measure" && p.Elapsed+time.Second > p.Total {
			fmt.Fprintln(a.Stderr)
		}
	}
}

// ProgressLine prints a line that the next one replaces on a terminal.
func (a *App) ProgressLine(live bool, line string) {
	if live {
		fmt.Fprintf(a.Stderr, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(a.Stderr, line)
}

// IsTerminal reports whether w is a terminal, or another character device.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
