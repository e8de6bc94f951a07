package shardgroups

import (
	"strings"
	"time"

	"github.com/quorate/quorate/protocol"
)

// maxWaitingPerCall bounds how many repeats of one waiting call are kept.
const maxWaitingPerCall = 4

// await keeps a call until it is granted. If there are too many repeats of it, it
// returns the oldest, to be answered "unknown"; nil: none. mu is held.
func (g *Group) await(q *Request) *Request {
	// A call may wait for days. It must not keep alive the frame that it arrived in,
	// nor the requests that were allocated with it, nor their frames.
	kept := &Request{Request: q.Request, Arrived: q.Arrived, Done: q.Done, group: q.group}
	kept.Body, kept.Name = nil, strings.Clone(q.Name)
	key := waitKey{q.Partition, q.Caller}
	qs := g.waiting[key]
	var old *Request
	if len(qs) >= maxWaitingPerCall {
		old = qs[0]
		qs = append(qs[:0], qs[1:]...)
	}
	g.waiting[key] = append(qs, kept)
	return old
}

const repeatedWait = protocol.FlagRepeat | protocol.FlagWait

// waitsAlready answers the repeat of a waiting call from its record, or lets it wait
// with the call, and reports whether it did. The repeat is not logged then: every
// call that waits is repeated every few seconds, and nothing changes by it. If
// there is no record of the call the repeat is logged as any other request.
//
// The record is looked up, and the repeat is registered, while mu is held, and only
// if this replica leads then (WAIT-1):
//
//   - A grant is applied under mu. It comes before the look-up, which finds its
//     reply in the record, or after the registration, and answers that.
//   - Whatever ends the leadership changes Leader first, or stopped, and then answers all
//     in waiting "unknown", under mu. Either this replica no longer leads when it is
//     asked here, or the repeat is registered by the time that waiting is emptied.
//   - A leader may have been deposed without knowing. What it has applied is
//     committed, so an answer from a record is the call's answer, such as it would
//     have been if it had been on its way for longer: what was granted since to a
//     waiting call comes from the next leader, and what was reserved and given back
//     since cannot be confirmed. A caller that waits here is answered "unknown" once this replica
//     misses its majority, within two election timeouts, and repeats elsewhere.
//   - A new leader may not have applied all that is committed. It finds no record,
//     and logs the repeat behind the call; or the call waits, and its grant, which is
//     yet to be applied, answers the repeat.
//   - A cancel, or a later call in the slot, that is in flight withdraws the call when
//     it is applied, and answers the callers that wait for it.
//   - The first attempt may be in flight: there is no record, and the repeat joins it.
//   - Of a session that the state does not know, or that has ended, and in a state
//     that refuses the kind, Apply does not look at the record. Nor is it here.
func (g *Group) waitsAlready(q *Request) bool {
	if q.Flags&(repeatedWait|protocol.FlagRead) != repeatedWait {
		return false
	}
	g.mu.Lock()
	g.proposer.mu.Lock()
	leads := g.proposer.leads()
	g.proposer.mu.Unlock()
	if !leads {
		g.mu.Unlock()
		return false
	}
	r, v, ok := g.state.Recorded(&q.Request)
	var old *Request
	if ok && r.IsWaiting() {
		old = g.await(q)
	}
	g.mu.Unlock()
	if !ok {
		return false
	}
	g.stats.Repeats.Add(1)
	if old != nil {
		old.refuse(protocol.CodeUnknown)
	}
	if !r.IsWaiting() {
		g.measure(q, ClassWrite, r.Code, time.Now())
		q.Done(protocol.Reply{ID: q.ID, Code: r.Code, Version: v, Body: r.Body})
	}
	return true
}
