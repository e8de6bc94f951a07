package procgrid

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/internal/ports"
	"github.com/quorate/quorate/protocol"
)

// Grid is a grid of member processes of this binary on this machine: what
// demo shows and bench compare measures.
type Grid struct {
	Binary  string
	Dir     string
	Members []*Member

	Durability string   // "": disk
	Env        []string // beside our own
	Args       []string // of start, beside its own
}

// Member is one member, and its process while it runs.
type Member struct {
	Name    string
	Address string
	Data    string   // its directory; "": of its name, in the grid's
	Through []string // the command that it is started with; nil: none
	Process *Process // nil: it does not run
}

// New chooses names and free ports for n members below dir.
func New(dir string, n int) (*Grid, error) {
	binary, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &Grid{Binary: binary, Dir: dir}
	addresses, err := ports.Free(n)
	if err != nil {
		return nil, err
	}
	for i, address := range addresses {
		g.Members = append(g.Members, &Member{Name: fmt.Sprintf("n%d", i+1), Address: address})
	}
	return g, nil
}

// NewLimited is New for three members of a durability that have so
// many MiB of memory each.
func NewLimited(dir, durability string, mib int64) (*Grid, error) {
	g, err := New(dir, 3)
	if err != nil {
		return nil, err
	}
	g.Durability, g.Env = durability, []string{fmt.Sprintf("GOMEMLIMIT=%dMiB", mib)}
	return g, nil
}

// Addresses returns where the members listen.
func (g *Grid) Addresses() []string {
	var all []string
	for _, m := range g.Members {
		all = append(all, m.Address)
	}
	return all
}

// Start starts the process of a member that does not run.
func (g *Grid) Start(m *Member) error {
	var others []string
	for _, address := range g.Addresses() {
		if address != m.Address {
			others = append(others, address)
		}
	}
	log, err := os.OpenFile(g.LogFile(m), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	flags := Flags{
		Name: m.Name, Listen: m.Address, Join: others, Expect: len(g.Members), Cluster: "demo",
		Durability: g.Durability, Dir: cmp.Or(m.Data, filepath.Join(g.Dir, m.Name)),
	}
	line := slices.Concat(m.Through, []string{g.Binary, "start"}, flags.Args(), g.Args)
	m.Process, err = StartProcess(Spec{Command: line, Env: g.Env, Stdout: log, Stderr: log})
	if err != nil {
		return fmt.Errorf("start member %s: %w", m.Name, err)
	}
	return nil
}

// LogFile is where a member logs.
func (g *Grid) LogFile(m *Member) string { return filepath.Join(g.Dir, m.Name+".log") }

// StartAll starts all members and returns a client once the grid serves and
// every group has a leader.
func (g *Grid) StartAll(ctx context.Context, opts ...client.Option) (*client.Client, error) {
	for _, m := range g.Members {
		if err := g.Start(m); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		c, err := client.Dial(ctx, g.Addresses(), opts...)
		if err == nil {
			err = Settled(ctx, c, len(g.Members))
			if err == nil {
				return c, nil
			}
			c.Close()
		}
		for _, m := range g.Members {
			if ended, status := m.Process.Ended(); ended {
				return nil, fmt.Errorf("member %s ended: %v\n%s", m.Name, status, Tail(g.LogFile(m)))
			}
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the grid does not serve: %w", err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Settled waits until every group of the grid has a leader, and as many
// replicas as there are members, and the leaders are spread.
func Settled(ctx context.Context, c *client.Client, members int) error {
	for {
		if why := unsettled(c.Table(), members); why == "" {
			return nil
		} else if err := contexts.Sleep(ctx, 50*time.Millisecond); err != nil {
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

// LeadsMost returns the member that leads most groups, and how many.
func (g *Grid) LeadsMost(t protocol.Table) (*Member, int) {
	names := map[protocol.MemberID]string{}
	for _, m := range t.Members {
		names[m.ID] = m.Name
	}
	led := map[string]int{}
	for _, group := range t.Groups {
		led[names[group.Leader]]++
	}
	most := g.Members[0]
	for _, m := range g.Members {
		if led[m.Name] > led[most.Name] {
			most = m
		}
	}
	return most, led[most.Name]
}

// Stop asks all members to end, waits for them, and returns what went wrong.
func (g *Grid) Stop(patience time.Duration) error {
	var errs []error
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, m := range g.Members {
		if m.Process == nil {
			continue
		}
		all.Go(func() {
			if err := m.Process.Terminate(patience); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("member %s: %w", m.Name, err))
			}
		})
	}
	all.Wait()
	for _, m := range g.Members {
		m.Process = nil
	}
	return errors.Join(errs...)
}

// Tail returns the last lines of a file.
func Tail(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
