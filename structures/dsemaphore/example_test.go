package dsemaphore_test

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	c := structurestest.Example(dsemaphore.Kind()) // in an application: client.Dial
	ctx := context.Background()

	writers := dsemaphore.New(c, "writers")
	if err := writers.Init(ctx, 2); err != nil {
		fmt.Println(err)
	}
	held, err := writers.Acquire(ctx, 2)
	if err != nil {
		fmt.Println(err)
	}
	_, ok, err := writers.TryAcquire(ctx, 1)
	fmt.Println("another:", ok, err)
	if err := held.Release(ctx); err != nil {
		fmt.Println(err)
	}
	n, err := writers.Available(ctx)
	fmt.Println("available:", n, err)
	// Output:
	// another: false <nil>
	// available: 2 <nil>
}

func ExampleSemaphore_Revoke() {
	c := structurestest.Example(dsemaphore.Kind()) // in an application: client.Dial
	grid := c.Local()
	operator := grid.Client()
	ctx := context.Background()

	writers := dsemaphore.New(c, "writers")
	if err := writers.Init(ctx, 1); err != nil {
		fmt.Println(err)
	}
	held, err := writers.Acquire(ctx, 1)
	if err != nil {
		fmt.Println(err)
	}

	admin := dsemaphore.New(operator, "writers")
	i, err := admin.Inspect(ctx)
	if err != nil {
		fmt.Println(err)
	}
	for _, h := range i.Holders {
		existed, err := admin.Revoke(ctx, h.ID, structures.Grace(5*time.Second), structures.Reason("maintenance"))
		fmt.Println("revoked:", existed, err)
	}
	grid.Advance(5 * time.Second) // time passes
	<-held.Context().Done()
	fmt.Println(context.Cause(held.Context()))
	n, err := admin.Available(ctx)
	fmt.Println("available:", n, err)
	// Output:
	// revoked: true <nil>
	// revoked: maintenance
	// available: 1 <nil>
}
