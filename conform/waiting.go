package conform

import (
	"time"

	"github.com/quorate/quorate/protocol"
)

// element is a text as a queue has it, in CBOR.
func element(text string) []byte {
	b := append([]byte{1}, protocol.AppendString(nil, text)...)
	return protocol.AppendBytes(protocol.AppendArray(nil, 1), b)
}

// offer puts an element into the queue, once, when a call has waited for so long.
func offer(d time.Duration) func(*run) {
	return func(r *run) {
		for _, c := range r.calls {
			if c.first.Kind == kindQueue && c.first.Op == queueTake && r.counts["offered"] == 0 && time.Since(c.at) > d {
				r.counts["offered"]++
				r.do(kindQueue, queueOffer, "q", element("hello"))
			}
		}
	}
}

// took checks that the client has taken and confirmed the element.
func took(r *run, output string) {
	r.must(r.late || output == "hello", RuleResult, "the result is %.40q, want hello", output)
	confirmed := false
	for _, c := range r.calls {
		confirmed = confirmed || c.confirms > 0
	}
	if output != "" {
		r.must(confirmed, RuleConfirm, "an element that was reserved (code 60) is reported, and was not confirmed")
	}
}

var waiting = []testCase{
	{
		name: "take", rule: RuleWaiting, level: Waiting, task: []string{"take q 0"}, tick: offer(300 * time.Millisecond), after: took,
		about: "an element comes later: it is reserved (code 60), and confirmed",
	},
	{
		name: "confirm-lost", rule: RuleConfirm, level: Waiting, task: []string{"take q 0"}, tick: offer(300 * time.Millisecond), after: took,
		about: "the answers to the first confirms are lost: it is sent again until it is answered",
		on: func(r *run, _ *conn, q *protocol.Request, of *call) verdict {
			if of != nil && q.Kind == protocol.KindControl && of.confirms <= 2 {
				return verdict{part: whole, mute: of.confirms == 2, lost: of.confirms == 1}
			}
			return carryOut
		},
	},
	{
		name: "take-cut", rule: RuleWaiting, level: Waiting, task: []string{"take q 0"}, after: took,
		about: "the connection is lost while a call waits: it is repeated under its identity",
		tick: func(r *run) {
			for _, c := range r.calls {
				switch waited := time.Since(c.at); {
				case r.counts["cut"] == 0 && waited > 200*time.Millisecond:
					r.counts["cut"]++
					r.members[0].cut()
				case r.counts["cut"] == 1 && c.attempts >= 2 && r.counts["offered"] == 0:
					r.counts["offered"]++
					r.do(kindQueue, queueOffer, "q", element("hello"))
				}
			}
		},
	},
	{
		name: "take-repeated", rule: RuleWaiting, level: Waiting, task: []string{"take q 0"}, after: took,
		about: "nothing happens while a call waits: it is repeated all the same, every 5 s, with the flag repeat and a new ID",
		tick: func(r *run) {
			for _, c := range r.calls {
				if c.first.Op == queueTake && c.attempts >= 2 && r.counts["offered"] == 0 {
					r.counts["offered"]++
					r.do(kindQueue, queueOffer, "q", element("hello"))
				}
			}
		},
	},
	{
		name: "take-leader-moves", rule: RuleWaiting, level: Waiting, task: []string{"take q 0"}, members: 2, after: took,
		about: "the leader changes while a call waits, and its old connection stays: the call goes to the new leader",
		tick: func(r *run) {
			for _, c := range r.calls {
				switch {
				case r.counts["moved"] == 0 && time.Since(c.at) > 200*time.Millisecond:
					r.counts["moved"]++
					r.lead(r.members[1])
					r.push()
				case r.counts["moved"] == 1 && c.attempts >= 2 && r.counts["offered"] == 0:
					r.counts["offered"]++
					r.do(kindQueue, queueOffer, "q", element("hello"))
				}
			}
		},
	},
	{
		name: "take-timeout", rule: RuleWaiting, level: Waiting, task: []string{"take q 500"}, want: []string{"none"},
		about: "the time to wait is over: the member says so (code 45), and nothing was taken",
	},
	{
		name: "give-up-taken", rule: RuleCancel, level: Waiting, task: []string{"give-up q 1500"},
		about:  "an element is taken at once, and the answers are swallowed; the client gives up, and the answer to its cancel is that of the call",
		before: func(r *run) { r.do(kindQueue, queueOffer, "q", element("hello")) },
		on: func(_ *run, _ *conn, q *protocol.Request, _ *call) verdict {
			return verdict{part: whole, mute: q.Kind == kindQueue}
		},
		after: func(r *run, output string) {
			r.must(r.late || output == "hello", RuleCancel, "the result is %.40q, want hello, which was taken", output)
		},
	},
	{
		name: "give-up", rule: RuleCancel, level: Waiting, task: []string{"give-up q 500"}, want: []string{"none"},
		about: "the client gives a call up that waits: it cancels it, until the cancel is answered",
		on: func(r *run, _ *conn, q *protocol.Request, of *call) verdict {
			if of != nil && q.Kind == protocol.KindControl && of.cancels <= 2 {
				return verdict{part: whole, mute: of.cancels == 2, lost: of.cancels == 1}
			}
			return carryOut
		},
		after: func(r *run, _ string) {
			for _, c := range r.calls {
				if c.first.Op == queueTake {
					r.must(c.settled || r.allEnded(), RuleCancel, "a call that waits is given up, and its cancel (sent %d times) was never answered", c.cancels)
				}
			}
		},
	},
}

