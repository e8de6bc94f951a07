package dcounter

import (
	"fmt"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestConformance(t *testing.T) {
	structurestest.Run(t, Kind(), func() structurestest.Model { return new(model) })
}

func FuzzMachine(f *testing.F) {
	structurestest.Fuzz(f, Kind(),
		op(opGet), op(opSet, 1), op(opAdd, math.MaxInt64), op(opAdd, -1), op(opCompareAndSet, 1, 2))
}

func op(code protocol.Op, args ...int64) structurestest.Op {
	names := []string{opGet: "get", opSet: "set", opAdd: "add", opCompareAndSet: "compare and set"}
	o := structurestest.Op{Op: code, Body: protocol.AppendInts(nil, args...), Text: fmt.Sprint(names[code], args)}
	if code == opGet {
		o.Flags = protocol.FlagRead
	}
	return o
}

// model is a counter that never overflows.
type model struct {
	structurestest.Plain
	value big.Int
}

func (m *model) Generate(t *rapid.T) structurestest.Op {
	number := rapid.SampledFrom([]int64{0, 1, -1, 2, m.value.Int64(), math.MaxInt64, math.MinInt64})
	a, b := number.Draw(t, "a"), number.Draw(t, "b")
	return rapid.SampledFrom([]structurestest.Op{
		op(opGet), op(opSet, a), op(opAdd, a), op(opCompareAndSet, a, b),
	}).Draw(t, "operation")
}

func (m *model) Read(structurestest.Op, protocol.LogTime) structurestest.Answer {
	return structurestest.OK(0, m.result())
}

func (m *model) Apply(call structurestest.Call, _ protocol.LogTime) []structurestest.Answer {
	return []structurestest.Answer{m.apply(call)}
}

func (m *model) apply(call structurestest.Call) structurestest.Answer {
	var a, b int64
	switch call.Op.Op {
	case opSet:
		must(protocol.ReadInts(call.Body, &a))
		m.value.SetInt64(a)
	case opAdd:
		must(protocol.ReadInts(call.Body, &a))
		var sum big.Int
		if !sum.Add(&m.value, big.NewInt(a)).IsInt64() {
			return structurestest.Refused(call.ID, codeOverflow)
		}
		m.value.Set(&sum)
		return structurestest.OK(call.ID, m.result())
	case opCompareAndSet:
		must(protocol.ReadInts(call.Body, &a, &b))
		if m.value.Int64() != a {
			return structurestest.Refused(call.ID, codeDiffers)
		}
		m.value.SetInt64(b)
	}
	return structurestest.OK(call.ID, protocol.AppendInts(nil))
}

func (m *model) Destroy() { m.value.SetInt64(0) }

func (m *model) result() []byte { return protocol.AppendInts(nil, m.value.Int64()) }

func (m *model) Len(protocol.LogTime) int64 { return m.value.Int64() }

func must(err error) {
	if err != nil {
		panic(err)
	}
}
