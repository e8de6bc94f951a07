package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// app is a run of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool // -o json
	starts         bool // the command is start
}

// grammar is what the command line may say.
type grammar struct {
	Start     startCommand      `cmd:"" help:"Run a member of a grid."`
	Dev       devCommand        `cmd:"" help:"Run a whole grid in this process, to try things out."`
	Demo      demoCommand       `cmd:"" help:"Show the grid at work on real input, with a member killed on the way."`
	Status    statusCommand     `cmd:"" help:"Show the members and groups of a grid."`
	Ls        lsCommand         `cmd:"" help:"List the structures of a grid."`
	Inspect   inspectCommand    `cmd:"" help:"Show what one structure holds, where it lives and its settings."`
	Configure configureCommand  `cmd:"" help:"Agree the settings of a structure, or print them."`
	Revoke    revokeCommand     `cmd:"" help:"Take a hold of a structure away from who has it."`
	Destroy   destroyCommand    `cmd:"" help:"Destroy a structure with all it holds."`
	Map       mapCommands       `cmd:"" help:"Read and write maps."`
	Counter   counterCommands   `cmd:"" help:"Read and change counters."`
	Semaphore semaphoreCommands `cmd:"" help:"Use semaphores, also around a command."`
	Queue     queueCommands     `cmd:"" help:"Put into queues and take from them."`
	Bench     benchCommands     `cmd:"" help:"Measure a grid."`
	Verify    verifyCommands    `cmd:"" help:"Torture a grid and check that it keeps its promises."`
	Conform   conformCommand    `cmd:"" help:"Test whether a client in any language keeps the rules of the protocol."`
	Recover   recoverCommand    `cmd:"" help:"Save what a survivor has of a grid that lost the data of its majority."`
	Version   versionCommand    `cmd:"" help:"Print the version."`

	Completion    completionCommand    `cmd:"" help:"Print a script that completes commands in a shell."`
	CompleteWords completeWordsCommand `cmd:"" hidden:"" help:"What completion scripts ask."`
	ConformClient conformClient        `cmd:"" hidden:"" help:"This project's client, to be tested by conform."`
	DemoWorker    demoWorkerCommand    `cmd:"" hidden:"" help:"A worker process of the demo."`
}

const description = `A distributed in-memory data grid: maps, counters, semaphores and queues, all linearizable.

  quorate demo                                  see it at work
  quorate dev                                   a grid of three members in one process
  quorate map put users ada '{"logins": 1}'     talk to the grid on this machine
  quorate status --endpoints 10.0.0.1:7170      or to another

Exit status: 0 done; 1 no (absent, empty, refused, not in time); 2 wrong usage; 3 unavailable, nothing changed; 4 outcome unknown; 5 there is something, but it cannot be read, has another codec or was never initialized; 78 start: wrong configuration.`

// run parses the arguments, runs the command and returns the exit status.
func (a *app) run(args []string) int {
	a.json = wantsJSON(args)
	a.starts = len(args) > 0 && args[0] == "start"
	var g grammar
	exited := -1
	parser, err := kong.New(&g, kong.Name("quorate"), kong.Description(description), kong.Writers(a.stdout, a.stderr), vars(),
		kong.Exit(func(code int) { exited = code; panic(helpShown{}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 110}))
	if err != nil {
		panic("quorate: bug: " + err.Error())
	}
	parsed, err := parse(parser, args)
	switch {
	case exited >= 0:
		return exited
	case err != nil:
		var pe *kong.ParseError
		if errors.As(err, &pe) && pe.Context != nil && !a.json && len(args) == 0 {
			_ = pe.Context.PrintUsage(false)
		}
		var of *exitError
		if errors.As(err, &of) { // a configuration file: the grammar has nothing to say about it
			return a.fail(of)
		}
		return a.fail(&exitError{code: exitUsage, err: fmt.Errorf("%w; see quorate --help", err)})
	}
	// The first signal ends the command, the second one the process.
	ctx, stop := signal.NotifyContext(context.Background(), a.endSignals()...)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	parsed.BindTo(ctx, (*context.Context)(nil))
	return a.fail(parsed.Run(a))
}

// endSignals are the signals that end a command in order. A hang-up ends all but
// a member, and those that shall outlive their terminal (nohup).
func (a *app) endSignals() []os.Signal {
	all := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !a.starts && !signal.Ignored(syscall.SIGHUP) {
		all = append(all, syscall.SIGHUP)
	}
	return all
}

// helpShown ends parsing after the help text was printed.
type helpShown struct{}

func parse(parser *kong.Kong, args []string) (parsed *kong.Context, err error) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(helpShown); !ok {
				panic(r)
			}
		}
	}()
	return parser.Parse(arrange(parser.Model.Node, args))
}

// wantsJSON finds -o json before anything is parsed, so that a usage error is
// printed as asked.
func wantsJSON(args []string) bool {
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

// print writes data to stdout: text, or o as a line of JSON. An empty text
// prints nothing.
func (a *app) print(text string, o object) error {
	if !a.json && text == "" {
		return nil
	}
	return a.printLine(text, o)
}

// printLine is print where an empty text is data, too: an empty line.
func (a *app) printLine(text string, o object) error {
	var err error
	if a.json {
		err = jsonEncoder(a.stdout).Encode(o)
	} else {
		_, err = fmt.Fprintln(a.stdout, text)
	}
	if err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}

// note tells people something that is not data.
func (a *app) note(format string, args ...any) {
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

func jsonEncoder(w io.Writer) *json.Encoder {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e
}

type object map[string]any

// fail prints err, if there is one to print, and returns the exit status.
func (a *app) fail(err error) int {
	code := exitCode(err)
	if a.starts && code == exitUsage {
		code = exitConfig
	}
	if err == nil || errors.Is(err, errSilent) {
		return code
	}
	if a.json {
		_ = jsonEncoder(a.stderr).Encode(object{"error": err.Error(), "reason": reason(err), "exit": code})
		return code
	}
	a.note("quorate: %s", strings.TrimSpace(err.Error()))
	return code
}
