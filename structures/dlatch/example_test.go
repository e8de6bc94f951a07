package dlatch_test

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/structures/dlatch"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	c := structurestest.Example(dlatch.Kind()) // in an application: client.Dial
	ctx := context.Background()

	loaded := dlatch.New(c, "loaded")
	round, err := loaded.Set(ctx, 2)
	if err != nil {
		fmt.Println(err)
	}
	for range 2 { // in an application: each of two loaders
		n, err := loaded.CountDown(ctx, dlatch.In(round))
		fmt.Println("left:", n, err)
	}
	over, err := loaded.Await(ctx)
	fmt.Println("loaded:", over == round, err)
	// Output:
	// left: 1 <nil>
	// left: 0 <nil>
	// loaded: true <nil>
}

// Curator's DistributedBarrier, and etcd's Barrier: a latch of one. To set the barrier is
// Set(1), to remove it CountDown, and to wait on it Await.
func Example_distributedBarrier() {
	c := structurestest.Example(dlatch.Kind()) // in an application: client.Dial
	ctx := context.Background()

	barrier := dlatch.New(c, "maintenance")
	if _, err := barrier.Set(ctx, 1); err != nil { // setBarrier, Hold
		fmt.Println(err)
	}
	passed := make(chan error)
	go func() {
		_, err := barrier.Await(ctx) // waitOnBarrier, Wait
		passed <- err
	}()
	if _, err := barrier.CountDown(ctx); err != nil { // removeBarrier, Release
		fmt.Println(err)
	}
	fmt.Println("passed:", <-passed)
	// Output:
	// passed: <nil>
}

// Hazelcast's ICountDownLatch: trySetCount is Set, countDown is CountDown, getCount is Count
// and await is Await, with the option Wait for a bounded time.
func Example_countDownLatch() {
	c := structurestest.Example(dlatch.Kind()) // in an application: client.Dial
	ctx := context.Background()

	latch := dlatch.New(c, "latch")
	if _, err := latch.Set(ctx, 2); err != nil {
		fmt.Println(err)
	}
	_, err := latch.Set(ctx, 5)
	fmt.Println(err)
	if _, err := latch.CountDown(ctx); err != nil {
		fmt.Println(err)
	}
	n, _, err := latch.Count(ctx)
	fmt.Println("count:", n, err)
	_, err = latch.Await(ctx, dlatch.Wait(0))
	fmt.Println(err)
	// Output:
	// set latch latch: not zero: it is 2
	// count: 1 <nil>
	// await latch latch: not in time: the count is 1
}

// A group of workers of which one dies: its hold ends with its session, so nobody waits for
// it.
func ExampleLatch_Hold() {
	c := structurestest.Example(dlatch.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()

	work := dlatch.New(c, "work")
	round, err := work.Set(ctx, 1) // so that it is not open before the workers have begun
	if err != nil {
		fmt.Println(err)
	}
	worker, dying := grid.Client(), grid.Client()
	held, err := dlatch.New(worker, "work").Hold(ctx, dlatch.In(round))
	if err != nil {
		fmt.Println(err)
	}
	if _, err := dlatch.New(dying, "work").Hold(ctx, dlatch.In(round)); err != nil {
		fmt.Println(err)
	}
	n, err := work.CountDown(ctx)
	fmt.Println("at work:", n, err)
	if err := held.Release(ctx); err != nil {
		fmt.Println(err)
	}
	dying.End() // its process was killed, and its session has ended
	over, err := work.Await(ctx)
	fmt.Println("over:", over == round, err)
	// Output:
	// at work: 2 <nil>
	// over: true <nil>
}
