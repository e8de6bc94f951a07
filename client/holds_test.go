package client

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delection"
	"github.com/quorate/quorate/structures/dlock"
)

// TestRefusedRepeatSettlesNothing: the first attempt of a waiting call may wait
// at the grid, whatever a repeat of it is answered. When the call ends it is
// cancelled.
func TestRefusedRepeatSettlesNothing(t *testing.T) {
	for _, code := range []protocol.Code{protocol.CodeNotLeader, protocol.CodeBusy, protocol.CodeFrozen, protocol.CodeMemoryFull, protocol.CodeSessionUnknown} {
		inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
			calls, cancels := 0, 0
			members[0].script(func(c *fakeConn, q *protocol.Request) {
				switch {
				case q.Kind == protocol.KindControl:
					cancels++
					c.reply(q, protocol.CodeCancelled, nil)
				case calls > 0:
					c.problem(q, code, protocol.Problem{})
				}
				calls++
			})
			c := dial()
			ctx, cancel := context.WithTimeout(t.Context(), 2*repeatEvery)
			defer cancel()
			if _, err := c.Invoke(ctx, testWait()); err == nil || errors.Is(err, quorate.ErrOutcomeUnknown) {
				t.Errorf("code %d: got %v", code, err)
			}
			if cancels != 1 {
				t.Errorf("code %d: cancelled %d times", code, cancels)
			}
		})
	}
}

// holdsCall is a call that holds and does not wait.
func holdsCall(late func(structures.Reply)) structures.Call {
	call := testCall
	call.Late = late
	return call
}

// TestUnknownHoldIsGivenBack: a call that holds, does not wait, and whose outcome
// is unknown is cancelled until it is known, and what it was granted is handed
// back with the lease it was granted under.
func TestUnknownHoldIsGivenBack(t *testing.T) {
	for _, code := range []protocol.Code{protocol.CodeOK, protocol.CodeCancelled, protocol.CodeKindBase} {
		inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
			var held protocol.Caller
			cancels := 0
			members[0].script(func(c *fakeConn, q *protocol.Request) {
				switch {
				case q.Kind == protocol.KindControl && q.Caller == held:
					if cancels++; cancels > 5 {
						c.reply(q, code, []byte("permit"))
					}
				case q.Kind == protocol.KindControl:
					t.Errorf("got %+v", q)
				case held == (protocol.Caller{}) || q.Caller == held:
					held = q.Caller
				default:
					c.reply(q, protocol.CodeOK, nil)
				}
			})
			c := dial()
			var given []structures.Reply
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.Invoke(ctx, holdsCall(func(r structures.Reply) { given = append(given, r) }))
			if !errors.Is(err, quorate.ErrOutcomeUnknown) || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			// Meanwhile its slot is its own.
			if _, err := c.Invoke(t.Context(), testCall); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			want := 0
			if code == protocol.CodeOK {
				want = 1
			}
			if len(given) != want || want == 1 && (string(given[0].Body) != "permit" || given[0].Lease == nil) {
				t.Errorf("code %d: given back %+v", code, given)
			}
			table := c.sessions.current.Load().table(testCall.Partition)
			if _, sequence, ok := table.tryAcquire(); !ok || sequence != held.Sequence+1 {
				t.Errorf("code %d: the slot is not free", code)
			}
		})
	}
}

