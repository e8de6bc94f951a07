package structures

import (
	"context"
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delection"
)

type ElectionCommands struct {
	Run        electionRun        `cmd:"" help:"Lead, while a command runs or until a signal."`
	Leader     electionLeader     `cmd:"" help:"Print the value of the leader."`
	Observe    electionObserve    `cmd:"" help:"Print the leader now, and whenever it has changed, or run a command for it."`
	Candidates electionCandidates `cmd:"" help:"List the leader and those who wait to be elected."`
	Transfer   electionTransfer   `cmd:"" help:"Have a candidate succeed the leader."`
	Resign     electionResign     `cmd:"" help:"Take the leadership from the leader."`
}

// Help is the long help of the family.
func (ElectionCommands) Help() string {
	return `  quorate election run scheduler --value 10.0.0.5:8080 --again -- ./scheduler
  quorate election leader scheduler
  quorate election observe scheduler -- ./reconfigure
  quorate election candidates scheduler
  quorate election transfer scheduler 281474976710657 281474976710659 --grace 30s

run waits until it is elected, and runs COMMAND while it leads. COMMAND sees the fencing token in QUORATE_TOKEN and the election in QUORATE_NAME; it is a process group of its own, which gets the signals that quorate gets. Exit status: that of COMMAND, 128 and the number for a signal; 124 if it was not elected in time; 125 if the leadership was lost or could not be had; 126 or 127 if COMMAND cannot be run or found. With --again a lost leadership is no end: when COMMAND has ended it is a candidate again, and COMMAND runs again when it is elected.

The leadership is lost when the grid has not heard from us for --ttl, or when it was transferred or taken away. Before anyone else is elected COMMAND and what it has started get SIGTERM, after --kill-after SIGKILL, and the shell runs --on-lost. Without COMMAND the token is printed, and it leads until SIGINT, SIGTERM or SIGHUP.

The next leader is the candidate that a transfer has named, else the one with the highest priority, and of several the one that has waited longest.`
}

// electionName names an election, on a grid.
type electionName struct {
	cli.Connection
	Name string `arg:"" help:"The election."`
}

// with runs f with the election.
func (cmd *electionName) with(ctx context.Context, f func(*delection.Election[structures.Encoded]) error) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error {
		return f(delection.New[structures.Encoded](c, cmd.Name))
	})
}

type electionRun struct {
	electionName
	Value    string `help:"What others see of the leader, as JSON or as text; the name of this host without it." placeholder:"V"`
	Priority int    `help:"Of those who wait the highest is elected." default:"0" placeholder:"N"`
	Note     string `help:"Who or why, for candidates and inspect." placeholder:"TEXT"`
	Again    bool   `help:"When the leadership was lost, be a candidate again."`
	holding
}

// Run runs the command.
func (cmd *electionRun) Run(ctx context.Context, a *cli.App) error {
	value, err := cmd.value(a)
	if err != nil {
		return err
	}
	opts := []delection.CampaignOption{delection.Priority(cmd.Priority), delection.Note(cmd.Note)}
	if cmd.Wait != nil {
		opts = append(opts, delection.Wait(*cmd.Wait))
	}
	for {
		err := cmd.holding.run(ctx, a, &cmd.Connection, "election", cmd.Name, func(ctx context.Context, c *client.Client) (*structures.Held, error) {
			ctx, cancel := waiting(ctx, cmd.Wait)
			defer cancel()
			lead, err := delection.New[structures.Encoded](c, cmd.Name).Campaign(ctx, value, opts...)
			if err != nil {
				return nil, err
			}
			return lead.Held, nil
		})
		if !cmd.Again || ctx.Err() != nil || !errors.Is(err, structures.ErrRevoked) && !errors.Is(err, quorate.ErrSessionLost) {
			return err
		}
		a.Note("quorate: %v; a candidate again", err)
	}
}

// value returns the value of the leader, encoded.
func (cmd *electionRun) value(a *cli.App) (structures.Encoded, error) {
	var v any = cmd.Value
	switch cmd.Value {
	case "":
		host, err := os.Hostname()
		if err != nil {
			return nil, &cli.ExitError{Code: cli.ExitUsage, Err: fmt.Errorf("give a --value, since this host has no name: %w", err)}
		}
		v = host
	case "-": // stdin is COMMAND's
	default:
		var err error
		if v, err = (cli.Form{}).Read(a, cmd.Value); err != nil {
			return nil, err
		}
	}
	return structures.AppendValue(nil, structures.CBOR, v)
}

