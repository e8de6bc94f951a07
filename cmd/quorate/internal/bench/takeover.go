package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/cmd/quorate/internal/member"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/structures/delection"
)

type benchTakeover struct {
	cli.Connection
	TTLs      []time.Duration `name:"ttl" default:"2s,5s,10s" help:"TTLs of the leaders' sessions, one after the other." placeholder:"D,..."`
	Elections int             `default:"16" help:"Elections for each TTL, all at once." placeholder:"N"`
	Dev       bool            `help:"Start a grid of three members in this process, in memory."`
}

// Help is the long help of the command.
func (benchTakeover) Help() string {
	return `The leader of each election loses its connections at once and for good, as when its process is killed, at any time between two of its heartbeats, while a candidate waits. FIRST, P50 and LAST are the times until the candidate leads. APART is the least time between the end of a leader's context and the next leader: never less than 0.`
}

// Validate checks what the grammar cannot.
func (cmd *benchTakeover) Validate() error {
	if cmd.Elections < 1 || len(cmd.TTLs) == 0 {
		return errors.New("--elections and --ttl: want at least one")
	}
	return cmd.Connection.Validate()
}

// Run runs the command.
func (cmd *benchTakeover) Run(ctx context.Context, a *cli.App) error {
	if cmd.Dev {
		g, err := member.StartDev(ctx, member.DevConfig{Members: 3, Listen: "127.0.0.1:0"})
		if err != nil {
			return err
		}
		defer g.Close()
		cmd.Endpoints = g.Addresses()
	}
	if !a.JSON {
		fmt.Fprintln(a.Stdout, "TTL     ELECTIONS  FIRST   P50     LAST    APART")
	}
	for _, ttl := range cmd.TTLs {
		took, apart, err := cmd.measure(ctx, ttl)
		if err != nil {
			return fmt.Errorf("TTL %v: %w", ttl, err)
		}
		first, median, last := took[0], took[len(took)/2], took[len(took)-1]
		line := fmt.Sprintf("%-6v  %-9d  %-6v  %-6v  %-6v  %v", ttl, len(took), tenths(first), tenths(median), tenths(last), tenths(apart))
		if err := a.Print(line, cli.Object{
			"ttl_ms": ttl.Milliseconds(), "elections": len(took), "first_ms": first.Milliseconds(), "p50_ms": median.Milliseconds(),
			"last_ms": last.Milliseconds(), "apart_ms": apart.Milliseconds(),
		}); err != nil {
			return err
		}
		if apart < 0 {
			return cli.No(fmt.Errorf("TTL %v: a leader was elected while the context of the one before lived", ttl))
		}
	}
	return nil
}

func tenths(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

// measure returns how long the take-overs of a TTL took, in order, and how far leaders were
// apart at least.
func (cmd *benchTakeover) measure(ctx context.Context, ttl time.Duration) (took []time.Duration, apart time.Duration, err error) {
	candidate, err := cmd.Dial(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer candidate.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*ttl+time.Minute)
	defer cancel()
	var all sync.WaitGroup
	took, gaps, errs := make([]time.Duration, cmd.Elections), make([]time.Duration, cmd.Elections), make([]error, cmd.Elections)
	for i := range cmd.Elections {
		all.Go(func() {
			took[i], gaps[i], errs[i] = cmd.takeOver(ctx, candidate, fmt.Sprintf("bench-takeover-%v-%d", ttl, i), ttl)
		})
	}
	all.Wait()
	slices.Sort(took)
	return took, slices.Min(gaps), errors.Join(errs...)
}

// takeOver cuts the leader of an election off, and returns when another leads, and how long
// that is after the context of the leader has ended.
func (cmd *benchTakeover) takeOver(ctx context.Context, candidate *client.Client, name string, ttl time.Duration) (took, apart time.Duration, err error) {
	var way cutLine
	c, err := cmd.Dial(ctx, client.WithSessionTTL(ttl), client.WithDialer(way.dial))
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	lead, err := delection.New[string](c, name).Campaign(ctx, "first")
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	election, elected := delection.New[string](candidate, name), make(chan time.Time, 1)
	go func() {
		next, err := election.Campaign(ctx, "next")
		if err != nil {
			cancel(err)
			return
		}
		elected <- time.Now()
		_ = next.Resign(ctx) // else it ends with its session
	}()
	for waiting := 0; waiting == 0; {
		if err := contexts.Sleep(ctx, 10*time.Millisecond); err != nil {
			return 0, 0, context.Cause(ctx)
		}
		candidates, err := election.Candidates(ctx)
		if err != nil {
			return 0, 0, err
		}
		waiting = len(candidates)
	}
	// Heartbeats come every TTL/5: at any time between two of them.
	if err := contexts.Sleep(ctx, ttl/5+rand.N(ttl/5)); err != nil {
		return 0, 0, err
	}
	ended := make(chan time.Time, 1)
	context.AfterFunc(lead.Context(), func() { ended <- time.Now() })
	cut := time.Now()
	way.cut()
	select {
	case at := <-elected:
		if lead.Context().Err() == nil {
			return at.Sub(cut), -1, nil
		}
		return at.Sub(cut), at.Sub(<-ended), nil
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
}

// cutLine is the network of a client, until it is cut.
type cutLine struct {
	mu    sync.Mutex // guards the rest
	gone  bool
	conns []net.Conn
}

var errCut = errors.New("the line is cut")

func (l *cutLine) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.gone {
		_ = conn.Close()
		return nil, errCut
	}
	l.conns = append(l.conns, conn)
	return conn, nil
}

func (l *cutLine) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gone = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
}
