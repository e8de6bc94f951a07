package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

func TestInvoke(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		c := dial()
		for range 3 {
			r, err := c.Invoke(testContext(t), testCall)
			if err != nil || r.Code != protocol.CodeOK || string(r.Body) != "\x01" || r.Lease.Err() != nil {
				t.Fatalf("got %+v, %v", r, err)
			}
		}
		if r, err := c.Invoke(testContext(t), testRead()); err != nil || r.Lease != nil {
			t.Fatalf("got %+v, %v", r, err)
		}
		for i, q := range members[0].seen() {
			want := protocol.Caller{Session: 7, Slot: 0, Sequence: uint64(i + 1)}
			if i == 3 {
				want = protocol.Caller{}
			}
			if q.Caller != want || q.TimeLeft == 0 || q.Flags&protocol.FlagRepeat != 0 {
				t.Errorf("request %d: %+v", i, q)
			}
		}
	})
}

// TestLostConnectionThatStays: a call ends with its context although the
// connection that it is to be sent over is lost, and its link does not notice.
func TestLostConnectionThatStays(t *testing.T) {
	members := fakeGrid(t, 1)
	c := dialFake(t, members)
	if _, err := c.Invoke(testContext(t), testCall); err != nil { // it has a session
		t.Fatal(err)
	}
	n, _, _ := (&call{client: c, req: protocol.Request{Kind: testCall.Kind, Partition: testCall.Partition}}).route()
	n.mu.Lock()
	n.leaving = true
	n.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := c.Invoke(ctx, testCall)
		ended <- err
	}()
	select {
	case err := <-ended:
		if !errors.Is(err, context.DeadlineExceeded) || !quorate.SafeToRetry(err) {
			t.Errorf("got %v", err)
		}
	case <-time.After(testTimeout):
		t.Fatal("the call goes on")
	}
}

// TestAnswers gives a mutation one code for ever and looks at the error.
func TestAnswers(t *testing.T) {
	tests := []struct {
		code    protocol.Code
		is      error // nil: a reply
		unknown bool
		retried bool
	}{
		{code: protocol.CodeOK},
		{code: protocol.CodeKindBase + 3},
		{code: protocol.CodeTimedOut},
		{code: protocol.CodeSettings, is: quorate.ErrSettings},
		{code: protocol.CodeInvalid, is: quorate.ErrInvalid},
		{code: protocol.CodeTooLarge, is: quorate.ErrTooLarge},
		{code: protocol.CodeUnsupported, is: quorate.ErrUnsupported},
		{code: protocol.CodeWaiters, is: quorate.ErrOverloaded},
		{code: protocol.CodeDestroyed, is: quorate.ErrDestroyed},
		{code: protocol.CodePanic, is: quorate.ErrInvalid},
		{code: protocol.CodeReplyDropped, is: quorate.ErrOutcomeUnknown, unknown: true},
		{code: protocol.CodeBusy, is: quorate.ErrOverloaded, retried: true},
		{code: protocol.CodeNotLeader, is: quorate.ErrUnavailable, retried: true},
		{code: protocol.CodeFrozen, is: quorate.ErrUnavailable, retried: true},
		{code: protocol.CodeNoLeader, is: quorate.ErrUnavailable, retried: true},
		{code: protocol.CodeUnknown, is: context.DeadlineExceeded, unknown: true, retried: true},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.code), func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
				members[0].script(func(c *fakeConn, q *protocol.Request) {
					if test.code == protocol.CodeOK || test.is == nil {
						c.reply(q, test.code, nil)
						return
					}
					c.problem(q, test.code, protocol.Problem{Detail: "because"})
				})
				c := dial(WithOperationTimeout(250 * time.Millisecond))
				r, err := c.Invoke(context.Background(), testCall)
				if test.is == nil {
					if err != nil || r.Code != test.code {
						t.Fatalf("got code %d, %v", r.Code, err)
					}
					return
				}
				if !errors.Is(err, test.is) || errors.Is(err, quorate.ErrOutcomeUnknown) != test.unknown ||
					quorate.SafeToRetry(err) == test.unknown {
					t.Errorf("got %v", err)
				}
				if test.code != protocol.CodeReplyDropped && !strings.Contains(err.Error(), "because") && test.code != protocol.CodeNotLeader {
					t.Errorf("no detail in %q", err)
				}
				if !strings.HasPrefix(err.Error(), "add counter hits: ") {
					t.Errorf("got %q", err)
				}
				seen := members[0].seen()
				if (len(seen) > 1) != test.retried {
					t.Errorf("%d requests", len(seen))
				}
				for i, q := range seen {
					if q.Caller != seen[0].Caller || (q.Flags&protocol.FlagRepeat != 0) != (i > 0) {
						t.Errorf("request %d: %+v", i, q)
					}
				}
			})
		})
	}
}

