package nemesis

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/internal/procgrid"
	"github.com/quorate/quorate/verify/network"
)

// Client is a client process, which tells what it does in lines. Its methods are for one
// goroutine.
type Client struct {
	process *procgrid.Process
	done    func()
	lines   chan string // closed when it has ended
	killed  chan struct{}
}

// StartClient starts a client process where the clients of a grid are; the grid is nil where
// its processes are those of others.
func StartClient(g *Grid, endpoints []string, command ...string) (*Client, error) {
	l, done, err := g.clientLauncher()
	if err != nil {
		return nil, err
	}
	out, in, err := os.Pipe()
	if err != nil {
		done()
		return nil, err
	}
	p, err := l.Process(in, in, append(command, "--endpoints", strings.Join(endpoints, ","))...)
	if err := errors.Join(err, in.Close()); err != nil {
		_ = out.Close()
		done()
		return nil, err
	}
	c := &Client{process: p, done: done, lines: make(chan string), killed: make(chan struct{})}
	go c.read(out)
	return c, nil
}

func (c *Client) read(out *os.File) {
	defer out.Close()
	defer close(c.lines)
	for s := bufio.NewScanner(out); s.Scan(); {
		select {
		case c.lines <- s.Text():
		case <-c.killed:
			return
		}
	}
}

// Line returns the next line that the process writes.
func (c *Client) Line(ctx context.Context) (string, error) {
	select {
	case line, ok := <-c.lines:
		if !ok {
			return "", errors.New("client process: it has ended")
		}
		return line, nil
	case <-ctx.Done():
		return "", fmt.Errorf("client process: %w", contexts.Err(ctx))
	}
}

// Pause stops the process with SIGSTOP.
func (c *Client) Pause() error { return c.process.Signal(pause) }

// Resume lets it go on.
func (c *Client) Resume() error { return c.process.Signal(resume) }

// Interrupt asks the process to end.
func (c *Client) Interrupt() error {
	return c.process.Signal(func(p *os.Process) error { return p.Signal(os.Interrupt) })
}

// Kill ends the process with SIGKILL.
func (c *Client) Kill() {
	close(c.killed)
	c.process.Kill()
	c.done()
}

// clientLauncher returns what starts a client process, and what is to be called when that
// has ended.
func (g *Grid) clientLauncher() (l *network.Launcher, done func(), err error) {
	switch {
	case g == nil:
		l, err = network.NewLauncher(func() error { return nil })
		return l, l.Close, err
	case g.hosts.Clients != nil:
		return g.hosts.Clients.Launcher, func() {}, nil
	}
	return g.hosts.Local, func() {}, nil
}
