package client

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
)

// Ask sends an operator's question to the member at one address, over a connection of
// its own. It needs neither a quorum nor a formed grid. what names the question, for
// example "status", and defines the answer, which is a CBOR map.
func Ask(ctx context.Context, address, what string, args []byte, opts ...Option) ([]byte, error) {
	cfg, err := newConfig([]string{address}, opts)
	if err != nil {
		return nil, err
	}
	var id protocol.UUID
	rand.Read(id[:])
	return ask(ctx, &cfg, id, address, what, args)
}

// Admin is Ask with the options of the client.
func (c *Client) Admin(ctx context.Context, address, what string, args []byte) ([]byte, error) {
	return ask(ctx, &c.cfg, c.id, address, what, args)
}

func ask(ctx context.Context, cfg *config, id protocol.UUID, address, what string, args []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.operationTimeout)
	defer cancel()
	fail := func(cause error, detail string) error {
		return &quorate.Error{Op: what, Object: "member " + address, Cause: cause, Detail: detail}
	}
	unavailable := func(err error) error {
		if ended := contexts.Err(ctx); ended != nil {
			err = ended
		}
		return fail(fmt.Errorf("%w: %w", quorate.ErrUnavailable, err), "")
	}
	g, err := greet(ctx, cfg, id, address)
	if err != nil {
		return nil, unavailable(err)
	}
	defer g.nc.Close()
	stop := context.AfterFunc(ctx, func() { g.nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	q := protocol.AdminRequest{Type: protocol.TypeAdmin, ID: 1, What: what, Args: args}
	b := append(protocol.BeginFrame(nil), protocol.Encode(&q)...)
	if _, err := g.nc.Write(protocol.EndFrame(b, 0)); err != nil {
		return nil, unavailable(err)
	}
	for {
		frame, err := g.frames.Next()
		if err != nil {
			return nil, unavailable(err)
		}
		if protocol.PeekType(frame) != protocol.TypeReply {
			continue // the member's table has changed, or it says goodbye
		}
		var r protocol.Reply
		if err := r.Decode(frame); err != nil {
			return nil, unavailable(err)
		}
		if r.Code != protocol.CodeOK {
			cause := r.Code.Err()
			if cause == nil {
				cause = quorate.ErrInvalid
			}
			return nil, fail(cause, problemOf(r).Detail)
		}
		return r.Body, nil
	}
}
