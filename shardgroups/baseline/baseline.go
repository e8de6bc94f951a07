// Package baseline measures bare dragonboat, so that the benchmark can say
// what Quorate adds and what it costs.
//
// It runs three hosts in this process with three Raft groups, each with its
// leader on a host of its own, the tick, engine, log store and file system a
// member uses, and a Go map as state machine. Every write is one log entry,
// proposed at the leader. Transport and registry are dragonboat's own. In
// memory the log store is a member's own or, to see what that gains,
// dragonboat's on a file system in memory.
package baseline

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/lni/dragonboat/v4"
	"github.com/lni/dragonboat/v4/client"
	"github.com/lni/dragonboat/v4/config"
	"github.com/lni/dragonboat/v4/logger"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/engine"
)

// Groups and hosts of the baseline.
const (
	hosts  = 3
	groups = 3
)

// Storage is where the hosts keep their logs.
type Storage string

// The storages.
const (
	Disk         Storage = "disk"
	Memory       Storage = "memory"        // package memlog
	MemoryPebble Storage = "memory-pebble" // dragonboat's log store on a file system in memory
)

// Config is what to measure.
type Config struct {
	InFlight  int           // proposals in flight, spread evenly over the groups
	Duration  time.Duration // of the measurement
	Warmup    time.Duration
	Keys      int // chosen uniformly
	ValueSize int
}

// Result is what was measured.
type Result struct {
	OpsPerSecond float64
	Mean         time.Duration // of one proposal
	Errors       int64
}

// Cluster is the three hosts.
type Cluster struct {
	hosts    [hosts]*dragonboat.NodeHost
	leaders  [groups]*dragonboat.NodeHost // by group
	sessions [groups]*client.Session
}

// Start starts the hosts, on disk below dir, and waits until every group is led
// by the host it shall be led by.
func Start(ctx context.Context, storage Storage, dir string) (_ *Cluster, err error) {
	c := &Cluster{}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	initial := map[uint64]dragonboat.Target{}
	for i := range hosts {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		initial[uint64(i+1)] = address
	}
	for i := range hosts {
		c.hosts[i], err = dragonboat.NewNodeHost(hostConfig(storage, filepath.Join(dir, fmt.Sprintf("host%d", i+1)), initial[uint64(i+1)]))
		if err != nil {
			return nil, fmt.Errorf("baseline: start host %d: %w", i+1, err)
		}
	}
	for g := range groups {
		for i, h := range c.hosts {
			if err := h.StartConcurrentReplica(initial, false, newMachine, engine.ReplicaConfig(protocol.GroupID(g+1), protocol.ReplicaID(i+1), engine.DefaultElectionRTT)); err != nil {
				return nil, fmt.Errorf("baseline: start group %d on host %d: %w", g+1, i+1, err)
			}
		}
	}
	for g := range groups {
		if err := c.lead(ctx, g); err != nil {
			return nil, fmt.Errorf("baseline: group %d: %w", g+1, err)
		}
		c.sessions[g] = c.leaders[g].GetNoOPSession(uint64(g + 1))
	}
	return c, nil
}

// lead makes host g the leader of group g.
func (c *Cluster) lead(ctx context.Context, g int) error {
	want := uint64(g%hosts + 1)
	var asked time.Time
	for {
		leader, _, ok, err := c.hosts[g%hosts].GetLeaderID(uint64(g + 1))
		if err == nil && ok && leader == want {
			c.leaders[g] = c.hosts[g%hosts]
			return nil
		}
		if err == nil && ok && time.Since(asked) > time.Second {
			asked = time.Now()
			_ = c.hosts[leader-1].RequestLeaderTransfer(uint64(g+1), want)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("no leader: %w", ctx.Err())
		}
	}
}

// Close stops the hosts.
func (c *Cluster) Close() {
	for _, h := range c.hosts {
		if h != nil {
			h.Close()
		}
	}
}

