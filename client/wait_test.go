package client

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// inBubble runs f with a clock of its own, against members in this process.
func inBubble(t *testing.T, n int, f func(t *testing.T, members []*fakeMember, dial func(opts ...Option) *Client)) {
	synctest.Test(t, func(t *testing.T) {
		var members []*fakeMember
		byAddress := make(map[string]*fakeMember)
		for i := range n {
			m := bareFake(t, protocol.MemberID(i+1))
			m.address = string(rune('a'+i)) + ":1"
			byAddress[m.address] = m
			members = append(members, m)
		}
		setTables(fakeTable(1, 1, members...), members...)
		f(t, members, func(opts ...Option) *Client {
			c, err := Dial(t.Context(), []string{members[0].address}, append(opts, WithDialer(func(ctx context.Context, address string) (net.Conn, error) {
				return byAddress[address].pipe(ctx, address)
			}))...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				c.Close()
				for _, m := range members {
					m.cut()
				}
			})
			return c
		})
	})
}

type outcome struct {
	reply structures.Reply
	err   error
}

func invokeLater(ctx context.Context, c *Client, call structures.Call) <-chan outcome {
	ch := make(chan outcome, 1)
	go func() {
		r, err := c.Invoke(ctx, call)
		ch <- outcome{r, err}
	}()
	return ch
}

// waiters is a script that lets waiting calls wait.
type waiters struct {
	mu      sync.Mutex
	conns   []*fakeConn
	calls   []protocol.Request
	control func(c *fakeConn, q *protocol.Request)
}

func (w *waiters) handle(c *fakeConn, q *protocol.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if q.Kind == protocol.KindControl {
		if w.control != nil {
			w.control(c, q)
		}
		return
	}
	w.conns, w.calls = append(w.conns, c), append(w.calls, *q)
}

func (w *waiters) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.calls)
}

// grant answers the i-th request that waits.
func (w *waiters) grant(i int, code protocol.Code, body string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.conns[i].reply(&w.calls[i], code, []byte(body))
	w.conns[i].flush()
}

func TestWaitingCallIsRepeatedAndGranted(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var w waiters
		members[0].script(w.handle)
		c := dial()
		got := invokeLater(t.Context(), c, testWait())
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := w.count(); n < 11 || n > 13 {
			t.Errorf("%d requests in a minute", n)
		}
		for i, q := range w.calls {
			if q.Caller != w.calls[0].Caller || q.TimeLeft != 0 || q.Flags&protocol.FlagWait == 0 || (q.Flags&protocol.FlagRepeat != 0) != (i > 0) {
				t.Errorf("got %+v", q)
			}
		}
		w.grant(3, protocol.CodeUnknown, "") // given up for later ones: says nothing
		synctest.Wait()
		w.grant(w.count()-1, protocol.CodeOK, "permit")
		if o := <-got; o.err != nil || string(o.reply.Body) != "permit" || o.reply.Lease.Err() != nil {
			t.Errorf("got %+v", o)
		}
	})
}

func TestWaitingCallFollowsTheLeader(t *testing.T) {
	inBubble(t, 2, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		var old, leads waiters
		members[0].script(old.handle)
		members[1].script(leads.handle)
		c := dial()
		got := invokeLater(t.Context(), c, testWait())
		synctest.Wait()
		members[0].push(fakeTable(2, 2, members...))
		synctest.Wait()
		if leads.count() != 1 || leads.calls[0].Caller != old.calls[0].Caller || leads.calls[0].Flags&protocol.FlagRepeat == 0 {
			t.Fatalf("got %+v", leads.calls)
		}
		members[1].cut()
		time.Sleep(time.Second)
		synctest.Wait()
		if leads.count() != 2 {
			t.Fatalf("got %+v", leads.calls)
		}
		leads.grant(1, protocol.CodeOK, "permit")
		if o := <-got; o.err != nil {
			t.Error(o.err)
		}
	})
}

