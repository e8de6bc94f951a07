package structures

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/child"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/structures"
)

// holding is the flags of a command that holds something while a COMMAND runs,
// or until a signal.
type holding struct {
	Wait      *time.Duration `help:"How long to wait for it; 0: not at all. Without it: as long as it takes." placeholder:"D"`
	TTL       time.Duration  `name:"ttl" help:"How long the grid keeps what is held after the last sign of life; ${default}." default:"15s" placeholder:"D"`
	KillAfter *time.Duration `help:"How long COMMAND may take to end when what is held is lost; 5s, or less with a short --ttl." placeholder:"D"`
	OnLost    string         `help:"What the shell runs when what is held is lost." placeholder:"LINE"`
	Command   []string       `arg:"" optional:"" name:"command" help:"COMMAND to run, after --."`
}

// holdingHelp is the long help of a command with the flags of holding, that holds what is
// named so.
func holdingHelp(what string) string {
	return `COMMAND runs while ` + what + ` is held. It sees the fencing token in QUORATE_TOKEN and the name in QUORATE_NAME; it is a process group of its own, which gets the signals that quorate gets. Exit status: that of COMMAND, 128 and the number for a signal; 124 if it was not granted within --wait; 125 if it was lost or could not be had; 126 or 127 if COMMAND cannot be run or found.

It is lost when the grid has not heard from us for --ttl, or when somebody takes it away. Before anyone else can be granted it COMMAND and what it has started get SIGTERM, after --kill-after SIGKILL, and the shell runs --on-lost. Without COMMAND the token is printed and it is held until SIGINT, SIGTERM or SIGHUP.`
}

const (
	shortestTTL, longestTTL = 2 * time.Second, time.Hour // of a session
	defaultKillAfter        = 5 * time.Second
	// killTime is what the end of a killed process group may take, on a slow
	// machine.
	killTime = time.Second
)

// longestKillAfter leaves the client as much of the TTL as the margin has.
func (h *holding) longestKillAfter() time.Duration { return h.TTL/2 - killTime }

// Validate checks what the grammar cannot.
func (h *holding) Validate() error {
	if h.TTL < shortestTTL || h.TTL > longestTTL {
		return fmt.Errorf("--ttl=%v: want %v to %v", h.TTL, shortestTTL, longestTTL)
	}
	if h.KillAfter != nil && (*h.KillAfter < 0 || *h.KillAfter > h.longestKillAfter()) {
		return fmt.Errorf("--kill-after=%v: with --ttl=%v at most %v", *h.KillAfter, h.TTL, h.longestKillAfter())
	}
	return checkWait(h.Wait)
}

func (h *holding) killAfter() time.Duration {
	if h.KillAfter != nil {
		return *h.KillAfter
	}
	return min(defaultKillAfter, h.longestKillAfter())
}

// options are those of a client whose holders are dead, by then killed, before
// anyone else is granted what they hold.
func (h *holding) options() []client.Option {
	return []client.Option{client.WithSessionTTL(h.TTL), client.WithHoldMargin(h.margin())}
}

// margin is how long before the next grant COMMAND gets SIGTERM; the client wants a
// tenth of the TTL at the least.
func (h *holding) margin() time.Duration { return max(h.killAfter()+killTime, h.TTL/10) }

// hold is what a command holds.
type hold struct {
	*holding
	*cli.App
	connection *cli.Connection
	kind, name string
	held       *structures.Held
}

// run acquires and holds.
func (h *holding) run(ctx context.Context, a *cli.App, c *cli.Connection, kind, name string,
	acquire func(context.Context, *client.Client) (*structures.Held, error),
) error {
	path, err := h.lookCommand()
	if err != nil {
		return err
	}
	status := 0
	err = c.With(ctx, func(cl *client.Client) error {
		held, err := acquire(ctx, cl)
		if err != nil {
			return err
		}
		k := &hold{holding: h, App: a, connection: c, kind: kind, name: name, held: held}
		defer k.sayAsked()()
		if len(h.Command) == 0 {
			return k.untilSignal(ctx)
		}
		status, err = k.runCommand(ctx, path)
		return err
	}, h.options()...)
	switch {
	case err == nil && status == 0:
		return nil
	case err == nil:
		return &cli.ExitError{Code: status, Err: cli.ErrSilent}
	case len(h.Command) == 0:
		return err
	case errors.Is(err, quorate.ErrNotInTime):
		return &cli.ExitError{Code: cli.ExitNotAcquired, Err: err}
	case errors.Is(err, errNotRunnable):
		return &cli.ExitError{Code: cli.ExitNotRunnable, Err: err}
	default:
		return &cli.ExitError{Code: cli.ExitOurs, Err: err}
	}
}

