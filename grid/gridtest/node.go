package gridtest

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/internal/network"
	"github.com/quorate/quorate/shardgroups"
)

// node is one member, which may be down, and what it runs on.
type node struct {
	paused  atomic.Bool
	sensors Sensors
	disk    *Disk // nil: the system's
	host    atomic.Pointer[shardgroups.Host]

	mu      sync.Mutex // guards what follows
	member  *grid.Member
	net     *network.Network
	address string
	up      bool
}

// begin prepares a start on a network. mu is held.
func (n *node) begin(net *network.Network) {
	n.net = net
	n.paused.Store(false)
	n.host.Store(nil)
	if n.disk != nil {
		kill := net.Kill
		n.disk.kill.Store(&kill)
	}
}

// hooks returns the test hooks of the member's engine. clock is the test's; nil: the
// member has its own.
func (n *node) hooks(clock *atomic.Int64) shardgroups.TestHooks {
	h := shardgroups.TestHooks{Opened: func(h *shardgroups.Host) { n.host.Store(h) }}
	if clock != nil {
		h.Clock = func() time.Duration { return time.Duration(clock.Load()) }
	}
	if n.disk != nil {
		h.TrustDisk, h.FS = true, n.disk.fs
	}
	return h
}

// stop ends the member, as the death of its process would, or gracefully.
func (n *node) stop(kill bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		return errors.New("it is down already")
	}
	n.up = false
	if kill {
		n.net.Kill()
	}
	return closeWithin(n.member)
}

func closeWithin(m *grid.Member) error {
	done := make(chan error, 1)
	go func() { done <- m.Close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(WaitTimeout):
		return errors.New("not within " + WaitTimeout.String())
	}
}

func (n *node) running() *grid.Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up {
		return nil
	}
	return n.member
}

func (n *node) network() *network.Network {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.net
}