func TestCancel(t *testing.T) {
	tests := []struct {
		name    string
		answer  protocol.Code // to the cancel; CodeUnknown: none
		is      error         // nil: a reply
		unknown bool
	}{
		{name: "withdrawn", answer: protocol.CodeCancelled, is: context.Canceled},
		{name: "timed out", answer: protocol.CodeTimedOut, is: context.Canceled},
		{name: "result wins", answer: protocol.CodeOK},
		{name: "refusal wins", answer: protocol.CodeKindBase},
		{name: "destroyed", answer: protocol.CodeDestroyed, is: quorate.ErrDestroyed},
		{name: "session ended", answer: protocol.CodeSessionEnded, is: quorate.ErrSessionLost, unknown: true},
		{name: "no answer", answer: protocol.CodeUnknown, is: context.Canceled, unknown: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
				var controls []protocol.Request
				var late bool
				w := waiters{control: func(c *fakeConn, q *protocol.Request) {
					controls = append(controls, *q)
					if q.Op == protocol.OpCancel && (len(controls) > 1 && test.answer != protocol.CodeUnknown || late) {
						c.reply(q, max(test.answer, protocol.CodeOK), nil) // the first is lost
					}
				}}
				members[0].script(w.handle)
				c := dial()
				ctx, cancel := context.WithCancel(t.Context())
				got := invokeLater(ctx, c, testWait())
				synctest.Wait()
				cancel()
				started := time.Now()
				o := <-got
				if test.is == nil {
					if o.err != nil || o.reply.Code != test.answer {
						t.Fatalf("got %+v", o)
					}
				} else if !errors.Is(o.err, test.is) || errors.Is(o.err, quorate.ErrOutcomeUnknown) != test.unknown ||
					errors.Is(o.err, quorate.ErrUnavailable) != (test.answer == protocol.CodeUnknown) {
					t.Fatalf("got %v", o.err)
				}
				if d := time.Since(started); d > 3*time.Second {
					t.Errorf("it took %v", d)
				}
				w.mu.Lock()
				for _, q := range controls {
					if q.Caller != w.calls[0].Caller || q.Op != protocol.OpCancel {
						t.Errorf("got %+v", q)
					}
				}
				w.mu.Unlock()
				if test.answer != protocol.CodeUnknown {
					return
				}
				// The slot is kept until the cancel is answered, which goes on.
				w.mu.Lock()
				n := len(controls)
				w.mu.Unlock()
				next := invokeLater(t.Context(), c, testWait())
				time.Sleep(2 * time.Second)
				synctest.Wait()
				w.mu.Lock()
				if len(controls) == n || w.calls[len(w.calls)-1].Caller.Slot != 1 {
					t.Errorf("%d cancels, last call %+v", len(controls), w.calls[len(w.calls)-1])
				}
				late, test.answer = true, protocol.CodeCancelled
				w.mu.Unlock()
				time.Sleep(2 * time.Second)
				again := invokeLater(t.Context(), c, testWait())
				synctest.Wait()
				w.mu.Lock()
				if last := w.calls[len(w.calls)-1].Caller; last.Slot != 0 || last.Sequence != 2 {
					t.Errorf("got %+v", last)
				}
				w.mu.Unlock()
				for i := range w.calls {
					w.grant(i, protocol.CodeOK, "")
				}
				<-next
				<-again
			})
		})
	}
}

