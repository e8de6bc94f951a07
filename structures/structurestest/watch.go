package structurestest

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/hub"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/watch"
)

// Watch implements structures.Invoker, with the hub of a group and the receiving half of a
// client, and nothing in between.
func (c *Client) Watch(_ context.Context, spec structures.WatchSpec) (structures.WatchStream, error) {
	s, err := watch.New(spec, protocol.UUID{})
	if err != nil {
		return nil, err
	}
	go func() {
		var tick <-chan time.Time
		if d := spec.Progress; d > 0 {
			t := time.NewTicker(d)
			defer t.Stop()
			tick = t.C
		}
		for s.Err() == nil {
			for {
				ids := s.Unregistered()
				if len(ids) == 0 {
					break
				}
				c.local.register(s, ids)
			}
			select {
			case <-s.Work():
			case <-tick:
				s.Probe()
			case <-s.Ended():
			}
		}
	}()
	return s, nil
}

// watches returns the hub, and starts it for the first watch.
func (l *Local) watches() *hub.Hub {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hub == nil {
		l.hub = hub.New((*localSource)(l))
		l.hub.Start()
		l.t.Cleanup(l.hub.Close)
	}
	return l.hub
}

// register registers partitions of a watch.
func (l *Local) register(s *watch.Stream, ids []protocol.PartitionID) {
	reg, body := s.Register(ids)
	if body == nil {
		return
	}
	h := l.watches()
	sink := &localWatch{s: s, reg: reg, lost: func() bool { return l.watches() != h }}
	q := protocol.Request{ID: 1, Partition: reg.Partition, Flags: protocol.FlagRead, Kind: protocol.KindControl, Op: protocol.OpWatch, Name: s.Name(), Body: body}
	reg.Sent(q.ID, func(m protocol.WatchControl) {
		switch m.Action {
		case protocol.WatchCredit:
			h.Credit(sink, m.ID, m.N)
		case protocol.WatchSync:
			h.Sync(sink, m.ID, m.N)
		case protocol.WatchEnd:
			sink.close()
			h.End(sink, m.ID)
		}
	})
	l.mu.Lock()
	gate := l.state.Gate()
	l.mu.Unlock()
	w, r := gate.CheckWatch(&q)
	if r.Code != protocol.CodeOK {
		sink.Reply(protocol.Reply{ID: q.ID, Code: r.Code, Body: r.Body})
		return
	}
	h.Watch(sink, &q, w)
}

// localSource is the state of a Local as a hub sees it.
type localSource Local

func (l *localSource) View(f func(groupstate.Watched)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(l.state.Watched())
}

func (l *localSource) Term() uint64 { return 1 }

func (l *localSource) Leader() protocol.MemberID { return 0 }

func (l *localSource) Began() protocol.Version {
	l.mu.Lock()
	defer l.mu.Unlock()
	return protocol.Version(l.losses) << 48
}

func (l *localSource) Confirm(done func(protocol.Code)) { done(protocol.CodeOK) }

// localWatch is a registration as a hub sees it.
type localWatch struct {
	s    *watch.Stream
	reg  *watch.Registration
	lost func() bool // another group has taken the place of the one that serves it

	mu     sync.Mutex
	closed bool
}

func (w *localWatch) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// Closed implements hub.Sink.
func (w *localWatch) Closed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// Writable implements hub.Sink.
func (w *localWatch) Writable(*hub.Hub) bool { return true }

// Forgotten implements hub.Sink.
func (w *localWatch) Forgotten(uint64) {}

// Reply implements hub.Sink.
func (w *localWatch) Reply(r protocol.Reply) {
	if r.Code == protocol.CodeOK {
		if err := w.reg.Begun(r.Body); err != nil {
			w.s.Fail(err)
		}
		return
	}
	if w.reg.Lost(); w.lost() {
		return // it goes on with the other group
	}
	var p protocol.Problem
	_ = p.Decode(r.Body)
	cause := r.Code.Err()
	if cause == nil {
		cause = quorate.ErrUnavailable
	}
	w.s.Fail(cause)
}

// Send implements hub.Sink.
func (w *localWatch) Send(message []byte) {
	message = bytes.Clone(message)
	var events protocol.WatchEvents
	var note protocol.WatchNote
	switch protocol.PeekType(message) {
	case protocol.TypeWatchEvents:
		if err := events.Decode(message); err != nil {
			w.s.Fail(err)
			return
		}
		w.reg.Take(events.Sections)
	case protocol.TypeWatchNote:
		if err := note.Decode(message); err != nil {
			w.s.Fail(err)
			return
		}
		if over, code, _ := w.reg.Note(&note); over && !w.lost() {
			w.s.Fail(code.Err())
		}
	}
}
