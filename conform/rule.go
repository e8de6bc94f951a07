package conform

import (
	"fmt"
	"slices"
)

// Rule names something that a client must do. Docs/protocol.md, section Conformance,
// lists the rules with the section of the page.
type Rule string

// The rules.
const (
	RuleForm        Rule = "form"
	RuleHello       Rule = "hello"
	RuleVersion     Rule = "version"
	RuleGrowth      Rule = "growth"
	RuleLimits      Rule = "limits"
	RuleRouting     Rule = "routing"
	RuleTable       Rule = "table"
	RuleGoodbye     Rule = "goodbye"
	RuleCodes       Rule = "codes"
	RuleRefused     Rule = "refused"
	RuleAttempts    Rule = "attempts"
	RulePause       Rule = "pause"
	RuleIdentity    Rule = "identity"
	RuleSequence    Rule = "sequence"
	RuleHighest     Rule = "highest"
	RuleRepeat      Rule = "repeat"
	RuleExactlyOnce Rule = "exactly-once"
	RuleOutcome     Rule = "outcome"
	RuleResult      Rule = "result"
	RuleCodec       Rule = "codec"
	RuleSession     Rule = "session"
	RuleHeartbeat   Rule = "heartbeat"
	RuleWaiting     Rule = "waiting"
	RuleCancel      Rule = "cancel"
	RuleConfirm     Rule = "confirm"
	RuleRelease     Rule = "release"
	RuleDriver      Rule = "driver"
)

// RuleText is what a rule asks.
type RuleText struct {
	Rule Rule
	Must string // the client MUST ...
	At   string // section of docs/protocol.md
}

// Rules returns all rules.
func Rules() []RuleText { return slices.Clone(rules) }

var rules = []RuleText{
	{RuleForm, "begin a connection with `QUORATEC` and write only the messages of a client, each in its one form; no two requests in flight on a connection have one ID", "1, 2"},
	{RuleHello, "greet first and once, with a range of versions that the member speaks, and with one UUID on all its connections for as long as its session lives", "1"},
	{RuleVersion, "close a connection whose `welcome` names a version that it does not speak, and send no request there", "1"},
	{RuleGrowth, "skip elements, bits of features and of newer versions that it does not know, and take elements that are missing as zero", "1"},
	{RuleLimits, "keep to the limits of the `welcome`, and refuse what is over them before it sends", "2"},
	{RuleRouting, "send a request with the partition of its name or key, and go to the leader that the newest table or a hint names", "3"},
	{RuleTable, "pause between two `table-request`s, 50 ms on average", "2"},
	{RuleGoodbye, "send nothing more on a connection after the member's `goodbye`, and go on elsewhere", "2"},
	{RuleCodes, "do what the class of a code says, also of a code that it does not know: send again what has not entered", "4"},
	{RuleRefused, "report what is refused, and not send it again", "4"},
	{RuleAttempts, "wait for the answer, the attempt's time or the loss of the connection before it sends an attempt again", "5"},
	{RulePause, "pause between attempts: 100 in a second are too many", "5"},
	{RuleIdentity, "give each mutation one identity, which no other has, and another only if every attempt so far has not entered; a read has none", "5"},
	{RuleSequence, "raise the sequence of a slot with each use, and use no slot whose call may still be on its way", "5"},
	{RuleHighest, "say the highest slot in use, or more", "5"},
	{RuleRepeat, "send a repeat with the flag `repeat`, and otherwise byte for byte as it was", "5"},
	{RuleExactlyOnce, "have each mutation carried out once: no more, and no less where it reports success", "5"},
	{RuleOutcome, "report an outcome as unknown that is, not as a failure nor as a success", "5"},
	{RuleResult, "report the result of the call", "7"},
	{RuleCodec, "write keys and values as other clients read them, and report a codec that it was not told to read", "3"},
	{RuleSession, "send mutations under a session that it was given, opened with a UUID, and ask again for one that it did not get", "6"},
	{RuleHeartbeat, "keep its session: by heartbeats, or, where members keep it, by sending anything", "6"},
	{RuleWaiting, "repeat a call that waits, after the loss of a connection, a change of leader, and every 5 s", "6"},
	{RuleCancel, "cancel a call that waits and that it gives up, until the cancel is answered, and return the result if the answer is one", "6"},
	{RuleConfirm, "confirm what it was granted with code 60, until the confirm is answered, before it reports it", "6"},
	{RuleRelease, "release what it holds; stop by itself, in time, when its session may have ended", "6"},
	{RuleDriver, "perform the tasks: reply to each with one line, and end in order", "9"},
}

// Finding is one rule that the client has broken.
type Finding struct {
	Rule Rule   `json:"rule"`
	What string `json:"what"`
}

// maxSame is how many findings of one rule a case reports.
const maxSame = 3

// must notes that the client has met a rule, and whether it has kept it. mu is held.
func (r *run) must(kept bool, rule Rule, format string, args ...any) {
	r.met[rule] = true
	if kept {
		return
	}
	f := Finding{rule, fmt.Sprintf(format, args...)}
	same := 0
	for _, other := range r.broken {
		if other.Rule == rule {
			same++
		}
	}
	if same < maxSame && !slices.Contains(r.broken, f) {
		r.broken = append(r.broken, f)
	}
}

// broke notes that the client has broken a rule. mu is held.
func (r *run) broke(rule Rule, format string, args ...any) { r.must(false, rule, format, args...) }

// kept returns the rules that the client has met and not broken. mu is held.
func (r *run) kept() (all []Rule) {
	for _, t := range rules {
		if r.met[t.Rule] && !slices.ContainsFunc(r.broken, func(f Finding) bool { return f.Rule == t.Rule }) {
			all = append(all, t.Rule)
		}
	}
	return all
}
