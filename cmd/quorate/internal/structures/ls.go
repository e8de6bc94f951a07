package structures

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/kinds"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

type LsCommand struct {
	cli.Connection
	Kind string `arg:"" optional:"" help:"Only structures of this kind: ${kinds}, or what the grid has beside them."`
}

// Help is the long help of the command.
func (LsCommand) Help() string {
	return `Prints kind, name, how much each structure holds, and the bytes of its keys and values. What a map holds are entries, a queue elements; -o json names the unit. Groups without a leader cannot answer: what they hold is missing, and the exit status is 3.

  quorate ls
  quorate ls map -o json`
}

// Run runs the command.
func (cmd *LsCommand) Run(ctx context.Context, a *cli.App) error {
	all := kinds.All()
	if cmd.Kind != "" {
		k, err := KindNamed(ctx, &cmd.Connection, cmd.Kind)
		if err != nil {
			return err
		}
		all = []structures.Kind{k}
	}
	return cmd.With(ctx, func(c *client.Client) error {
		if cmd.Kind == "" {
			later, err := LaterKinds(ctx, &cmd.Connection)
			if err != nil && !errors.Is(err, quorate.ErrUnsupported) {
				a.Note("quorate: only the kinds that this command knows are listed: %v", err)
			}
			all = append(all, later...)
		}
		return cmd.print(a, listedOf(ctx, c, cmd.Timeout, all))
	})
}

