package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/conform"
	"github.com/quorate/quorate/conform/goclient"
)

type ConformCommand struct {
	Listen string        `help:"Address for the first member; others have the next ports, or any with port 0." default:"127.0.0.1:7270" placeholder:"A"`
	Level  string        `help:"What of the protocol the client speaks: ${enum}. Each includes those before." enum:"simple,waiting,holding,full" default:"full" placeholder:"LEVEL"`
	Case   []string      `help:"Only these cases." placeholder:"NAME,..."`
	Exec   string        `help:"The client under test: a program and its arguments, separated by blanks. Without it somebody else starts the client." placeholder:"CMD"`
	Limit  time.Duration `help:"How long a case may take." default:"2m" placeholder:"D"`
	List   bool          `help:"List the cases instead, with their tasks."`
	Output string        `short:"o" help:"Form of the output: text, or json for one object a line." enum:"text,json" default:"text" placeholder:"FORM"`
	JSON   bool          `name:"json" help:"The same as -o json."`
}

// Help is the long help of the command.
func (ConformCommand) Help() string {
	return `Plays the members of a grid for one client in any language, by a script: cuts connections in the middle of messages, swallows requests and replies, answers every class of code, sends the client to other members, ends sessions. Says for each case which rules of the protocol the client has broken. Exit status 0 only if it has kept all.

The program of --exec is started anew for each case. It finds the addresses of members, separated by commas, in QUORATE_ENDPOINTS, reads tasks from its standard input, a line each, and writes a line to its standard output for each, before the next comes. At the end of its input it ends, with exit status 0.

  add COUNTER DELTA               adds; ok SUM
  add-many COUNTER DELTA TIMES N  adds so many times, N calls at once; ok SUM, the largest
  get COUNTER                     ok VALUE
  put MAP KEY TEXT                stores a text under a text; ok
  look-up MAP KEY                 ok TEXT, or none
  offer QUEUE TEXT                ok, or none if there is no free capacity
  take QUEUE WAIT                 takes a text, waits so many ms for one, 0 for ever; ok TEXT, or none
  give-up QUEUE TIME              takes, and gives up after so many ms; ok TEXT, or none
  hold SEMAPHORE TIME             acquires a permit, holds it for so many ms, releases it; ok, or lost

Every task may be replied to with refused (nothing has changed), unknown (the outcome), lost (what was held) or failed (anything else) instead; human-readable text may follow. docs/protocol.md, section Conformance, says more.

  quorate conform --level simple --exec "python3 driver.py"
  quorate conform --case cut,redirect --exec ./driver
  quorate conform --list`
}

// Run runs the command.
func (cmd *ConformCommand) Run(ctx context.Context, a *cli.App) error {
	a.JSON = a.JSON || cmd.JSON
	level, err := conform.ParseLevel(cmd.Level)
	if err != nil {
		return err
	}
	if cmd.List {
		for _, c := range conform.List(level) {
			text := fmt.Sprintf("%s (%s, %s): %s\n    %s", c.Case, c.Level, c.Rule, c.About, strings.Join(c.Tasks, "\n    "))
			if err := a.Print(text, cli.Object{"case": c.Case, "level": c.Level, "rule": c.Rule, "about": c.About, "tasks": c.Tasks}); err != nil {
				return err
			}
		}
		return nil
	}
	opts := conform.Options{Listen: cmd.Listen, Level: level, Cases: cmd.Case, Limit: cmd.Limit}
	show := a.Print
	if words := strings.Fields(cmd.Exec); len(words) > 0 {
		opts.Driver = conform.Command{Program: words, Stderr: a.Stderr}
	} else { // stdout has the tasks
		opts.Driver = &conform.Person{In: a.Stdin, Out: a.Stdout}
		show = func(text string, o cli.Object) error {
			if a.JSON {
				return cli.JsonEncoder(a.Stderr).Encode(o)
			}
			a.Note("%s", text)
			return nil
		}
	}
	var failed []string
	var showing error
	opts.Each = func(r conform.Result) {
		text := "kept    " + r.Case
		if !r.Passed() {
			failed = append(failed, r.Case)
			text = fmt.Sprintf("broken  %s: %s", r.Case, r.About)
			for _, f := range r.Broken {
				text += fmt.Sprintf("\n        %s: %s", f.Rule, f.What)
			}
		}
		showing = errors.Join(showing, show(text, cli.Object{
			"case": r.Case, "level": r.Level, "rule": r.Rule, "about": r.About, "tasks": r.Tasks, "passed": r.Passed(),
			"kept": append([]conform.Rule{}, r.Kept...), "broken": append([]conform.Finding{}, r.Broken...),
		}))
	}
	results, err := conform.Run(ctx, opts)
	if err != nil {
		return err
	}
	kept, broken, notMet := conform.Sum(results)
	text := fmt.Sprintf("%d cases; rules kept: %s", len(results), words(kept))
	if len(notMet) > 0 {
		text += "\nrules that were not met: " + words(notMet)
	}
	if len(broken) > 0 {
		text += "\nrules broken: " + words(broken)
	}
	err = show(text, cli.Object{"cases": len(results), "passed": len(failed) == 0, "kept": kept, "broken": broken, "not_met": notMet})
	if err := errors.Join(showing, err); err != nil {
		return err
	}
	if len(failed) > 0 {
		return cli.No(fmt.Errorf("the client breaks rules in %d of %d cases: %s", len(failed), len(results), strings.Join(failed, ", ")))
	}
	return nil
}

func words(rules []conform.Rule) string {
	if len(rules) == 0 {
		return "none"
	}
	var all []string
	for _, r := range rules {
		all = append(all, string(r))
	}
	return strings.Join(all, ", ")
}

// ConformClient is this project's client under test.
type ConformClient struct {
	cli.Connection
	TTL time.Duration `help:"Time to live of the session." default:"5s" placeholder:"D"`
}

// Run runs the command.
func (cmd *ConformClient) Run(ctx context.Context, a *cli.App) error {
	cmd.Timeout = max(cmd.Timeout, time.Minute)
	return cmd.With(ctx, func(c *client.Client) error { return goclient.Serve(ctx, c, a.Stdin, a.Stdout) }, client.WithSessionTTL(cmd.TTL))
}
