package shardgroups_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
	"github.com/quorate/quorate/shardgroups/systemstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
)

// cluster is three Hosts over loopback, each with one listener.
type cluster struct {
	t     testing.TB
	id    protocol.UUID
	hosts []*shardgroups.Host
	dirs  []string
	ids   []protocol.UUID
	tune  func(*shardgroups.Config)

	mu    sync.Mutex
	addrs map[protocol.UUID]string
	lns   []net.Listener
	cut   map[protocol.UUID]bool // members that are cut off from all others
	conns []*dialed
	held  map[link]bool // what is sent there is kept back
	kept  []keptFrame
}

// link is one direction between two members.
type link struct{ from, to protocol.UUID }

// dialed is a connection and between whom it is.
type dialed struct {
	net.Conn
	c    *cluster
	link link
}

// keptFrame is a Raft frame that was kept back.
type keptFrame struct {
	on    *dialed
	bytes []byte
}

// Write sends a frame, or keeps it back.
func (d *dialed) Write(b []byte) (int, error) {
	d.c.mu.Lock()
	held := d.c.held[d.link]
	if held {
		d.c.kept = append(d.c.kept, keptFrame{d, bytes.Clone(b)})
	}
	d.c.mu.Unlock()
	if held {
		return len(b), nil
	}
	return d.Conn.Write(b)
}

const members, groups, partitions = 3, 2, 8

func newCluster(t testing.TB) *cluster {
	t.Helper()
	return newTunedCluster(t, func(*shardgroups.Config) {})
}

func newTunedCluster(t testing.TB, tune func(*shardgroups.Config)) *cluster {
	t.Helper()
	c := &cluster{t: t, id: protocol.UUID{1}, addrs: map[protocol.UUID]string{}, cut: map[protocol.UUID]bool{}, held: map[link]bool{}, tune: tune}
	for i := range members {
		c.ids = append(c.ids, protocol.UUID{2, byte(i)})
		c.dirs = append(c.dirs, t.TempDir())
		c.hosts = append(c.hosts, nil)
		c.lns = append(c.lns, nil)
		c.open(i)
	}
	t.Cleanup(func() {
		for i := range c.hosts {
			c.close(i)
		}
	})
	return c
}

func (c *cluster) open(i int) {
	c.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	id := c.ids[i]
	c.addrs[id] = ln.Addr().String()
	c.lns[i] = ln
	c.mu.Unlock()
	cfg := shardgroups.Config{
		Dir: c.dirs[i], Cluster: c.id, Incarnation: c.ids[i], RTT: 12 * time.Millisecond,
		Kinds:  []structures.Kind{dcounter.Kind()},
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Resolve: func(u protocol.UUID) (string, bool) {
			c.mu.Lock()
			defer c.mu.Unlock()
			a, ok := c.addrs[u]
			return a, ok
		},
		Dial: func(ctx context.Context, address string, p protocol.Purpose) (net.Conn, error) {
			conn, err := c.dial(ctx, id, address)
			if err == nil {
				_, err = conn.Write(protocol.AppendPreface(nil, p))
			}
			return conn, err
		},
	}
	c.tune(&cfg)
	h, err := shardgroups.Open(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	c.hosts[i] = h
	c.mu.Unlock()
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				r := bufio.NewReader(conn)
				if p, err := protocol.ReadPreface(r); err != nil || p != protocol.PurposeRaft {
					conn.Close()
					return
				}
				_ = h.ServeRaft(conn, r)
			}()
		}
	}()
}

var errCut = errors.New("cut off")

func (c *cluster) dial(ctx context.Context, from protocol.UUID, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut[from] {
		return nil, errCut
	}
	l := link{from: from}
	for id, a := range c.addrs {
		if a == address {
			l.to = id
		}
	}
	if c.cut[l.to] || c.held[l] {
		return nil, errCut
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	d := &dialed{conn, c, l}
	c.conns = append(c.conns, d)
	return d, nil
}

// isolate cuts a member off, or lets it back.
func (c *cluster) isolate(i int, cut bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cut[c.ids[i]] = cut
	for _, d := range c.conns {
		if cut && (d.link.from == c.ids[i] || d.link.to == c.ids[i]) {
			d.Close()
		}
	}
}

func (c *cluster) close(i int) {
	c.mu.Lock()
	h := c.hosts[i]
	c.hosts[i] = nil
	c.mu.Unlock()
	if h != nil {
		c.lns[i].Close()
		h.Close()
	}
}

func (c *cluster) initial() map[protocol.ReplicaID]protocol.UUID {
	m := map[protocol.ReplicaID]protocol.UUID{}
	for i, u := range c.ids {
		m[protocol.ReplicaID(i+1)] = u
	}
	return m
}

// patience bounds what a test waits for, on a machine that is busy with other things.
const patience = 2 * time.Minute

// start starts all replicas of member i.
func (c *cluster) start(i int, fresh bool) {
	c.t.Helper()
	for g := protocol.SystemGroup; g <= protocol.SystemGroup+groups; g++ {
		spec := shardgroups.GroupSpec{Group: g, Replica: protocol.ReplicaID(i + 1), Initial: c.initial()}
		if err := c.hosts[i].StartGroup(spec, fresh); err != nil {
			c.t.Fatal(err)
		}
	}
}

// found agrees on the cluster.
func (c *cluster) found() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	propose := func(cmd systemstate.Command) systemstate.Answer {
		a, err := c.hosts[0].System().Propose(ctx, cmd)
		if err != nil {
			c.t.Fatal(err)
		}
		return a
	}
	settings := systemstate.Settings{Durability: "disk", Partitions: partitions, Groups: groups, Replicas: members, Limits: protocol.DefaultLimits()}
	for i, u := range c.ids {
		m := systemstate.Member{Name: fmt.Sprint("n", i), Incarnation: u}
		if i == 0 {
			propose(systemstate.Command{Kind: systemstate.Found, Cluster: c.id, Name: "test", Settings: settings, Member: m})
		} else {
			propose(systemstate.Command{Kind: systemstate.AddMember, Member: m})
		}
	}
	var gs []systemstate.Group
	for g := 1; g <= groups; g++ {
		group := systemstate.Group{ID: protocol.SystemGroup + protocol.GroupID(g), NextReplica: members + 1}
		for i := range members {
			group.Replicas = append(group.Replicas, systemstate.Replica{ID: protocol.ReplicaID(i + 1), Member: protocol.MemberID(i + 1), Initial: true})
		}
		gs = append(gs, group)
	}
	table := make([]protocol.GroupID, partitions)
	for p := range table {
		table[p] = protocol.SystemGroup + 1 + protocol.GroupID(p%groups)
	}
	propose(systemstate.Command{Kind: systemstate.CreateGroups, Groups: gs, Partitions: table})
}

