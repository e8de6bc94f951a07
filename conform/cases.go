package conform

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/protocol"
)

// testCase is one script. Its functions are called with the run's mu held, but for
// after, which is called when all is over.
type testCase struct {
	name    string
	rule    Rule // that the case is about: broken if the replies are not right
	level   Level
	about   string
	task    []string      // lines, or for how long nothing is asked of the client
	members int           // 0: one
	seeds   int           // endpoints that the client is given; 0: all
	want    []string      // first words of the last reply that are right; none: ok
	ttl     time.Duration // of sessions; 0: as the client asks
	silent  bool          // sessions may end
	more    bool          // messages have more elements than this version knows
	fewer   bool          // messages have fewer elements, as an earlier version might

	// sessionless is how many hellos that ask for a session get none.
	sessionless int

	before func(r *run)
	greets func(r *run, w *protocol.Welcome, h protocol.Hello) (part int)
	asks   func(r *run, q *protocol.SessionRequest) (code protocol.Code, silent bool)
	on     func(r *run, c *conn, q *protocol.Request, of *call) verdict
	tick   func(r *run)
	after  func(r *run, output string)
}

func (c *testCase) endpoints() int {
	if c.seeds > 0 {
		return c.seeds
	}
	return max(c.members, 1)
}

var carryOut = verdict{part: whole}

// nth lets f decide on the n-th attempt of each call, counted from 1, and carries
// the others out.
func nth(n int, v verdict) func(*run, *conn, *protocol.Request, *call) verdict {
	return func(_ *run, _ *conn, _ *protocol.Request, of *call) verdict {
		if of != nil && of.attempts == n {
			return v
		}
		return carryOut
	}
}

// counted checks that a counter is what the calls make it, each carried out once
// under one identity.
func counted(name string, want int64, calls int) func(*run, string) {
	return func(r *run, output string) {
		n := r.state.counter(name)
		r.must(n == want, RuleExactlyOnce, "the counter %q is %d, want %d", name, n, want)
		if n := len(r.entered(kindCounter, counterAdd)); calls > 0 {
			r.must(n == calls, RuleIdentity, "%d calls were sent under %d identities of which each may have been carried out", calls, n)
		}
		if calls > 0 && !r.late {
			r.must(output == fmt.Sprint(want), RuleResult, "the result is %.40q, want %d", output, want)
		}
	}
}

func add(times int) []string {
	return slices.Repeat([]string{"add c 1"}, times)
}

// refused makes a case for a code that refuses a call.
func refused(code protocol.Code) testCase {
	return testCase{
		name: fmt.Sprintf("code-%d", code), rule: RuleRefused, level: Simple, task: add(1), want: []string{"refused"},
		about: fmt.Sprintf("code %d, which refuses: the client reports it, and does not send the call again", code),
		on:    nth(1, verdict{part: whole, code: code}),
		after: func(r *run, _ string) {
			for _, c := range r.calls {
				r.must(c.attempts == 1, RuleRefused, "a call that was refused is sent again")
			}
			r.must(len(r.calls) < 2, RuleRefused, "a call that was refused is sent again under another identity")
		},
	}
}

// again makes a case for a code after which the call is sent again.
func again(code protocol.Code, about string) testCase {
	return testCase{
		name: fmt.Sprintf("code-%d", code), rule: RuleCodes, level: Simple, task: add(3), about: fmt.Sprintf("code %d: %s", code, about),
		on:    nth(1, verdict{part: whole, code: code, problem: protocol.Problem{Detail: "by the script", Wait: 20}}),
		after: counted("c", 3, 3),
	}
}

