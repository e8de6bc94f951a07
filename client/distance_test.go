package client

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/protocol"
)

// longLink makes a connection whose bytes take their time in both directions.
// Any number of them is on its way at once.
func longLink(far net.Conn, each time.Duration) net.Conn {
	near, end := net.Pipe()
	go carry(far, end, each)
	go carry(end, far, each)
	return near
}

func carry(to, from net.Conn, each time.Duration) {
	type piece struct {
		b   []byte
		due time.Time
	}
	pieces := make(chan piece, 1<<16)
	go func() {
		defer close(pieces)
		for {
			b := make([]byte, 64<<10)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			pieces <- piece{b[:n], time.Now().Add(each)}
		}
	}()
	defer to.Close()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.b); err != nil {
			from.Close()
			_, _ = io.Copy(io.Discard, from)
			for range pieces {
			}
			return
		}
	}
}

// fromFar runs f with a client whose links take the given time each way.
func fromFar(t *testing.T, each time.Duration, f func(t *testing.T, m *fakeMember, dial func(...Option) *Client)) {
	synctest.Test(t, func(t *testing.T) {
		m := bareFake(t, 1)
		m.address = "a"
		m.table = fakeTable(1, 1, m)
		f(t, m, func(opts ...Option) *Client {
			c, err := Dial(t.Context(), []string{"a"}, append(opts, WithDialer(func(ctx context.Context, address string) (net.Conn, error) {
				nc, err := m.pipe(ctx, address)
				return longLink(nc, each), err
			}))...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				c.Close()
				m.cut()
				time.Sleep(time.Minute) // what is on its way ends
			})
			return c
		})
	})
}

// TestSessionFromFar: over long links, and at members that answer late because
// their disks are slow, a session is opened and kept.
func TestSessionFromFar(t *testing.T) {
	for name, test := range map[string]struct {
		each, late  time.Duration // of the link; of the answers about sessions
		ttl, margin time.Duration
	}{
		"slow disk":                     {late: 520 * time.Millisecond, ttl: 10 * time.Second},
		"slow disk, least TTL":          {late: 520 * time.Millisecond, ttl: 2 * time.Second},
		"600 ms":                        {each: 300 * time.Millisecond, ttl: 10 * time.Second},
		"600 ms, least TTL":             {each: 300 * time.Millisecond, ttl: 2 * time.Second},
		"600 ms and a slow disk":        {each: 300 * time.Millisecond, late: 600 * time.Millisecond, ttl: 10 * time.Second},
		"2 s":                           {late: 2 * time.Second, ttl: 10 * time.Second},
		"2 s and the largest of margin": {late: 2 * time.Second, ttl: 15 * time.Second, margin: 7500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			fromFar(t, test.each, func(t *testing.T, m *fakeMember, dial func(...Option) *Client) {
				var opened atomic.Int32
				var beats atomic.Int32
				ids := map[protocol.UUID]protocol.SessionID{}
				var mu sync.Mutex
				m.session = func(c *fakeConn, q *protocol.SessionRequest) {
					kept := *q
					go func() {
						time.Sleep(test.late)
						id := kept.Session
						switch kept.Action {
						case protocol.SessionOpen:
							mu.Lock()
							if ids[kept.Client] == 0 {
								ids[kept.Client] = protocol.SessionID(opened.Add(1))
							}
							id = ids[kept.Client]
							mu.Unlock()
						case protocol.SessionHeartbeat:
							beats.Add(1)
						}
						c.session(&kept, id, protocol.CodeOK)
						c.flush()
					}()
				}
				c := dial(WithSessionTTL(test.ttl), WithHoldMargin(test.margin))
				r, err := c.Invoke(t.Context(), testCall)
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				if r.Lease.Err() != nil || opened.Load() != 1 || c.Stats().SessionsLost != 0 {
					t.Errorf("lease %v, %d sessions opened", r.Lease.Err(), opened.Load())
				}
				if n, most := beats.Load(), int32(10*time.Minute/(test.ttl/5))*5; n > most {
					t.Errorf("%d heartbeats in ten minutes, more than %d", n, most)
				}
			})
		})
	}
}

// TestCallsFromFar: calls of every sort get through over links of 600 ms, and the
// attempts are not many.
func TestCallsFromFar(t *testing.T) {
	fromFar(t, 300*time.Millisecond, func(t *testing.T, m *fakeMember, dial func(...Option) *Client) {
		m.script(func(c *fakeConn, q *protocol.Request) {
			code := protocol.CodeOK
			if q.Flags&protocol.FlagWait != 0 {
				code = protocol.CodeReserved
			}
			c.reply(q, code, []byte("x"))
		})
		c := dial()
		for range 10 {
			if _, err := c.Invoke(t.Context(), testCall); err != nil {
				t.Fatal(err)
			}
			if r, err := c.Invoke(t.Context(), testWait()); err != nil || string(r.Body) != "x" {
				t.Fatal(r, err)
			}
		}
		if s := c.Stats(); s.Repeats != 0 {
			t.Errorf("%d repeats", s.Repeats)
		}
	})
}
