package structures

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dqueue"
)

type QueueCommands struct {
	Create queueCreate `cmd:"" help:"Agree on the capacity of a queue."`
	Put    queuePut    `cmd:"" help:"Append elements."`
	Take   queueTake   `cmd:"" help:"Remove elements from the head and print them, one a line."`
	Peek   queuePeek   `cmd:"" help:"Print the head and leave it there."`
	Len    queueLen    `cmd:"" help:"Print how many elements there are."`
	Clear  queueClear  `cmd:"" help:"Remove all elements."`
}

// Help is the long help of the family.
func (QueueCommands) Help() string {
	return `Without --wait a full or an empty queue is waited for as long as it takes; --wait 0 never waits. A VALUE is as for map put. put keeps their order, and sends up to 1,000 at once. take waits for one element and takes up to -n that are there. An element is taken at most once: one that was printed to nobody is gone.

  quorate queue create jobs --capacity 1000
  quorate queue put jobs '{"id": 1}' '{"id": 2}'
  quorate queue take jobs --wait 30s`
}

// queueName names a queue, on a grid.
type queueName struct {
	cli.Connection
	Name string `arg:"" help:"The queue."`
}

// with runs f with the queue.
func (cmd *queueName) with(ctx context.Context, f func(*dqueue.Queue[structures.Encoded]) error) error {
	return cmd.Connection.With(ctx, func(c *client.Client) error { return f(dqueue.New[structures.Encoded](c, cmd.Name)) })
}

type queueCreate struct {
	queueName
	Capacity int64 `required:"" help:"How many elements it may have." placeholder:"N"`
}

// Run runs the command.
func (cmd *queueCreate) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(q *dqueue.Queue[structures.Encoded]) error {
		if err := q.Configure(ctx, dqueue.Capacity(cmd.Capacity)); err != nil {
			return err
		}
		return a.Print("", cli.Object{"queue": cmd.Name, "capacity": cmd.Capacity})
	})
}

type queuePut struct {
	queueName
	Values []string       `arg:"" name:"value" help:"The elements; - reads one from stdin."`
	Wait   *time.Duration `help:"How long to wait for free capacity; 0: not at all." placeholder:"D"`
	cli.Form
}

// Validate checks what the grammar cannot.
func (cmd *queuePut) Validate() error { return checkWait(cmd.Wait) }

// Run runs the command.
func (cmd *queuePut) Run(ctx context.Context, a *cli.App) error {
	var values []structures.Encoded
	for _, arg := range cmd.Values {
		v, err := cmd.Read(a, arg)
		if err != nil {
			return err
		}
		e, err := structures.AppendValue(nil, structures.CBOR, v)
		if err != nil {
			return err
		}
		values = append(values, e)
	}
	ctx, cancel := waiting(ctx, cmd.Wait)
	defer cancel()
	return cmd.with(ctx, func(q *dqueue.Queue[structures.Encoded]) error {
		err := q.PutAll(ctx, values, waitFor(cmd.Wait))
		if errors.Is(err, quorate.ErrNotInTime) {
			full := fmt.Errorf("queue %s is full", cmd.Name)
			if e, ok := errors.AsType[*dqueue.PartialError](err); ok && e.Put > 0 {
				full = fmt.Errorf("after %d of %d: %w", e.Put, len(values), full)
			}
			return cli.No(full)
		}
		if err != nil {
			return err
		}
		return a.Print("", cli.Object{"queue": cmd.Name, "put": len(values)})
	})
}

// waitFor is the option that --wait asks for.
func waitFor(wait *time.Duration) structures.WaitOption {
	if wait == nil {
		return structures.WaitOption{}
	}
	return structures.Wait(*wait)
}

// checkWait refuses a --wait that is negative.
func checkWait(wait *time.Duration) error {
	if wait != nil && *wait < 0 {
		return fmt.Errorf("--wait=%v: must not be negative", *wait)
	}
	return nil
}

// unanswered is how much longer than --wait a command waits for the grid's answer:
// the time of a group without a leader stands still.
const unanswered = 10 * time.Second

// waiting returns a context that ends with ctx or, if --wait is given, when the grid
// has left it unanswered.
func waiting(ctx context.Context, wait *time.Duration) (context.Context, context.CancelFunc) {
	if wait == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, *wait+unanswered)
}

type queueTake struct {
	queueName
	N    int            `short:"n" help:"How many to take at most: those that are there when the first one is." default:"1" placeholder:"N"`
	Wait *time.Duration `help:"How long to wait for the first one; 0: not at all." placeholder:"D"`
	Raw  bool           `help:"Print the bytes of a text, or of bytes, and nothing else."`
}

// Validate checks what the grammar cannot.
func (cmd *queueTake) Validate() error {
	if cmd.N < 1 {
		return fmt.Errorf("-n=%d: want at least 1", cmd.N)
	}
	return checkWait(cmd.Wait)
}

// Run runs the command.
func (cmd *queueTake) Run(ctx context.Context, a *cli.App) error {
	ctx, cancel := waiting(ctx, cmd.Wait)
	defer cancel()
	return cmd.with(ctx, func(q *dqueue.Queue[structures.Encoded]) error {
		left := cmd.N
		elements, err := q.TakeN(ctx, cmd.N, waitFor(cmd.Wait))
		if errors.Is(err, quorate.ErrNotInTime) {
			return cli.No(fmt.Errorf("queue %s is empty", cmd.Name))
		}
		var unread error // of the first that cannot be read; it is taken all the same
		for {
			for _, v := range elements {
				s := cli.Show(v)
				if err := a.PrintValue(s, cmd.Raw, elementObject(v, s)); err != nil {
					return err
				}
				unread = cmp.Or(unread, s.Err)
			}
			left -= len(elements)
			if err != nil || len(elements) == 0 || left == 0 {
				return cmp.Or(err, cli.Unreadable(unread))
			}
			// It may not be all that is there: a page has its limits.
			elements, err = q.Drain(ctx, min(left, 1000))
		}
	})
}

func elementObject(e structures.Encoded, s cli.Shown) cli.Object {
	o := cli.Object{"value": s.JSON}
	if codec := e.Codec(); codec != "CBOR" {
		o["codec"] = codec
	}
	return o
}

type queuePeek struct {
	queueName
	Raw bool `help:"Print the bytes of a text, or of bytes, and nothing else."`
}

// Run runs the command.
func (cmd *queuePeek) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(q *dqueue.Queue[structures.Encoded]) error {
		v, ok, err := q.Peek(ctx)
		if err != nil {
			return err
		}
		if !ok {
			return cli.No(fmt.Errorf("queue %s is empty", cmd.Name))
		}
		s := cli.Show(v)
		if err := a.PrintValue(s, cmd.Raw, elementObject(v, s)); err != nil {
			return err
		}
		return cli.Unreadable(s.Err)
	})
}

type queueLen struct{ queueName }

// Run runs the command.
func (cmd *queueLen) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(q *dqueue.Queue[structures.Encoded]) error {
		n, err := q.Len(ctx)
		if err != nil {
			return err
		}
		return a.Print(fmt.Sprint(n), cli.Object{"queue": cmd.Name, "len": n})
	})
}

type queueClear struct{ queueName }

// Run runs the command.
func (cmd *queueClear) Run(ctx context.Context, a *cli.App) error {
	return cmd.with(ctx, func(q *dqueue.Queue[structures.Encoded]) error {
		if err := q.Clear(ctx); err != nil {
			return err
		}
		return a.Print("", cli.Object{"queue": cmd.Name, "cleared": true})
	})
}