// leader waits for the member that leads a group.
func (c *cluster) leader(g protocol.GroupID) int {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for i := range c.hosts {
			h := c.host(i)
			if h == nil {
				continue
			}
			if g == protocol.SystemGroup {
				if h.System().Leader().Self {
					return i
				}
			} else if r := h.Group(g); r != nil && r.Leader().Self {
				return i
			}
		}
	}
	panic(fmt.Sprintf("group %d has no leader", g))
}

// host returns member i's Host, nil while it is closed.
func (c *cluster) host(i int) *shardgroups.Host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[i]
}

// session opens a session for a client.
func (c *cluster) session(client byte, ttl time.Duration) protocol.SessionID {
	c.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		h := c.hosts[c.leader(protocol.SystemGroup)]
		done := make(chan protocol.Reply, 1)
		h.System().Session(protocol.SessionRequest{
			Type: protocol.TypeSession, Action: protocol.SessionOpen, Client: protocol.UUID{9, client}, TTL: uint32(ttl.Milliseconds()),
		}, systemstate.Origin{}, func(r protocol.Reply) { done <- r })
		if r := <-done; r.Code == protocol.CodeOK {
			var s protocol.SessionState
			if err := protocol.Decode(r.Body, &s); err != nil {
				c.t.Fatal(err)
			}
			return s.Session
		}
	}
	c.t.Fatal("no session")
	return 0
}

// do sends a request, under one identity, to the leader until it is
// answered for good.
func (c *cluster) do(q protocol.Request) protocol.Reply {
	g := protocol.SystemGroup + 1 + protocol.GroupID(q.Partition%groups)
	var last protocol.Code
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		h := c.host(c.leader(g))
		if h == nil {
			continue
		}
		r := submit(h.Group(g), q)
		last = r.Code
		if class := r.Code.Class(); class == protocol.ClassDone || class == protocol.ClassRefused {
			return r
		}
		if q.Flags&protocol.FlagRead == 0 {
			q.Flags |= protocol.FlagRepeat
		}
	}
	panic(fmt.Sprintf("no answer to %+v, last code %d", q, last))
}

func submit(g *shardgroups.Group, q protocol.Request) protocol.Reply { return <-submitLater(g, q) }

// submitLater sends a request; when it returns the group has it.
func submitLater(g *shardgroups.Group, q protocol.Request) <-chan protocol.Reply {
	done := make(chan protocol.Reply, 1)
	raw := q.Append(nil)
	if q.Extended {
		raw[0]++
		raw = append(raw, 0xf6)
	}
	g.Submit(&shardgroups.Request{Request: q, Raw: raw, Done: func(r protocol.Reply) { done <- r }})
	return done
}

// get reads a counter, linearizably.
func (c *cluster) get(p protocol.PartitionID) int64 {
	c.t.Helper()
	r := c.do(read(p))
	if r.Code != protocol.CodeOK {
		c.t.Fatalf("get: code %d: %q", r.Code, r.Body)
	}
	return number(r)
}

func read(p protocol.PartitionID) protocol.Request {
	return protocol.Request{
		Partition: p, Flags: protocol.FlagRead, Kind: dcounter.Kind().ID, Op: 1, Name: hits(p), Body: protocol.AppendArray(nil, 0),
	}
}

// number is the one number in a reply.
func number(r protocol.Reply) int64 {
	rd := protocol.NewReader(r.Body)
	rd.Array(1)
	return rd.Int()
}

// sameHash waits until all replicas of a group have applied the same entries,
// and compares their state.
func (c *cluster) sameHash(g protocol.GroupID) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		applied, hashes := map[uint64]bool{}, map[uint64]bool{}
		for _, h := range c.hosts {
			a, hash, err := h.Group(g).Hash(context.Background())
			if err != nil {
				c.t.Fatal(err)
			}
			applied[a], hashes[hash] = true, true
		}
		if len(applied) == 1 {
			if len(hashes) != 1 {
				c.t.Fatalf("group %d: replicas that have applied the same differ", g)
			}
			return
		}
	}
	c.t.Fatalf("group %d: replicas do not reach the same index", g)
}
