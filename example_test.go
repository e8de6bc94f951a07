package quorate_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// The README shows what stands between the two marks.

// readme: begin

type User struct {
	Name   string
	Logins int
}

func run(ctx context.Context, members ...string) error {
	c, err := client.Dial(ctx, members)
	if err != nil {
		return err
	}
	defer c.Close()

	users := dmap.New[string, User](c, "users")
	if err := users.Put(ctx, "ada", User{Name: "Ada"}, dmap.TTL(time.Hour)); err != nil {
		return err
	}
	ada, err := users.Update(ctx, "ada", func(u User, exists bool) (User, error) {
		u.Logins++
		return u, nil
	})
	if err != nil {
		return err
	}
	fmt.Println(ada.Name, "has logged in", ada.Logins, "time")

	hits, err := dcounter.New(c, "hits").Add(ctx, 1)
	if err != nil {
		return err
	}
	fmt.Println("hits:", hits)

	jobs := dqueue.New[string](c, "jobs")
	if err := jobs.Put(ctx, "write the report"); err != nil {
		return err
	}
	job, err := jobs.Take(ctx) // waits until there is one
	if err != nil {
		return err
	}

	writers := dsemaphore.New(c, "writers")
	if err := writers.Init(ctx, 4); err != nil {
		return err
	}
	held, err := writers.Acquire(ctx, 1) // waits for one of the four permits
	if err != nil {
		return err
	}
	// held.Context() ends before anyone else can get the permit, and held.Token()
	// tells a later holder from an earlier one.
	fmt.Println("doing:", job)
	return held.Release(ctx)
}

// readme: end

// A client of a grid. The grid of this example is a member in the same process.
func Example() {
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
	if err := run(ctx, m.Addr()); err != nil {
		log.Fatal(err)
	}
	// Output:
	// Ada has logged in 1 time
	// hits: 1
	// doing: write the report
}

// An error says why, and whether the call may have changed anything.
func ExampleSafeToRetry() {
	for _, err := range []error{
		&quorate.Error{Op: "add", Object: "counter hits", Cause: quorate.ErrUnavailable},
		&quorate.Error{Op: "add", Object: "counter hits", Cause: context.DeadlineExceeded, Unknown: true},
	} {
		fmt.Println(err)
		fmt.Println("unknown:", errors.Is(err, quorate.ErrOutcomeUnknown), "safe to retry:", quorate.SafeToRetry(err))
	}
	// Output:
	// add counter hits: unavailable
	// unknown: false safe to retry: true
	// add counter hits: outcome unknown: context deadline exceeded
	// unknown: true safe to retry: false
}

func TestReadmeShowsTheExample(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(source), "// readme: begin\n")
	shown, _, found := strings.Cut(rest, "// readme: end\n")
	if !found {
		t.Fatal("no marks in example_test.go")
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), "```go\n"+strings.TrimSpace(shown)+"\n```") {
		t.Error("README.md does not show the example as it is in example_test.go")
	}
}
