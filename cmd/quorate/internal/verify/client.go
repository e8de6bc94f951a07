package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/verify/nemesis"
)

// verifyClient is a client process that holds all permits of a semaphore, has an
// ephemeral entry, and waits for an element of a queue, until it is killed.
type verifyClient struct {
	Endpoints []string      `required:""`
	Semaphore string        `required:""`
	Queue     string        `required:""`
	TTL       time.Duration `required:""`
}

// holderPermits is how many permits a client process holds.
const holderPermits = 2

// Run runs the command.
func (cmd *verifyClient) Run(ctx context.Context, a *cli.App) error {
	c, err := client.Dial(ctx, cmd.Endpoints, client.WithSessionTTL(cmd.TTL), client.WithName("verify client"))
	if err != nil {
		return err
	}
	defer c.Close()
	s := dsemaphore.New(c, cmd.Semaphore)
	if err := s.Init(ctx, holderPermits); err != nil {
		return err
	}
	held, err := s.Acquire(ctx, holderPermits)
	if err != nil {
		return err
	}
	if err := dmap.New[string, int](c, cmd.Semaphore).Put(ctx, "k", 1, dmap.Ephemeral()); err != nil {
		return err
	}
	fmt.Fprintln(a.Stdout, held.Token())
	_, err = dqueue.New[string](c, cmd.Queue).Take(ctx)
	return err
}

// Times of a client process.
const (
	holderTTL   = 2 * time.Second
	holderGrant = 20 * time.Second // to start and be granted
	holderBack  = 30 * time.Second // for what it held to be back
)

// holder starts a client process for the nemesis.
func (v *verification) holder(ctx context.Context) (*nemesis.Holder, error) {
	v.holders++
	name := fmt.Sprintf("%s-holder-%d", v.name, v.holders)
	c, token, err := v.startClient(ctx, "client", "--semaphore", name, "--queue", name)
	if err != nil {
		return nil, err
	}
	return &nemesis.Holder{Kill: c.Kill, Check: func(ctx context.Context) error { return v.checkHolder(ctx, name, token) }}, nil
}

// startClient starts a client process with a session of holderTTL, and waits until it says
// which token it was granted.
func (v *verification) startClient(ctx context.Context, command ...string) (*nemesis.Client, protocol.Token, error) {
	c, err := v.startProcess(v.endpoints(), append(command, "--ttl", holderTTL.String())...)
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, holderGrant)
	defer cancel()
	line, err := c.Line(ctx)
	token := protocol.Token(0)
	if err == nil {
		token, err = tokenOf(line)
	}
	if err != nil {
		c.Kill()
		return nil, 0, err
	}
	return c, token, nil
}

// startProcess starts a hidden command of this one where the clients are.
func (v *verification) startProcess(endpoints []string, command ...string) (*nemesis.Client, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return nemesis.StartClient(v.grid, endpoints, append([]string{binary, "verify"}, command...)...)
}

// tokenOf reads the token at the end of a line of a client process.
func tokenOf(line string) (protocol.Token, error) {
	n, err := strconv.ParseUint(line[strings.LastIndexByte(line, ' ')+1:], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("client process: %s", line)
	}
	return protocol.Token(n), nil
}

// endpoints is where a client process finds the members.
func (v *verification) endpoints() []string {
	if v.grid == nil {
		return v.seeds
	}
	var all []string
	for _, m := range v.grid.Members() {
		all = append(all, m.Listen)
	}
	return all
}

// checkHolder sees that nothing of a killed client process stays: its permits
// come back, under a larger token, its entry goes, and the next element goes to who lives.
func (v *verification) checkHolder(ctx context.Context, name string, token protocol.Token) error {
	ctx, cancel := context.WithTimeout(ctx, holderBack)
	defer cancel()
	c := v.probing[0]
	held, err := dsemaphore.New(c, name).Acquire(ctx, holderPermits)
	if err != nil {
		return nemesis.Violated("the permits of a killed client are not back within %v: %v", holderBack, err)
	}
	defer held.Release(context.WithoutCancel(ctx))
	if held.Token() <= token {
		return nemesis.Violated("token %d was granted after token %d", held.Token(), token)
	}
	entries := dmap.New[string, int](c, name)
	for there := true; there; {
		if _, there, err = entries.Get(ctx, "k"); err != nil {
			return nemesis.Violated("the ephemeral entry of a killed client is left %v later: %v", holderBack, err)
		}
	}
	q := dqueue.New[string](c, name)
	if err := q.Put(ctx, "left"); err != nil {
		return err
	}
	got, err := q.Take(ctx)
	switch {
	case err != nil:
		return nemesis.Violated("an element that a killed client waited for is lost: %v", err)
	case got != "left":
		return nemesis.Violated("took %q, and %q was put", got, "left")
	}
	return errors.Join(q.Destroy(ctx), entries.Destroy(ctx))
}
