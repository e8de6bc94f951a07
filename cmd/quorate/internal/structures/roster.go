package structures

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/child"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/structures/roster"
)

// registering is the flags of a command that registers something while a COMMAND runs, or
// until a signal.
type registering struct {
	ID        string        `name:"id" help:"Its ID; if left out the name of this host, of a service with the port." placeholder:"ID"`
	TTL       time.Duration `name:"ttl" help:"How long the grid keeps it after the last sign of life; ${default}." default:"10s" placeholder:"D"`
	KillAfter time.Duration `help:"How long COMMAND may take to end after a signal; ${default}." default:"10s" placeholder:"D"`
	Command   []string      `arg:"" optional:"" name:"command" help:"COMMAND to run while it is registered, after --."`
}

// Validate checks what the grammar cannot.
func (r *registering) Validate() error {
	if r.TTL < shortestTTL || r.TTL > longestTTL {
		return fmt.Errorf("--ttl=%v: want %v to %v", r.TTL, shortestTTL, longestTTL)
	}
	if r.KillAfter < 0 {
		return fmt.Errorf("--kill-after=%v: must not be negative", r.KillAfter)
	}
	return nil
}

// registration is what a command has registered.
type registration interface {
	ID() string
	Done() <-chan struct{}
	Err() error
}

// run registers, runs COMMAND or waits for a signal, and takes the registration back.
func (r *registering) run(ctx context.Context, a *cli.App, c *cli.Connection, kind, name string,
	register func(context.Context, *client.Client) (reg registration, leave func(context.Context) error, err error),
) error {
	h := holding{Command: r.Command}
	path, err := h.lookCommand()
	if err != nil {
		return err
	}
	status := 0
	err = c.With(ctx, func(cl *client.Client) error {
		reg, leave, err := register(ctx, cl)
		if err != nil {
			return err
		}
		back := func() error {
			ctx, cancel := context.WithTimeout(context.Background(), c.Timeout)
			defer cancel()
			return leave(ctx)
		}
		if len(r.Command) == 0 {
			if err := a.Print(reg.ID(), cli.Object{kind: name, "id": reg.ID()}); err != nil {
				return errors.Join(err, back())
			}
			select {
			case <-ctx.Done():
				return back()
			case <-reg.Done():
				return reg.Err()
			}
		}
		status, err = r.runCommand(ctx, a, path, kind, name, reg, back)
		return err
	}, client.WithSessionTTL(r.TTL))
	switch {
	case err == nil && status != 0:
		return &cli.ExitError{Code: status, Err: cli.ErrSilent}
	case err == nil || len(r.Command) == 0:
		return err
	case errors.Is(err, errNotRunnable):
		return &cli.ExitError{Code: cli.ExitNotRunnable, Err: err}
	default:
		return &cli.ExitError{Code: cli.ExitOurs, Err: err}
	}
}

// runCommand runs COMMAND and returns its status. A signal is COMMAND's, but takes the
// registration back at once: who looks for it must not find what is ending.
func (r *registering) runCommand(ctx context.Context, a *cli.App, path, kind, name string, reg registration, back func() error) (int, error) {
	if ctx.Err() != nil { // a signal came before there was a command to have it
		return 0, errors.Join(contexts.Err(ctx), back())
	}
	defer context.AfterFunc(ctx, func() { _ = back() })() // it is taken back again, and said, below
	over := make(chan struct{})
	told := make(chan struct{})
	go func() {
		defer close(told)
		select {
		case <-over:
		case <-reg.Done():
			if err := reg.Err(); err != nil {
				a.Note("quorate: the command goes on, but is no longer registered: %v", err)
			}
		}
	}()
	cmd := exec.Command(path, r.Command[1:]...)
	cmd.Args[0] = r.Command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.Stdin, a.Stdout, a.Stderr
	cmd.Env = append(os.Environ(), "QUORATE_NAME="+name, "QUORATE_ID="+reg.ID())
	status, err := child.RunUntil(ctx, cmd, r.KillAfter)
	close(over)
	<-told
	if err != nil {
		err = fmt.Errorf("%s %w: %w", r.Command[0], errNotRunnable, err)
		return 0, errors.Join(err, back())
	}
	if err := back(); err != nil && !errors.Is(err, roster.ErrReplaced) {
		a.Note("quorate: %s %s: %v", kind, name, err)
	}
	return status, nil
}

// hostName is the default of an ID.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return roster.NewID()
	}
	return name
}

// ownAddress is the address that this machine has towards the grid. Nothing is sent.
func ownAddress(endpoints []string) string {
	for _, e := range endpoints {
		conn, err := net.Dial("udp", e)
		if err != nil {
			continue
		}
		host, _, err := net.SplitHostPort(conn.LocalAddr().String())
		_ = conn.Close()
		if err == nil && host != "" {
			return host
		}
	}
	return hostName()
}

// dash is a text in a table, where nothing would shift the columns.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return cli.LineOf(s)
}

// words joins words with a separator, and leaves empty ones out.
func words(sep string, all ...string) string {
	var some []string
	for _, w := range all {
		if w != "" {
			some = append(some, w)
		}
	}
	return strings.Join(some, sep)
}