func TestReserved(t *testing.T) {
	tests := []struct {
		name    string
		answers []protocol.Code // to the confirms; CodeOK ends them, CodeUnknown answers nothing
		is      error
		unknown bool
	}{
		{name: "taken", answers: []protocol.Code{protocol.CodeOK}},
		{name: "taken after repeats", answers: []protocol.Code{protocol.CodeUnknown, protocol.CodeBusy, protocol.CodeOK}},
		{name: "taken, and the reply dropped", answers: []protocol.Code{protocol.CodeUnknown, protocol.CodeReplyDropped}},
		{name: "given back", answers: []protocol.Code{protocol.CodeCancelled}, is: quorate.ErrSessionLost},
		{name: "session ended", answers: []protocol.Code{protocol.CodeSessionEnded}, is: quorate.ErrSessionLost},
		{name: "session ended after silence", answers: []protocol.Code{protocol.CodeUnknown, protocol.CodeSessionEnded}, is: quorate.ErrSessionLost, unknown: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
				n := 0
				w := waiters{control: func(c *fakeConn, q *protocol.Request) {
					if q.Op != protocol.OpConfirm {
						t.Errorf("got %+v", q)
					}
					if code := test.answers[n]; code != protocol.CodeUnknown {
						c.problem(q, code, protocol.Problem{})
					}
					n++
				}}
				members[0].script(w.handle)
				c := dial()
				got := invokeLater(t.Context(), c, testWait())
				synctest.Wait()
				w.grant(0, protocol.CodeReserved, "job")
				o := <-got
				if test.is == nil {
					if o.err != nil || o.reply.Code != protocol.CodeOK || string(o.reply.Body) != "job" {
						t.Fatalf("got %+v", o)
					}
				} else if !errors.Is(o.err, test.is) || errors.Is(o.err, quorate.ErrOutcomeUnknown) != test.unknown {
					t.Fatalf("got %v", o.err)
				}
				if n != len(test.answers) {
					t.Errorf("%d confirms", n)
				}
			})
		})
	}
}

// TestWaitingConnectionKeepsRoomForCancels: connections that carry all the
// waiting calls they may still carry what cancels these.
func TestWaitingConnectionKeepsRoomForCancels(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		members[0].limits.InFlight = 2
		w := waiters{control: func(c *fakeConn, q *protocol.Request) { c.reply(q, protocol.CodeCancelled, nil) }}
		members[0].script(w.handle)
		c := dial()
		ctx, cancel := context.WithCancel(t.Context())
		first := invokeLater(ctx, c, testWait())
		for range waitLanes - 1 {
			go c.Invoke(t.Context(), testWait())
		}
		synctest.Wait()
		if w.count() != waitLanes {
			t.Fatalf("%d requests", w.count())
		}
		if _, err := c.Invoke(t.Context(), testWait()); !errors.Is(err, quorate.ErrOverloaded) {
			t.Errorf("got %v", err)
		}
		cancel()
		if o := <-first; !errors.Is(o.err, context.Canceled) || errors.Is(o.err, quorate.ErrOutcomeUnknown) {
			t.Errorf("got %v", o.err)
		}
		second := invokeLater(t.Context(), c, testWait())
		synctest.Wait()
		w.grant(waitLanes, protocol.CodeOK, "")
		if o := <-second; o.err != nil {
			t.Error(o.err)
		}
	})
}

// TestLateGrantIsTold shows that a call whose outcome was unknown, and turns
// out to have been granted, is handed to Late, once.
func TestLateGrantIsTold(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		answer := make(chan struct{})
		w := waiters{control: func(c *fakeConn, q *protocol.Request) {
			select {
			case <-answer:
				c.reply(q, protocol.CodeOK, []byte("permit"))
			default: // lost
			}
		}}
		members[0].script(w.handle)
		c := dial()
		var told []string
		call := testWait()
		call.Late = func(r structures.Reply) { told = append(told, string(r.Body)) }
		ctx, cancel := context.WithCancel(t.Context())
		got := invokeLater(ctx, c, call)
		synctest.Wait()
		cancel()
		if o := <-got; !errors.Is(o.err, quorate.ErrOutcomeUnknown) {
			t.Fatalf("got %+v", o)
		}
		close(answer)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if len(told) != 1 || told[0] != "permit" {
			t.Errorf("told %q", told)
		}
	})
}