var errNotRunnable = errors.New("cannot be run")

// sayAsked says it when somebody asks for what is held, until the function that it
// returns is called.
func (k *hold) sayAsked() (stop func()) {
	done, said := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(said)
		select {
		case <-k.held.Asked():
			k.Note("quorate: somebody asks for %s %s: it is released when this command ends", k.kind, k.name)
		case <-k.held.Context().Done():
		case <-done:
		}
	}()
	return func() { close(done); <-said }
}

// lookCommand finds COMMAND before anything is acquired for it.
func (h *holding) lookCommand() (string, error) {
	if len(h.Command) == 0 {
		return "", nil
	}
	path, err := exec.LookPath(h.Command[0])
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, os.ErrPermission):
		return "", &cli.ExitError{Code: cli.ExitNotRunnable, Err: err}
	default:
		return "", &cli.ExitError{Code: cli.ExitNotFound, Err: err}
	}
}

// untilSignal prints the token and holds until ctx ends.
func (k *hold) untilSignal(ctx context.Context) error {
	token := uint64(k.held.Token())
	if err := k.Print(fmt.Sprint(token), cli.Object{k.kind: k.name, "token": token}); err != nil {
		return errors.Join(err, k.release())
	}
	select {
	case <-ctx.Done():
		return k.release()
	case <-k.held.Context().Done():
		k.runOnLost()
		return &cli.ExitError{Code: cli.ExitUnavailable, Err: k.lost()}
	}
}

// runCommand runs COMMAND while it is held, and returns its status.
func (k *hold) runCommand(ctx context.Context, path string) (int, error) {
	cmd := exec.Command(path, k.Command[1:]...)
	cmd.Args[0] = k.Command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = k.Stdin, k.Stdout, k.Stderr
	cmd.Env = k.environment()
	if ctx.Err() != nil { // a signal came before there was a command to have it
		return 0, errors.Join(contexts.Err(ctx), k.release())
	}
	told := make(chan struct{})
	stop := context.AfterFunc(k.held.Context(), func() {
		defer close(told)
		k.Note("quorate: ending the command: %v", k.lost())
		k.runOnLost()
	})
	status, err := child.Run(k.held.Context(), cmd, k.killAfter())
	if !stop() {
		<-told
		return 0, k.lost()
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("%s %w: %w", k.Command[0], errNotRunnable, err), k.release())
	}
	switch err := k.release(); {
	case errors.Is(err, structures.ErrNotHeld), errors.Is(err, quorate.ErrSessionLost):
		// It was lost, and others may have had it while COMMAND ran.
		k.runOnLost()
		return 0, fmt.Errorf("%s %s: the hold was lost: %w", k.kind, k.name, err)
	case err != nil:
		k.Note("quorate: %v", err)
	}
	return status, nil
}

// runOnLost runs the line of --on-lost to its end.
func (k *hold) runOnLost() {
	if k.OnLost == "" {
		return
	}
	cmd := child.Shell(k.OnLost)
	cmd.Stdout, cmd.Stderr = k.Stdout, k.Stderr
	cmd.Env = k.environment()
	switch status, err := child.Run(context.Background(), cmd, 0); {
	case err != nil:
		k.Note("quorate: --on-lost: %v", err)
	case status != 0:
		k.Note("quorate: --on-lost: exit status %d", status)
	}
}

// environment is ours and what is held.
func (k *hold) environment() []string {
	return append(os.Environ(), fmt.Sprintf("QUORATE_TOKEN=%d", uint64(k.held.Token())), "QUORATE_NAME="+k.name)
}

// lost is the error of a hold that has ended too soon.
func (k *hold) lost() error {
	cause := context.Cause(k.held.Context())
	if errors.Is(cause, context.Canceled) {
		cause = quorate.ErrSessionLost
	}
	return fmt.Errorf("%s %s: the hold was lost: %w", k.kind, k.name, cause)
}

// release gives back what is held, also when the command was interrupted.
func (k *hold) release() error {
	ctx, cancel := context.WithTimeout(context.Background(), k.connection.Timeout)
	defer cancel()
	return k.held.Release(ctx)
}
