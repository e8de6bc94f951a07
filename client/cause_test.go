package client

import (
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// TestCause: whichever way a context ends a call, the error Is the context's error
// and its cause.
func TestCause(t *testing.T) {
	why := errors.New("the user has gone")
	silent := func(*fakeConn, *protocol.Request) {}
	cancelled := func(c *fakeConn, q *protocol.Request) {
		if q.Kind == protocol.KindControl {
			c.reply(q, protocol.CodeCancelled, nil)
		}
	}
	reserved := func(c *fakeConn, q *protocol.Request) {
		if q.Kind != protocol.KindControl {
			c.reply(q, protocol.CodeReserved, nil)
		}
	}
	refusing := func(c *fakeConn, q *protocol.Request) { c.problem(q, protocol.CodeFrozen, protocol.Problem{}) }
	hang := func(ctx context.Context, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	invoke := func(call structures.Call) func(context.Context, *Client) error {
		return func(ctx context.Context, c *Client) error {
			_, err := c.Invoke(ctx, call)
			return err
		}
	}
	many := func(ctx context.Context, c *Client) error {
		_, errs := c.InvokeAll(ctx, []structures.Call{testCall, testRead()})
		if errs[0] == nil || errs[1] == nil {
			return nil
		}
		return errs[0]
	}
	for _, test := range []struct {
		name   string
		script func(*fakeConn, *protocol.Request)
		do     func(context.Context, *Client) error
		// of an error where the deadline has passed, and where ctx was cancelled
		unavailable, cancelUnavailable bool
	}{
		{"a read", silent, invoke(testRead()), true, false},
		{"a mutation", silent, invoke(testCall), true, false},
		{"many", silent, many, true, false},
		{"without a session", nil, invoke(testCall), true, false},
		{"between attempts", refusing, invoke(testCall), true, false},
		{"withdrawn", cancelled, invoke(testWait()), false, false},
		{"not withdrawn", silent, invoke(testWait()), true, true},
		{"not confirmed", reserved, invoke(testWait()), true, false},
		{"an administrator's question", silent, func(ctx context.Context, c *Client) error {
			_, err := Ask(ctx, "nobody", "status", nil, WithDialer(hang))
			return err
		}, true, true},
		{"another client", silent, func(ctx context.Context, c *Client) error {
			_, err := Dial(ctx, []string{"nobody"}, WithDialer(hang))
			return err
		}, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
				members[0].script(test.script)
				if test.script == nil {
					members[0].session = func(*fakeConn, *protocol.SessionRequest) {}
				}
				c := dial()
				check := func(ctx context.Context, is error, unavailable bool) {
					t.Helper()
					err := test.do(ctx, c)
					if !errors.Is(err, is) || !errors.Is(err, why) || errors.Is(err, quorate.ErrUnavailable) != unavailable {
						t.Errorf("got %v", err)
					}
				}
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, why)
				defer cancel()
				check(ctx, context.DeadlineExceeded, test.unavailable)
				ctx, end := context.WithCancelCause(t.Context())
				go func() {
					time.Sleep(time.Second)
					end(why)
				}()
				check(ctx, context.Canceled, test.cancelUnavailable)
				check(ctx, context.Canceled, test.cancelUnavailable && test.name != "not withdrawn") // from the start
				// What was cancelled because something else has timed out has not
				// itself.
				ctx, end = context.WithCancelCause(t.Context())
				end(context.DeadlineExceeded)
				why = context.DeadlineExceeded
				check(ctx, context.Canceled, test.cancelUnavailable && test.name != "not withdrawn")
				why = errors.New("the user has gone")
				synctest.Wait()
			})
		})
	}
}
