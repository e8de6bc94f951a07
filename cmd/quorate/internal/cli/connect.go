package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"github.com/quorate/quorate/client"
)

// defaultEndpoint is that of --endpoints.
const defaultEndpoint = "127.0.0.1:7170"

// Connection is the flags of every command that talks to a grid.
type Connection struct {
	Endpoints []string      `help:"Addresses of members; one that answers is enough." env:"QUORATE_ENDPOINTS" default:"127.0.0.1:7170" placeholder:"A,B"`
	Forward   bool          `help:"Have the member that answers forward what others lead, if they cannot be reached: behind NAT or a proxy. status asks each member all the same." env:"QUORATE_FORWARD"`
	Cluster   string        `help:"Refuse any cluster but this one, by name or id." placeholder:"NAME"`
	Timeout   time.Duration `help:"How long an operation may take; waiting for something is bounded by --wait instead; ${default}." default:"10s" placeholder:"D"`
	Output    string        `short:"o" help:"Form of the output: text, or json for one object a line." enum:"text,json" default:"text" placeholder:"FORM"`
}

// Validate checks what the grammar cannot.
func (c *Connection) Validate() error {
	if c.Timeout <= 0 {
		return fmt.Errorf("--timeout=%v: must be positive", c.Timeout)
	}
	return nil
}

// clientName says which run of a command a client is, for session list.
func clientName() string {
	host, err := os.Hostname()
	if err != nil {
		return fmt.Sprintf("quorate (%d)", os.Getpid())
	}
	return fmt.Sprintf("quorate (%d at %s)", os.Getpid(), host)
}

// Dial connects to the grid. A timeout below that of dialling bounds it too.
func (c *Connection) Dial(ctx context.Context, opts ...client.Option) (*client.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	opts = append([]client.Option{
		client.WithOperationTimeout(c.Timeout), client.WithClusterName(c.Cluster), client.WithName(clientName()),
	}, opts...)
	if c.Forward {
		opts = append(opts, client.WithForward())
	}
	cl, err := client.Dial(ctx, c.Endpoints, opts...)
	return cl, c.hint(err)
}

// hint adds to the error of a connection how to name a member, if none was named and nobody
// listens where one is looked for then.
func (c *Connection) hint(err error) error {
	var dial *net.OpError
	if errors.As(err, &dial) && dial.Op == "dial" && slices.Equal(c.Endpoints, []string{defaultEndpoint}) {
		return fmt.Errorf("%w: name members with --endpoints or QUORATE_ENDPOINTS", err)
	}
	return err
}

// With runs f with a client, and closes it.
func (c *Connection) With(ctx context.Context, f func(*client.Client) error, opts ...client.Option) error {
	cl, err := c.Dial(ctx, opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	return f(cl)
}
