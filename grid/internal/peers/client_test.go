package peers

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorate/quorate/protocol"
)

// member is one that is asked, over connections inside the process.
type member struct {
	t      *testing.T
	dials  atomic.Int32
	conns  chan net.Conn // that were opened to it
	answer func(net.Conn, protocol.PeerRequest)
}

func newMember(t *testing.T, answer func(net.Conn, protocol.PeerRequest)) (*member, *Client) {
	m := &member{t: t, conns: make(chan net.Conn, 100), answer: answer}
	c := NewClient(m.dial)
	t.Cleanup(c.Close)
	return m, c
}

func (m *member) dial(context.Context, string) (net.Conn, error) {
	m.dials.Add(1)
	near, far := net.Pipe()
	m.conns <- far
	go func() {
		frames := protocol.NewFrameReader(far, protocol.MaxFrame)
		for {
			b, err := frames.Next()
			if err != nil {
				return
			}
			var q protocol.PeerRequest
			if err := protocol.Decode(b, &q); err != nil {
				m.t.Error(err)
				return
			}
			go m.answer(far, q)
		}
	}()
	return near, nil
}

// reply answers a question.
func reply(t *testing.T, c net.Conn, q protocol.PeerRequest, r protocol.Reply) {
	r.ID = q.ID
	if _, err := c.Write(protocol.EndFrame(r.Append(protocol.BeginFrame(nil)), 0)); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Log(err)
	}
}

// TestOneConnection: questions share a connection, and a slow one holds up no other.
func TestOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, c := newMember(t, func(conn net.Conn, q protocol.PeerRequest) {
			if q.What == "slow" {
				time.Sleep(2 * time.Second)
			}
			reply(t, conn, q, protocol.Reply{Body: protocol.Encode(Size{State: uint64(len(q.What))})})
		})
		began := time.Now()
		slow := make(chan error)
		go func() {
			var s Size
			slow <- errors.Join(c.Ask(t.Context(), "a", "slow", LeadersQuery{}, &s))
		}()
		synctest.Wait()
		for range 10 {
			var s Size
			if err := c.Ask(t.Context(), "a", "quick", LeadersQuery{}, &s); err != nil || s.State != 5 {
				t.Errorf("%+v, %v", s, err)
			}
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("the quick ones took %v", took)
		}
		if err := <-slow; err != nil || m.dials.Load() != 1 {
			t.Errorf("%v after %d connections", err, m.dials.Load())
		}
		// Nobody asks: the connection is closed, and the next question opens another.
		time.Sleep(2 * idleTimeout)
		if err := c.Ask(t.Context(), "a", "quick", LeadersQuery{}, nil); err != nil || m.dials.Load() != 2 {
			t.Errorf("%v after %d connections", err, m.dials.Load())
		}
	})
}

// TestRefusal: what a member refuses is an error with its code, detail and leader.
func TestRefusal(t *testing.T) {
	_, c := newMember(t, func(conn net.Conn, q protocol.PeerRequest) {
		p := protocol.Problem{Detail: "not here", Leader: 7}
		if q.Forwarded {
			p.Detail = "nor there"
		}
		reply(t, conn, q, protocol.Reply{Code: protocol.CodeNotLeader, Body: p.Append(nil)})
	})
	err := c.Ask(t.Context(), "a", AskJoin, Join{}, nil)
	var r *Refusal
	if !errors.As(err, &r) || r.Code != protocol.CodeNotLeader || r.Detail != "not here" || r.Leader != 7 {
		t.Errorf("%v", err)
	}
	if err := c.Forward(t.Context(), "a", AskJoin, Join{}, nil); !errors.As(err, &r) || r.Detail != "nor there" {
		t.Errorf("%v", err)
	}
}

// TestClosedConnection: a question over a kept connection that the member has closed is
// put again over a new one, once.
func TestClosedConnection(t *testing.T) {
	m, c := newMember(t, func(conn net.Conn, q protocol.PeerRequest) { reply(t, conn, q, protocol.Reply{}) })
	for i := range int32(3) {
		if err := c.Ask(t.Context(), "a", AskState, Self{}, nil); err != nil {
			t.Fatal(err)
		}
		if m.dials.Load() != i+1 {
			t.Errorf("%d connections for question %d", m.dials.Load(), i)
		}
		(<-m.conns).Close()
	}
	m.answer = func(conn net.Conn, _ protocol.PeerRequest) { conn.Close() }
	before := m.dials.Load()
	if err := c.Ask(t.Context(), "a", AskState, Self{}, nil); err == nil || m.dials.Load() != before+1 {
		t.Errorf("%v after %d connections more", err, m.dials.Load()-before)
	}
}

// TestSilentMember: a question ends with its timeout. A connection over which nothing has
// come meanwhile is closed; over another the question is withdrawn, and others go on.
func TestSilentMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		withdrawn := make(chan uint64, 10)
		m, c := newMember(t, func(conn net.Conn, q protocol.PeerRequest) {
			switch q.What {
			case "quick":
				reply(t, conn, q, protocol.Reply{})
			case Withdraw:
				withdrawn <- q.ID
			}
		})
		began := time.Now()
		if err := c.Ask(t.Context(), "a", "silent", LeadersQuery{}, nil); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != AskTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if err := c.Ask(t.Context(), "a", "quick", LeadersQuery{}, nil); err != nil || m.dials.Load() != 2 {
			t.Errorf("%v over %d connections", err, m.dials.Load())
		}
		ctx, cancel := context.WithCancel(t.Context())
		asked := make(chan error)
		go func() { asked <- c.Ask(ctx, "a", "silent", LeadersQuery{}, nil) }()
		synctest.Wait()
		if err := c.Ask(t.Context(), "a", "quick", LeadersQuery{}, nil); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-asked; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if id := <-withdrawn; id != 2 {
			t.Errorf("question %d is withdrawn, want 2", id)
		}
		if err := c.Ask(t.Context(), "a", "quick", LeadersQuery{}, nil); err != nil || m.dials.Load() != 2 {
			t.Errorf("%v over %d connections", err, m.dials.Load())
		}
		c.Close()
		if err := c.Ask(t.Context(), "a", "quick", LeadersQuery{}, nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		synctest.Wait()
	})
}
