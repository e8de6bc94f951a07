package raftnet

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/protocol"
)

// TestUnreachedMemberIsLoggedOnce: while a member is down, which the engine notices
// about once a second, that is logged once, once a minute, and when it is reached
// again.
func TestUnreachedMemberIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := slog.New(slog.NewTextHandler(&out, nil))
		down := true
		tr := NewTransport(Config{
			Logger: l, ElectionTime: time.Second,
			Dial: func(context.Context, string, protocol.Purpose) (net.Conn, error) {
				if down {
					return nil, errors.New("connection refused")
				}
				near, far := net.Pipe()
				t.Cleanup(func() { _ = errors.Join(near.Close(), far.Close()) })
				return near, nil
			},
		})
		count := func(text string) int { return strings.Count(out.String(), text) }
		for range 150 {
			_, err := tr.dialRaft(t.Context(), "down:1")
			if err == nil {
				t.Fatal("it is reached")
			}
			time.Sleep(time.Second)
		}
		if first, more := count("a member is not reached"), count("a member is still not reached"); first != 1 || more != 2 {
			t.Errorf("logged %d times, and %d times more:\n%s", first, more, out.String())
		}
		down = false
		for range 3 {
			if _, err := tr.dialRaft(t.Context(), "down:1"); err != nil {
				t.Fatal(err)
			}
		}
		if n := count("a member is reached again"); n != 1 {
			t.Errorf("logged %d times that it is reached again", n)
		}
	})
}
