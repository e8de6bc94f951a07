package verify

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/flood"
	"github.com/quorate/quorate/protocol"
)

// verifyFlood is a process of hostile connections. In the process of good clients they would
// take these clients' turns at its scheduler, which is no fault of the grid.
type verifyFlood struct {
	Endpoints  []string `required:""`
	Heartbeats bool
	Seed       uint64 `required:""`
}

const (
	floodConnections = 300
	floodWaits       = 20 * time.Second // for it to start, and to end when it was interrupted

	saysFloods = "floods" // when a signal ends it as it should
)

// Run floods until it is interrupted, and then prints what it has done.
func (cmd *verifyFlood) Run(ctx context.Context, a *cli.App) error {
	fmt.Fprintln(a.Stdout, saysFloods)
	r := flood.Run(ctx, flood.Config{Addresses: cmd.Endpoints, Connections: floodConnections, Seed: cmd.Seed, Heartbeats: cmd.Heartbeats})
	_, err := fmt.Fprintf(a.Stdout, "%d connections, %d not connected, %d bursts\n", r.Connections, r.NotConnected, r.Bursts)
	return err
}

// startFlood starts a process of hostile connections.
func (v *verification) startFlood(ctx context.Context) (detail string, check func(context.Context) error, err error) {
	endpoints, detail := v.endpoints(), "all messages"
	command := []string{"flood", "--seed", strconv.FormatUint(v.rng.Uint64(), 10)}
	if v.rng.IntN(2) == 0 {
		command, detail = append(command, "--heartbeats"), "heartbeats"
		if a := v.leaderOfSystem(ctx); a != "" { // who gathers them
			endpoints = []string{a}
		}
	}
	p, err := v.startProcess(endpoints, command...)
	if err != nil {
		return "", nil, err
	}
	next := func(ctx context.Context) (string, error) {
		ctx, cancel := context.WithTimeout(ctx, floodWaits)
		defer cancel()
		line, err := p.Line(ctx)
		if err != nil {
			return "", fmt.Errorf("flood: %w", err)
		}
		return line, nil
	}
	line, err := next(ctx)
	if err == nil && line != saysFloods {
		err = fmt.Errorf("flood: it says %q", line)
	}
	if err != nil {
		p.Kill()
		return "", nil, err
	}
	return detail, func(ctx context.Context) error {
		defer p.Kill()
		if err := p.Interrupt(); err != nil {
			return err
		}
		line, err := next(ctx)
		if err != nil {
			return err
		}
		v.Note("flood: %s", line)
		return nil
	}, nil
}

// leaderOfSystem returns where the member listens that leads the system group; empty if
// none is known.
func (v *verification) leaderOfSystem(ctx context.Context) string {
	if v.grid == nil {
		return ""
	}
	for i, groups := range v.grid.Leaders(ctx) {
		if slices.Contains(groups, protocol.SystemGroup) {
			return v.grid.Members()[i].Listen
		}
	}
	return ""
}