type electionLeader struct{ electionName }

// Help is the long help of the command.
func (electionLeader) Help() string {
	return `If nobody leads the exit status is 1. With -o json there are the hold and the token of the leadership, the session, the name of its client, the note, and since when it leads.`
}

// Run runs the command.
func (cmd *electionLeader) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(e *delection.Election[structures.Encoded]) error {
		l, ok, err := e.Leader(ctx)
		if err != nil {
			return err
		}
		if !ok {
			return cli.No(fmt.Errorf("election %s has no leader", cmd.Name))
		}
		s := cli.Show(l.Value)
		o := leaderObject(cmd.Name, &l, s)
		o["for_ms"] = l.For.Milliseconds()
		if err := a.PrintLine(s.Line, o); err != nil {
			return err
		}
		return cli.Unreadable(s.Err)
	})
}

func leaderObject(election string, l *delection.Leader[structures.Encoded], s cli.Shown) cli.Object {
	return cli.Object{
		"election": election, "value": s.JSON, "hold": uint64(l.Hold), "token": uint64(l.Token), "session": uint64(l.Session), "client": l.Client, "note": l.Note,
	}
}

type electionObserve struct {
	electionName
	onEvent
}

// Help is the long help of the command.
func (electionObserve) Help() string {
	return `The leader now is the first line, and then the newest after each change of leader or value: the token, and the value. While nobody leads the line is none. Leaders in between may be left out; tokens never go back.

COMMAND runs once for each, one at a time, with QUORATE_VALUE and QUORATE_TOKEN, and the value on stdin. Both are empty while nobody leads.`
}

// Run runs the command.
func (cmd *electionObserve) Run(ctx context.Context, a *cli.App) error {
	path, err := cmd.look()
	if err != nil {
		return err
	}
	n := 0
	return cmd.with(ctx, func(e *delection.Election[structures.Encoded]) error {
		for l, err := range e.Observe(ctx) {
			if err != nil {
				if ctx.Err() != nil { // a signal
					return nil
				}
				return err
			}
			if err := cmd.take(ctx, a, path, &l); err != nil || cmd.full(&n) {
				return err
			}
		}
		return nil
	})
}

// take prints a leader, or runs COMMAND for it.
func (cmd *electionObserve) take(ctx context.Context, a *cli.App, path string, l *delection.Leader[structures.Encoded]) error {
	line, value, token := "none", "", ""
	o := cli.Object{"election": cmd.Name, "none": true}
	if !l.None {
		s := cli.Show(l.Value)
		value, token = s.Line, fmt.Sprint(uint64(l.Token))
		line, o = token+"\t"+value, leaderObject(cmd.Name, l, s)
	}
	if path == "" {
		return a.PrintLine(line, o)
	}
	return cmd.run(ctx, a, path, []string{"QUORATE_NAME=" + cmd.Name, "QUORATE_VALUE=" + value, "QUORATE_TOKEN=" + token}, value)
}

type electionCandidates struct{ electionName }

// Help is the long help of the command.
func (electionCandidates) Help() string {
	return `The leader is first, and those who wait follow in the order in which they would be elected. transfer takes what stands below HOLD.`
}

// Run runs the command.
func (cmd *electionCandidates) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(e *delection.Election[structures.Encoded]) error {
		l, ok, err := e.Leader(ctx)
		if err != nil {
			return err
		}
		list, err := e.Candidates(ctx)
		if err != nil {
			return err
		}
		rows := make([]candidateRow, 0, 1+len(list))
		if ok {
			rows = append(rows, candidateRow{hold: l.Hold, session: l.Session, client: l.Client, state: leads, since: l.For, note: l.Note, value: l.Value})
		}
		for _, c := range list {
			row := candidateRow{hold: c.Hold, session: c.Session, client: c.Client, state: "waits", priority: c.Priority, since: c.For, note: c.Note, value: c.Value}
			if c.Named {
				row.state = "named"
			}
			rows = append(rows, row)
		}
		return printCandidates(a, cmd.Name, rows)
	})
}

// leads is the state of the leader in the list of candidates.
const leads = "leads"