func TestHintIsFollowed(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].script(func(c *fakeConn, q *protocol.Request) {
			c.problem(q, protocol.CodeNotLeader, protocol.Problem{Leader: 3})
		})
		c := dial()
		if _, err := c.Invoke(testContext(t), testCall); err != nil {
			t.Fatal(err)
		}
		first, last := members[0].seen(), members[2].seen()
		if len(first) != 1 || len(last) != 1 || first[0].Caller != last[0].Caller || last[0].Flags&protocol.FlagRepeat == 0 {
			t.Fatalf("first %+v, last %+v", first, last)
		}
		if _, err := c.Invoke(testContext(t), testCall); err != nil || len(members[0].seen()) != 1 {
			t.Fatalf("asked the old leader again: %v", err)
		}
	})
}

func TestCutAfterSendKeepsTheIdentity(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var cuts atomic.Int32
		members[0].script(func(c *fakeConn, q *protocol.Request) {
			if cuts.Add(1) <= 3 {
				c.nc.Close()
				return
			}
			c.reply(q, protocol.CodeOK, nil)
		})
		c := dial()
		if _, err := c.Invoke(testContext(t), testCall); err != nil {
			t.Fatal(err)
		}
		seen := members[0].seen()
		if len(seen) != 4 {
			t.Fatalf("%d requests", len(seen))
		}
		for _, q := range seen[1:] {
			if q.Caller != seen[0].Caller || q.Flags&protocol.FlagRepeat == 0 {
				t.Errorf("got %+v", q)
			}
		}
		if s := c.Stats(); s.Repeats != 3 || s.Reconnects < 3 {
			t.Errorf("got %+v", s)
		}
	})
}

func TestSilentLeaderIsReplaced(t *testing.T) {
	inBubble(t, 3, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].script(func(*fakeConn, *protocol.Request) {})
		c := dial()
		done := make(chan error, 1)
		go func() {
			_, err := c.Invoke(testContext(t), testCall)
			done <- err
		}()
		waitFor(t, "the request", func() bool { return len(members[0].seen()) > 0 })
		setTables(fakeTable(2, 2, members...), members[1:]...) // found by asking, not by a push
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if got := members[1].seen(); got[0].Caller != members[0].seen()[0].Caller {
			t.Errorf("got %+v", got)
		}
	})
}

func TestOutcome(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].script(func(*fakeConn, *protocol.Request) {})
		c := dial()
		for _, test := range []struct {
			call    structures.Call
			unknown bool
		}{{testCall, true}, {testRead(), false}} {
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			_, err := c.Invoke(ctx, test.call)
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, quorate.ErrOutcomeUnknown) != test.unknown ||
				!errors.Is(err, quorate.ErrUnavailable) {
				t.Errorf("%s: got %v", test.call.Verb, err)
			}
			ctx, cancel = context.WithCancel(context.Background())
			cancel()
			n := len(members[0].seen())
			if _, err = c.Invoke(ctx, test.call); !errors.Is(err, context.Canceled) || !quorate.SafeToRetry(err) {
				t.Errorf("%s: got %v", test.call.Verb, err)
			}
			if len(members[0].seen()) != n {
				t.Error("a call whose context had ended was sent")
			}
		}
		call := testCall
		n := len(members[0].seen())
		call.Body = make([]byte, 1_053_697)
		_, err := c.Invoke(t.Context(), call)
		_, errs := c.InvokeAll(t.Context(), []structures.Call{call, call})
		for _, err := range append(errs, err) {
			if !errors.Is(err, quorate.ErrTooLarge) || !quorate.SafeToRetry(err) ||
				!strings.Contains(err.Error(), "the body of a request has 1053697 bytes, limit body: 1053696") {
				t.Errorf("got %v", err)
			}
		}
		if len(members[0].seen()) != n {
			t.Error("a request over a limit was sent")
		}
	})
}

