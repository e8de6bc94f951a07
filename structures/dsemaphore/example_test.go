package dsemaphore_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	c := structurestest.NewLocal(new(testing.T), dsemaphore.Kind()).Client() // in an application: client.Dial
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
