package shardgroups_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lni/dragonboat/v4/raftpb"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups"
)

// messages returns the Raft messages in a frame.
func (f *keptFrame) messages(t *testing.T) []raftpb.Message {
	t.Helper()
	const header, kind, batch = 13, 8, 1 // as in transport.go
	if f.bytes[kind] != batch {
		return nil
	}
	var b raftpb.MessageBatch
	if err := b.Unmarshal(f.bytes[header:]); err != nil {
		t.Fatal(err)
	}
	return b.Requests
}

// hold keeps back what one member sends to another from now on.
func (c *cluster) hold(from, to int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[link{c.ids[from], c.ids[to]}] = true
}

// flow lets everything through again. What was kept back is lost.
func (c *cluster) flow() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.held)
	c.kept = nil
}

// upTo returns how many of the frames kept back reach to the end of the first one
// with a message that fits, 0 if there is none.
func (c *cluster) upTo(t *testing.T, fits func(*raftpb.Message) bool) int {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.kept {
		for _, m := range c.kept[i].messages(t) {
			if fits(&m) {
				return i + 1
			}
		}
	}
	return 0
}

// deliver lets the first n of the frames kept back arrive.
func (c *cluster) deliver(t *testing.T, n int) {
	t.Helper()
	c.mu.Lock()
	frames := c.kept[:n]
	c.kept = c.kept[n:]
	c.mu.Unlock()
	for _, f := range frames {
		if err := f.on.SetWriteDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.on.Conn.Write(f.bytes); err != nil {
			t.Fatal(err)
		}
	}
}

// leadBy makes a member lead a group.
func (c *cluster) leadBy(g protocol.GroupID, member int) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		leader := c.leader(g)
		if leader == member {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("member %d leads group %d, not %d", leader, g, member)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		_ = c.hosts[leader].Group(g).TransferLeader(ctx, protocol.ReplicaID(member+1), nil) // or again
		cancel()
	}
}

// readAtDeposed reads at a leader that two others have replaced, which it cannot
// know: what they sent it since is kept back. Before that it has proposed an entry,
// or asked for a ReadIndex, and their answer is all that arrives after the read has
// come. The answer says that it led when it asked. That is enough for what was
// begun then, and nothing for the read: a write that it has not heard of was
// acknowledged in between.
func readAtDeposed(t *testing.T, entry bool) {
	const g, p = protocol.SystemGroup + 1, protocol.PartitionID(0)
	const patient, short = time.Minute, 500 * time.Millisecond
	var patience atomic.Int64
	patience.Store(int64(short))
	c := newTunedCluster(t, func(cfg *shardgroups.Config) {
		if cfg.Incarnation == (protocol.UUID{2, 0}) {
			cfg.ElectionRTT = 1 << 14 // it is not to notice by itself that no replica answers
			// The others elect a leader and write during that time, however slow the machine is.
			cfg.TestHooks.ReadIndexTimeout = func() time.Duration { return time.Duration(patience.Load()) }
		}
	})
	for i := range c.hosts {
		c.start(i, true)
	}
	c.found()
	s := c.session(1, time.Hour) // it outlives all attempts
	old := c.hosts[0].Group(g)
	for seq := uint64(1); ; seq++ { // until the answer arrives before the old leader gives up on it
		c.leadBy(g, 0)
		if r := c.do(add(s, p, 2*seq-1)); r.Code != protocol.CodeOK { // the group knows the session
			t.Fatalf("code %d", r.Code)
		}
		// Not linearizably: a follower's late answer to that read would be taken for one
		// to what is begun below.
		stale := read(p)
		stale.Flags |= protocol.FlagStale
		want := number(submit(old, stale)) + 1
		last := old.Status().Applied
		c.hold(1, 0)
		c.hold(2, 0)
		begun, answers := read(p), func(m *raftpb.Message) bool {
			return m.ShardID == uint64(g) && m.Type == raftpb.HeartbeatResp && m.Hint != 0
		}
		if entry {
			want++
			begun, answers = add(s, p, 2*seq), func(m *raftpb.Message) bool {
				return m.ShardID == uint64(g) && m.Type == raftpb.ReplicateResp && !m.Reject && m.LogIndex > last
			}
		}
		patience.Store(int64(patient))
		first := submitLater(old, begun)
		wait(t, "answer to what was begun", func() bool { return len(first) > 0 || c.upTo(t, answers) > 0 })
		patience.Store(int64(short))
		if c.upTo(t, answers) == 0 && seq < 30 { // another has campaigned, and nothing was begun
			c.flow()
			continue
		}
		c.hold(0, 1)
		c.hold(0, 2)
		write := add(s, p, seq)
		write.Caller.Slot, write.Highest = 1, 1
		next := 1
		wait(t, "write by another leader", func() bool {
			next = 3 - next
			r := submit(c.hosts[next].Group(g), write)
			write.Flags |= protocol.FlagRepeat
			return r.Code == protocol.CodeOK
		})
		late := submitLater(old, read(p))
		c.deliver(t, c.upTo(t, answers))
		done, got := <-first, <-late
		c.flow()
		if got.Code == protocol.CodeOK && number(got) < want {
			t.Fatalf("the read is answered with %d, although an add that made it %d was acknowledged before it", number(got), want)
		}
		if done.Code == protocol.CodeOK {
			t.Logf("attempt %d: what was begun is done, the late read is answered with code %d", seq, got.Code)
			break
		}
		if seq == 30 {
			t.Fatal("what was begun is never answered in time")
		}
	}
	c.sameHash(g)
}

// TestGroup_LateRead_Entry shows that a read is not piggybacked on an entry that was
// proposed before it came.
func TestGroup_LateRead_Entry(t *testing.T) { readAtDeposed(t, true) }

// TestGroup_LateRead_Round shows that a read is not answered by a ReadIndex that
// was asked before it came.
func TestGroup_LateRead_Round(t *testing.T) { readAtDeposed(t, false) }
