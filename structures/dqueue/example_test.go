package dqueue_test

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	c := structurestest.Example(dqueue.Kind()) // in an application: client.Dial
	ctx := context.Background()

	type job struct{ File string }
	jobs := dqueue.New[job](c, "jobs")
	for _, file := range []string{"a.go", "b.go"} {
		if err := jobs.Put(ctx, job{file}); err != nil {
			fmt.Println(err)
		}
	}
	next, err := jobs.Take(ctx)
	fmt.Println(next.File, err)
	n, err := jobs.Len(ctx)
	fmt.Println(n, err)
	// Output:
	// a.go <nil>
	// 1 <nil>
}
