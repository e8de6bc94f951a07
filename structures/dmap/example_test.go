package dmap_test

import (
	"context"
	"fmt"
	"maps"
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
