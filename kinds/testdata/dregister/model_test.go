package dregister

import (
	"context"
	"os"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestConformance(t *testing.T) {
	structurestest.Run(t, Kind(), func() structurestest.Model { return new(model) })
}

func FuzzMachine(f *testing.F) {
	structurestest.Fuzz(f, Kind(), op(opGet), op(opSet, "a"), op(opSwap, "a", "b"))
}

// TestSet sets a register of the grid at QUORATE_ENDPOINTS.
func TestSet(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := client.Dial(ctx, []string{os.Getenv("QUORATE_ENDPOINTS")})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := New(c, "thrown-away").Set(ctx, []byte("hello")); err != nil {
		t.Fatal(err)
	}
}

func op(code protocol.Op, values ...string) structurestest.Op {
	o := structurestest.Op{Op: code, Body: protocol.AppendArray(nil, len(values)), Text: kind.OpName(code)}
	if code == opGet {
		o.Flags = protocol.FlagRead
	}
	for _, v := range values {
		o.Body = protocol.AppendBytes(o.Body, []byte(v))
	}
	return o
}

type model struct {
	structurestest.Plain
	value string
	there bool
	most  int64
}

func (m *model) Generate(t *rapid.T) structurestest.Op {
	values := rapid.SampledFrom([]string{"", "a", "abc"})
	a, b := values.Draw(t, "a"), values.Draw(t, "b")
	return rapid.SampledFrom([]structurestest.Op{op(opGet), op(opSet, a), op(opSwap, a, b)}).Draw(t, "operation")
}

func (m *model) Read(structurestest.Op, protocol.LogTime) structurestest.Answer {
	if !m.there {
		return structurestest.OK(0, protocol.AppendArray(nil, 0))
	}
	return structurestest.OK(0, op(opSet, m.value).Body)
}

func (m *model) Apply(call structurestest.Call, _ protocol.LogTime) []structurestest.Answer {
	values, _ := read(call.Op.Op, call.Body)
	value := string(values[call.Op.Op-opSet])
	switch {
	case call.Op.Op == opSwap && string(values[0]) != m.value:
		return []structurestest.Answer{structurestest.Refused(call.ID, codeDiffers)}
	case m.most > 0 && int64(len(value)) > m.most:
		return []structurestest.Answer{structurestest.Refused(call.ID, codeLonger)}
	}
	m.value, m.there = value, true
	return []structurestest.Answer{structurestest.OK(call.ID, protocol.AppendArray(nil, 0))}
}

func (m *model) Destroy() { *m = model{} }

func (m *model) Len(protocol.LogTime) int64 {
	if m.there {
		return 1
	}
	return 0
}

func (m *model) Settings(t *rapid.T) []structures.Setting {
	return []structures.Setting{{Name: "most-bytes", Value: structures.SettingValue{Int: rapid.Int64Range(0, 2).Draw(t, "most")}}}
}

func (m *model) Configure(s *structures.Settings) { m.most = s.Value(&kind.Settings[0]).Int }
