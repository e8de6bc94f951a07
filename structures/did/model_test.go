package did

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestConformance(t *testing.T) {
	structurestest.Run(t, Kind(), func() structurestest.Model { return new(model) })
}

func FuzzMachine(f *testing.F) {
	structurestest.Fuzz(f, Kind(), op(opReserve, 1), op(opReserve, MaxBlock), op(opRaise, 1), op(opRaise, MaxRaise), op(opReserve, 3))
}

func op(code protocol.Op, n int64) structurestest.Op {
	return structurestest.Op{Op: code, Body: protocol.AppendInts(nil, n), Text: fmt.Sprint(kind.OpName(code), " ", n)}
}

// model counts ids from a base that is the version of the first mutation, and known once
// that is answered. Its blocks are so large that versions never come near.
type model struct {
	structurestest.Plain
	base  *int64 // nil: nothing has happened; 0: not known yet
	used  int64
	since protocol.LogTime

	raised bool // to the base, which is no version
}

func (m *model) Generate(t *rapid.T) structurestest.Op {
	if rapid.IntRange(0, 5).Draw(t, "raise") > 0 {
		return op(opReserve, rapid.SampledFrom([]int64{100_000, MaxBlock, MaxBlock, MaxBlock}).Draw(t, "n"))
	}
	return op(opRaise, rapid.SampledFrom([]int64{1, 1 << 50, 1<<50 + 1<<21, 1 << 51}).Draw(t, "least"))
}

func (m *model) Read(structurestest.Op, protocol.LogTime) structurestest.Answer {
	panic("did: bug: nothing is read")
}

func (m *model) Apply(call structurestest.Call, now protocol.LogTime) []structurestest.Answer {
	if m.base == nil || m.used == 0 && !m.raised {
		m.base, m.used, m.since = new(int64), 0, now
	}
	var n int64
	if err := protocol.ReadInts(call.Body, &n); err != nil {
		panic(err)
	}
	limit := (int64(now.Sub(m.since)/time.Second) + 1) * PerSecond
	if call.Op.Op == opReserve {
		if m.used+n > limit {
			return []structurestest.Answer{structurestest.Refused(call.ID, codeTooFast)}
		}
		m.used += n
		return []structurestest.Answer{m.answer(call.ID, m.used-n)}
	}
	switch base := *m.base; {
	case n == 1 || n <= base+m.used: // every base is above 0, also one that is not known yet; other n are far above it
	case n <= base+limit:
		m.used = n - base
	default:
		m.base, m.used, m.since, m.raised = &n, 0, now, true
	}
	return []structurestest.Answer{m.answer(call.ID, m.used)}
}

// answer is the id that is that far above the base.
func (m *model) answer(id structurestest.CallID, above int64) structurestest.Answer {
	base := m.base
	return structurestest.Answer{Call: id, Match: func(body []byte, at protocol.Version) error {
		var got int64
		err := protocol.ReadInts(body, &got)
		if *base == 0 && got > above && got-above <= int64(at) {
			*base = got - above
		}
		if err != nil || got != *base+above {
			return fmt.Errorf("%d, %v, the model says %d", got, err, *base+above)
		}
		return nil
	}}
}

func (m *model) Destroy() { panic("did: bug: destroyed") }

func (m *model) Len(protocol.LogTime) int64 {
	if m.base == nil {
		return 0
	}
	return *m.base + m.used - 1
}
