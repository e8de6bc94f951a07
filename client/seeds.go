package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/quorate/quorate"
)

// greetAny shakes hands with all seeds at once and returns the first that
// serves. Its error names every seed.
func (c *Client) greetAny(ctx context.Context) (greeted, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		seed int
		g    greeted
		err  error
	}
	seeds := c.cfg.seeds
	results := make(chan result, len(seeds))
	for i, address := range seeds {
		if !c.tasks.spawn(func() {
			g, err := c.greetServing(ctx, address)
			results <- result{i, g, err}
		}) {
			return greeted{}, quorate.ErrClosed
		}
	}
	errs := make([]error, len(seeds))
	for n := range seeds {
		r := <-results
		if r.err != nil {
			errs[r.seed] = fmt.Errorf("%s: %w", seeds[r.seed], r.err)
			continue
		}
		rest := len(seeds) - n - 1
		cancel()
		drain := func() {
			for range rest {
				if late := <-results; late.err == nil {
					late.g.nc.Close()
				}
			}
		}
		if !c.tasks.spawn(drain) {
			drain()
		}
		return r.g, nil
	}
	return greeted{}, seedErrors(errs)
}

// seedErrors says what is wrong with each seed, in one line.
type seedErrors []error

func (e seedErrors) Error() string {
	texts := make([]string, len(e))
	for i, err := range e {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (e seedErrors) Unwrap() []error { return e }

// greetServing shakes hands with a seed until its grid is formed.
func (c *Client) greetServing(ctx context.Context, address string) (greeted, error) {
	for try := 0; ; try++ {
		g, err := greet(ctx, &c.cfg, c.id, address)
		if err != nil {
			return g, err
		}
		if len(g.welcome.Table.Partitions) > 0 {
			return g, nil
		}
		g.nc.Close()
		select {
		case <-time.After(backoff(try, 50*time.Millisecond, 500*time.Millisecond)):
		case <-ctx.Done():
			return g, errors.New("the grid is not formed yet")
		}
	}
}

// checkSeed returns nil for an address of the form host:port, and else what is wrong
// with it.
func checkSeed(seed string) error {
	bad := func(why string) error { return fmt.Errorf("seed address %q: %s", seed, why) }
	if seed == "" {
		return bad("it is empty: name an address as host:port")
	}
	if scheme, _, ok := strings.Cut(seed, "://"); ok {
		return bad(fmt.Sprintf("leave the scheme %q out: an address is host:port", scheme))
	}
	if strings.ContainsAny(seed, " \t\r\n") {
		return bad("there is a blank in it")
	}
	_, port, err := net.SplitHostPort(seed)
	switch {
	case err == nil:
	case strings.Count(seed, ":") > 1 && !strings.Contains(seed, "["):
		return bad("an IPv6 address stands in brackets: [::1]:7170")
	case !strings.Contains(seed, ":"):
		return bad("the port is missing: an address is host:port")
	default:
		return bad("an address is host:port")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return bad(fmt.Sprintf("the port %q is not a number within 1 to 65535", port))
	}
	return nil
}
