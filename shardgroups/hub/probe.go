package hub

import (
	"sync/atomic"
	"time"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/shardgroups/histogram"
)

// probe begins a probe of a watch (WATCH-11). The confirmations of all that come at the
// same time share a round.
func (h *loop) probe(w *watch, n uint64) {
	w.probing, w.probe, w.targets = true, n, nil
	confirmed := func(code protocol.Code) {
		h.hub.do(func() { h.confirmed(w, code) })
	}
	if mutants.On(mutants.SyncUnconfirmed) {
		confirmed(protocol.CodeOK)
		return
	}
	h.hub.source.Confirm(confirmed)
}

// confirmed goes on with a probe after its confirmation. Without one there is no answer:
// this replica may lead no longer, or too much waits before it. The client asks again, or
// goes elsewhere.
func (h *loop) confirmed(w *watch, code protocol.Code) {
	if w.removed {
		return
	}
	if code != protocol.CodeOK {
		h.endProbe(w)
		return
	}
	h.note(w, protocol.WatchConfirmed, w.probe)
	w.targets = make(map[protocol.PartitionID]protocol.Version, len(w.parts))
	h.hub.source.View(func(s groupstate.Watched) {
		for _, id := range w.parts {
			w.targets[id], _ = s.Current(id)
		}
	})
	h.syncing[w] = struct{}{}
}

func (h *loop) endProbe(w *watch) {
	w.probing, w.targets = false, nil
	delete(h.syncing, w)
	if w.hasNext {
		w.hasNext = false
		h.probe(w, w.next)
	}
}

// answerProbes answers the probes of those that have been sent all.
func (h *loop) answerProbes() {
	for w := range h.syncing {
		if !h.isSynced(w) {
			continue
		}
		h.bookmark(w)
		h.note(w, protocol.WatchSynced, w.probe)
		h.hub.stats.Syncs.Add(1)
		h.endProbe(w)
	}
}

// isSynced reports whether a watch has reached what its probe is about, in all
// partitions, and lists none.
func (h *loop) isSynced(w *watch) bool {
	if mutants.On(mutants.SyncOvertakes) {
		return true
	}
	row := w.filter.options&protocol.WatchRow != 0
	if row {
		return !w.stalled && (len(w.parts) == 0 || w.feed.seen >= w.targets[w.parts[0]])
	}
	for id, version := range w.targets {
		at := h.tracked[id].at.Version
		if p := w.behind[id]; p != nil {
			if at = p.at.Version; p.listing {
				return false
			}
		}
		if at < version {
			return false
		}
	}
	return true
}

// bookmark tells a watch the positions that it has come to without an event: else a quiet
// prefix of a busy map would find itself below the floor after its next reconnect, though
// nothing has happened (WATCH-13).
func (h *loop) bookmark(w *watch) {
	if w.filter.options&protocol.WatchRow != 0 {
		return
	}
	var out []section
	add := func(id protocol.PartitionID, at groupstate.Position) {
		s := protocol.WatchSection{Partition: id, Version: at.Version, Skip: uint32(at.Skip)}
		out = append(out, section{encoded: s.Append(nil)})
	}
	for _, id := range w.parts {
		switch p := w.behind[id]; {
		case p == nil && h.tracked[id].changed > w.told:
			add(id, h.tracked[id].at)
		case p != nil && !p.listing:
			add(id, p.at)
		}
	}
	w.told = h.pass
	if len(out) > 0 {
		h.send(w.sink, []uint64{w.id}, out, 0)
	}
}

// lagEvery is how often the lag is looked at.
const lagEvery = time.Second

// lag notes by how many mutations the watch that is furthest behind is.
func (h *loop) lag() {
	if h.hub.stats.behind.Load() == 0 {
		h.hub.stats.lag.Store(0)
		return
	}
	if time.Since(h.lagged) < lagEvery {
		return
	}
	h.lagged = time.Now()
	most := uint64(0)
	h.hub.source.View(func(s groupstate.Watched) {
		for _, of := range h.sinks {
			for _, w := range of {
				for id, p := range w.behind {
					if current, _ := s.Current(id); current > p.at.Version && generation(current) == generation(p.at.Version) {
						most = max(most, uint64(current-p.at.Version))
					}
				}
			}
		}
	})
	h.hub.stats.lag.Store(most)
}

// stats are counts of a Hub.
type stats struct {
	Events, Bytes, Frames, Syncs atomic.Uint64
	Gaps                         [5]atomic.Uint64 // by reason
	watches, rows, behind        atomic.Int64     // behind: partitions of watches
	lag                          atomic.Uint64
	delay                        histogram.Recorder
}

// Stats are what a Hub has now, and what it has done since the member started.
type Stats struct {
	Watches, Rows                int // Rows: of them those of rows
	Behind                       int // partitions of watches that are not sent everything as it happens
	Events, Bytes, Frames, Syncs uint64
	Gaps                         map[string]uint64 // by reason
	// Lag is the most mutations of a partition that a watch was not sent yet.
	Lag uint64
	// Delay has the nanoseconds from the first change that is new until those that keep
	// up were sent it.
	Delay histogram.Histogram
}

// Stats returns the counts.
func (h *Hub) Stats() Stats {
	s := Stats{
		Watches: int(h.stats.watches.Load()), Behind: int(h.stats.behind.Load()),
		Events: h.stats.Events.Load(), Bytes: h.stats.Bytes.Load(), Frames: h.stats.Frames.Load(), Syncs: h.stats.Syncs.Load(),
		Gaps: map[string]uint64{}, Rows: int(h.stats.rows.Load()),
		Lag: h.stats.lag.Load(), Delay: h.stats.delay.Read(histogram.LatencyLow),
	}
	for reason, name := range []string{protocol.GapCompacted: "compacted", protocol.GapDataLost: "data_lost", protocol.GapOtherHistory: "other_history"} {
		if name != "" {
			s.Gaps[name] = h.stats.Gaps[reason].Load()
		}
	}
	return s
}

// Add adds the counts of another Hub.
func (s *Stats) Add(o Stats) {
	s.Watches, s.Rows, s.Behind = s.Watches+o.Watches, s.Rows+o.Rows, s.Behind+o.Behind
	s.Lag, s.Delay = max(s.Lag, o.Lag), s.Delay.Plus(o.Delay)
	s.Events, s.Bytes = s.Events+o.Events, s.Bytes+o.Bytes
	s.Frames, s.Syncs = s.Frames+o.Frames, s.Syncs+o.Syncs
	if s.Gaps == nil {
		s.Gaps = map[string]uint64{}
	}
	for reason, n := range o.Gaps {
		s.Gaps[reason] += n
	}
}
