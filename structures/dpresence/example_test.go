package dpresence_test

import (
	"context"
	"fmt"

	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/structurestest"
)

// Processes know of each other for as long as they live: Curator's GroupMember.
func Example() {
	c := structurestest.Example(dpresence.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()

	type worker struct{ Slots int }
	workers := dpresence.New[worker](c, "workers")
	me, err := workers.Join(ctx, worker{Slots: 4}, dpresence.ID("host-a"))
	if err != nil {
		fmt.Println(err)
	}
	other := grid.Client() // of another process
	if _, err := dpresence.New[worker](other, "workers").Join(ctx, worker{Slots: 8}, dpresence.ID("host-b")); err != nil {
		fmt.Println(err)
	}
	all, _, err := workers.List(ctx)
	fmt.Println(len(all), all[1].ID, all[1].Payload.Slots, err)
	other.End() // it dies
	all, _, err = workers.List(ctx)
	fmt.Println(len(all), all[0].ID, err)
	fmt.Println(me.Leave(ctx))
	// Output:
	// 2 host-b 8 <nil>
	// 1 host-a <nil>
	// <nil>
}

// One entry that is there for as long as a process lives, and comes back if its session was
// lost: Curator's PersistentNode.
func ExampleGroup_Join() {
	c := structurestest.Example(dpresence.Kind()) // in an application: client.Dial
	ctx := context.Background()

	printers := dpresence.New[string](c, "printers")
	me, err := printers.Join(ctx, "idle", dpresence.ID("floor-2"))
	if err != nil {
		fmt.Println(err)
	}
	c.End() // the session is lost
	c.Renew()
	for change, err := range printers.Watch(ctx, dpresence.WithCurrent()) {
		if err != nil {
			fmt.Println(err)
			break
		}
		if change.Entry.ID == me.ID() {
			fmt.Println(change.Entry.ID, change.Entry.Payload)
			break
		}
	}
	// Output:
	// floor-2 idle
}
