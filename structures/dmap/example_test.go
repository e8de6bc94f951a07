package dmap_test

import (
	"context"
	"fmt"
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
