package engine

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lni/dragonboat/v4/logger"
)

// TestRepeatedErrorsAreLoggedOnceAMinute: what the engine repeats while a member is
// down is written once a minute, and that the member is not reached, or the connection to
// it is lost, is left to the transport.
func TestRepeatedErrorsAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := &raftLogger{log: slog.New(slog.NewTextHandler(&out, nil)), level: logger.ERROR}
		err := errors.New("connection refused")
		for range 150 {
			l.Errorf("Nodehost %s failed to get a connection to %s, %v", "n1", "down:1", err)
			l.Errorf("send batch failed, target %s (%v), %d", "down:1", err, 1)
			l.Errorf("send batch failed, taret node %s (%v), %d", "down:1", err, 1)
			l.Errorf("failed to save a snapshot of %s", "n1")
			time.Sleep(time.Second)
		}
		if n := strings.Count(out.String(), "msg=raft"); n != 3 || strings.Count(out.String(), "snapshot") != 3 {
			t.Errorf("%d lines:\n%s", n, out.String())
		}
	})
}
