package walfs

import (
	"sync"
	"time"

	"github.com/quorate/quorate/shardgroups/histogram"
)

// A disk becomes slow after slowSpans spans in a row in which most syncs of the
// log took slowSync or longer, and fast again after fastSpans in which most did
// not.
const (
	slowSync  = 100 * time.Millisecond
	slowSpan  = time.Second
	slowSpans = 3
	fastSpans = 5
)

// A syncMeter measures the syncs of the log, and decides whether the disk is
// slow: it is if for some seconds most of the syncs took longer than they should.
// A sync that is under way counts as soon as it is slow.
type syncMeter struct {
	now func() time.Time

	mu    sync.Mutex // guards what follows
	times histogram.Recorder
	next  uint64               // names a sync
	open  map[uint64]time.Time // when the syncs began that are under way
	span  time.Time            // when the span began; zero: there was no sync yet
	slow  int                  // syncs that ended in the span
	fast  int
	row   int  // spans in a row that speak against the present verdict
	is    bool // slow
}

// begin notes that a sync begins. The func that it returns notes that the sync has
// ended. Only syncs of the log are measured.
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
		m.times.ObserveTime(took)
		if took >= slowSync {
			m.slow++
		} else {
			m.fast++
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

// advance judges a span that is over. A span without a sync counts as fast: a
// member that has nothing to write does not wait for its disk. mu is held.
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
	against, need := m.slow > m.fast, slowSpans
	if m.is {
		against, need = m.slow <= m.fast, fastSpans
	}
	m.slow, m.fast = 0, 0
	if !against {
		m.row = 0
		return
	}
	if m.row++; m.row == need {
		m.is, m.row = !m.is, 0
	}
}
