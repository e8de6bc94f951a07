package client

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

func TestHoldFor(t *testing.T) {
	for _, tt := range []struct{ ttl, margin, want time.Duration }{
		{2 * time.Second, 500 * time.Millisecond, 1437500 * time.Microsecond},
		{10 * time.Second, time.Second, 8687500 * time.Microsecond},
		{15 * time.Second, 6 * time.Second, 8531250 * time.Microsecond},
		{time.Hour, time.Hour / 10, time.Hour - time.Hour/32 - time.Hour/10},
	} {
		if got := holdFor(tt.ttl, tt.margin); got != tt.want {
			t.Errorf("TTL %v, margin %v: got %v, want %v", tt.ttl, tt.margin, got, tt.want)
		}
	}
}

// TestHoldMargin: the margin is what it is set to, and is refused where it would
// leave too little of the time to live.
func TestHoldMargin(t *testing.T) {
	for _, tt := range []struct {
		ttl, margin, want time.Duration
	}{
		{0, 0, time.Second},
		{2 * time.Second, 0, 500 * time.Millisecond},
		{15 * time.Second, 6 * time.Second, 6 * time.Second},
		{2 * time.Second, time.Second, time.Second},
		{2 * time.Second, 1001 * time.Millisecond, 0},
		{10 * time.Second, 999 * time.Millisecond, 0},
		{10 * time.Second, -time.Second, 0},
	} {
		opts := []Option{WithHoldMargin(tt.margin)}
		if tt.ttl != 0 {
			opts = append(opts, WithSessionTTL(tt.ttl))
		}
		cfg, err := newConfig([]string{"127.0.0.1:7170"}, opts)
		if tt.want == 0 && !errors.Is(err, quorate.ErrInvalid) || tt.want != 0 && (err != nil || cfg.holdMargin != tt.want) {
			t.Errorf("TTL %v, margin %v: got %v, %v", tt.ttl, tt.margin, cfg.holdMargin, err)
		}
	}
}

// TestHoldersHaveTheMargin: from the end of the holder's context to the end of
// the session at the grid at least the margin passes.
func TestHoldersHaveTheMargin(t *testing.T) {
	const ttl, margin = 15 * time.Second, 6 * time.Second
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var silent atomic.Bool
		var last atomic.Pointer[time.Time]
		members[0].session = func(c *fakeConn, q *protocol.SessionRequest) {
			if silent.Load() {
				return
			}
			now := time.Now()
			last.Store(&now)
			c.session(q, 7, protocol.CodeOK)
		}
		c := dial(WithSessionTTL(ttl), WithHoldMargin(margin))
		r, err := c.Invoke(t.Context(), testCall)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		silent.Store(true)
		<-r.Lease.Done()
		if left := time.Until(last.Load().Add(ttl)); left < margin || left > margin+time.Second {
			t.Errorf("the holder has %v to stop", left)
		}
	})
}

func TestSinceIsTheLargerTime(t *testing.T) {
	sent := time.Now()
	suspended := sent.Round(0).Add(time.Minute) // wall time only: monotonic time stood still
	if got := since(sent, suspended); got != time.Minute {
		t.Errorf("got %v", got)
	}
	if got := since(sent, sent.Add(time.Second)); got != time.Second {
		t.Errorf("got %v", got)
	}
}

func TestHeartbeatsKeepTheSession(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var beats atomic.Int32
		members[0].session = func(c *fakeConn, q *protocol.SessionRequest) {
			if q.Action == protocol.SessionHeartbeat && beats.Add(1)%3 == 0 {
				return // lost
			}
			c.session(q, 7, protocol.CodeOK)
		}
		c := dial()
		r, err := c.Invoke(t.Context(), testCall)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Minute)
		if r.Lease.Err() != nil || beats.Load() < 300 {
			t.Errorf("lease %v after %d heartbeats", r.Lease.Err(), beats.Load())
		}
	})
}

