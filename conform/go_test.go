package conform_test

import (
	"context"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/conform"
	"github.com/quorate/quorate/conform/goclient"
)

// goClient is this project's client.
type goClient struct{ opts []client.Option }

func (g goClient) Start(ctx context.Context, endpoints []string) (conform.Client, error) {
	opts := append([]client.Option{client.WithOperationTimeout(50 * time.Second), client.WithSessionTTL(5 * time.Second)}, g.opts...)
	return pipes(func(in io.Reader, out io.Writer) error {
		c, err := client.Dial(ctx, endpoints, opts...)
		if err != nil {
			return fmt.Errorf("dial: %w", err)
		}
		defer c.Close()
		return goclient.Serve(ctx, c, in, out)
	}), nil
}

// pipes runs a client in this process.
func pipes(serve func(in io.Reader, out io.Writer) error) conform.Client {
	in, tasks := io.Pipe()
	replies, out := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := serve(in, out)
		in.CloseWithError(err)
		out.CloseWithError(err)
		ended <- err
	}()
	return conform.Lines(tasks, replies, func() error { return <-ended })
}

// TestGoClient: this project's client keeps all rules, with and without a way to
// all members.
func TestGoClient(t *testing.T) {
	var mu sync.Mutex // guards all
	var all []conform.Result
	t.Run("directly", func(t *testing.T) {
		for _, k := range conform.Cases(conform.Full) {
			t.Run(k, func(t *testing.T) {
				t.Parallel()
				results := passes(t, goClient{}, k)
				mu.Lock()
				defer mu.Unlock()
				all = append(all, results...)
			})
		}
	})
	if _, broken, notMet := conform.Sum(all); len(broken)+len(notMet) > 0 && len(all) == len(conform.Cases(conform.Full)) {
		t.Errorf("rules broken: %v; not met: %v", broken, notMet)
	}
	t.Run("forwarding", func(t *testing.T) {
		for _, k := range conform.Cases(conform.Holding) {
			t.Run(k, func(t *testing.T) {
				t.Parallel()
				passes(t, goClient{[]client.Option{client.WithForward()}}, k)
			})
		}
	})
}

func passes(t *testing.T, d conform.Driver, name string) []conform.Result {
	t.Helper()
	results, err := conform.Run(t.Context(), conform.Options{Listen: "127.0.0.1:0", Cases: []string{name}, Driver: d, Limit: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		for _, f := range r.Broken {
			t.Errorf("%s: %s: %s", r.Case, f.Rule, f.What)
		}
	}
	return results
}
