package shardgroups

import (
	"sync"
	"time"
)

// When a disk is slow.
const (
	slowSync   = 100 * time.Millisecond // a sync of the log that takes longer
	slowSpan   = time.Second            // within which most of them do,
	slowSpans  = 3                      // so many times one after the other
	swiftSpans = 5                      // and well again after so many in which most do not
)

// A syncMeter measures the syncs of the log, and tells whether the disk is
// slow: whether for some seconds most of them, of those that there were, took
// longer than they should. A sync that goes on counts from the moment that it is
// slow.
type syncMeter struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	times histogram
	next  uint64               // names a sync
	open  map[uint64]time.Time // when the syncs began that go on
	span  time.Time            // when the span began; zero: there was no sync yet
	slow  int                  // syncs that ended in the span
	swift int
	row   int  // spans one after the other that speak against the present verdict
	is    bool // slow
}

// begin tells that a sync begins; the func that it returns, that it has ended.
// Only those of the log are measured.
func (m *syncMeter) begin(isLog bool) (end func()) {
	if !isLog {
		return func() {}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	began := m.now()
	if m.open == nil {
		m.open, m.span = map[uint64]time.Time{}, began
	}
	m.advance(began)
	m.next++
	id := m.next
	m.open[id] = began
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		now := m.now()
		delete(m.open, id)
		took := now.Sub(began)
		m.times.observeTime(took)
		if took >= slowSync {
			m.slow++
		} else {
			m.swift++
		}
		m.advance(now)
	}
}

// isSlow reports whether the disk is slow.
func (m *syncMeter) isSlow() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.open != nil {
		m.advance(m.now())
	}
	return m.is
}

// advance judges a span that is over. One in which nothing was synced says that
// the disk is not slow: whoever has nothing to write does not wait for it.
func (m *syncMeter) advance(now time.Time) {
	spans := now.Sub(m.span) / slowSpan
	if spans == 0 {
		return
	}
	m.span = m.span.Add(spans * slowSpan)
	for _, began := range m.open {
		if now.Sub(began) >= slowSync {
			m.slow++
		}
	}
	against, need := m.slow > m.swift, slowSpans
	if m.is {
		against, need = m.slow <= m.swift, swiftSpans
	}
	m.slow, m.swift = 0, 0
	if !against {
		m.row = 0
		return
	}
	if m.row++; m.row == need {
		m.is, m.row = !m.is, 0
	}
}
