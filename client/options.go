package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client/nearcache"
	"github.com/quorate/quorate/protocol"
)

// Option changes how a Client works.
type Option func(*config)

type config struct {
	seeds            []string
	logger           *slog.Logger
	cluster          string
	name             string
	operationTimeout time.Duration
	sessionTTL       time.Duration
	holdMargin       time.Duration // 0: leastMargin(sessionTTL)
	dial             func(ctx context.Context, address string) (net.Conn, error)
	forward          bool
	onSession        []func(SessionEvent)
	nearBytes        int64
}

// WithLogger sets where the client logs. The default discards.
func WithLogger(l *slog.Logger) Option {
	return func(c *config) { c.logger = l }
}

// WithClusterName makes the client refuse members of any other cluster; name
// is the cluster's name or its id.
func WithClusterName(name string) Option {
	return func(c *config) { c.cluster = name }
}

// WithName gives the client a human-readable name, which members show.
func WithName(name string) Option {
	return func(c *config) { c.name = name }
}

// WithOperationTimeout bounds calls whose context has no deadline. The default
// is 10 s. Waiting calls are not bounded by it.
func WithOperationTimeout(d time.Duration) Option {
	return func(c *config) { c.operationTimeout = d }
}

// WithSessionTTL sets how long the grid keeps what the client holds after the client's
// last heartbeat: 2 s to 1 h. The default is 10 s.
func WithSessionTTL(d time.Duration) Option {
	return func(c *config) { c.sessionTTL = d }
}

// WithHoldMargin sets the time that a holder has to stop when the session is not kept
// alive: the context of what the client holds (structures.Held) ends so long before the
// grid can grant it to anyone else. The default, which is also the minimum, is a tenth
// of the session TTL, or 500 ms if that is longer; the maximum is half of the TTL. A
// longer margin makes the client give up sooner: it relies on a heartbeat for the TTL
// less 1/32, less the margin.
//
// A holder that needs longer than the default to stop, for example because it must end
// a process, needs a margin of that time, and a TTL of at least twice as much.
func WithHoldMargin(d time.Duration) Option {
	return func(c *config) { c.holdMargin = d }
}

// OnSession has f called with each change of the state of the client's session, in
// order, from one goroutine: first SessionOpen, when the first session is open, and at
// last SessionClosed, when the client is closed. While f runs it may miss what is
// overtaken by later changes, but never a loss: when f is called with SessionLost, the
// contexts of all that the session held have ended, so f may acquire again. f must not
// wait for [Client.Close], which waits for f. Several functions may be given.
func OnSession(f func(SessionEvent)) Option {
	return func(c *config) { c.onSession = append(c.onSession, f) }
}

// WithDialer sets how connections are opened, for example inside one process. The
// address is a seed as given to Dial, or a member's address from the table. The context
// bounds the dialling only.
func WithDialer(dial func(ctx context.Context, address string) (net.Conn, error)) Option {
	return func(c *config) { c.dial = dial }
}

// WithForward is for a client that can reach its seeds only, and not the addresses in
// the table: the member that it is connected to forwards its requests to the leaders.
func WithForward() Option {
	return func(c *config) { c.forward = true }
}

// WithNearCacheBytes bounds what the near caches of the client keep together, in bytes of
// keys and values and of what they take beside: 1 MiB or more. The default is 64 MiB. What
// is asked for least often goes first. Nothing is taken before something is kept.
func WithNearCacheBytes(n int64) Option {
	return func(c *config) { c.nearBytes = n }
}

func newConfig(seeds []string, opts []Option) (config, error) {
	d := net.Dialer{Timeout: dialTimeout}
	cfg := config{
		seeds:            slices.Clone(seeds),
		logger:           slog.New(slog.DiscardHandler),
		operationTimeout: 10 * time.Second,
		sessionTTL:       10 * time.Second,
		nearBytes:        nearcache.DefaultBytes,
	}
	for _, o := range opts {
		o(&cfg)
	}
	if cfg.logger == nil {
		cfg.logger = slog.New(slog.DiscardHandler)
	}
	var problems []error
	if cfg.dial == nil { // an application's own dialer may use addresses of its own
		cfg.dial = func(ctx context.Context, address string) (net.Conn, error) {
			return d.DialContext(ctx, "tcp", address)
		}
		for i := range cfg.seeds {
			cfg.seeds[i] = strings.TrimSpace(cfg.seeds[i])
			if err := checkSeed(cfg.seeds[i]); err != nil {
				problems = append(problems, err)
			}
		}
	}
	if len(cfg.seeds) == 0 {
		problems = append(problems, errors.New("no seed addresses: name at least one member's address"))
	}
	if cfg.operationTimeout <= 0 {
		problems = append(problems, fmt.Errorf("operation timeout %v: must be positive", cfg.operationTimeout))
	}
	if cfg.sessionTTL < protocol.MinSessionTTL || cfg.sessionTTL > protocol.MaxSessionTTL {
		problems = append(problems, fmt.Errorf("session TTL %v: must be %v to %v", cfg.sessionTTL, protocol.MinSessionTTL, protocol.MaxSessionTTL))
	}
	if cfg.nearBytes < nearcache.LeastBytes {
		problems = append(problems, fmt.Errorf("%d bytes for near caches: must be at least %d", cfg.nearBytes, nearcache.LeastBytes))
	}
	if least := leastMargin(cfg.sessionTTL); cfg.holdMargin == 0 {
		cfg.holdMargin = least
	} else if cfg.holdMargin < least || cfg.holdMargin > cfg.sessionTTL/2 {
		problems = append(problems, fmt.Errorf("hold margin %v: must be %v to %v with session TTL %v",
			cfg.holdMargin, least, cfg.sessionTTL/2, cfg.sessionTTL))
	}
	if len(problems) > 0 {
		return cfg, &quorate.Error{Op: "dial", Cause: fmt.Errorf("%w: %w", quorate.ErrInvalid, errors.Join(problems...))}
	}
	return cfg, nil
}
