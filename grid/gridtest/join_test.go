package gridtest_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dmap"
)

// joinQuestion is the question of a member that asks to be admitted, as members
// put it to each other.
type joinQuestion struct {
	_           struct{} `cbor:",toarray"`
	Cluster     protocol.UUID
	Incarnation protocol.UUID
	Name        string
	Address     string
	Level       uint32
}

// askJoin puts a join question to the member at an address. Its asker waits for
// the answer, or hangs up at once.
func askJoin(t *testing.T, address string, q joinQuestion, hangsUp bool) (admitted bool) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		return false // the member is down
	}
	defer c.Close()
	b := protocol.AppendPreface(nil, protocol.PurposeMember)
	frame := protocol.BeginFrame(nil)
	frame = append(frame, protocol.Encode(protocol.PeerRequest{Type: protocol.TypePeer, ID: 1, What: "join", Args: protocol.Encode(q)})...)
	if _, err := c.Write(append(b, protocol.EndFrame(frame, 0)...)); err != nil || hangsUp {
		return false
	}
	if err := c.SetReadDeadline(time.Now().Add(gridtest.WaitTimeout)); err != nil {
		t.Fatal(err)
	}
	answer, err := protocol.NewFrameReader(c, protocol.MaxFrame).Next()
	if err != nil {
		return false // the member was stopped
	}
	var r protocol.Reply
	if err := r.Decode(answer); err != nil {
		t.Fatal(err)
	}
	return r.Code == protocol.CodeOK
}

// questionOf returns the question that a member, as it runs now, has asked when
// it joined.
func questionOf(t *testing.T, c *gridtest.Cluster, i int) joinQuestion {
	t.Helper()
	s, err := c.Status(i)
	if err != nil {
		t.Fatal(err)
	}
	cluster, err := protocol.ParseUUID(s.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range s.Members {
		if m.ID == s.Member {
			u, err := protocol.ParseUUID(m.Incarnation)
			if err != nil {
				t.Fatal(err)
			}
			return joinQuestion{Cluster: cluster, Incarnation: u, Name: m.Name, Address: m.Address, Level: 1}
		}
	}
	t.Fatalf("member %d does not list itself", i)
	return joinQuestion{}
}

// keep puts entries into a map; kept checks that they are there.
func keep(t *testing.T, cl *client.Client, n int) {
	t.Helper()
	m := dmap.New[string, int](cl, "kept")
	for i := range n {
		if err := m.Put(testContext(t), fmt.Sprint("k", i), i); err != nil {
			t.Fatal(err)
		}
	}
}

func kept(t *testing.T, c *gridtest.Cluster, cl *client.Client, n int) {
	t.Helper()
	m := dmap.New[string, int](cl, "kept")
	ctx, cancel := context.WithTimeout(context.Background(), gridtest.WaitTimeout)
	defer cancel()
	lost := 0
	for i := range n {
		if v, found, err := m.Get(ctx, fmt.Sprint("k", i)); err != nil {
			t.Fatalf("%v\n%s", err, c.Diagnose())
		} else if !found || v != i {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d entries are lost", lost, n)
	}
}

// TestMemory_LateJoins has join questions of incarnations that are no more
// answered late: after newer ones have taken their names, in every order, again
// and again, with the asker's connection open and closed. None of them is
// admitted, nobody who lives loses its place, and the grid in memory keeps its
// entries.
func TestMemory_LateJoins(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory))
	cl := c.Client(t)
	const entries = 100
	keep(t, cl, entries)
	var late []joinQuestion
	for _, i := range []int{1, 2, 1, 2} {
		c.WaitFull()
		late = append(late, questionOf(t, c, i))
		c.Kill(i)
		c.Restart(i)
	}
	c.WaitFull()
	// One that has never been listed: its process ended before the answer.
	for _, q := range late[:2] {
		q.Incarnation[0]++
		late = append(late, q)
		q.Incarnation[0]++
		q.Address = "127.0.0.1:1" // and was to run elsewhere
		late = append(late, q)
	}
	live := make([]joinQuestion, c.Len())
	for i := range live {
		live[i] = questionOf(t, c, i)
	}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {4, 6, 5, 7}, {0, 6}, {7, 5, 3, 1, 1, 1}} {
		for _, k := range order {
			for i := range c.Len() {
				askJoin(t, c.Addrs()[i], late[k], true)
				if askJoin(t, c.Addrs()[i], late[k], false) {
					t.Errorf("question %d is answered with yes", k)
				}
			}
		}
	}
	c.WaitFull()
	kept(t, c, cl, entries)
	for i, was := range live {
		if is := questionOf(t, c, i); is != was {
			t.Errorf("member %d was %+v, and is %+v", i, was, is)
		}
	}
	s, err := c.Status(0)
	if err != nil || len(s.Members) != 3 || slices.ContainsFunc(s.Members, func(m protocol.StatusMember) bool { return m.State == protocol.StateDead }) {
		t.Errorf("%+v, %v", s.Members, err)
	}
}

// TestMemory_JoinsAtOnce kills and starts members while the questions of all
// their incarnations arrive again and again, in any order.
func TestMemory_JoinsAtOnce(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	c := gridtest.Start(t, 3, gridtest.WithDurability(grid.Memory))
	cl := c.Client(t)
	const entries = 100
	keep(t, cl, entries)
	var mu sync.Mutex // guards late
	late := []joinQuestion{}
	stop := make(chan struct{})
	var asking sync.WaitGroup
	for i, address := range c.Addrs() {
		rng := rand.New(rand.NewPCG(seed, uint64(i)+1))
		asking.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				mu.Lock()
				var q joinQuestion
				if len(late) > 0 {
					q = late[rng.IntN(len(late))]
				}
				mu.Unlock()
				if q.Name != "" {
					askJoin(t, address, q, rng.IntN(2) == 0)
				}
			}
		})
	}
	for range 4 * rounds() {
		i := rng.IntN(c.Len())
		q := questionOf(t, c, i)
		c.Kill(i)
		mu.Lock()
		late = append(late, q)
		mu.Unlock()
		c.Restart(i)
		c.WaitFull()
	}
	close(stop)
	asking.Wait()
	c.WaitFull()
	kept(t, c, cl, entries)
}