// allEnded reports whether all sessions of the client have ended: with them ends what
// waited.
func (r *run) allEnded() bool {
	for _, s := range r.sessions {
		if !s.ended {
			return false
		}
	}
	return true
}

func permits(n int64) func(*run) {
	return func(r *run) { r.do(kindSemaphore, semaphoreInit, "s", protocol.AppendInts(nil, n)) }
}

// released checks that nothing is held when the client is done.
func released(r *run, _ string) {
	n := r.length(kindSemaphore, "s")
	r.must(n == 1 || r.allEnded(), RuleRelease, "the client is done, and %d of 1 permit is free", n)
}

// length is how much a structure has: elements, or free permits; -1 if there is none.
func (r *run) length(kind protocol.KindID, name string) int64 {
	for _, info := range r.state.group.Structures() {
		if info.Kind == kind && info.Name == name {
			return info.Len
		}
	}
	return -1
}

var holding = []testCase{
	{
		name: "hold", rule: RuleRelease, level: Holding, task: []string{"hold s 100"}, before: permits(1), after: released,
		about: "a permit is acquired, held and released; the session is kept by heartbeats, so that it is granted",
	},
	{
		name: "hold-long", rule: RuleHeartbeat, level: Holding, task: []string{"hold s 11000"}, ttl: 5 * time.Second, before: permits(1),
		about: "a permit is held for longer than the time to live: heartbeats come in time",
		after: func(r *run, output string) {
			released(r, output)
			n := r.counts["heartbeats"]
			r.must(n >= 2, RuleHeartbeat, "%d heartbeats came in 11 s with a time to live of 5 s", n)
		},
	},
	{
		name: "hold-swallowed", rule: RuleRelease, level: Holding, task: []string{"hold s 100"}, before: permits(1), after: released,
		about: "the answer to an acquire is lost: it is repeated under its identity, and one permit is held",
		on: func(_ *run, _ *conn, q *protocol.Request, of *call) verdict {
			if of != nil && gives(q) && of.attempts == 1 {
				return verdict{part: 0, mute: true}
			}
			return carryOut
		},
	},
	{
		name: "hold-beats-lost", rule: RuleHeartbeat, level: Holding, task: []string{"hold s 8000"}, ttl: 5 * time.Second, before: permits(1), after: released,
		about: "every other heartbeat is not answered: it is sent again, and nothing is lost",
		asks: func(r *run, q *protocol.SessionRequest) (protocol.Code, bool) {
			if q.Action == protocol.SessionHeartbeat {
				r.counts["beats"]++
			}
			return protocol.CodeOK, q.Action == protocol.SessionHeartbeat && r.counts["beats"]%2 == 0
		},
	},
	{
		name: "hold-lost", rule: RuleRelease, level: Holding, task: []string{"hold s 60000"}, ttl: 3 * time.Second, before: permits(1), silent: true,
		want:  []string{"lost"},
		about: "heartbeats are not answered any more: the client stops what it does under the permit by itself, and says so",
		asks: func(r *run, q *protocol.SessionRequest) (protocol.Code, bool) {
			return protocol.CodeOK, q.Action == protocol.SessionHeartbeat && r.length(kindSemaphore, "s") == 0
		},
	},
}
