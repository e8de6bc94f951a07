package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

type lsCommand struct {
	connection
	Kind string `arg:"" optional:"" enum:"map,counter,semaphore,queue," default:"" help:"Only structures of this kind: map, counter, semaphore or queue."`
}

// Help is the long help of the command.
func (lsCommand) Help() string {
	return `Prints kind, name and how much each structure holds, as the leaders of the groups know it.

  quorate ls
  quorate ls map -o json`
}

// Run runs the command.
func (cmd *lsCommand) Run(ctx context.Context, a *app) error {
	answers := askAll(ctx, cmd.Endpoints, min(cmd.Timeout, 3*time.Second))
	v := mergeStatus(answers)
	if !v.Formed {
		return nobody(answers)
	}
	type key struct{ kind, name string }
	found := map[key]int64{}
	led := map[uint64]bool{}
	var reports []protocol.StructureReport
	for _, an := range answers {
		if an.err != nil {
			continue
		}
		var r protocol.StructureReport
		within, cancel := context.WithTimeout(ctx, cmd.Timeout)
		err := ask(within, an.address, protocol.AdminStructures, &r)
		cancel()
		if err != nil {
			a.note("quorate: %v", err)
			continue
		}
		reports = append(reports, r)
	}
	for _, r := range reports {
		for _, g := range r.Groups {
			led[g] = true
		}
		for _, s := range r.Structures {
			if cmd.Kind == "" || s.Kind == cmd.Kind {
				found[key{s.Kind, s.Name}] += s.Length
			}
		}
	}
	var keys []key
	for k := range found {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int { return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name)) })
	t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, k := range keys {
		if a.json {
			if err := a.print("", object{"kind": k.kind, "name": k.name, "length": found[k]}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%d\n", k.kind, showInLine(k.name), found[k])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, g := range v.Groups {
		if !led[g.ID] && g.ID != uint64(protocol.SystemGroup) {
			return &quorate.Error{Op: "ls", Cause: quorate.ErrUnavailable, Detail: fmt.Sprintf("the leader of group %d did not answer: what it holds is missing", g.ID)}
		}
	}
	return nil
}

type destroyCommand struct {
	connection
	Kind string `arg:"" enum:"map,counter,semaphore,queue" help:"map, counter, semaphore or queue."`
	Name string `arg:"" help:"The structure."`
}

// Help is the long help of the command.
func (destroyCommand) Help() string {
	return `Everything the structure holds is gone, and who waits for it is told so. The name can be used again at once.

  quorate destroy map users`
}

// Run runs the command.
func (cmd *destroyCommand) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(c *client.Client) error {
		var err error
		switch cmd.Kind {
		case "map":
			err = dmap.New[string, any](c, cmd.Name).Destroy(ctx)
		case "counter":
			err = dcounter.New(c, cmd.Name).Destroy(ctx)
		case "semaphore":
			err = dsemaphore.New(c, cmd.Name).Destroy(ctx)
		case "queue":
			err = dqueue.New[any](c, cmd.Name).Destroy(ctx)
		}
		if err != nil {
			return err
		}
		return a.print("", object{"kind": cmd.Kind, "name": cmd.Name, "destroyed": true})
	})
}