// print prints what was listed; its error is the first of what is missing.
func (cmd *LsCommand) print(a *cli.App, all []kindListing) error {
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	header := "KIND\tNAME\tLENGTH\tBYTES\n"
	var missing error
	for _, k := range all {
		if errors.Is(k.err, quorate.ErrUnsupported) && cmd.Kind == "" {
			continue // the grid does not have this kind yet
		}
		if missing == nil {
			missing = k.err
		}
		for _, l := range k.list {
			if a.JSON {
				err := a.Print("", cli.Object{"kind": k.kind.Name, "name": l.Name, "length": l.Length, "unit": k.kind.Unit, "bytes": l.Bytes})
				if err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(t, "%s%s\t%s\t%d\t%d\n", header, k.kind.Name, cli.LineOf(l.Name), l.Length, l.Bytes)
			header = ""
		}
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("write to stdout: %w", err)
	}
	return missing
}

// kindListing is the structures of a kind by name, with what all partitions have of each;
// with an error what those have that answered.
type kindListing struct {
	kind structures.Kind
	list []structures.Listed
	err  error
}

// listedOf lists kinds, within a time.
func listedOf(ctx context.Context, c lister, within time.Duration, all []structures.Kind) []kindListing {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	lists := make([]kindListing, len(all))
	which := make([]*structures.Kind, len(all))
	for i := range all {
		lists[i].kind, which[i] = all[i], &all[i]
	}
	asked := newInventory(c, "", 0, which...)
	asked.run(ctx)
	for i := range lists {
		l := &lists[i]
		l.err = asked.missing[i].err()
		slices.SortStableFunc(asked.parts[i], func(a, b part) int { return strings.Compare(a.Name, b.Name) })
		for _, p := range asked.parts[i] {
			if n := len(l.list); n > 0 && l.list[n-1].Name == p.Name {
				l.list[n-1].Length += p.Length
				l.list[n-1].Bytes += p.Bytes
				continue
			}
			l.list = append(l.list, p.Listed)
		}
	}
	return lists
}

// lister is who lists structures; a *client.Client is one.
type lister interface {
	InvokeAll(ctx context.Context, calls []structures.Call) ([]structures.Reply, []error)
	Partitions() int
	Limits() protocol.Limits
	Table() protocol.Table
}

// Bounds of an inventory.
const (
	// listAtOnce is how many questions a group is asked at a time. All kinds in all
	// partitions are thousands, which a loaded member refuses; one after the other they
	// would take long at a distant one.
	listAtOnce = 32
	// listPause is how long nothing more is asked after a question was refused because
	// somebody is overloaded; each time twice as long, up to listPauseMost.
	listPause     = 20 * time.Millisecond
	listPauseMost = time.Second
)

// inventory asks all partitions for their structures of some kinds. Groups are asked beside
// each other, so that one which does not answer delays no other.
type inventory struct {
	from  lister
	kinds []*structures.Kind
	page  int
	all   bool // pages
	// queues has, by group, the questions to ask.
	queues map[protocol.GroupID][]listQuestion

	mu      sync.Mutex // guards the rest
	parts   [][]part
	missing []noAnswers
}

// listQuestion is one page of one kind in one partition.
type listQuestion struct {
	kind int // of the inventory
	call structures.Call
}

// newInventory returns an inventory of kinds from a name on: of all structures, or of as many as
// most says in each partition.
func newInventory(c lister, from string, most int, which ...*structures.Kind) *inventory {
	l := &inventory{
		from: c, kinds: which, page: cmp.Or(most, int(c.Limits().PageEntries)), all: most == 0,
		queues: map[protocol.GroupID][]listQuestion{},
		parts:  make([][]part, len(which)), missing: make([]noAnswers, len(which)),
	}
	table := c.Table()
	for i, k := range which {
		l.missing[i] = noAnswers{kind: k.Name, table: table}
		for p := range protocol.PartitionID(c.Partitions()) {
			g := groupOf(&table, p)
			l.queues[g] = append(l.queues[g], listQuestion{i, structures.ListCall(k, p, from, l.page)})
		}
	}
	return l
}

// run asks until all is answered or ctx has ended.
func (l *inventory) run(ctx context.Context) {
	var groups sync.WaitGroup
	for _, queue := range l.queues {
		groups.Go(func() { l.ask(ctx, queue) })
	}
	groups.Wait()
}

// ask asks one group, some questions at a time.
func (l *inventory) ask(ctx context.Context, queue []listQuestion) {
	pause := listPause
	for len(queue) > 0 {
		some := queue[:min(listAtOnce, len(queue))]
		calls := make([]structures.Call, len(some))
		for i, q := range some {
			calls[i] = q.call
		}
		replies, errs := l.from.InvokeAll(ctx, calls)
		var more, again []listQuestion
		var refused error
		for i, q := range some {
			if errors.Is(errs[i], quorate.ErrOverloaded) {
				again, refused = append(again, q), errs[i]
				continue
			}
			if next := l.take(q, replies[i], errs[i]); next != "" {
				q.call = structures.ListCall(l.kinds[q.kind], q.call.Partition, next, l.page)
				more = append(more, q)
			}
			refused = cmp.Or(refused, errs[i])
		}
		queue = slices.Concat(again, more, queue[len(some):])
		if err := contexts.Err(ctx); err != nil {
			for _, q := range queue { // why those before were not answered in time is why these are not
				l.take(q, structures.Reply{}, cmp.Or(refused, err))
			}
			return
		}
		if len(again) == 0 {
			pause = listPause
			continue
		}
		contexts.Pause(ctx, pause)
		pause = min(2*pause, listPauseMost)
	}
}

// take takes an answer, and returns the name with which the next page begins.
func (l *inventory) take(q listQuestion, reply structures.Reply, err error) (next string) {
	var list []structures.Listed
	if err == nil {
		list, next, err = structures.ReadListed(reply.Body)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.missing[q.kind].add(q.call.Partition, err)
		return ""
	}
	for _, s := range list {
		l.parts[q.kind] = append(l.parts[q.kind], part{q.call.Partition, s})
	}
	if !l.all {
		return ""
	}
	return next
}

type DestroyCommand struct{ structure }

// Help is the long help of the command.
func (DestroyCommand) Help() string {
	return `Everything the structure holds is removed, and calls that wait for it fail. The name can be used again at once. Destroying a structure that does not exist succeeds.

  quorate destroy map users`
}

// Run runs the command.
func (cmd *DestroyCommand) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(_ *client.Client, _ *structures.Kind, h *structures.Handle) error {
		if err := h.Destroy(ctx); err != nil {
			return cmd.refused(err, structures.OpDestroy, "cannot be destroyed")
		}
		return a.Print("", cli.Object{"kind": cmd.Kind, "name": cmd.Name, "destroyed": true})
	})
}