var cases = func() []testCase {
	all := []testCase{
		{
			name: "calls", rule: RuleExactlyOnce, level: Simple, task: add(20), after: counted("c", 20, 20),
			about: "calls one after the other, without anything in their way",
		},
		{
			name: "reads", rule: RuleResult, level: Simple, task: []string{"get c"},
			about:  "a read whose first answer is swallowed: it is sent again, and has no identity",
			before: func(r *run) { r.do(kindCounter, counterAdd, "c", protocol.AppendInts(nil, 42)) },
			on: func(r *run, _ *conn, q *protocol.Request, _ *call) verdict {
				if q.Kind == kindCounter {
					r.counts["reads"]++
				}
				return verdict{part: whole, mute: r.counts["reads"] == 1}
			},
			after: func(r *run, output string) {
				r.must(r.late || output == "42", RuleResult, "the result is %.40q, want 42", output)
			},
		},
		{
			name: "cut", rule: RuleExactlyOnce, level: Simple, task: add(12),
			about: "the connection is cut in the middle of answers to calls that were carried out",
			on: func(r *run, _ *conn, q *protocol.Request, of *call) verdict {
				if of == nil || of.attempts > 1 {
					return carryOut
				}
				r.counts["calls"]++
				if n := r.counts["calls"]; n%2 == 0 {
					return verdict{part: []int{0, 1, 3, 5, 9, 1 << 20}[n/2%6]}
				}
				return carryOut
			},
			after: counted("c", 12, 12),
		},
		{
			name: "swallowed-replies", rule: RuleExactlyOnce, level: Simple, task: add(5), on: nth(1, verdict{part: whole, mute: true}), after: counted("c", 5, 5),
			about: "calls are carried out, and their first attempt is not answered",
		},
		{
			name: "swallowed-requests", rule: RuleExactlyOnce, level: Simple, task: add(5), on: nth(1, verdict{part: whole, lost: true}), after: counted("c", 5, 5),
			about: "the first attempt of each call is lost, which the client cannot know",
		},
		{
			name: "lost-and-cut", rule: RuleExactlyOnce, level: Simple, task: add(5), on: nth(1, verdict{lost: true}), after: counted("c", 5, 5),
			about: "the first attempt of each call is lost with its connection",
		},
		{
			name: "late-replies", rule: RuleExactlyOnce, level: Simple, task: add(4), on: nth(1, verdict{part: whole, delay: 900 * time.Millisecond}), after: counted("c", 4, 4),
			about: "the first attempt of each call is answered after 0.9 s, perhaps after its repeat",
		},
		{
			name: "many", rule: RuleExactlyOnce, level: Simple, task: []string{"add-many c 1 300 16"}, after: counted("c", 300, 0),
			about: "16 calls in flight, some of them lost, swallowed or refused: slots, sequences and highest",
			on: func(r *run, _ *conn, _ *protocol.Request, of *call) verdict {
				r.counts["calls"]++
				switch n := r.counts["calls"]; {
				case of == nil || of.attempts > 1:
				case n%17 == 0:
					return verdict{part: whole, mute: true}
				case n%19 == 0:
					return verdict{part: whole, lost: true}
				case n%13 == 0:
					return verdict{part: whole, code: protocol.CodeBusy, problem: protocol.Problem{Wait: 10}}
				}
				return carryOut
			},
		},
		{
			name: "values", rule: RuleCodec, level: Simple, task: []string{"put m key hello"},
			about: "a text is stored under a text: both in the encoding that other clients read",
			on: func(r *run, _ *conn, q *protocol.Request, _ *call) verdict {
				b := protocol.NewReader(q.Body)
				ok := q.Kind == kindMap && b.ArrayLen() == 3 && string(b.Bytes()) == "\x01key"
				r.must(ok, RuleCodec, "kind %d, operation %d with the body %x: want a put of the key 01 6b6579", q.Kind, q.Op, q.Body)
				if v := string(b.Bytes()); ok {
					r.must(v == "\x01\x65hello" || v == "\x02\"hello\"" || v == "\x03hello", RuleCodec, "the value %x: want the codec's number, and hello in that codec", v)
				}
				return carryOut
			},
		},
		{
			name: "too-large", rule: RuleLimits, level: Simple, task: []string{"put m key hello", "put m " + strings.Repeat("k", 3000) + " hello"}, want: []string{"refused"},
			about: "a key that is larger than the member allows: refused before it is sent",
			on: func(r *run, _ *conn, q *protocol.Request, _ *call) verdict {
				r.must(len(q.Body) <= int(limits.Key), RuleLimits, "a request with a key over limits.key is sent")
				return carryOut
			},
		},
		{
			name: "more-elements", rule: RuleGrowth, level: Simple, task: add(5), more: true, after: counted("c", 5, 5),
			about: "messages have more elements than this version knows: the client skips them",
		},
		{
			name: "fewer-elements", rule: RuleGrowth, level: Simple, task: add(5), fewer: true, sessionless: 1, after: counted("c", 5, 5),
			about: "messages have fewer elements at their end: what is missing is zero. The first welcome has no session",
		},
		{
			name: "another-version", rule: RuleVersion, level: Simple, task: add(2), members: 2, after: counted("c", 2, 2),
			about:  "a member answers in a version that the client does not speak: the client closes the connection, and goes to the other",
			before: func(r *run) { r.lead(r.members[1]) },
			greets: func(_ *run, w *protocol.Welcome, _ protocol.Hello) int {
				if w.Member == 1 {
					w.Version, w.Newest = 9, 9
				}
				return whole
			},
		},
		{
			name: "no-leader", rule: RuleCodes, level: Simple, task: add(1), after: counted("c", 1, 1),
			about: "no leader is known for 3 s: the client tries again, and pauses in between",
			on: func(_ *run, _ *conn, _ *protocol.Request, of *call) verdict {
				if of != nil && time.Since(of.began) < 3*time.Second {
					return verdict{part: whole, code: protocol.CodeNoLeader}
				}
				return carryOut
			},
		},
		{
			name: "offers", rule: RuleExactlyOnce, level: Simple, task: []string{"offer q a", "offer q b", "offer q c"},
			about: "elements are offered to a queue, and the first answers swallowed",
			on:    nth(1, verdict{part: whole, mute: true}),
			after: func(r *run, _ string) {
				n := r.length(kindQueue, "q")
				r.must(n == 3, RuleExactlyOnce, "the queue has %d elements, want 3", n)
			},
		},
		{
			name: "texts", rule: RuleResult, level: Simple, task: []string{"look-up m key"},
			about:  "a text that another client has stored",
			before: func(r *run) { r.put("m", "\x01key", append([]byte{1}, protocol.AppendString(nil, "hello")...)) },
			after: func(r *run, output string) {
				r.must(r.late || output == "hello", RuleResult, "the result is %.40q, want hello", output)
			},
		},
		{
			name: "unknown-codec", rule: RuleCodec, level: Simple, task: []string{"look-up m key"}, want: []string{"failed"},
			about:  "a value in a codec that the client was not told to read: it reports that",
			before: func(r *run) { r.put("m", "\x01key", []byte("\xc8hello")) },
		},
		{
			name: "lost-welcome", rule: RuleHello, level: Simple, task: add(3), after: counted("c", 3, 3),
			about: "the connection is lost, and the next two welcomes are cut off: the client greets again, under the same UUID",
			greets: func(r *run, _ *protocol.Welcome, _ protocol.Hello) int {
				if r.counts["cut"] > 0 && r.counts["welcomes"] < 2 {
					r.counts["welcomes"]++
					return []int{0, 0, 40}[r.counts["welcomes"]]
				}
				return whole
			},
			on: func(r *run, _ *conn, _ *protocol.Request, of *call) verdict {
				if of != nil && r.state.counter("c") == 1 && r.counts["cut"] == 0 {
					r.counts["cut"]++
					return verdict{lost: true}
				}
				return carryOut
			},
		},
		{
			name: "no-session-yet", rule: RuleSession, level: Simple, task: add(3), sessionless: 1, after: counted("c", 3, 3),
			about: "the system group does not answer at first: no session comes with the welcome, and none is opened",
			asks: func(r *run, q *protocol.SessionRequest) (protocol.Code, bool) {
				r.counts["asks"]++
				switch r.counts["asks"] {
				case 1:
					return protocol.CodeNoLeader, false
				case 2:
					return protocol.CodeUnknown, false
				case 3:
					return 0, true
				}
				return protocol.CodeOK, false
			},
		},
		{
			name: "session-ended", rule: RuleSession, level: Simple, task: add(4), silent: true, after: counted("c", 4, 0),
			about: "the session ends before a call has entered: the call goes on under a new session",
			on: func(r *run, _ *conn, q *protocol.Request, of *call) verdict {
				if of != nil && of.attempts == 1 && r.state.counter("c") == 2 && r.counts["ended"] == 0 {
					r.counts["ended"]++
					r.end(r.sessions[q.Caller.Session])
				}
				return carryOut
			},
		},
		{
			name: "session-ended-unknown", rule: RuleOutcome, level: Simple, task: add(1), silent: true, want: []string{"unknown"},
			about: "the session ends after an attempt that was not answered: the outcome is unknown, and the call does not go on",
			on: func(r *run, _ *conn, q *protocol.Request, of *call) verdict {
				switch {
				case of == nil:
					return carryOut
				case of.attempts == 1 && r.counts["swallowed"] == 0:
					r.counts["swallowed"]++
					return verdict{part: whole, mute: true}
				case !r.sessions[q.Caller.Session].ended && r.counts["ended"] == 0:
					r.counts["ended"]++
					r.end(r.sessions[q.Caller.Session])
				}
				return carryOut
			},
			after: func(r *run, _ string) {
				n := r.state.counter("c")
				r.must(n == 1, RuleIdentity, "the call was sent again under another session: it was carried out %d times", n)
			},
		},
		{
			name: "reply-dropped", rule: RuleOutcome, level: Simple, task: add(1), want: []string{"ok", "unknown"},
			about: "code 21: the call was carried out, and its reply is gone; it is not sent under another identity",
			on: func(_ *run, _ *conn, _ *protocol.Request, of *call) verdict {
				switch {
				case of == nil:
				case of.attempts == 1:
					return verdict{part: whole, mute: true}
				case of.attempts == 2:
					return verdict{part: whole, code: protocol.CodeReplyDropped}
				}
				return carryOut
			},
			after: counted("c", 1, 0),
		},
		{
			name: "goodbye", rule: RuleGoodbye, level: Simple, task: add(6), members: 2, after: counted("c", 6, 6),
			about: "the member says goodbye: nothing more is sent on the connection",
			on: func(r *run, c *conn, _ *protocol.Request, of *call) verdict {
				if of == nil || of.attempts > 1 {
					return carryOut
				}
				r.counts["calls"]++
				if r.counts["calls"] == 3 {
					return verdict{part: whole, after: func() {
						for other := range c.m.conns {
							other.send(r.grown(protocol.Encode(protocol.Goodbye{Type: protocol.TypeGoodbye, Reason: "by the script"})))
						}
						// It reads what comes before the answer, and goes on after it.
						c.goodbye = true
						r.lead(r.members[1])
					}}
				}
				return carryOut
			},
		},
		{
			name: "kept-alive", rule: RuleHeartbeat, level: Simple, task: []string{"add c 1", "11s", "add c 1"}, ttl: 5 * time.Second, after: counted("c", 2, 2),
			about: "11 s between two calls, with a time to live of 5 s: the session is kept, by heartbeats, or by sending anything at all",
		},
	}
	for _, code := range []protocol.Code{
		protocol.CodeFrozen, protocol.CodeBusy, protocol.CodeSessionUnknown, protocol.CodeExpired, protocol.CodeMemoryFull,
		protocol.CodeReadOnly, protocol.CodeShutdown, protocol.CodeNoLeader, 15,
	} {
		all = append(all, again(code, "not entered; the call is sent again"))
	}
	for _, code := range []protocol.Code{protocol.CodeUnknown, 35} {
		all = append(all, again(code, "perhaps carried out; the call is sent again under the same identity"))
	}
	for _, code := range []protocol.Code{
		protocol.CodeInvalid, protocol.CodeTooLarge, protocol.CodeUnsupported, protocol.CodeDestroyed, protocol.CodeSettings,
		protocol.CodeWaiters, protocol.CodePanic, 70, protocol.CodeKindBase, protocol.CodeKindBase + 99,
	} {
		all = append(all, refused(code))
	}
	return slices.Concat(all, waiting, holding, full)
}()