func TestSlotsAreTheLowestFree(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].limits.Slots = 3
		release := make(chan struct{})
		members[0].script(func(c *fakeConn, q *protocol.Request) {
			kept := *q
			go func() {
				<-release
				c.reply(&kept, protocol.CodeOK, nil)
				c.flush()
			}()
		})
		c := dial()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if _, err := c.Invoke(testContext(t), testCall); err != nil {
					t.Error(err)
				}
			})
		}
		waitFor(t, "three requests", func() bool { return len(members[0].seen()) >= 3 })
		close(release)
		wg.Wait()
		used := make(map[protocol.Caller]int)
		for _, q := range members[0].seen() {
			if q.Flags&protocol.FlagRepeat == 0 {
				used[q.Caller]++
			}
			if q.Caller.Slot > 2 || q.Highest < q.Caller.Slot {
				t.Errorf("got %+v", q)
			}
		}
		if len(used) != 10 {
			t.Errorf("identities %v", used)
		}
	})
}

func TestInvokeAll(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		table := fakeTable(1, 1, members...)
		table.Groups = append(table.Groups, protocol.TableGroup{ID: 3, Term: 1, Leader: 2, Replicas: []protocol.MemberID{1, 2}})
		for p := range table.Partitions {
			table.Partitions[p] = protocol.GroupID(2 + p%2)
		}
		setTables(table, members...)
		refused := atomic.Int32{}
		members[1].script(func(c *fakeConn, q *protocol.Request) {
			switch {
			case q.Body[0] == 7:
				c.problem(q, protocol.CodeInvalid, protocol.Problem{})
			case q.Body[0]%5 == 0 && refused.Add(1) < 20:
				c.problem(q, protocol.CodeBusy, protocol.Problem{Wait: 1})
			default:
				c.reply(q, protocol.CodeOK, q.Body)
			}
		})
		c := dial()
		calls := make([]structures.Call, 3000)
		for i := range calls {
			calls[i] = testCall
			calls[i].Partition = protocol.PartitionID(i % fakePartitions)
			calls[i].Body = []byte{byte(i), byte(i >> 8)}
			if i%3 == 0 {
				calls[i].Flags = protocol.FlagRead
			}
		}
		for range 2 {
			replies, errs := c.InvokeAll(testContext(t), calls)
			for i := range calls {
				if refused := byte(i) == 7 && i%2 == 1; refused != errors.Is(errs[i], quorate.ErrInvalid) || !refused && errs[i] != nil {
					t.Fatalf("call %d: %v", i, errs[i])
				}
				if errs[i] == nil && !cmp.Equal(replies[i].Body, calls[i].Body) {
					t.Fatalf("call %d: got %x", i, replies[i].Body)
				}
			}
		}
		if s := c.Stats(); s.InFlight != 0 {
			t.Errorf("got %+v", s)
		}
	})
}

func TestInFlightIsBounded(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].limits.InFlight = 4
		var now, most atomic.Int32
		members[0].script(func(c *fakeConn, q *protocol.Request) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			kept := *q
			go func() {
				time.Sleep(time.Millisecond)
				now.Add(-1)
				c.reply(&kept, protocol.CodeOK, nil)
				c.flush()
			}()
		})
		c := dial()
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if _, err := c.Invoke(testContext(t), testRead()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most.Load() > 4 {
			t.Errorf("%d in flight", most.Load())
		}
	})
}

func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	members := fakeGrid(t, 2)
	members[0].script(func(c *fakeConn, q *protocol.Request) {
		if q.Flags&protocol.FlagRead == 0 {
			c.reply(q, protocol.CodeOK, nil)
		}
	})
	c := dialFake(t, members)
	if _, err := c.Invoke(testContext(t), testCall); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() {
		_, err := c.Invoke(context.Background(), testRead())
		errs <- err
	}()
	waitFor(t, "the read", func() bool { return len(members[0].seen()) >= 2 })
	c.Close()
	c.Close()
	if err := <-errs; !errors.Is(err, quorate.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := c.Invoke(context.Background(), testCall); !errors.Is(err, quorate.ErrClosed) || !quorate.SafeToRetry(err) {
		t.Errorf("got %v", err)
	}
	for _, m := range members {
		m.stop()
	}
	waitFor(t, "the goroutines", func() bool { return runtime.NumGoroutine() <= before })
}

