package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/internal/ports"
	"github.com/quorate/quorate/protocol"
)

// localGrid is a grid of member processes of this binary on this machine: what
// demo shows and bench compare measures.
type localGrid struct {
	binary  string
	dir     string
	members []*localMember

	durability string   // "": disk
	env        []string // beside our own
	args       []string // of start, beside its own
}

// localMember is one member, and its process while it runs.
type localMember struct {
	name    string
	address string
	data    string   // its directory; "": of its name, in the grid's
	through []string // the command that it is started with; nil: none
	process *process // nil: it does not run
}

// newLocalGrid chooses names and free ports for n members below dir.
func newLocalGrid(dir string, n int) (*localGrid, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &localGrid{binary: binary, dir: dir}
	addresses, err := ports.Free(n)
	if err != nil {
		return nil, err
	}
	for i, address := range addresses {
		g.members = append(g.members, &localMember{name: fmt.Sprintf("n%d", i+1), address: address})
	}
	return g, nil
}

// newLimitedGrid is newLocalGrid for three members of a durability that have so
// many MiB of memory each.
func newLimitedGrid(dir, durability string, mib int64) (*localGrid, error) {
	g, err := newLocalGrid(dir, 3)
	if err != nil {
		return nil, err
	}
	g.durability, g.env = durability, []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", mib)}
	return g, nil
}

// addresses returns where the members listen.
func (g *localGrid) addresses() []string {
	var all []string
	for _, m := range g.members {
		all = append(all, m.address)
	}
	return all
}

// start starts the process of a member that does not run.
func (g *localGrid) start(m *localMember) error {
	var others []string
	for _, address := range g.addresses() {
		if address != m.address {
			others = append(others, address)
		}
	}
	log, err := os.OpenFile(g.logFile(m), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	args := []string{
		"start", "--name", m.name, "--listen", m.address, "--join", strings.Join(others, ","),
		"--bootstrap-expect", fmt.Sprint(len(g.members)), "--cluster", "demo", "--end-with-stdin",
	}
	if g.durability == "memory" {
		args = append(args, "--durability", "memory")
	} else {
		args = append(args, "--data-dir", cmp.Or(m.data, filepath.Join(g.dir, m.name)))
	}
	args = append(args, g.args...)
	line := slices.Concat(m.through, []string{g.binary}, args)
	m.process, err = startProcess(line[0], g.env, log, log, line[1:]...)
	if err != nil {
		return fmt.Errorf("start member %s: %w", m.name, err)
	}
	return nil
}

func (g *localGrid) logFile(m *localMember) string { return filepath.Join(g.dir, m.name+".log") }

// startAll starts all members and returns a client once the grid serves and
// every group has a leader.
func (g *localGrid) startAll(ctx context.Context, opts ...client.Option) (*client.Client, error) {
	for _, m := range g.members {
		if err := g.start(m); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		c, err := client.Dial(ctx, g.addresses(), opts...)
		if err == nil {
			err = settled(ctx, c, len(g.members))
			if err == nil {
				return c, nil
			}
			c.Close()
		}
		for _, m := range g.members {
			if ended, status := m.process.ended(); ended {
				return nil, fmt.Errorf("member %s ended: %v\n%s", m.name, status, tail(g.logFile(m)))
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the grid does not serve: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// settled waits until every group of the grid has a leader, and as many
// replicas as there are members, and the leaders are spread.
func settled(ctx context.Context, c *client.Client, members int) error {
	for {
		if why := unsettled(c.Table(), members); why == "" {
			return nil
		} else if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("%s: %w", why, err)
		}
	}
}

func unsettled(t protocol.Table, members int) string {
	led := map[protocol.MemberID]int{}
	data := 0
	for _, g := range t.Groups {
		if g.Leader == 0 {
			return fmt.Sprintf("group %d has no leader", g.ID)
		}
		if len(g.Replicas) < min(members, 3) {
			return fmt.Sprintf("group %d has %d replicas", g.ID, len(g.Replicas))
		}
		if g.ID != protocol.SystemGroup {
			data++
			led[g.Leader]++
		}
	}
	if data == 0 {
		return "there is no group of data"
	}
	for id, n := range led {
		if n > (data+members-1)/members {
			return fmt.Sprintf("member %d leads %d groups of %d", id, n, data)
		}
	}
	return ""
}

// sleep returns an error if ctx ended first.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return contexts.Err(ctx)
	case <-time.After(d):
		return nil
	}
}

// leadsMost returns the member that leads most groups, and how many.
func (g *localGrid) leadsMost(t protocol.Table) (*localMember, int) {
	names := map[protocol.MemberID]string{}
	for _, m := range t.Members {
		names[m.ID] = m.Name
	}
	led := map[string]int{}
	for _, group := range t.Groups {
		led[names[group.Leader]]++
	}
	most := g.members[0]
	for _, m := range g.members {
		if led[m.name] > led[most.name] {
			most = m
		}
	}
	return most, led[most.name]
}

// stop asks all members to end, waits for them, and returns what went wrong.
func (g *localGrid) stop(patience time.Duration) error {
	var errs []error
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, m := range g.members {
		if m.process == nil {
			continue
		}
		all.Go(func() {
			terminate(m.process.cmd.Process)
			err := m.process.wait(patience)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("member %s: %w", m.name, err))
			}
		})
	}
	all.Wait()
	for _, m := range g.members {
		m.process = nil
	}
	return errors.Join(errs...)
}

// process is a child. It ends when we do: its stdin closes.
type process struct {
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{}
	err   error // set before done is closed
}

func startProcess(binary string, env []string, stdout, stderr io.Writer, args ...string) (*process, error) {
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "QUORATE_") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, env...)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, stdin: stdin, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// ended reports whether the process has ended, and how.
func (p *process) ended() (bool, error) {
	select {
	case <-p.done:
		return true, p.err
	default:
		return false, nil
	}
}

// wait waits for the end and kills the process when patience is over.
func (p *process) wait(patience time.Duration) error {
	defer p.stdin.Close()
	select {
	case <-p.done:
		return p.err
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("did not end within %v and was killed", patience)
	}
}

// terminate asks a process to end; where there is no way to ask, it ends it.
func terminate(p *os.Process) {
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = p.Kill()
	}
}

// kill ends the process at once, as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
	p.stdin.Close()
}

// tail returns the last lines of a file.
func tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
