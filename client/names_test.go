package client

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

// namesAsked makes the member list sessions by a map, page by page, and returns how many
// questions it was asked since the last call.
func namesAsked(t *testing.T, m *fakeMember, page int, sessions map[uint64]string) (since func() int) {
	asked := 0
	m.mu.Lock()
	defer m.mu.Unlock()
	m.admin = func(q *protocol.AdminRequest) []byte {
		var args protocol.SessionsQuery
		if q.What != protocol.AdminSessions || protocol.DecodeAnswer(q.Args, &args) != nil {
			t.Errorf("asked %q", q.What)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		asked++
		if len(sessions) == 0 {
			return nil
		}
		r := protocol.SessionReport{Sessions: []protocol.SessionInfo{}}
		for _, id := range slices.Sorted(maps.Keys(sessions)) {
			switch {
			case id < args.From:
			case len(r.Sessions) == min(page, int(args.Most)):
				r.Next = id
				return protocol.Encode(&r)
			default:
				r.Sessions = append(r.Sessions, protocol.SessionInfo{ID: id, Client: sessions[id]})
			}
		}
		return protocol.Encode(&r)
	}
	return func() int {
		m.mu.Lock()
		defer m.mu.Unlock()
		n := asked
		asked = 0
		return n
	}
}

// TestSessionNames: each session is asked for once, also one that has ended or has no name,
// and many with as few questions as there are pages.
func TestSessionNames(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		c := dial()
		asked := namesAsked(t, members[0], 2, map[uint64]string{3: "ann", 5: "", 6: "bob", 9: "cyd", 12: "dan"})
		ask := func(questions int, want map[protocol.SessionID]string, ids ...protocol.SessionID) {
			t.Helper()
			if got := c.SessionNames(t.Context(), ids...); !maps.Equal(got, want) {
				t.Errorf("sessions %d are named %v, want %v", ids, got, want)
			}
			if n := asked(); n != questions {
				t.Errorf("sessions %d: %d questions, want %d", ids, n, questions)
			}
		}
		ask(1, map[protocol.SessionID]string{6: "bob"}, 6)
		ask(0, map[protocol.SessionID]string{6: "bob"}, 6, 6)
		ask(1, map[protocol.SessionID]string{}, 4)
		ask(0, map[protocol.SessionID]string{}, 4, 0)
		ask(2, map[protocol.SessionID]string{3: "ann", 6: "bob", 12: "dan"}, 12, 3, 6, 3, 5, 4)
		ask(0, map[protocol.SessionID]string{3: "ann", 12: "dan"}, 3, 5, 12)
		ask(1, map[protocol.SessionID]string{9: "cyd"}, 9, 4)
	})
}

// TestSessionNames_Nobody: when no member answers names are missing, and calls that want
// them do not wait again and again.
func TestSessionNames_Nobody(t *testing.T) {
	inBubble(t, 1, func(t *testing.T, members []*fakeMember, dial func(...Option) *Client) {
		c := dial()
		asked := namesAsked(t, members[0], 2, nil)
		for i, questions := range []int{1, 0, 0, 1} {
			if i == 3 {
				time.Sleep(2 * namePause)
			}
			if got := c.SessionNames(t.Context(), 3); len(got) > 0 {
				t.Errorf("names %v", got)
			}
			if n := asked(); n != questions {
				t.Errorf("call %d: %d questions, want %d", i, n, questions)
			}
		}
	})
}
