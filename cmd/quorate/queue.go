package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dqueue"
)

type queueCommands struct {
	Create queueCreate `cmd:"" help:"Agree on the capacity of a queue."`
	Put    queuePut    `cmd:"" help:"Append elements."`
	Take   queueTake   `cmd:"" help:"Remove elements from the head and print them, one a line."`
	Peek   queuePeek   `cmd:"" help:"Print the head and leave it there."`
	Len    queueLen    `cmd:"" help:"Print how many elements there are."`
	Clear  queueClear  `cmd:"" help:"Remove all elements."`
}

// Help is the long help of the family.
func (queueCommands) Help() string {
	return `Without --wait a full or an empty queue is waited for as long as it takes; --wait 0 never waits. A VALUE is as for map put. An element is taken at most once: one that was printed to nobody is gone.

  quorate queue create jobs --capacity 1000
  quorate queue put jobs '{"id": 1}' '{"id": 2}'
  quorate queue take jobs --wait 30s`
}

// queueName names a queue, on a grid.
type queueName struct {
	connection
	Name string `arg:"" help:"The queue."`
}

// with runs f with the queue.
func (cmd *queueName) with(ctx context.Context, f func(*dqueue.Queue[any]) error) error {
	return cmd.connection.with(ctx, func(c *client.Client) error { return f(dqueue.New[any](c, cmd.Name)) })
}

type queueCreate struct {
	queueName
	Capacity int64 `required:"" help:"How many elements it may have." placeholder:"N"`
}

// Run runs the command.
func (cmd *queueCreate) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(q *dqueue.Queue[any]) error {
		if err := q.Configure(ctx, dqueue.Capacity(cmd.Capacity)); err != nil {
			return err
		}
		return a.print("", object{"queue": cmd.Name, "capacity": cmd.Capacity})
	})
}

type queuePut struct {
	queueName
	Values []word         `arg:"" name:"value" help:"The elements; - reads one from stdin."`
	Wait   *time.Duration `help:"How long to wait for room; 0: not at all." placeholder:"D"`
	Text   bool           `help:"The values are text, also if they parse as JSON."`
}

// Run runs the command.
func (cmd *queuePut) Run(ctx context.Context, a *app) error {
	var values []any
	for _, arg := range cmd.Values {
		v, err := a.readValue(arg, cmd.Text)
		if err != nil {
			return err
		}
		values = append(values, v)
	}
	ctx, cancel := waiting(ctx, cmd.Wait)
	defer cancel()
	return cmd.with(ctx, func(q *dqueue.Queue[any]) error {
		for i, v := range values {
			if err := cmd.put(ctx, q, v); err != nil {
				if i > 0 {
					return fmt.Errorf("after %d of %d: %w", i, len(values), err)
				}
				return err
			}
		}
		return a.print("", object{"queue": cmd.Name, "put": len(values)})
	})
}

func (cmd *queuePut) put(ctx context.Context, q *dqueue.Queue[any], v any) error {
	full := no(fmt.Errorf("queue %s is full", cmd.Name))
	if cmd.Wait != nil && *cmd.Wait == 0 {
		if ok, err := q.Offer(context.WithoutCancel(ctx), v); err != nil || ok {
			return err
		}
		return full
	}
	err := q.Put(ctx, v)
	if gaveUp(ctx, err) {
		return full
	}
	return err
}

// waiting returns a context that ends with ctx or, where the flag is given and
// not 0, after it.
func waiting(ctx context.Context, wait *time.Duration) (context.Context, context.CancelFunc) {
	if wait == nil || *wait == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, *wait)
}

// gaveUp reports whether err says that a waiting call ended with ctx and took
// nothing.
func gaveUp(ctx context.Context, err error) bool {
	return err != nil && ctx.Err() != nil && !errors.Is(err, quorate.ErrOutcomeUnknown) && errors.Is(err, ctx.Err())
}

type queueTake struct {
	queueName
	N    int            `short:"n" help:"How many to take at most." default:"1" placeholder:"N"`
	Wait *time.Duration `help:"How long to wait for an element; 0: not at all." placeholder:"D"`
}

// Validate checks what the grammar cannot.
func (cmd *queueTake) Validate() error {
	if cmd.N < 1 {
		return fmt.Errorf("-n=%d: want at least 1", cmd.N)
	}
	return nil
}

// Run runs the command.
func (cmd *queueTake) Run(ctx context.Context, a *app) error {
	ctx, cancel := waiting(ctx, cmd.Wait)
	defer cancel()
	return cmd.with(ctx, func(q *dqueue.Queue[any]) error {
		for taken := range cmd.N {
			v, ok, err := cmd.take(ctx, q)
			switch {
			case err != nil:
				return err
			case !ok && taken == 0:
				return no(fmt.Errorf("queue %s is empty", cmd.Name))
			case !ok:
				return nil
			}
			if err := a.printLine(showValue(v), object{"value": jsonable(v)}); err != nil {
				return err
			}
		}
		return nil
	})
}

// take takes one element; it reports false when there was none in time.
func (cmd *queueTake) take(ctx context.Context, q *dqueue.Queue[any]) (any, bool, error) {
	if cmd.Wait != nil && *cmd.Wait == 0 {
		return q.Poll(ctx, 0)
	}
	v, err := q.Take(ctx)
	if gaveUp(ctx, err) {
		return nil, false, nil
	}
	return v, err == nil, err
}

type queuePeek struct{ queueName }

// Run runs the command.
func (cmd *queuePeek) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(q *dqueue.Queue[any]) error {
		v, ok, err := q.Peek(ctx)
		if err != nil {
			return err
		}
		if !ok {
			return no(fmt.Errorf("queue %s is empty", cmd.Name))
		}
		return a.printLine(showValue(v), object{"value": jsonable(v)})
	})
}

type queueLen struct{ queueName }

// Run runs the command.
func (cmd *queueLen) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(q *dqueue.Queue[any]) error {
		n, err := q.Len(ctx)
		if err != nil {
			return err
		}
		return a.print(fmt.Sprint(n), object{"queue": cmd.Name, "len": n})
	})
}

type queueClear struct{ queueName }

// Run runs the command.
func (cmd *queueClear) Run(ctx context.Context, a *app) error {
	return cmd.with(ctx, func(q *dqueue.Queue[any]) error {
		if err := q.Clear(ctx); err != nil {
			return err
		}
		return a.print("", object{"queue": cmd.Name, "cleared": true})
	})
}