var full = []testCase{
	{
		name: "redirect", rule: RuleRouting, level: Full, task: add(6), members: 3, seeds: 1, after: counted("c", 6, 6),
		about:  "another member leads, and the one that is asked says so (code 1)",
		before: func(r *run) { r.lead(r.members[2]) },
		on: func(r *run, c *conn, _ *protocol.Request, of *call) verdict {
			if of == nil || of.attempts > 1 {
				return carryOut
			}
			r.counts["calls"]++
			if n := r.counts["calls"]; n%2 == 0 {
				next := r.members[(n/2)%3]
				return verdict{part: whole, after: func() { r.lead(next) }} // it finds out by itself
			}
			return carryOut
		},
	},
	{
		name: "table", rule: RuleRouting, level: Full, task: add(4), members: 2, after: counted("c", 4, 4),
		about: "the group does not own the partition (code 2): the client asks for the table, or is sent it",
		on: func(r *run, c *conn, _ *protocol.Request, of *call) verdict {
			if of == nil || of.attempts != 1 {
				return carryOut
			}
			return verdict{part: whole, code: protocol.CodeNotOwner, after: func() { r.epoch++ }}
		},
	},
	{
		name: "leaders", rule: RuleRouting, level: Full, members: 3, seeds: 1, before: apart, after: each(1),
		task:  []string{"add c1 1", "add c2 1", "add c3 1", "add c4 1", "add c5 1", "add c6 1"},
		about: "each group has another leader, the system group, too",
	},
	{
		name: "moves", rule: RuleRouting, level: Full, members: 3, before: apart, after: each(2),
		task:  slices.Repeat([]string{"add c1 1", "add c2 1", "add c3 1", "add c4 1", "add c5 1", "add c6 1"}, 2),
		about: "all partitions move to the other group, and nobody is told: who is asked does not own them any more (code 2)",
		on: func(r *run, _ *conn, _ *protocol.Request, of *call) verdict {
			if of != nil && of.attempts == 1 {
				if r.counts["calls"]++; r.counts["calls"] == 6 {
					return verdict{part: whole, after: func() {
						r.moves++
						r.epoch++
					}}
				}
			}
			return carryOut
		},
	},
	{
		name: "pushed", rule: RuleRouting, level: Full, task: add(6), members: 2, after: counted("c", 6, 6),
		about: "the leader changes, members push their tables, and the old leader is gone",
		on: func(r *run, c *conn, _ *protocol.Request, of *call) verdict {
			if of != nil && of.attempts == 1 {
				if r.counts["calls"]++; r.counts["calls"] == 3 {
					return verdict{part: whole, mute: true, after: nil}
				}
			}
			if of != nil && of.attempts == 2 && r.counts["moved"] == 0 {
				r.counts["moved"]++
				r.lead(r.members[1])
				r.push()
				r.members[0].stop()
			}
			return carryOut
		},
	},
	{
		name: "routing", rule: RuleRouting, level: Full, task: []string{"put {ada}:m k{x}ey hello"},
		about: "tags in names and keys decide the partition",
	},
	{
		name: "routing-keys", rule: RuleRouting, level: Full, task: []string{"put m k{x}ey hello"},
		about: "a tag in the key decides the partition",
	},
}

// apart gives each group another leader.
func apart(r *run) {
	for i, m := range r.members {
		r.leaders[protocol.SystemGroup+protocol.GroupID(i)] = m.id
	}
}

// each checks that all counters of the tasks have a value.
func each(want int64) func(*run, string) {
	return func(r *run, _ string) {
		for i := range 6 {
			name := fmt.Sprint("c", i+1)
			n := r.state.counter(name)
			r.must(n == want, RuleExactlyOnce, "the counter %q is %d, want %d", name, n, want)
		}
	}
}
