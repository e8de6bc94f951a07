package dcounter_test

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	ctx := context.Background()
	// c, err := client.Dial(ctx, []string{"127.0.0.1:7170"})
	c := structurestest.NewGrid(protocol.DefaultLimits(), dcounter.Kind())

	hits := dcounter.New(c, "hits")
	n, err := hits.Add(ctx, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(n)
	// Output: 2
}