// candidateRow is one line of the list of candidates.
type candidateRow struct {
	hold     protocol.HoldID
	session  protocol.SessionID
	client   string
	state    string
	priority int // of who waits
	since    time.Duration
	note     string
	value    structures.Encoded
}

func printCandidates(a *cli.App, election string, rows []candidateRow) error {
	if len(rows) == 0 {
		return cli.No(fmt.Errorf("election %s has no leader and no candidates", election))
	}
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	if !a.JSON {
		fmt.Fprintln(t, "HOLD\tVALUE\tSTATE\tPRIORITY\tFOR\tCLIENT\tNOTE")
	}
	for _, r := range rows {
		s := cli.Show(r.value)
		waits := r.state != leads
		if !a.JSON {
			priority := "-"
			if waits {
				priority = fmt.Sprint(r.priority)
			}
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%v\t%s\t%s\n", r.hold, s.Line, r.state, priority, r.since, named(r.client), cli.LineOf(r.note))
			continue
		}
		o := cli.Object{
			"election": election, "hold": uint64(r.hold), "session": uint64(r.session), "client": r.client, "state": r.state, "for_ms": r.since.Milliseconds(),
			"note": r.note, "value": s.JSON,
		}
		if waits {
			o["priority"] = r.priority
		}
		if err := a.Print("", o); err != nil {
			return err
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return nil
}

// resigning is the flags of a command that takes the leadership away.
type resigning struct {
	Grace  time.Duration `default:"10s" placeholder:"D" help:"How long the leader may go on, to end what it does; ${default}. 0: it ends at once, and only tokens protect what it does."`
	Ask    bool          `help:"Only ask the leader to resign."`
	Reason string        `placeholder:"TEXT" help:"Why, for the leader and for inspect."`
}

func (r *resigning) options() []delection.RevokeOption {
	opts := []delection.RevokeOption{delection.Grace(r.Grace), delection.Reason(r.Reason)}
	if r.Ask {
		opts = append(opts, delection.AskOnly())
	}
	return opts
}

type electionTransfer struct {
	electionName
	Hold      uint64 `arg:"" help:"The hold of the leader, as candidates prints it."`
	Candidate uint64 `arg:"" help:"The hold of the candidate."`
	resigning
}

// Help is the long help of the command.
func (electionTransfer) Help() string {
	return `The leader's client stops what depends on the leadership and says so; then, and once the grace is over, the candidate leads. A leader that cannot be reached leads until its session ends, unless the grace is 0. A candidate that waits no more by then is passed over. If that leader does not lead any more, or the candidate does not wait, nothing is done, and the exit status is 1.`
}

// Run runs the command.
func (cmd *electionTransfer) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(e *delection.Election[structures.Encoded]) error {
		existed, err := e.Transfer(ctx, protocol.HoldID(cmd.Hold), protocol.HoldID(cmd.Candidate), cmd.options()...)
		if err == nil && !existed {
			err = cli.No(fmt.Errorf("hold %d does not lead election %s", cmd.Hold, cmd.Name))
		}
		if errors.Is(err, delection.ErrNoCandidate) {
			err = cli.No(err)
		}
		if err != nil {
			return err
		}
		return a.Print("", cli.Object{"election": cmd.Name, "hold": cmd.Hold, "candidate": cmd.Candidate, "transferred": !cmd.Ask, "asked": cmd.Ask})
	})
}

type electionResign struct {
	electionName
	Hold uint64 `arg:"" help:"The hold of the leader, as candidates prints it."`
	resigning
}

// Help is the long help of the command.
func (electionResign) Help() string {
	return `As transfer, but the next leader is who would be next anyway. If that leader does not lead any more nothing is done, and the exit status is 1.`
}

// Run runs the command.
func (cmd *electionResign) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(e *delection.Election[structures.Encoded]) error {
		existed, err := e.ForceResign(ctx, protocol.HoldID(cmd.Hold), cmd.options()...)
		if err == nil && !existed {
			err = cli.No(fmt.Errorf("hold %d does not lead election %s", cmd.Hold, cmd.Name))
		}
		if err != nil {
			return err
		}
		return a.Print("", cli.Object{"election": cmd.Name, "hold": cmd.Hold, "resigned": !cmd.Ask, "asked": cmd.Ask})
	})
}
