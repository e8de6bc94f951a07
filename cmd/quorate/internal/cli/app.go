package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// App is a run of the program.
type App struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	JSON           bool // -o json
	starts         bool // the command is start
}

// Prepare looks at what the arguments say before they are parsed.
func (a *App) Prepare(args []string) {
	a.JSON = WantsJSON(args)
	a.starts = len(args) > 0 && args[0] == "start"
}

// EndSignals are the signals that end a command in order. A hang-up ends all but
// a member, and those that shall outlive their terminal (nohup).
func (a *App) EndSignals() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !a.starts && !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

// WantsJSON finds -o json before anything is parsed, so that a usage error is
// printed as asked.
func WantsJSON(args []string) bool {
	if i := slices.Index(args, "--"); i >= 0 {
		args = args[:i]
	}
	for i, arg := range args {
		switch {
		case arg == "-ojson" || arg == "-o=json" || arg == "--output=json":
			return true
		case (arg == "-o" || arg == "--output") && i+1 < len(args) && args[i+1] == "json":
			return true
		}
	}
	return false
}

// Print writes data to stdout: text, or o as a line of JSON. An empty text
// prints nothing.
func (a *App) Print(text string, o Object) error {
	if !a.JSON && text == "" {
		return nil
	}
	return a.PrintLine(text, o)
}

// PrintLine is print where an empty text is data, too: an empty line.
func (a *App) PrintLine(text string, o Object) error {
	var err error
	if a.JSON {
		err = JsonEncoder(a.Stdout).Encode(o)
	} else {
		_, err = fmt.Fprintln(a.Stdout, text)
	}
	if err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}

// Note prints a message for the user that is not data, on stderr.
func (a *App) Note(format string, args ...any) {
	fmt.Fprintf(a.Stderr, format+"\n", args...)
}

func JsonEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

type Object map[string]any

// Fail prints err, if there is one to print, and returns the exit status.
func (a *App) Fail(err error) int {
	code := exitCode(err)
	if a.starts && code == ExitUsage {
		code = ExitConfig
	}
	if err == nil || errors.Is(err, ErrSilent) {
		return code
	}
	if a.JSON {
		_ = JsonEncoder(a.Stderr).Encode(Object{"error": err.Error(), "reason": reason(err), "exit": code})
		return code
	}
	a.Note("quorate: %s", strings.TrimSpace(err.Error()))
	return code
}
