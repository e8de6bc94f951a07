package dref_test

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	ctx := context.Background()
	c := structurestest.Example(dref.Kind()) // in an application: client.Dial

	type limits struct{ Rate int }
	r := dref.New[limits](c, "{app}limits")
	for range 2 {
		l, err := r.Update(ctx, func(l limits, _ bool) (limits, error) { l.Rate += 100; return l, nil })
		fmt.Println(l.Rate, err)
	}
	// Output:
	// 100 <nil>
	// 200 <nil>
}

// A value that a bad change has replaced comes back as a new version.
func ExampleRef_Rollback() {
	ctx := context.Background()
	c := structurestest.Example(dref.Kind()) // in an application: client.Dial

	motd := dref.New[string](c, "motd")
	if err := motd.Configure(ctx, dref.Keep(10)); err != nil {
		fmt.Println(err)
		return
	}
	_ = motd.Set(ctx, "welcome")
	_ = motd.Set(ctx, "welc0me")
	for e, err := range motd.History(ctx) {
		if err == nil && e.Value == "welcome" {
			_, err = motd.Rollback(ctx, e.Version)
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	fmt.Println(motd.Get(ctx))
	// Output: welcome true <nil>
}

// What Curator's SharedValue, Hazelcast's IAtomicReference, a key of etcd with its mod
// revision and one of Consul with cas are used for: a change based on what was read.
func ExampleRef_Replace() {
	ctx := context.Background()
	c := structurestest.Example(dref.Kind()) // in an application: client.Dial

	owner := dref.New[string](c, "owner")
	first, err := owner.Replace(ctx, 0, "ada") // only if there is none
	fmt.Println(err)
	_, err = owner.Replace(ctx, first, "bob")
	fmt.Println(err)
	_, err = owner.Replace(ctx, first, "eve") // what was read is not there any more
	fmt.Println(err)
	// Output:
	// <nil>
	// <nil>
	// replace ref owner: conflict: the value has version 2
}
