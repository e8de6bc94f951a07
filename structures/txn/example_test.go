package txn_test

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/structurestest"
	"github.com/quorate/quorate/structures/txn"
)

func Example() {
	ctx := context.Background()
	c := structurestest.Example(dmap.Kind(), dcounter.Kind(), dqueue.Kind()) // in an application: client.Dial
	// One tag in the names puts them into one partition.
	orders := dmap.New[string, string](c, "{o7}orders")
	stock := dcounter.New(c, "{o7}stock")
	jobs := dqueue.New[string](c, "{o7}jobs")
	if err := stock.Set(ctx, 1); err != nil {
		fmt.Println(err)
		return
	}
	for _, who := range []string{"ada", "bob"} {
		o, s, q := orders.Txn(), stock.Txn(), jobs.Txn()
		left, there := s.Add(-1), s.Get()
		ordered, err := txn.New(c).
			If(o.IfAbsent(who), s.IfAtLeast(1)).
			Then(o.Put(who, "ordered"), left, q.Offer(who)).
			Else(there).
			Commit(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		if !ordered {
			n, _ := there.Result()
			fmt.Println("no order for", who, "there are", n)
			continue
		}
		n, _ := left.Result()
		fmt.Println("ordered for", who, "left", n)
	}
	// Output:
	// ordered for ada left 0
	// no order for bob there are 0
}

// Only the holder writes, however late what it has sent arrives.
func Example_ifHeld() {
	ctx := context.Background()
	c := structurestest.Example(dmap.Kind(), dsemaphore.Kind()) // in an application: client.Dial
	writers := dsemaphore.New(c, "{report}writers")
	report := dmap.New[string, string](c, "{report}lines")
	if err := writers.Init(ctx, 1); err != nil {
		fmt.Println(err)
		return
	}
	held, err := writers.Acquire(ctx, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.Put(ctx, "first", "by the holder", dmap.IfHeld(held)))
	if err := held.Release(ctx); err != nil {
		fmt.Println(err)
	}
	fmt.Println(report.Put(ctx, "second", "too late", dmap.IfHeld(held)))
	// Output:
	// <nil>
	// put map {report}lines: not held
}
