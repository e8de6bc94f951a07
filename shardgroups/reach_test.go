package shardgroups

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

	"github.com/lni/dragonboat/v4/logger"

	"github.com/quorate/quorate/protocol"
)

// TestUnreachedMemberIsToldOnce: while a member is down, which the engine notices
// about once a second, it is told once, once a minute, and when it is back.
func TestUnreachedMemberIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := slog.New(slog.NewTextHandler(&out, nil))
		down := true
		tr := &transport{
			reach: &reach{log: l}, ballots: newBallots(time.Second),
			dial: func(context.Context, string, protocol.Purpose) (net.Conn, error) {
				if down {
					return nil, errors.New("connection refused")
				}
				near, far := net.Pipe()
				t.Cleanup(func() { _ = errors.Join(near.Close(), far.Close()) })
				return near, nil
			},
		}
		engine := &raftLogger{log: l, level: logger.ERROR}
		count := func(text string) int { return strings.Count(out.String(), text) }
		for range 150 {
			_, err := tr.dialRaft(t.Context(), "down:1")
			if err == nil {
				t.Fatal("it is reached")
			}
			engine.Errorf("Nodehost %s failed to get a connection to %s, %v", "n1", "down:1", err)
			engine.Errorf("send batch failed, target %s (%v), %d", "down:1", err, 1)
			time.Sleep(time.Second)
		}
		if first, more, engine := count("a member is not reached"), count("a member is still not reached"), count("msg=raft"); first != 1 || more != 2 || engine != 3 {
			t.Errorf("told %d times, %d times more, and %d times by the engine:\n%s", first, more, engine, out.String())
		}
		down = false
		for range 3 {
			if _, err := tr.dialRaft(t.Context(), "down:1"); err != nil {
				t.Fatal(err)
			}
		}
		if n := count("a member is reached again"); n != 1 {
			t.Errorf("told %d times that it is back", n)
		}
	})
}
