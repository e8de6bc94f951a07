package dservice_test

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/structures/structurestest"
)

// A service registers, and its callers pick an instance: Curator's x-discovery, with its
// ServiceProvider and noteError, or etcd's endpoints.
func Example() {
	c := structurestest.Example(dservice.Kind()) // in an application: client.Dial
	ctx := context.Background()

	payments := dservice.New(c, "payments")
	reg, err := payments.Register(ctx, dservice.Instance{ID: "a", Address: "10.0.0.5", Port: 8080, Tags: []string{"v2"}})
	if err != nil {
		fmt.Println(err)
	}
	p, err := payments.Provider(ctx, dservice.RoundRobin())
	if err != nil {
		fmt.Println(err)
	}
	defer p.Close()
	in, err := p.Pick(dservice.WithTag("v2"))
	fmt.Println(in.HostPort(), err)
	p.Failed(in) // its call has failed
	fmt.Println(reg.Deregister(ctx))
	// Output:
	// 10.0.0.5:8080 <nil>
	// <nil>
}

// A list, and what changes after it: nothing between the two is missed. So a resolver of
// endpoints is kept up to date, as with etcd's endpoints manager.
func ExampleService_Watch() {
	c := structurestest.Example(dservice.Kind()) // in an application: client.Dial
	ctx := context.Background()

	payments := dservice.New(c, "payments")
	endpoints, view, err := payments.List(ctx)
	fmt.Println(len(endpoints), err)
	if _, err := payments.Register(ctx, dservice.Instance{ID: "a", Address: "10.0.0.5", Port: 8080}); err != nil {
		fmt.Println(err)
	}
	for change, err := range payments.Watch(ctx, dservice.After(view)) {
		if err != nil {
			fmt.Println(err)
			break
		}
		if change.Type == dservice.Put {
			fmt.Println(change.Entry.ID, change.Entry.HostPort(), change.Entry.Health)
			break
		}
	}
	// Output:
	// 0 <nil>
	// a 10.0.0.5:8080 passing
}

// An instance reports its health itself, and is critical when it has not for its TTL:
// Consul's registration with a TTL check, pass, warn and fail, and deregister after.
func ExampleTTL() {
	c := structurestest.Example(dservice.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()

	payments := dservice.New(c, "payments")
	reg, err := payments.Register(ctx, dservice.Instance{ID: "a", Address: "10.0.0.5", Port: 8080},
		dservice.TTL(10*time.Second), dservice.RemoveCritical(time.Hour))
	if err != nil {
		fmt.Println(err)
	}
	show := func() {
		all, _, err := payments.List(ctx, dservice.AnyHealth())
		for _, e := range all {
			fmt.Println(e.ID, e.Health, e.Note, err)
		}
	}
	fmt.Println(reg.Warning(ctx, "slow"))
	show()
	grid.Advance(10 * time.Second) // time passes
	show()
	fmt.Println(reg.Passing(ctx, "recovered"))
	show()
	// Output:
	// <nil>
	// a warning slow <nil>
	// a critical no report within 10s <nil>
	// <nil>
	// a passing recovered <nil>
}

// An instance is taken out of use for maintenance. That outlives a restart of its process:
// Consul's maintenance mode.
func ExampleService_Drain() {
	c := structurestest.Example(dservice.Kind()) // in an application: client.Dial
	ctx := context.Background()

	payments := dservice.New(c, "payments")
	if _, err := payments.Drain(ctx, "a", dservice.Reason("new disks")); err != nil {
		fmt.Println(err)
	}
	if _, err := payments.Register(ctx, dservice.Instance{ID: "a", Address: "10.0.0.5", Port: 8080}); err != nil {
		fmt.Println(err)
	}
	usable, _, err := payments.List(ctx)
	fmt.Println(len(usable), err)
	if _, err := payments.Undrain(ctx, "a"); err != nil {
		fmt.Println(err)
	}
	usable, _, err = payments.List(ctx)
	fmt.Println(len(usable), err)
	// Output:
	// 0 <nil>
	// 1 <nil>
}
