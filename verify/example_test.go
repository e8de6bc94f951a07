package verify_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/structurestest"
	"github.com/quorate/quorate/verify"
)

// Clients add to a counter, all at once, and the history of what they did and saw is
// checked.
func Example() {
	ctx := context.Background()
	c := structurestest.Example(dcounter.Kind()) // in a test of a grid: client.Dial, while faults are injected

	h := verify.NewHistory()
	var clients sync.WaitGroup
	for i := range 4 {
		hits := verify.NewCounter(h, i, "hits", dcounter.New(c, "hits"))
		clients.Go(func() {
			for range 25 {
				if _, err := hits.Add(ctx, 1); err != nil {
					fmt.Println(err)
				}
			}
		})
	}
	clients.Wait()

	fmt.Println(verify.Check(h, time.Minute))
	// Output: linearizable: 100 operations
}
