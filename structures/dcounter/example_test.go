package dcounter_test

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	ctx := context.Background()
	c := structurestest.Example(dcounter.Kind()) // in an application: client.Dial

	hits := dcounter.New(c, "hits")
	n, err := hits.Add(ctx, 2)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(n)
	// Output: 2
}
