package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

const (
	dialTimeout      = 3 * time.Second // of one connection, handshake included
	dialAllTimeout   = 5 * time.Second // of Dial
	handshakeTimeout = 5 * time.Second
)

// errNoMember means that something listens at the address that does not speak the
// protocol.
var errNoMember = errors.New("what answers there is not a member of a grid")

// refusal is a member's answer to a Hello it does not accept.
type refusal struct {
	code   protocol.Code
	detail string
}

func (r *refusal) Error() string {
	if r.detail == "" {
		return fmt.Sprintf("refused with code %d", r.code)
	}
	return "refused: " + r.detail
}

func (r *refusal) Unwrap() error { return r.code.Err() }

// greeted is a connection after its handshake.
type greeted struct {
	nc      net.Conn
	frames  *protocol.FrameReader
	welcome protocol.Welcome
	trip    time.Duration // the round trip of the handshake
}

// greet opens a connection and shakes hands.
func greet(ctx context.Context, cfg *config, id protocol.UUID, address string) (greeted, error) {
	nc, err := cfg.dial(ctx, address)
	if err != nil {
		return greeted{}, err
	}
	if t, ok := nc.(*net.TCPConn); ok {
		t.SetNoDelay(true)
	}
	g := greeted{nc: nc, frames: protocol.NewFrameReader(nc, protocol.MaxFrame)}
	if err := g.shake(ctx, cfg, id); err != nil {
		nc.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer to the handshake: %w", context.Cause(ctx))
		}
		return greeted{}, err
	}
	return g, nil
}

func (g *greeted) shake(ctx context.Context, cfg *config, id protocol.UUID) error {
	g.nc.SetDeadline(time.Now().Add(handshakeTimeout))
	stop := context.AfterFunc(ctx, func() { g.nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	hello := protocol.NewHello(id, cfg.name)
	hello.Cluster = cfg.cluster
	if cfg.forward {
		hello.Flags |= protocol.HelloForward
	}
	b := protocol.AppendPreface(nil, protocol.PurposeClient)
	start := len(b)
	b = append(protocol.BeginFrame(b), protocol.Encode(&hello)...)
	sent := time.Now()
	if _, err := g.nc.Write(protocol.EndFrame(b, start)); err != nil {
		return err
	}
	frame, err := g.frames.Next()
	switch {
	case errors.Is(err, protocol.ErrFrame), errors.Is(err, protocol.ErrMalformed):
		return errNoMember
	case err == io.EOF:
		return fmt.Errorf("%w, or it is shutting down: it closed the connection without an answer", errNoMember)
	case err != nil:
		return fmt.Errorf("read welcome: %w", err)
	}
	g.trip = time.Since(sent)
	switch protocol.PeekType(frame) {
	case protocol.TypeWelcome:
		if err := protocol.Decode(frame, &g.welcome); err != nil {
			return fmt.Errorf("read welcome: %w", err)
		}
	case protocol.TypeReply:
		var r protocol.Reply
		if err := r.Decode(frame); err != nil {
			return fmt.Errorf("read refusal: %w", err)
		}
		return &refusal{code: r.Code, detail: problemOf(r).Detail}
	default:
		return errNoMember
	}
	if v := g.welcome.Version; v < hello.Oldest || v > hello.Newest {
		return fmt.Errorf("%w: the member chose version %d of the protocol, this client speaks %d to %d",
			quorate.ErrUnsupported, v, hello.Oldest, hello.Newest)
	}
	if !stop() {
		return context.Cause(ctx)
	}
	g.nc.SetDeadline(time.Time{})
	g.frames.SetMax(max(int(g.welcome.Limits.Frame), protocol.MaxHandshakeFrame))
	return nil
}

// problemOf returns a copy of the problem in a reply's body; empty: there is none.
func problemOf(r protocol.Reply) protocol.Problem {
	var p protocol.Problem
	if err := p.Decode(r.Body); err != nil {
		return protocol.Problem{}
	}
	return p
}
