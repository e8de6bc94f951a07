package drate_test

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/structures/drate"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	ctx := context.Background()
	c := structurestest.Example(drate.Kind()) // in an application: client.Dial

	mails := drate.New(c, "mails")
	if err := mails.Configure(ctx, drate.Rate(100, time.Second), drate.Burst(2)); err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		ok, err := mails.Allow(ctx, 1)
		fmt.Println(ok, err)
	}
	fmt.Println(mails.Wait(ctx, 1)) // 10 ms later
	// Output:
	// true <nil>
	// true <nil>
	// false <nil>
	// <nil>
}
