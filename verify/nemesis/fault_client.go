package nemesis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// clientFaults do something to clients, or between them and members.
func clientFaults() []Fault {
	return []Fault{
		{
			Name: "client-reset", Family: familyClients, About: "all connections of clients reset, ten times", Lasts: [2]time.Duration{0, time.Second},
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				n := 0
				for range 10 {
					n += t.Clients.Reset("")
					if err := pauseFor(ctx, between(t.Rand, time.Millisecond, 300*time.Millisecond)); err != nil {
						return Injected{"", nothing}, err
					}
				}
				return Injected{fmt.Sprint(n, " connections"), nothing}, nil
			},
		}, {
			Name: "client-cut", Family: familyClients, About: "a member that no client reaches",
			Lasts: [2]time.Duration{500 * time.Millisecond, 6 * time.Second},
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				address := t.Seeds[t.Rand.IntN(len(t.Seeds))]
				name := address
				if t.Grid != nil {
					m := t.Grid.leader(ctx, t.Rand)
					name, address = m.Name, m.Address
				}
				t.Clients.Set(address, true)
				return Injected{name, func(context.Context) error {
					t.Clients.Set(address, false)
					return nil
				}}, nil
			},
		}, {
			Name: "client-kill", Family: familyClients, About: "SIGKILL of a client process that holds a permit and waits",
			Inject: func(ctx context.Context, t *Target) (Injected, error) {
				if t.Client == nil {
					return Injected{"", nothing}, errors.New("there is no client process")
				}
				h, err := t.Client(ctx)
				if err != nil {
					return Injected{"", nothing}, err
				}
				h.Kill()
				return Injected{"", h.Check}, nil
			},
		},
	}
}

// StartHolder starts a client process and returns it with the line it prints
// once it holds what it is to hold.
func StartHolder(ctx context.Context, limit time.Duration, endpoints []string, command ...string) (*Holder, string, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return nil, "", err
	}
	defer out.Close()
	p, err := startProcess(in, in, append(command, "--endpoints", strings.Join(endpoints, ","))...)
	if err := errors.Join(err, in.Close()); err != nil {
		return nil, "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.cmd.Process.Kill() })
	late := time.AfterFunc(limit, func() { _ = p.cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	late.Stop()
	stop()
	if err != nil {
		p.kill()
		return nil, "", fmt.Errorf("client process: it ended before it held anything: %s", line)
	}
	return &Holder{Kill: p.kill}, strings.TrimSpace(line), nil
}
