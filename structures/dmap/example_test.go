package dmap_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/structurestest"
)

func Example() {
	ctx := context.Background()
	c := structurestest.Example(dmap.Kind()) // in an application: client.Dial

	users := dmap.New[string, user](c, "users")
	err := users.Put(ctx, "ada", user{Name: "Ada"}, dmap.TTL(time.Hour))
	if err == nil {
		_, err = users.Update(ctx, "ada", func(old user, exists bool) (user, error) {
			old.Logins++
			return old, nil
		})
	}
	u, ok, err := users.Get(ctx, "ada")
	fmt.Println(u.Name, u.Logins, ok, err)
	// Output: Ada 1 true <nil>
}

func ExampleMap_Watch() {
	ctx := context.Background()
	c := structurestest.Example(dmap.Kind()) // in an application: client.Dial

	rates := dmap.New[string, int](c, "rates")
	if err := rates.Put(ctx, "eur", 108); err != nil {
		fmt.Println(err)
	}
	cache := map[string]int{}
	for e, err := range rates.Watch(ctx, dmap.WithCurrent(), dmap.Relist()) {
		if err != nil {
			fmt.Println(err) // the last thing that comes
			break
		}
		switch e.Type {
		case dmap.Current, dmap.Put:
			cache[e.Key] = e.Value
		case dmap.Removed, dmap.Expired:
			delete(cache, e.Key)
		case dmap.Gap, dmap.Destroyed: // of one partition
			maps.DeleteFunc(cache, func(k string, _ int) bool { return e.Covers(k) })
		case dmap.Synced:
			fmt.Println("complete:", cache)
		}
		if e.Type == dmap.Synced {
			break
		}
	}
	// Output: complete: map[eur:108]
}

// An entry that has to be renewed, as Curator's PersistentTtlNode or a key with a TTL.
func ExampleTTL() {
	ctx := context.Background()
	c := structurestest.Example(dmap.Kind()) // in an application: client.Dial

	nodes := dmap.New[string, string](c, "nodes")
	if err := nodes.Put(ctx, "a", "10.0.0.5", dmap.TTL(30*time.Second)); err != nil {
		fmt.Println(err)
	}
	renewed, err := nodes.SetTTL(ctx, "a", 30*time.Second) // every ten seconds, say
	fmt.Println(renewed, err)
	// Output: true <nil>
}

// Compare and set by version, as Consul's cas or a transaction of etcd on mod_revision.
func ExampleMap_Replace() {
	ctx := context.Background()
	c := structurestest.Example(dmap.Kind()) // in an application: client.Dial

	rates := dmap.New[string, int](c, "rates")
	if err := rates.Put(ctx, "eur", 108); err != nil {
		fmt.Println(err)
	}
	e, _, err := rates.Entry(ctx, "eur")
	if err == nil {
		_, err = rates.Replace(ctx, "eur", e.Version, 109)
	}
	fmt.Println("first:", err)
	_, err = rates.Replace(ctx, "eur", e.Version, 110)
	fmt.Println("second is in conflict:", errors.Is(err, dmap.ErrConflict))
	// Output:
	// first: <nil>
	// second is in conflict: true
}

// A map that is read far more often than written, as etcd's leasing or Curator's caches. A
// client's cache needs its watch: with the Invoker of this example, which has none, every
// read goes to the grid.
func ExampleNearCache() {
	ctx := context.Background()
	c := structurestest.Example(dmap.Kind()) // in an application: client.Dial

	prices := dmap.New[string, int](c, "prices", dmap.NearCache(dmap.MaxStale(time.Second)))
	if err := prices.Put(ctx, "tea", 3); err != nil {
		fmt.Println(err)
	}
	price, ok, err := prices.Get(ctx, "tea") // at most a second old, and never older than what this client has seen
	fmt.Println(price, ok, err)
	price, ok, err = prices.Get(ctx, "tea", dmap.Fresh()) // linearizable
	fmt.Println(price, ok, err)
	// Output:
	// 3 true <nil>
	// 3 true <nil>
}

// A node that ends with its client: an ephemeral node of ZooKeeper, a put of etcd with a
// lease that is kept alive, and what Consul's session behaviour delete does to the keys that
// a session has acquired. The session is the client's own: nothing is to be granted, renewed
// or revoked.
func ExampleEphemeral() {
	ctx := context.Background()
	c := structurestest.Example(dmap.Kind()) // in an application: client.Dial
	grid := c.Local()
	other := grid.Client()

	jobs, seen := dmap.New[string, string](c, "jobs"), dmap.New[string, string](other, "jobs")
	_, stored, err := jobs.PutIfAbsent(ctx, "nightly", "host a", dmap.Ephemeral()) // the first has it
	fmt.Println("stored:", stored, err)
	e, _, err := seen.Entry(ctx, "nightly")
	fmt.Println("of a session:", e.Owner != 0, err)
	_, err = seen.Replace(ctx, "nightly", e.Version, "host a, half done") // keeps its owner
	if err != nil {
		fmt.Println(err)
	}
	grid.End(c) // the client has died, and its session with it
	_, there, err := seen.Get(ctx, "nightly")
	fmt.Println("there:", there, err)
	// Output:
	// stored: true <nil>
	// of a session: true <nil>
	// there: false <nil>
}

// Members of a group in the order in which they came: the ephemeral sequential nodes of
// ZooKeeper.
func ExamplePutSequential() {
	ctx := context.Background()
	c := structurestest.Example(dmap.Kind()) // in an application: client.Dial
	grid := c.Local()

	var clients []*structurestest.Client
	for i := range 3 {
		clients = append(clients, grid.Client())
		workers := dmap.New[string, string](clients[i], "{workers}")
		if _, err := dmap.PutSequential(ctx, workers, "w-", fmt.Sprint("worker ", i), dmap.Ephemeral()); err != nil {
			fmt.Println(err)
		}
	}
	first := func() {
		workers := dmap.New[string, string](c, "{workers}")
		all := map[string]string{}
		for e, err := range workers.All(ctx) {
			if err != nil {
				fmt.Println(err)
			}
			all[e.Key] = e.Value
		}
		fmt.Println(len(all), "workers, the first is", all[slices.Min(slices.Collect(maps.Keys(all)))])
	}
	first()
	grid.End(clients[0])
	first()
	// Output:
	// 3 workers, the first is worker 0
	// 2 workers, the first is worker 1
}
