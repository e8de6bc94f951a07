package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// idle lets calls with the given names wait for ever and answers all others.
func idle(names ...string) func(c *fakeConn, q *protocol.Request) {
	return func(c *fakeConn, q *protocol.Request) {
		for _, name := range names {
			if q.Name == name && q.Flags&protocol.FlagWait != 0 {
				return
			}
		}
		code := protocol.CodeOK
		if q.Kind == protocol.KindControl {
			code = protocol.CodeCancelled
		}
		c.reply(q, code, nil)
	}
}

func waitOn(name string) structures.Call {
	call := testWait()
	call.Name = name
	return call
}

// grantAll answers every request so far; the client drops the answers to those
// that it has repeated.
func (w *waiters) grantAll() {
	for i := range w.count() {
		w.grant(i, protocol.CodeOK, "")
	}
}

// TestReleasesHaveASlot: more calls wait for one structure than there are slots.
// What they wait for, and whatever else comes, is sent all the same.
func TestReleasesHaveASlot(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].keep = false
		members[0].script(idle("full"))
		c := dial()
		for range 1100 {
			go c.Invoke(t.Context(), waitOn("full"))
		}
		synctest.Wait()
		if _, err := c.Invoke(t.Context(), testCall); err != nil {
			t.Errorf("a call that does not wait: %v", err)
		}
		if s := c.Stats(); s.HeldBack != 1100-256 {
			t.Errorf("%d calls are held back", s.HeldBack)
		}
	})
}

// TestIdleCallsLeaveRoom: very many calls that wait for nothing block no other
// waiting call, neither of another structure nor another operation.
func TestIdleCallsLeaveRoom(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].keep = false
		members[0].script(idle("a"))
		c := dial()
		for range 2000 {
			go c.Invoke(t.Context(), waitOn("a"))
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := c.Invoke(ctx, waitOn("b")); err != nil {
			t.Errorf("another structure: %v", err)
		}
		other := waitOn("b")
		other.Op++
		if _, err := c.Invoke(ctx, other); err != nil {
			t.Errorf("another operation: %v", err)
		}
	})
}

// TestLanes: more calls wait than one connection carries; no call stands still
// for want of room, and those over the last bound are refused.
func TestLanes(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].limits.InFlight = 20
		var w waiters
		members[0].script(w.handle)
		c := dial()
		var got []<-chan outcome
		most := waitLanes * waitingLimit(20)
		for i := range most {
			got = append(got, invokeLater(t.Context(), c, waitOn(fmt.Sprint("s", i))))
		}
		synctest.Wait()
		if w.count() != most {
			t.Fatalf("%d of %d calls wait", w.count(), most)
		}
		_, err := c.Invoke(t.Context(), waitOn("over"))
		if !errors.Is(err, quorate.ErrOverloaded) || !quorate.SafeToRetry(err) {
			t.Errorf("got %v", err)
		}
		if n := c.Stats().Connections; n != 1+waitLanes {
			t.Errorf("%d connections", n)
		}
		for i := range most {
			w.grant(i, protocol.CodeOK, "")
		}
		for _, ch := range got {
			if o := <-ch; o.err != nil {
				t.Error(o.err)
			}
		}
		after := invokeLater(t.Context(), c, waitOn("over"))
		synctest.Wait()
		w.grant(most, protocol.CodeOK, "")
		if o := <-after; o.err != nil {
			t.Error(o.err)
		}
	})
}

// TestHeldBack: a call that is held back ends with its context and says why, or
// when the time that it may wait is over; it is admitted in its turn.
func TestHeldBack(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].limits.Slots = 8 // two calls of one operation
		w := waiters{control: func(c *fakeConn, q *protocol.Request) { c.reply(q, protocol.CodeCancelled, nil) }}
		members[0].script(w.handle)
		c := dial()
		first, second := invokeLater(t.Context(), c, testWait()), invokeLater(t.Context(), c, testWait())
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Invoke(ctx, testWait())
		if !errors.Is(err, quorate.ErrOverloaded) || !errors.Is(err, context.DeadlineExceeded) || !quorate.SafeToRetry(err) {
			t.Errorf("its context has ended: %v", err)
		}
		timed := testWait()
		timed.Wait = time.Second
		began := time.Now()
		if r, err := c.Invoke(t.Context(), timed); err != nil || r.Code != protocol.CodeTimedOut || time.Since(began) != time.Second {
			t.Errorf("its time was over: %+v, %v after %v", r, err, time.Since(began))
		}

		// A call that was held back for a part of its time waits for the rest.
		timed.Wait = 10 * time.Second
		began = time.Now()
		third := invokeLater(t.Context(), c, timed)
		fourth := invokeLater(t.Context(), c, testWait())
		time.Sleep(3 * time.Second)
		synctest.Wait()
		w.grantAll()
		if o := <-first; o.err != nil {
			t.Error(o.err)
		}
		if o := <-second; o.err != nil {
			t.Error(o.err)
		}
		if o := <-third; o.err != nil || o.reply.Code != protocol.CodeTimedOut || time.Since(began) != 10*time.Second {
			t.Errorf("the rest of its time was over: %+v after %v", o, time.Since(began))
		}
		w.grantAll()
		if o := <-fourth; o.err != nil {
			t.Error(o.err)
		}
		if s := c.Stats(); s.HeldBack != 0 || len(c.admission.queues) != 0 || len(c.admission.partitions) != 0 || c.admission.lanes[0] != 0 {
			t.Errorf("left behind: %+v, %+v", s, c.admission.queues)
		}
	})
}

// TestWaitingCallsInOnePartition: waiting calls of many structures leave a
// quarter of the slots of their partition to those that do not wait.
func TestWaitingCallsInOnePartition(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].limits.Slots = 16
		members[0].script(idle("a", "b", "c", "d"))
		c := dial()
		for _, name := range []string{"a", "b", "c"} {
			for range 4 {
				go c.Invoke(t.Context(), waitOn(name))
			}
		}
		synctest.Wait()
		_, err := c.Invoke(t.Context(), waitOn("d"))
		if !errors.Is(err, quorate.ErrOverloaded) || !quorate.SafeToRetry(err) {
			t.Errorf("got %v", err)
		}
		if _, err := c.Invoke(t.Context(), testCall); err != nil {
			t.Error(err)
		}
	})
}