// TestGivenUpInTime: heartbeats are not answered any more. What is held is
// given up in time and for good; writes go on under the old identity until
// another session is open.
func TestGivenUpInTime(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var silent atomic.Bool
		var opens atomic.Int32
		var last atomic.Int64
		ids := make(map[protocol.UUID]bool)
		members[0].session = func(c *fakeConn, q *protocol.SessionRequest) {
			if silent.Load() {
				return
			}
			if q.Action == protocol.SessionOpen {
				opens.Add(1)
				ids[q.Client] = true
			}
			if q.Action == protocol.SessionHeartbeat {
				last.Store(int64(time.Since(time.Time{})))
			}
			c.session(q, protocol.SessionID(opens.Load()), protocol.CodeOK)
		}
		members[0].script(func(c *fakeConn, q *protocol.Request) {
			if q.Kind == protocol.KindControl {
				c.reply(q, protocol.CodeCancelled, nil)
			} else if q.Flags&protocol.FlagWait == 0 {
				c.reply(q, protocol.CodeOK, nil)
			}
		})
		c := dial()
		r, err := c.Invoke(t.Context(), testCall)
		if err != nil {
			t.Fatal(err)
		}
		wait := invokeLater(t.Context(), c, testWait())
		time.Sleep(20 * time.Second)
		silent.Store(true)
		heard := time.Now()
		<-r.Lease.Done()
		if d := time.Since(heard); d > holdFor(10*time.Second, time.Second) || d < holdFor(10*time.Second, time.Second)-2*time.Second-500*time.Millisecond {
			t.Errorf("given up after %v", d)
		}
		if o := <-wait; !errors.Is(o.err, quorate.ErrSessionLost) || errors.Is(o.err, quorate.ErrOutcomeUnknown) {
			t.Errorf("got %v", o.err)
		}
		if r, err := c.Invoke(t.Context(), testCall); err != nil || r.Lease.Err() == nil {
			t.Errorf("got %+v, %v", r, err)
		}
		silent.Store(false)
		time.Sleep(5 * time.Second)
		fresh, err := c.Invoke(t.Context(), testCall)
		if err != nil || fresh.Lease.Err() != nil || r.Lease.Err() == nil {
			t.Errorf("got %+v, %v", fresh, err)
		}
		synctest.Wait()
		seen := members[0].seen()
		if q := seen[len(seen)-1]; q.Caller.Session != 2 || q.Caller.Sequence != 1 || len(ids) != 2 {
			t.Errorf("got %+v, clients %v", q, ids)
		}
		if s := c.Stats(); s.SessionsLost != 1 {
			t.Errorf("got %+v", s)
		}
	})
}

// TestSessionEnded: a call that cannot have entered goes on under a new
// identity; one that may have entered does not.
func TestSessionEnded(t *testing.T) {
	for _, entered := range []bool{false, true} {
		inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
			var opens atomic.Int32
			members[0].session = func(c *fakeConn, q *protocol.SessionRequest) {
				if q.Action == protocol.SessionOpen {
					opens.Add(1)
				}
				c.session(q, protocol.SessionID(opens.Load()), protocol.CodeOK)
			}
			unknown := 2
			n := 0
			members[0].script(func(c *fakeConn, q *protocol.Request) {
				switch n++; {
				case n == 1 && entered:
				case q.Caller.Session == 1 && unknown > 0:
					unknown--
					c.problem(q, protocol.CodeSessionUnknown, protocol.Problem{})
				case q.Caller.Session == 1:
					c.problem(q, protocol.CodeSessionEnded, protocol.Problem{})
				default:
					c.reply(q, protocol.CodeOK, nil)
				}
			})
			c := dial()
			_, err := c.Invoke(t.Context(), testCall)
			if !entered && err != nil {
				t.Errorf("got %v", err)
			}
			if entered && (!errors.Is(err, quorate.ErrSessionLost) || !errors.Is(err, quorate.ErrOutcomeUnknown)) {
				t.Errorf("got %v", err)
			}
			if _, err := c.Invoke(t.Context(), testCall); err != nil || opens.Load() != 2 {
				t.Errorf("got %v after %d sessions", err, opens.Load())
			}
		})
	}
}

func TestCloseEndsTheSession(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var closed atomic.Bool
		members[0].session = func(c *fakeConn, q *protocol.SessionRequest) {
			if q.Action == protocol.SessionClose {
				closed.Store(q.Session == 7)
			}
			c.session(q, 7, protocol.CodeOK)
		}
		c := dial()
		r, err := c.Invoke(t.Context(), testCall)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		if !closed.Load() || r.Lease.Err() == nil {
			t.Errorf("closed %v, lease %v", closed.Load(), r.Lease.Err())
		}
	})
}

func TestSlotTable(t *testing.T) {
	table := &slotTable{limit: 70}
	for i := range 70 {
		if slot, sequence, wait := table.acquire(); int(slot) != i || sequence != 1 || wait != nil {
			t.Fatalf("got slot %d, sequence %d", slot, sequence)
		}
	}
	_, _, first := table.acquire()
	_, _, second := table.acquire()
	_, _, third := table.acquire()
	if _, _, ok := table.tryAcquire(); ok {
		t.Error("got a slot while others wait for one")
	}
	table.giveUp(second)
	table.release(69)
	if !first.has() || third.has() || first.slot != 69 || first.sequence != 2 {
		t.Errorf("got slot %d, sequence %d", first.slot, first.sequence)
	}
	table.giveUp(first) // has it already: it goes to the next
	if !third.has() || third.slot != 69 || third.sequence != 3 {
		t.Errorf("got slot %d, sequence %d", third.slot, third.sequence)
	}
	for i := range 70 {
		table.release(uint16(i))
	}
	for range 3 * lowerEvery {
		slot, _, _ := table.acquire()
		table.release(slot)
	}
	if h := table.highest.Load(); h != 0 {
		t.Errorf("highest is %d with one slot in use", h)
	}
}
