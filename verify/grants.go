package verify

import (
	"fmt"
	"sync"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Grants watches who holds permits of a semaphore, as the holders know it. It
// is safe for concurrent use.
type Grants struct {
	most int64

	mu    sync.Mutex // guards what follows
	token protocol.Token
	held  map[*structures.Held]int64
}

// NewGrants returns what watches a semaphore with n permits.
func NewGrants(n int64) *Grants { return &Grants{most: n, held: map[*structures.Held]int64{}} }

// Token returns the largest token so far: one that is asked for from now on is
// larger.
func (g *Grants) Token() protocol.Token {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.token
}

// Granted notes a grant of n permits. The largest token before it was asked for
// is given. Its error says that more hold than there are permits, or that its
// token does not grow.
func (g *Grants) Granted(h *structures.Held, n int64, before protocol.Token) (*structures.Held, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held[h] = n
	all := int64(0)
	for held, n := range g.held {
		// The context of a holder whose session is lost ends before anyone else is
		// granted.
		if held.Context().Err() != nil {
			delete(g.held, held)
			continue
		}
		all += n
	}
	g.token = max(g.token, h.Token())
	switch {
	case h.Token() <= before:
		return h, fmt.Errorf("token %d was granted after token %d", h.Token(), before)
	case all > g.most:
		return h, fmt.Errorf("%d permits are held, and there are %d", all, g.most)
	}
	return h, nil
}

// Returns notes that a grant is about to be given back.
func (g *Grants) Returns(h *structures.Held) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.held, h)
}

// Resource is something outside of the grid that a lock protects. It remembers the largest
// token that has written, and refuses smaller ones. It is safe for concurrent use.
type Resource struct {
	mu                sync.Mutex // guards what follows
	token             protocol.Token
	accepted, refused int64
}

// Write reports whether a write with a token is accepted.
func (r *Resource) Write(token protocol.Token) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if token < r.token {
		r.refused++
		return false
	}
	r.token = token
	r.accepted++
	return true
}

// Counts returns how many writes were accepted, and how many were refused.
func (r *Resource) Counts() (accepted, refused int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted, r.refused
}
