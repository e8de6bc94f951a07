package did_test

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/structures/did"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	ctx := context.Background()
	c := structurestest.Example(did.Kind()) // in an application: client.Dial

	orders := did.New(c, "orders")
	last := int64(0)
	for id, err := range orders.NextN(ctx, 3) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("larger:", id > last)
		last = id
	}
	// Output:
	// larger: true
	// larger: true
	// larger: true
}

// Hazelcast's FlakeIdGenerator: newId is Next, prefetchCount is Block, prefetchValidityMillis
// is MaxAge. No id rests on a wall clock or on the number of a node.
func Example_flakeIdGenerator() {
	ctx := context.Background()
	c := structurestest.Example(did.Kind()) // in an application: client.Dial
	grid := c.Local()

	seen := map[int64]bool{}
	for range 2 { // in an application: each of two processes
		ids := did.New(grid.Client(), "customers", did.Block(100))
		for range 1000 {
			id, err := ids.Next(ctx)
			if err != nil {
				fmt.Println(err)
				return
			}
			seen[id] = true
		}
	}
	fmt.Println(len(seen))
	// Output: 2000
}

// Curator's CachedAtomicLong, which takes numbers from a counter in blocks: next is Next.
// Ids of before are taken over by Raise.
func Example_cachedAtomicLong() {
	ctx := context.Background()
	c := structurestest.Example(did.Kind()) // in an application: client.Dial

	invoices := did.New(c, "invoices", did.Block(50))
	if _, err := invoices.Raise(ctx, 7001); err != nil { // 7000 was the last one elsewhere
		fmt.Println(err)
	}
	for range 2 {
		id, err := invoices.Next(ctx)
		fmt.Println(id, err)
	}
	// Output:
	// 7001 <nil>
	// 7002 <nil>
}
