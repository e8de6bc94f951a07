// Command interop reads and writes values with the typed Go client, for the tests of
// the Python client: what one writes the other reads.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
)

// User is a value as an application has it.
type User struct {
	Name  string
	Born  int
	Tags  []string
	Score float64
	Since time.Time
}

var ada = User{"Ada", 1815, []string{"first", "programmer"}, 1.5, time.Date(2024, 2, 29, 12, 30, 15, 123456000, time.UTC)}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: interop write|read ENDPOINTS")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, strings.Split(args[1], ","))
	if err != nil {
		return err
	}
	defer c.Close()
	users := dmap.New[string, User](c, "interop-users")
	ints := dmap.New[int64, string](c, "interop-ints")
	unsigned := dmap.New[uint32, []byte](c, "interop-unsigned")
	jobs := dqueue.New[User](c, "interop-jobs")
	hits := dcounter.New(c, "interop-hits")
	switch args[0] {
	case "write":
		_, addErr := hits.Add(ctx, 40)
		return errors.Join(users.Put(ctx, "ada", ada), ints.Put(ctx, -5, "five"), unsigned.Put(ctx, 5, []byte{0, 255}),
			jobs.Put(ctx, ada), addErr)
	case "read":
		got, ok, err := users.Get(ctx, "python")
		if err != nil || !ok || fmt.Sprint(got) != fmt.Sprint(ada) {
			return fmt.Errorf("the user is %v, not %v: %v, %v", got, ada, ok, err)
		}
		text, ok, err := ints.Get(ctx, 7)
		if err != nil || !ok || text != "seven" {
			return fmt.Errorf("7 is %q: %v, %v", text, ok, err)
		}
		raw, ok, err := unsigned.Get(ctx, 7)
		if err != nil || !ok || string(raw) != "\x01\x02" {
			return fmt.Errorf("unsigned 7 is %x: %v, %v", raw, ok, err)
		}
		job, err := jobs.Take(ctx)
		if err != nil || fmt.Sprint(job) != fmt.Sprint(ada) {
			return fmt.Errorf("the job is %v: %v", job, err)
		}
		n, err := hits.Get(ctx)
		if err != nil || n != 42 {
			return fmt.Errorf("the counter is %d: %v", n, err)
		}
		return nil
	}
	return errors.New("usage: interop write|read ENDPOINTS")
}