// TestGrantAfterTheSession: what is granted to a session that was given up
// meanwhile is nobody's: it is handed back, and the call has failed.
func TestGrantAfterTheSession(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var opened atomic.Int32
		var silent atomic.Bool
		members[0].session = func(c *fakeConn, q *protocol.SessionRequest) {
			if q.Action == protocol.SessionOpen {
				c.session(q, protocol.SessionID(opened.Add(1)), protocol.CodeOK)
			} else if !silent.Load() {
				c.session(q, q.Session, protocol.CodeOK)
			}
		}
		answer := time.Now().Add(time.Hour)
		var released []protocol.Request
		members[0].script(func(c *fakeConn, q *protocol.Request) {
			switch {
			case q.Op == opRelease:
				released = append(released, *q)
				c.reply(q, protocol.CodeOK, nil)
			case time.Now().After(answer):
				c.reply(q, protocol.CodeOK, []byte("permit"))
			}
		})
		c := dial()
		if _, err := c.Invoke(t.Context(), structures.Call{Kind: testKind, Op: opRelease, Partition: 3, Name: "x"}); err != nil {
			t.Fatal(err)
		}
		silent.Store(true)
		answer = time.Now().Add(9 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		given := make(chan structures.Reply, 2)
		_, err := c.Invoke(ctx, holdsCall(func(r structures.Reply) { given <- r }))
		if !errors.Is(err, quorate.ErrSessionLost) || !quorate.SafeToRetry(err) {
			t.Fatalf("got %v", err)
		}
		r := <-given
		if string(r.Body) != "permit" || r.Lease.Err() == nil || len(given) != 0 {
			t.Errorf("given back %+v", r)
		}
		// The giving back goes under the session of the grant, though another is open.
		back := structures.Call{Kind: testKind, Op: opRelease, Partition: 3, Name: "x", Lease: r.Lease}
		if _, err := c.Invoke(t.Context(), back); err != nil {
			t.Fatal(err)
		}
		if opened.Load() != 2 || released[1].Caller.Session != 1 {
			t.Errorf("released under %+v, %d sessions", released[1].Caller, opened.Load())
		}
	})
}

// stopsAfter returns a function that runs under a hold, says so, and takes its time to stop
// when that ends.
func stopsAfter(stops time.Duration, running chan<- struct{}) func(context.Context, protocol.Token) error {
	return func(ctx context.Context, _ protocol.Token) error {
		close(running)
		<-ctx.Done()
		time.Sleep(stops)
		return nil
	}
}

// TestCloseWaitsForDo: closing the client ends the context of what runs under a hold, waits for
// it to return, for the margin of holders at most, and then ends the session. So it is for
// what leads.
func TestCloseWaitsForDo(t *testing.T) {
	const margin = 2 * time.Second
	type function = func(context.Context, protocol.Token) error
	for name, do := range map[string]func(context.Context, *Client, function) error{
		"lock": func(ctx context.Context, c *Client, f function) error { return dlock.New(c, "l").Do(ctx, f) },
		"election": func(ctx context.Context, c *Client, f function) error {
			return delection.New[string](c, "e").Run(ctx, "me", f)
		},
	} {
		for _, stops := range []time.Duration{0, time.Second, time.Hour} {
			inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
				var closed atomic.Int64 // when the session was ended
				members[0].session = func(c *fakeConn, q *protocol.SessionRequest) {
					if q.Action == protocol.SessionClose {
						closed.Store(time.Now().UnixNano())
					}
					c.session(q, 7, protocol.CodeOK)
				}
				members[0].script(func(c *fakeConn, q *protocol.Request) {
					c.reply(q, protocol.CodeOK, protocol.AppendInts(nil, 1, 1)) // hold 1 with token 1
				})
				c := dial(WithSessionTTL(20*time.Second), WithHoldMargin(margin))
				running := make(chan struct{})
				done := make(chan error, 1)
				go func() {
					done <- do(t.Context(), c, stopsAfter(stops, running))
				}()
				<-running
				begun := time.Now()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				want := min(stops, margin)
				if took, ended := time.Since(begun), time.Unix(0, closed.Load()).Sub(begun); took != want || ended != want {
					t.Errorf("%s: a function that stops in %v: Close took %v, and ended the session after %v, want %v", name, stops, took, ended, want)
				}
				if err := <-done; !errors.Is(err, quorate.ErrClosed) {
					t.Errorf("%s: %v", name, err)
				}
			})
		}
	}
}
