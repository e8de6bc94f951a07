package drate

import (
	"fmt"
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestConformance(t *testing.T) {
	structurestest.Run(t, Kind(), func() structurestest.Model { return new(model) })
}

func FuzzMachine(f *testing.F) {
	structurestest.Fuzz(f, Kind(), op(opTake, 1, 0), op(opLeft), op(opTake, 3, 5000), op(opTake, MaxTokens, 0))
}

func op(code protocol.Op, args ...int64) structurestest.Op {
	o := structurestest.Op{Op: code, Body: protocol.AppendInts(nil, args...), Text: fmt.Sprint(kind.OpName(code), args)}
	if code == opLeft {
		o.Flags = protocol.FlagRead
	}
	return o
}

// model is a bucket with rational tokens, which may be below 0: those that somebody sleeps
// for.
type model struct {
	structurestest.Plain
	rate, per, burst int64 // 0: not configured
	fresh            bool  // full since it was configured
	tokens           big.Rat
	at               protocol.LogTime
}

func (m *model) Settings(t *rapid.T) []structures.Setting {
	return []structures.Setting{
		integer(burstSetting, rapid.SampledFrom([]int64{0, 1, 7}).Draw(t, "burst")),
		integer(perSetting, rapid.SampledFrom([]int64{1, 100, 1000, 7001}).Draw(t, "per")),
		integer(rateSetting, rapid.SampledFrom([]int64{1, 3, 10}).Draw(t, "rate")),
	}
}

func (m *model) Configure(s *structures.Settings) {
	m.rate, m.per, m.burst = s.Value(rateSetting).Int, s.Value(perSetting).Int*int64(time.Millisecond), s.Value(burstSetting).Int
	if m.burst == 0 {
		m.burst = m.rate
	}
	m.fresh = true
}

func (m *model) Generate(t *rapid.T) structurestest.Op {
	if rapid.IntRange(0, 3).Draw(t, "left") == 0 {
		return op(opLeft)
	}
	return op(opTake, rapid.SampledFrom([]int64{1, 1, 2, 3, 8, 20}).Draw(t, "n"), rapid.SampledFrom([]int64{0, 0, 1, 400, 9000}).Draw(t, "most"))
}

// there returns the tokens at a time.
func (m *model) there(now protocol.LogTime) *big.Rat {
	full := new(big.Rat).SetInt64(m.burst)
	if m.fresh {
		return full
	}
	come := new(big.Rat).Mul(big.NewRat(int64(now.Sub(m.at)), m.per), big.NewRat(m.rate, 1))
	if come.Add(come, &m.tokens); come.Cmp(full) > 0 {
		return full
	}
	return come
}

func (m *model) Read(_ structurestest.Op, now protocol.LogTime) structurestest.Answer {
	if m.rate == 0 {
		return structurestest.Refused(0, codeNotConfigured)
	}
	return structurestest.OK(0, protocol.AppendInts(nil, m.Len(now)))
}

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	return []structurestest.Answer{m.take(call, now)}
}

func (m *model) take(call structurestest.Call, now protocol.LogTime) structurestest.Answer {
	var n, most int64
	if err := protocol.ReadInts(call.Body, &n, &most); err != nil {
		panic(err)
	}
	switch {
	case m.rate == 0:
		return structurestest.Refused(call.ID, codeNotConfigured)
	case n > m.burst:
		return structurestest.Refused(call.ID, protocol.CodeInvalid)
	}
	left := new(big.Rat).Sub(m.there(now), new(big.Rat).SetInt64(n))
	ms := int64(0)
	if left.Sign() < 0 {
		wait := new(big.Rat).Mul(new(big.Rat).Neg(left), big.NewRat(m.per, m.rate*int64(time.Millisecond)))
		up := new(big.Int).Add(wait.Num(), new(big.Int).Sub(wait.Denom(), big.NewInt(1)))
		ms = up.Div(up, wait.Denom()).Int64()
	}
	if ms > most {
		return structurestest.Refused(call.ID, codeNotNow)
	}
	m.tokens, m.at, m.fresh = *left, now, false
	return structurestest.OK(call.ID, protocol.AppendInts(nil, ms))
}

func (m *model) Destroy() { *m = model{} }

func (m *model) Len(now protocol.LogTime) int64 {
	if m.rate == 0 {
		return 0
	}
	there := m.there(now)
	if there.Sign() < 0 {
		return 0
	}
	return new(big.Int).Div(there.Num(), there.Denom()).Int64()
}
