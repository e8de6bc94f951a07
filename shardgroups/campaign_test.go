package shardgroups_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

// TestHost_CampaignsEarly shows that a member which is refused at the leader's
// address campaigns in the group, long before it would miss the leader.
func TestHost_CampaignsEarly(t *testing.T) {
	var log lockedBuffer
	c := newTunedCluster(t, func(cfg *shardgroups.Config) {
		cfg.ElectionRTT = 200 // and ticks of 12 ms
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour)
	c.do(add(s, 0, 1))
	id := protocol.SystemGroup + 1
	victim := c.leader(id)
	// A member that campaigns must know which groups the leader's process led.
	for i := range c.hosts {
		c.caughtUp(i, id)
	}
	c.close(victim)
	next := c.leader(id)
	if r := c.do(add(s, 0, 2)); r.Code != protocol.CodeOK {
		t.Errorf("a write at the next leader: code %d", r.Code)
	}
	if !strings.Contains(log.String(), "campaigning early: the leader's process has ended") {
		t.Errorf("member %d leads after member %d, and none campaigned because of its end:\n%s", next, victim, log.String())
	}
}

// lockedBuffer is a buffer for several writers.
type lockedBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

var _ io.Writer = (*lockedBuffer)(nil)

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// caughtUp waits until a member has applied what a group has committed.
func (c *cluster) caughtUp(i int, id protocol.GroupID) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.host(i).CaughtUp(ctx, id); err != nil {
		c.t.Fatal(err)
	}
}
