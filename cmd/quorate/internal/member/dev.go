package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/internal/ports"
)

type DevCommand struct {
	Members int    `help:"How many members." default:"3" placeholder:"N"`
	Listen  string `help:"Address of the first member; the others have the ports after it. Port 0 chooses free ones." default:"127.0.0.1:7170" placeholder:"A"`
	Verbose bool   `short:"v" help:"Print the members' logs."`
}

// Help is the long help of the command.
func (DevCommand) Help() string {
	return `All members are in this process, with durability memory: the data is lost when the command ends.

  quorate dev
  quorate dev --members 1 --listen 127.0.0.1:0`
}

// Run runs the command.
func (cmd *DevCommand) Run(ctx context.Context, a *cli.App) (err error) {
	c := DevConfig{Members: cmd.Members, Listen: cmd.Listen, memory: TuneMemory(ctx)}
	if cmd.Verbose {
		c.logger = slog.New(slog.NewTextHandler(a.Stderr, nil))
	}
	g, err := StartDev(ctx, c)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	addresses := strings.Join(g.Addresses(), ",")
	a.Note("A grid of %d in this process, in memory: the data is lost when it ends. To reach it:\n\n  export QUORATE_ENDPOINTS=%s\n  quorate map put greetings en hello\n",
		cmd.Members, addresses)
	fmt.Fprintln(a.Stdout, readyLine(g.members[0].Status()))
	<-ctx.Done()
	return nil
}

// DevConfig says what grid to start in this process.
type DevConfig struct {
	Members int
	Listen  string // of the first
	logger  *slog.Logger
	memory  int64 // of the process; 0: not known
}

// DevGrid is a grid in this process.
type DevGrid struct{ members []*grid.Member }

// StartDev starts a grid and waits until it serves.
func StartDev(ctx context.Context, c DevConfig) (_ *DevGrid, err error) {
	addresses, err := c.addresses()
	if err != nil {
		return nil, &cli.ExitError{Code: cli.ExitUsage, Err: err}
	}
	g := &DevGrid{}
	defer func() {
		if err != nil {
			_ = g.Close()
		}
	}()
	for i, address := range addresses {
		name := fmt.Sprintf("n%d", i+1)
		cfg := grid.Config{
			Name: name, Durability: grid.Memory, Listen: address, Join: addresses,
			BootstrapExpect: c.Members, Cluster: "dev", MemoryLimit: c.memory,
		}
		if c.logger != nil {
			cfg.Logger = c.logger.With("member", name)
		}
		m, err := grid.Start(ctx, cfg)
		if err != nil {
			return nil, err
		}
		g.members = append(g.members, m)
	}
	for _, m := range g.members {
		if err := m.Ready(ctx); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (c DevConfig) addresses() ([]string, error) {
	if c.Members < 1 || c.Members > 9 {
		return nil, fmt.Errorf("--members=%d: want 1 to 9", c.Members)
	}
	host, p, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("--listen: %w", err)
	}
	port, err := strconv.Atoi(p)
	if err != nil || port < 0 || port+c.Members > 1<<16 {
		return nil, fmt.Errorf("--listen %s: not a port", c.Listen)
	}
	if port == 0 {
		return ports.Free(c.Members)
	}
	var all []string
	for i := range c.Members {
		all = append(all, net.JoinHostPort(host, strconv.Itoa(port+i)))
	}
	return all, nil
}

func (g *DevGrid) Addresses() []string {
	var all []string
	for _, m := range g.members {
		all = append(all, m.Addr())
	}
	return all
}

// Close ends all members, at once: none can hand its groups over to another.
func (g *DevGrid) Close() error {
	errs := make([]error, len(g.members))
	var all sync.WaitGroup
	for i, m := range g.members {
		all.Go(func() { errs[i] = m.Close() })
	}
	all.Wait()
	return errors.Join(errs...)
}
