package nemesis

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/protocol"
)

// Interruption is something that takes a leader away, for measuring how long
// its groups are not written to.
type Interruption struct {
	Name, About string
	All         bool // every member, and so every group, is hit
	// Do does it to a member and returns what ends it. It may last itself.
	Do func(context.Context, *Grid, *Member) (end func() error, err error)
	// Lasts is how long it is left, unless it lasts itself.
	Lasts time.Duration
}

// Interruptions returns what is measured.
func Interruptions() []Interruption {
	const cut = 5 * time.Second
	network := func(set func(*Grid, *Member)) func(context.Context, *Grid, *Member) (func() error, error) {
		return func(_ context.Context, g *Grid, m *Member) (func() error, error) {
			if err := needsNetwork(g); err != nil {
				return nil, err
			}
			set(g, m)
			return func() error { g.hosts.Network.Heal(); return nil }, nil
		}
	}
	return []Interruption{
		{
			Name: "kill", About: "SIGKILL of a leader", Lasts: 2 * time.Second,
			Do: func(_ context.Context, g *Grid, m *Member) (func() error, error) {
				g.Kill(m)
				return func() error { return g.Start(m) }, nil
			},
		}, {
			Name: "term", About: "SIGTERM of a leader",
			Do: func(_ context.Context, g *Grid, m *Member) (func() error, error) {
				return func() error { return g.Start(m) }, g.Terminate(m)
			},
		}, {
			Name: "pause", About: "SIGSTOP of a leader for 5 s", Lasts: cut,
			Do: func(_ context.Context, _ *Grid, m *Member) (func() error, error) { return m.Resume, m.Pause() },
		}, {
			Name: "one-way", About: "what a leader sends the others is lost for 5 s", Lasts: cut,
			Do: network(func(g *Grid, m *Member) { g.oneWay(m, false) }),
		}, {
			Name: "deaf", About: "what the others send a leader is lost for 5 s", Lasts: cut,
			Do: network(func(g *Grid, m *Member) { g.oneWay(m, true) }),
		}, {
			Name: "cut-off", About: "a leader cut off from its followers for 5 s, clients reach all", Lasts: cut,
			Do: network(func(g *Grid, m *Member) { g.isolate([]*Member{m}) }),
		}, {
			Name: "kill-all", About: "SIGKILL of all members, which start again at once", All: true,
			Do: func(_ context.Context, g *Grid, _ *Member) (func() error, error) {
				for _, m := range g.members {
					g.Kill(m)
				}
				return g.StartAll, nil
			},
		},
	}
}

// AwaitSpread waits until the grid is fully replicated and its leaders are
// spread, so that each member leads as many groups of data as any other, or one
// less.
func (g *Grid) AwaitSpread(ctx context.Context) error {
	return g.await(ctx, func(ctx context.Context) string {
		if why := g.Missing(ctx); why != "" {
			return why
		}
		least, most := 1<<30, 0
		for _, led := range g.Leaders(ctx) {
			n := len(Data(led))
			least, most = min(least, n), max(most, n)
		}
		if most > least+1 || most == 0 {
			return fmt.Sprintf("one member leads %d groups and another %d", most, least)
		}
		return ""
	})
}

// Data returns the groups of data among groups.
func Data(groups []protocol.GroupID) []protocol.GroupID {
	var data []protocol.GroupID
	for _, id := range groups {
		if id != protocol.SystemGroup {
			data = append(data, id)
		}
	}
	return data
}

// Views says for each group how each member sees it, for who wants to know why
// writes have stopped.
func (g *Grid) Views(ctx context.Context) []string {
	views := map[uint64]string{}
	for i, s := range g.Status(ctx) {
		name := g.members[i].Name
		if s == nil {
			continue
		}
		for _, group := range s.Groups {
			view := fmt.Sprintf("%s sees no leader", name)
			if group.Leader != 0 {
				view = fmt.Sprintf("%s sees member %d lead", name, group.Leader)
			}
			if group.Refuses != "" {
				view += ", and refuses: " + group.Refuses
			}
			views[group.ID] += fmt.Sprintf("; %s in term %d, %d applied", view, group.Term, group.Applied)
		}
	}
	var lines []string
	for _, id := range slices.Sorted(maps.Keys(views)) {
		lines = append(lines, fmt.Sprintf("group %d%s", id, views[id]))
	}
	return lines
}
