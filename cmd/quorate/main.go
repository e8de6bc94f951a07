// Command quorate is the one binary of the grid: a member (start, dev), the
// client commands (map, counter, semaphore, queue, lock, ref, txn, session, status,
// ls, destroy), a demonstration (demo) and a benchmark (bench).
//
// The command families are in internal/: member, structures, bench, verify and demo;
// cli is what they share.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/alecthomas/kong"
	"github.com/quorate/quorate/cmd/quorate/internal/bench"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/cmd/quorate/internal/demo"
	"github.com/quorate/quorate/cmd/quorate/internal/member"
	structurecmd "github.com/quorate/quorate/cmd/quorate/internal/structures"
	"github.com/quorate/quorate/cmd/quorate/internal/verify"
)

func main() {
	a := &cli.App{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	os.Exit(run(a, os.Args[1:]))
}

// grammar is what the command line may say.
type grammar struct {
	Start     member.StartCommand            `cmd:"" help:"Run a member of a grid."`
	Dev       member.DevCommand              `cmd:"" help:"Run a whole grid in this process, to try things out."`
	Demo      demo.DemoCommand               `cmd:"" help:"Show the grid at work on real input, with a member killed on the way."`
	Status    member.StatusCommand           `cmd:"" help:"Show the members and groups of a grid."`
	Ls        structurecmd.LsCommand         `cmd:"" help:"List the structures of a grid."`
	Inspect   structurecmd.InspectCommand    `cmd:"" help:"Show what one structure holds, where it lives and its settings."`
	Configure structurecmd.ConfigureCommand  `cmd:"" help:"Agree the settings of a structure, or print them."`
	Revoke    structurecmd.RevokeCommand     `cmd:"" help:"Take a hold of a structure away from who has it."`
	Destroy   structurecmd.DestroyCommand    `cmd:"" help:"Destroy a structure with all it holds."`
	Map       structurecmd.MapCommands       `cmd:"" help:"Read and write maps."`
	Counter   structurecmd.CounterCommands   `cmd:"" help:"Read and change counters."`
	Semaphore structurecmd.SemaphoreCommands `cmd:"" help:"Use semaphores, also around a command."`
	Queue     structurecmd.QueueCommands     `cmd:"" help:"Put into queues and take from them."`
	Lock      structurecmd.LockCommands      `cmd:"" help:"Hold a lock, also while a command runs."`
	RWLock    structurecmd.RWLockCommands    `cmd:"" name:"rwlock" help:"Hold a lock to read or to write, also while a command runs."`
	Latch     structurecmd.LatchCommands     `cmd:"" help:"Count down to 0, and wait for that."`
	Barrier   structurecmd.BarrierCommands   `cmd:"" help:"Meet others, or run a command together with them."`
	Election  structurecmd.ElectionCommands  `cmd:"" help:"Elect a leader, also around a command."`
	Ref       structurecmd.RefCommands       `cmd:"" help:"Read and change references, and follow their values."`
	ID        structurecmd.IDCommands        `cmd:"" name:"id" help:"Get ids that are never given out twice."`
	Rate      structurecmd.RateCommands      `cmd:"" help:"Limit how often something is done."`
	Service   structurecmd.ServiceCommands   `cmd:"" help:"Register services, find them, and take them out of use."`
	Presence  structurecmd.PresenceCommands  `cmd:"" help:"Be present in a group, and see who is."`
	Txn       structurecmd.TxnCommand        `cmd:"" help:"Carry out operations of several structures together, or not at all."`
	Session   structurecmd.SessionCommands   `cmd:"" help:"List, show and end the sessions of clients."`
	Bench     bench.BenchCommands            `cmd:"" help:"Measure a grid."`
	Verify    verify.VerifyCommands          `cmd:"" help:"Torture a grid and check that it keeps its promises."`
	Conform   verify.ConformCommand          `cmd:"" help:"Test whether a client in any language keeps the rules of the protocol."`
	Recover   member.RecoverCommand          `cmd:"" help:"Save what a survivor has of a grid that lost the data of its majority."`
	Version   cli.VersionCommand             `cmd:"" help:"Print the version."`

	Completion    completionCommand         `cmd:"" help:"Print a script that completes commands in a shell."`
	CompleteWords completeWordsCommand      `cmd:"" hidden:"" help:"What completion scripts ask."`
	ConformClient verify.ConformClient      `cmd:"" hidden:"" help:"This project's client, to be tested by conform."`
	DemoWorker    demo.DemoWorkerCommand    `cmd:"" hidden:"" help:"A worker process of the demo."`
	DemoScheduler demo.DemoSchedulerCommand `cmd:"" hidden:"" help:"A scheduler process of the demo."`
}

const description = `A distributed in-memory data grid: maps, counters, semaphores, queues, locks and references, all linearizable.

  quorate demo                                  see it at work
  quorate dev                                   a grid of three members in one process
  quorate map put users ada '{"logins": 1}'     talk to the grid on this machine
  quorate status --endpoints 10.0.0.1:7170      or to another

Exit status: 0 done; 1 no (absent, empty, refused, not in time); 2 wrong usage; 3 unavailable, nothing changed; 4 outcome unknown; 5 there is something, but it cannot be read, has another codec or was never initialized; 78 start: wrong configuration.`

// run parses the arguments, runs the command and returns the exit status.
func run(a *cli.App, args []string) int {
	a.Prepare(args)
	var g grammar
	exited := -1
	parser, err := kong.New(&g, kong.Name("quorate"), kong.Description(description), kong.Writers(a.Stdout, a.Stderr), structurecmd.Vars(),
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
		if errors.As(err, &pe) && pe.Context != nil && !a.JSON && len(args) == 0 {
			_ = pe.Context.PrintUsage(false)
		}
		var of *cli.ExitError
		if errors.As(err, &of) { // a configuration file: the grammar has nothing to say about it
			return a.Fail(of)
		}
		return a.Fail(&cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf("%w; see quorate --help", err)})
	}
	// The first signal ends the command, the second one the process.
	ctx, stop := signal.NotifyContext(context.Background(), a.EndSignals()...)
	defer stop()
	defer context.AfterFunc(ctx, stop)()
	parsed.BindTo(ctx, (*context.Context)(nil))
	return a.Fail(parsed.Run(a))
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
	return parser.Parse(cli.Arrange(parser.Model.Node, args))
}
