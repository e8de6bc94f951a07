package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delection"
	"github.com/quorate/quorate/structures/dqueue"
)

// The schedulers: processes of which one leads and works on the jobs in their order. The
// {tag} puts the results into the partition of the election, as IfHeld needs.
const (
	demoElection   = "{demo-jobs}scheduler" // election: whose turn it is
	demoResults    = "{demo-jobs}results"   // queue of demoResult, one for each job
	demoSchedulers = 3                      // processes
	demoJobs       = 120
	demoJobTime    = 25 * time.Millisecond // what a job takes
	demoSession    = 2 * time.Second       // the TTL of their sessions: a dead leader leads so long
)

// DemoSchedulerCommand is one of the demo's scheduler processes. It reports on stdout, one
// demoTurn a line.
type DemoSchedulerCommand struct {
	Endpoints []string `required:""`
	Name      string   `required:""`
}

// demoTurn is what a scheduler reports: that it leads, with Job 0, and that it has recorded
// the result of a job.
type demoTurn struct {
	Name  string
	Token protocol.Token
	Job   int
}

// demoResult is the result of a job, and who has recorded it.
type demoResult struct {
	Job   int
	Name  string
	Token protocol.Token
}

// Run runs the command.
func (cmd *DemoSchedulerCommand) Run(ctx context.Context, a *cli.App) error {
	// The demo has ended when stdin closes.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = bufio.NewReader(a.Stdin).ReadByte()
		cancel()
	}()
	c, err := client.Dial(ctx, cmd.Endpoints, client.WithSessionTTL(demoSession), client.WithOperationTimeout(demoPatience), client.WithName("demo scheduler "+cmd.Name))
	if err != nil {
		return err
	}
	defer c.Close()
	s := demoScheduler{
		name: cmd.Name, report: json.NewEncoder(a.Stdout),
		election: delection.New[string](c, demoElection), results: dqueue.New[demoResult](c, demoResults),
	}
	for {
		err := s.turn(ctx)
		if ctx.Err() == nil && (errors.Is(err, structures.ErrNotHeld) || errors.Is(err, quorate.ErrSessionLost)) {
			continue // somebody else leads by now
		}
		return err
	}
}

type demoScheduler struct {
	name     string
	report   *json.Encoder
	election *delection.Election[string]
	results  *dqueue.Queue[demoResult]
}

// turn waits to be elected, does the jobs that are left, and resigns.
func (s *demoScheduler) turn(ctx context.Context) error {
	lead, err := s.election.Campaign(ctx, s.name)
	if err != nil {
		return err
	}
	return errors.Join(s.work(ctx, lead), lead.Resign(ctx))
}

// work does the jobs that are left. Nobody but the leader records results, so how many there
// are does not change behind its back: the next job is the one after them.
func (s *demoScheduler) work(ctx context.Context, lead *delection.Leadership[string]) error {
	done, err := s.results.Len(ctx)
	if err != nil || done >= demoJobs {
		return err
	}
	if err := s.report.Encode(demoTurn{Name: s.name, Token: lead.Token()}); err != nil {
		return err
	}
	for job := done + 1; job <= demoJobs; job++ {
		if err := contexts.Sleep(ctx, demoJobTime); err != nil {
			return err
		}
		// A leader that was replaced, and does not know it yet, records nothing.
		if _, err := s.results.Offer(ctx, demoResult{job, s.name, lead.Token()}, dqueue.IfHeld(lead.Held)); err != nil {
			return err
		}
		if err := s.report.Encode(demoTurn{s.name, lead.Token(), job}); err != nil {
			return err
		}
	}
	return nil
}
