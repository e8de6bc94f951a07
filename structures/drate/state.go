package drate

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Kind describes rate limits.
func Kind() structures.Kind {
	return structures.Kind{
		ID: 12, Name: "rate", Level: 1, Machine: machine{},
		Doc:  "So many tokens a time for all clients together, and a burst",
		Unit: "tokens",
		Ops:  ops, Codes: codes, Settings: settingInfos,
	}
}

// kind is that of the handles.
var kind = Kind()

// machine keeps one row, "t": [ns, rest], the theoretical arrival time: when all tokens are
// there again. It is ns of log time and rest/rate of a nanosecond more, so nothing is rounded
// (RATE-1). Without the row, and once that time is over, all are there.
type machine struct{ structures.Base }

var timeKey = []byte("t")

// settings are those in force.
type settings struct{ rate, per, burst int64 } // per in nanoseconds

func settingsOf(s *structures.Settings) settings {
	v := settings{s.Value(rateSetting).Int, s.Value(perSetting).Int * int64(time.Millisecond), s.Value(burstSetting).Int}
	if v.burst == 0 {
		v.burst = v.rate
	}
	return v
}

// CheckSettings implements structures.Configurer.
func (machine) CheckSettings(s *structures.Settings) error {
	rate, per, burst := s.Value(rateSetting).Int, s.Value(perSetting).Int, s.Value(burstSetting).Int
	switch {
	case rate < 1 || rate > MaxTokens:
		return fmt.Errorf("%w: a rate of %d, not within 1 to %d", quorate.ErrInvalid, rate, MaxTokens)
	case per < 1 || per > MaxPer.Milliseconds():
		return fmt.Errorf("%w: a rate per %d ms, not within whole milliseconds of 1ms to %v", quorate.ErrInvalid, per, MaxPer)
	case burst < 0 || burst > MaxTokens:
		return fmt.Errorf("%w: a burst of %d, not within 1 to %d", quorate.ErrInvalid, burst, MaxTokens)
	}
	v := settingsOf(s)
	if hi, lo := bits.Mul64(uint64(v.burst), uint64(v.per)); hi > 0 || lo/uint64(v.rate) > uint64(maxFill) {
		return fmt.Errorf("%w: a burst of %d at a rate of %d in %v: it takes longer than %v to come", quorate.ErrInvalid, v.burst, v.rate, time.Duration(v.per), maxFill)
	}
	return nil
}

// maxFill bounds the time in which a burst comes, so that no time is too large.
const maxFill = 366 * 24 * time.Hour

// Check implements structures.Machine.
func (machine) Check(op protocol.Op, body []byte) error {
	switch op {
	case opLeft:
		return protocol.ReadInts(body)
	case opTake:
	default:
		return fmt.Errorf("%w: operation %d of a rate", quorate.ErrUnsupported, op)
	}
	var n, most int64
	if err := protocol.ReadInts(body, &n, &most); err != nil {
		return err
	}
	switch {
	case n < 1 || n > MaxTokens:
		return fmt.Errorf("%w: %d tokens, not within 1 to %d", quorate.ErrInvalid, n, MaxTokens)
	case most < 0 || most > structures.WaitMilliseconds(structures.MaxWait):
		return fmt.Errorf("%w: a sleep of %d ms at most", quorate.ErrInvalid, most)
	}
	return nil
}

// Apply implements structures.Machine: it takes tokens, if they are there in time.
func (machine) Apply(env structures.Env, _ protocol.Op, body []byte) structures.Result {
	if env.Settings() == nil {
		return structures.Refuse(codeNotConfigured, "")
	}
	s, now := settingsOf(env.Settings()), int64(mutantNow(env.Now()))
	var n, most int64
	_ = protocol.ReadInts(body, &n, &most)
	if n > s.burst {
		return structures.Refuse(protocol.CodeInvalid, fmt.Sprintf("%d tokens, and the burst is %d", n, s.burst))
	}
	full := s.full(env, now)
	next := full.plus(n, s)
	// The tokens are there when all but the burst's would be, had they been spent.
	ready := next.plus(-s.burst, s)
	sleep := max(0, ready.up()-now)
	ms := (sleep + int64(time.Millisecond) - 1) / int64(time.Millisecond)
	if ms > most {
		return structures.Refuse(codeNotNow, fmt.Sprintf("they are there in %v", time.Duration(ms)*time.Millisecond))
	}
	if ms > 0 && mutants.On(mutants.RateWaitUnspent) {
		return structures.OK(protocol.AppendInts(nil, ms))
	}
	env.Put(timeKey, structures.Row{Value: protocol.AppendInts(nil, next.ns, next.rest)})
	return structures.OK(protocol.AppendInts(nil, ms))
}

// Read implements structures.Machine.
func (m machine) Read(view structures.View, _ protocol.Op, _ []byte) structures.Result {
	if view.Settings() == nil {
		return structures.Refuse(codeNotConfigured, "")
	}
	return structures.OK(protocol.AppendInts(nil, m.Len(view)))
}

// Len returns how many tokens are there.
func (machine) Len(view structures.View) int64 {
	if view.Settings() == nil {
		return 0
	}
	s, now := settingsOf(view.Settings()), int64(view.Time())
	spent := s.full(view, now).since(now, s)
	return max(0, s.burst-spent)
}

// instant is a time: ns and rest/rate of a nanosecond, 0 <= rest < rate.
type instant struct{ ns, rest int64 }

// full returns when all tokens are there: now, if that is over.
func (s settings) full(view structures.View, now int64) instant {
	var t instant
	row, ok := view.Get(timeKey)
	if ok {
		_ = protocol.ReadInts(row.Value, &t.ns, &t.rest)
	}
	if !ok || t.ns < now {
		return instant{now, 0}
	}
	return t
}

// plus returns the time n tokens later, or earlier.
func (t instant) plus(n int64, s settings) instant {
	// The product may need more than 64 bits. Its quotient is maxFill at most, for the burst
	// and what is below it.
	hi, lo := bits.Mul64(uint64(max(n, -n)), uint64(s.per))
	quotient, remainder := bits.Div64(hi, lo, uint64(s.rate))
	d, rest := int64(quotient), int64(remainder)
	if mutants.On(mutants.RateRounded) {
		rest = 0
	}
	if n < 0 {
		d, rest = -d, -rest
	}
	t.ns, t.rest = t.ns+d, t.rest+rest
	switch {
	case t.rest < 0:
		t.ns, t.rest = t.ns-1, t.rest+s.rate
	case t.rest >= s.rate:
		t.ns, t.rest = t.ns+1, t.rest-s.rate
	}
	return t
}

// up returns t in nanoseconds, rounded up.
func (t instant) up() int64 {
	if t.rest > 0 {
		return t.ns + 1
	}
	return t.ns
}

// since returns how many tokens come from now to t, rounded up.
func (t instant) since(now int64, s settings) int64 {
	hi, lo := bits.Mul64(uint64(t.ns-now), uint64(s.rate))
	lo, carry := bits.Add64(lo, uint64(t.rest), 0)
	hi += carry
	n, remainder := bits.Div64(hi, lo, uint64(s.per))
	if remainder > 0 {
		n++
	}
	return int64(n)
}
