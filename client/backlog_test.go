package client

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// held is a member that answers when it is told to.
type held struct {
	mu   sync.Mutex
	conn *fakeConn
	open bool
	kept []protocol.Request
}

func holdAnswers(m *fakeMember) *held {
	h := &held{}
	m.script(func(c *fakeConn, q *protocol.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.open {
			c.reply(q, protocol.CodeOK, nil)
			return
		}
		h.conn = c
		h.kept = append(h.kept, *q)
	})
	return h
}

func (h *held) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = true
	for i := range h.kept {
		h.conn.reply(&h.kept[i], protocol.CodeOK, nil)
	}
	if h.conn != nil {
		h.conn.flush()
	}
}

// crowd begins n calls at a member that allows one in flight, and returns once
// all but one wait for room.
func crowd(t *testing.T, c *Client, n int, call structures.Call) (results chan error) {
	t.Helper()
	results = make(chan error, n)
	for i := range n {
		go func() {
			_, err := c.Invoke(context.Background(), call)
			results <- err
		}()
		waitFor(t, "the call to be under way", func() bool { s := c.Stats(); return s.InFlight+s.Backlog == i+1 })
	}
	if s := c.Stats(); s.InFlight != 1 || s.Backlog != n-1 {
		t.Fatalf("%d in flight, %d wait; want 1 and %d", s.InFlight, s.Backlog, n-1)
	}
	return results
}

// patient is a client none of whose calls comes to an end by itself.
func patient(t *testing.T, dial func(...Option) *Client) *Client {
	c := dial(WithOperationTimeout(time.Hour))
	if _, err := c.Invoke(testContext(t), testCall); err != nil { // opens the session
		t.Fatal(err)
	}
	return c
}

func TestBacklogIsSentAsThereIsRoom(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].limits.InFlight = 1
		c := patient(t, dial)
		h := holdAnswers(members[0])
		results := crowd(t, c, 5, testCall)
		h.release()
		for range 5 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if s := c.Stats(); s.InFlight != 0 || s.Backlog != 0 {
			t.Errorf("left: %+v", s)
		}
	})
}

// Nothing of a call that waits for room has been sent: its end is definite.
func TestBacklogIsTakenBack(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].limits.InFlight = 1
		c := patient(t, dial)
		h := holdAnswers(members[0])
		results := crowd(t, c, 2, testCall)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error)
		go func() {
			_, err := c.Invoke(ctx, testCall)
			ended <- err
		}()
		waitFor(t, "the call to wait", func() bool { return c.Stats().Backlog == 2 })
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || errors.Is(err, quorate.ErrOutcomeUnknown) {
			t.Errorf("got %v", err)
		}
		if s := c.Stats(); s.Backlog != 1 {
			t.Errorf("%d wait, want the other", s.Backlog)
		}
		_, err := c.Invoke(deadlineSoon(t), testCall)
		if !errors.Is(err, quorate.ErrOverloaded) || errors.Is(err, quorate.ErrOutcomeUnknown) || !quorate.SafeToRetry(err) {
			t.Errorf("after its deadline: %v", err)
		}
		if n := strings.Count(err.Error(), "overloaded"); n != 1 {
			t.Errorf("%q says %d times that it is overloaded", err, n)
		}
		h.release()
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