// A member that chooses a version the client does not speak is none it can use.
func TestDialRefusesAnotherVersion(t *testing.T) {
	m := newFake(t, 1)
	m.newer = 3
	_, err := Dial(testContext(t), []string{m.address})
	if want := "the member chose version 4 of the protocol, this client speaks 1 to 1"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestDialNamesEverySeed(t *testing.T) {
	foreign := newFake(t, 1)
	foreign.refuse = protocol.CodeWrongGrid
	const dead = "127.0.0.1:1" // nobody is given this port
	_, err := Dial(testContext(t), []string{foreign.address, dead})
	if !errors.Is(err, quorate.ErrUnavailable) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{foreign.address + ": refused: not today", dead, "refused"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %q", want, err)
		}
	}
	if _, err := Dial(testContext(t), nil, WithSessionTTL(time.Second)); !errors.Is(err, quorate.ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

func TestComesBackAfterTotalOutage(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		c := dial()
		if _, err := c.Invoke(testContext(t), testCall); err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			m.stop()
		}
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, err := c.Invoke(ctx, testCall); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		for _, m := range members {
			m.restart()
		}
		if _, err := c.Invoke(testContext(t), testCall); err != nil {
			t.Fatal(err)
		}
	})
}

// TestMovesWithTheSeeds: every member of the table is gone, and a seed's name
// leads to a new one.
func TestMovesWithTheSeeds(t *testing.T) {
	old, fresh := newFake(t, 1), newFake(t, 2)
	fresh.table.Epoch = 2
	var seed atomic.Pointer[string]
	seed.Store(&old.address)
	dialer := net.Dialer{}
	c, err := Dial(testContext(t), []string{"seed"}, WithDialer(func(ctx context.Context, address string) (net.Conn, error) {
		if address == "seed" {
			address = *seed.Load()
		}
		return dialer.DialContext(ctx, "tcp", address)
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	seed.Store(&fresh.address)
	old.stop()
	if _, err := c.Invoke(testContext(t), testCall); err != nil {
		t.Fatal(err)
	}
}

func TestGoodbye(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		c := dial()
		if _, err := c.Invoke(testContext(t), testCall); err != nil {
			t.Fatal(err)
		}
		members[0].goodbye()
		waitFor(t, "the goodbye", func() bool { return c.table.routes().peers[1].ordinary.conn.Load() == nil })
		setTables(fakeTable(2, 2, members...), members...)
		if _, err := c.Invoke(testContext(t), testCall); err != nil {
			t.Fatal(err)
		}
		if n := len(members[0].seen()); n != 1 {
			t.Errorf("%d requests to the member that leaves", n)
		}
	})
}

func TestForward(t *testing.T) {
	members := fakeGrid(t, 2)
	table := fakeTable(1, 1, members...)
	for i := range table.Members {
		table.Members[i].Address = "192.0.2.1:1"
	}
	setTables(table, members...)
	c := dialFake(t, members[1:], WithForward())
	if _, err := c.Invoke(testContext(t), testCall); err != nil {
		t.Fatal(err)
	}
	members[1].cut()
	if _, err := c.Invoke(testContext(t), testCall); err != nil {
		t.Fatal(err)
	}
	if n := len(members[1].seen()); n < 2 {
		t.Errorf("%d requests", n)
	}
}

func TestAdmin(t *testing.T) {
	m := newFake(t, 1)
	m.table = protocol.Table{Type: protocol.TypeTable} // not formed
	b, err := Ask(testContext(t), m.address, "status", nil)
	if err != nil || string(b) != "status" {
		t.Fatalf("got %q, %v", b, err)
	}
}

func TestDialSaysNotFormed(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, _ func(...Option) *Client) {
		setTables(protocol.Table{Type: protocol.TypeTable}, members...)
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if _, err := Dial(ctx, []string{"a"}, WithDialer(members[0].pipe)); err == nil || !strings.Contains(err.Error(), "not formed yet") {
			t.Errorf("got %v", err)
		}
	})
}

// TestTableIsAskedForOnce: where the network stands still no questions pile up in
// it.
func TestTableIsAskedForOnce(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		m := members[0]
		m.mu.Lock()
		m.silent = true
		m.mu.Unlock()
		c := dial()
		asked := func() int {
			m.mu.Lock()
			defer m.mu.Unlock()
			return m.asked
		}
		for range 20 {
			c.refresher.requestTables(false)
		}
		if _, err := c.Invoke(t.Context(), testCall); err != nil { // what was sent before it has arrived
			t.Fatal(err)
		}
		if n := asked(); n != 1 {
			t.Errorf("asked %d times while no answer came", n)
		}
		m.push(fakeTable(1, 1, members...))
		waitFor(t, "a table to be asked for again", func() bool { c.refresher.requestTables(false); return asked() > 1 })
	})
}
