package dbarrier_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/quorate/quorate/structures/dbarrier"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	c := structurestest.Example(dbarrier.Kind()) // in an application: client.Dial
	ctx := context.Background()

	step := dbarrier.New(c, "step", 3)
	var workers sync.WaitGroup
	for range 3 { // in an application: each in a process of its own
		workers.Go(func() {
			a, err := step.Await(ctx)
			if err != nil || a.Index == 2 {
				fmt.Println("the last one:", a.Index, err)
			}
		})
	}
	workers.Wait()
	// Output:
	// the last one: 2 <nil>
}

// Curator's DistributedDoubleBarrier, and etcd's DoubleBarrier: enter and leave together.
// Who dies inside does not keep the others there.
func Example_doubleBarrier() {
	c := structurestest.Example(dbarrier.Kind()) // in an application: client.Dial
	ctx := context.Background()

	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			inside, err := dbarrier.NewDouble(c, "job", 2).Enter(ctx)
			if err != nil {
				fmt.Println(err)
				return
			}
			// Compute while inside.Context() lives.
			if err := inside.Leave(ctx); err != nil {
				fmt.Println(err)
			}
		})
	}
	workers.Wait()
	fmt.Println("all have left")
	// Output:
	// all have left
}