func deadlineSoon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// With its connection the backlog loses its place, not its calls.
func TestBacklogOutlivesItsConnection(t *testing.T) {
	for _, way := range []struct {
		name string
		end  func(*fakeMember)
	}{{"lost", (*fakeMember).cut}, {"leaving", (*fakeMember).goodbye}} {
		t.Run(way.name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
				members[0].limits.InFlight = 1
				c := patient(t, dial)
				h := holdAnswers(members[0])
				results := crowd(t, c, 4, testRead())
				h.mu.Lock()
				h.open = true // from now on
				h.mu.Unlock()
				way.end(members[0])
				if way.name == "leaving" {
					h.release() // what is in flight is still answered
				}
				for range 4 {
					if err := <-results; err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// A call that would wait for longer than it may is refused before anything is
// made of it: no slot, no request.
func TestHopelessCallsAreRefusedAtOnce(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].limits.InFlight = 1
		c := patient(t, dial)
		h := holdAnswers(members[0])
		results := crowd(t, c, 10, testRead())
		n, _, _ := (&call{client: c, req: protocol.Request{Partition: testCall.Partition}}).route()
		n.mu.Lock()
		n.window.perReply = time.Hour
		n.mu.Unlock()
		sequence := func() uint64 { return c.sessions.current.Load().table(testCall.Partition).sequence[0] }
		before, sent := sequence(), len(members[0].seen())
		_, err := c.Invoke(context.Background(), testCall)
		if !errors.Is(err, quorate.ErrOverloaded) || !quorate.SafeToRetry(err) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if after := sequence(); after != before {
			t.Error("a slot was taken for it")
		}
		if n := len(members[0].seen()); n != sent {
			t.Errorf("%d requests were sent for it", n-sent)
		}
		h.release()
		for range 10 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}

func TestBacklogIsBounded(t *testing.T) {
	n := &conn{window: newWindow(1, 0, 0)}
	k := &call{}
	for range maxBacklog - 1 {
		n.backlog.push(&call{})
	}
	if n.hopeless(k, 0) {
		t.Errorf("refused with %d calls waiting", n.backlog.n)
	}
	n.backlog.push(&call{})
	if !n.hopeless(k, 0) {
		t.Errorf("one more than %d calls may wait", maxBacklog)
	}
	if all := n.backlog.takeAll(); len(all) != maxBacklog || n.backlog.n != 0 || n.backlog.first != nil || n.backlog.last != nil {
		t.Errorf("%d were taken, %d are left", len(all), n.backlog.n)
	}
}

func TestBacklogKeepsItsOrder(t *testing.T) {
	var b backlog
	calls := make([]*call, 6)
	for i := range calls {
		calls[i] = &call{deadline: time.Duration(i%2) * time.Second}
		b.push(calls[i])
	}
	b.remove(calls[2])
	late := b.takeLate(time.Second)
	if len(late) != 3 || late[0] != calls[1] || late[2] != calls[5] {
		t.Errorf("%d are late", len(late))
	}
	rest := b.takeAll()
	if len(rest) != 2 || rest[0] != calls[0] || rest[1] != calls[4] || calls[2].queued || calls[0].queued {
		t.Errorf("%d are left", len(rest))
	}
}

// What cannot be answered in time any more is not sent when there is room.
func TestBacklogDropsWhatIsTooLate(t *testing.T) {
	n := &conn{window: newWindow(2, 0, 0), limit: 2}
	n.window.short[0] = 10 * time.Millisecond
	calls := map[string]*call{"too late": {deadline: 1009 * ms}, "in time": {deadline: 2000 * ms}, "without a deadline": {}}
	for _, name := range []string{"too late", "in time", "without a deadline"} {
		k := calls[name]
		k.done = make(chan struct{}, 1)
		n.backlog.push(k)
	}
	n.sendBacklog(1000 * ms)
	for name, k := range calls {
		if late := name == "too late"; late != (len(k.done) == 1 && k.err == errFull && !k.left && !k.sent) || late == (n.at(k.id) == &k.attempt) {
			t.Errorf("%s: sent %t, error %v", name, k.sent, k.err)
		}
	}
	if n.inFlight != 2 || n.backlog.n != 0 {
		t.Errorf("%d in flight, %d wait", n.inFlight, n.backlog.n)
	}
}

// What a member refuses for want of room is repeated within the budget, and
// then reported.
func TestRepeatsHaveABudget(t *testing.T) {
	const calls, left = 20, 10
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		c := patient(t, dial)
		members[0].script(func(c *fakeConn, q *protocol.Request) {
			c.problem(q, protocol.CodeBusy, protocol.Problem{Wait: 1})
		})
		c.budget.spent.Store((budgetMost - left) * budgetShare)
		begin := len(members[0].seen())
		var all sync.WaitGroup
		for range calls {
			all.Go(func() {
				_, err := c.Invoke(context.Background(), testCall)
				if !errors.Is(err, quorate.ErrOverloaded) || !quorate.SafeToRetry(err) {
					t.Errorf("got %v", err)
				}
			})
		}
		all.Wait()
		if n := len(members[0].seen()) - begin; n < calls+left || n > calls+left+calls/budgetShare {
			t.Errorf("%d requests for %d calls with %d repeats left", n, calls, left)
		}
	})
}

// A call whose time is over before the member would hear of it again does not
// wait for that time.
func TestBusyForLongerThanThereIsTime(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		c := patient(t, dial)
		members[0].script(func(c *fakeConn, q *protocol.Request) {
			c.problem(q, protocol.CodeBusy, protocol.Problem{Wait: 1 << 30})
		})
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		_, err := c.Invoke(ctx, testCall)
		if !errors.Is(err, quorate.ErrOverloaded) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}
