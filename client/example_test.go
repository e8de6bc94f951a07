package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/structures/dmap"
)

// What Curator's ConnectionStateListener is used for: to stop what depends on the session
// when that is lost, and to go on with the next. The grid of this example is a member in the
// same process.
func ExampleOnSession() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "quorate-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	m, err := grid.Start(ctx, grid.Config{DataDir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	if err := m.Ready(ctx); err != nil {
		log.Fatal(err)
	}

	lost, again := make(chan error, 1), make(chan struct{}, 2)
	c, err := client.Dial(ctx, []string{m.Addr()}, client.OnSession(func(e client.SessionEvent) {
		switch e.State {
		case client.SessionOpen: // the first one, or the next: register again
			select {
			case again <- struct{}{}:
			default:
			}
		case client.SessionSuspended: // a heartbeat is overdue: begin nothing new
		case client.SessionLost: // whatever it held has ended
			lost <- e.Err
		}
	}))
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	if err := dmap.New[string, int](c, "nodes").Put(ctx, "a", 1, dmap.Ephemeral()); err != nil {
		log.Fatal(err)
	}
	<-again
	existed, _, err := c.KillSession(ctx, c.Session().ID, client.Now(), client.KillReason("maintenance"))
	fmt.Println("killed:", existed, err)
	err = <-lost
	fmt.Println("lost:", errors.Is(err, quorate.ErrSessionLost))
	<-again
	_, there, err := dmap.New[string, int](c, "nodes").Get(ctx, "a")
	fmt.Println("the entry of the lost session is there:", there, err)
	// Output:
	// killed: true <nil>
	// lost: true
	// the entry of the lost session is there: false <nil>
}
