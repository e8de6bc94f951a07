package server

import (
	"testing"

	"github.com/quorate/quorate/protocol"
)

// TestPipe_EndedWatches: a pipe forgets a watch that its client has ended, and hands the end on
// also if the other member has not accepted the watch yet.
func TestPipe_EndedWatches(t *testing.T) {
	p := &pipe{more: make(chan struct{}, 1), pending: map[uint64]unanswered{}}
	says := func(id uint64, action protocol.WatchAction) bool {
		m := protocol.WatchControl{ID: id, Action: action}
		return p.passes(&m, m.Append(nil))
	}
	for id := range uint64(1000) {
		p.watch(id)
		if !says(id, protocol.WatchCredit) || !says(id, protocol.WatchEnd) {
			t.Fatal("what is said of a watch of the pipe is not handed on")
		}
		p.queue = nil
	}
	if n := len(p.watches); n > 0 {
		t.Errorf("%d watches that have ended are remembered", n)
	}
	if says(7, protocol.WatchEnd) {
		t.Error("an end is handed on twice")
	}

	p.pending[1000], p.pending[1001] = unanswered{watch: true}, unanswered{}
	if !says(1000, protocol.WatchEnd) || says(1001, protocol.WatchEnd) {
		t.Error("the end of a watch that is not accepted yet is not handed on, or that of a call is")
	}
	if q, _ := p.answered(1000); q.watch {
		t.Error("a watch that has ended is noted when it is accepted")
	}
}