// Run measures writes on a running cluster.
func (c *Cluster) Run(ctx context.Context, cfg Config) (Result, error) {
	begin := time.Now()
	from := begin.Add(cfg.Warmup)
	to := from.Add(cfg.Duration)
	type tally struct {
		done, failed int64
		took         time.Duration
		err          error
	}
	tallies := make([]tally, cfg.InFlight)
	var workers sync.WaitGroup
	for w := range cfg.InFlight {
		workers.Go(func() {
			t := &tallies[w]
			g := w % groups
			command := make([]byte, keySize+cfg.ValueSize)
			random := uint64(w)*0x9e3779b97f4a7c15 + 1
			for now := time.Now(); now.Before(to) && ctx.Err() == nil; {
				// xorshift64: cheap, and good enough to choose a key.
				random ^= random << 13
				random ^= random >> 7
				random ^= random << 17
				binary.BigEndian.PutUint64(command, random%uint64(cfg.Keys))
				began := now
				err := c.propose(ctx, g, command)
				now = time.Now()
				switch {
				case began.Before(from):
				case err != nil:
					t.failed++
					t.err = err
				default:
					t.done++
					t.took += now.Sub(began)
				}
			}
		})
	}
	workers.Wait()
	var r Result
	var done int64
	var took time.Duration
	var last error
	for _, t := range tallies {
		done += t.done
		took += t.took
		r.Errors += t.failed
		last = errors.Join(last, t.err)
	}
	if done == 0 {
		return r, fmt.Errorf("baseline: nothing was done: %w", errors.Join(ctx.Err(), last))
	}
	r.OpsPerSecond = float64(done) / cfg.Duration.Seconds()
	r.Mean = took / time.Duration(done)
	return r, ctx.Err()
}

// propose writes and waits until the write is applied at the leader.
func (c *Cluster) propose(ctx context.Context, g int, command []byte) error {
	// Propose copies nothing: the log keeps the command.
	rs, err := c.leaders[g].Propose(c.sessions[g], append([]byte(nil), command...), 10*time.Second)
	if err != nil {
		return err
	}
	defer rs.Release()
	select {
	case result := <-rs.ResultC():
		if !result.Completed() {
			return fmt.Errorf("proposal was not completed: %+v", result)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// LoopbackRoundTrip returns the mean time of a round trip of size bytes over a
// TCP connection on the loopback interface.
func LoopbackRoundTrip(ctx context.Context, size int, d time.Duration) (time.Duration, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		b := make([]byte, size)
		for {
			n, err := conn.Read(b)
			if err != nil {
				return
			}
			if _, err := conn.Write(b[:n]); err != nil {
				return
			}
		}
	}()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	b := make([]byte, size)
	begin := time.Now()
	trips := 0
	for ; time.Since(begin) < d && ctx.Err() == nil; trips++ {
		if _, err := conn.Write(b); err != nil {
			return 0, err
		}
		for got := 0; got < size; {
			n, err := conn.Read(b)
			if err != nil {
				return 0, err
			}
			got += n
		}
	}
	if trips == 0 {
		return 0, context.Cause(ctx)
	}
	return time.Since(begin) / time.Duration(trips), ctx.Err()
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// hostConfig is that of a member, with dragonboat's own transport and registry.
func hostConfig(storage Storage, dir, address string) config.NodeHostConfig {
	c := engine.NodeHostConfig(dir, engine.DefaultRTT)
	if storage != Disk {
		engine.InMemory(&c)
	}
	if storage == MemoryPebble {
		c.Expert.LogDBFactory = nil
	}
	c.DeploymentID, c.RaftAddress = 1, address
	return c
}

// Quiet silences dragonboat's logs in this process.
func Quiet() {
	for _, pkg := range []string{
		"raft", "rsm", "transport", "dragonboat", "logdb", "config", "registry", "settings", "server", "raftpb", "util",
		"pebblekv",
	} {
		logger.GetLogger(pkg).SetLevel(logger.CRITICAL)
	}
}
