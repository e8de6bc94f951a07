// Package dregister is a structure of a test: a register of bytes. It is added to
// this project as this folder and one line in package kinds.
package dregister

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

const (
	opGet  protocol.Op = 1 // [] -> [] or [value]
	opSet  protocol.Op = 2 // [value] -> []
	opSwap protocol.Op = 3 // [old, new] -> []

	codeDiffers = protocol.CodeKindBase + 0
	codeLonger  = protocol.CodeKindBase + 1
)

var (
	errDiffers = errors.New("the register has another value")
	errLonger  = errors.New("longer than the setting most-bytes allows")
)

// Kind describes registers.
func Kind() structures.Kind {
	writes := []protocol.Code{codeLonger}
	return structures.Kind{
		ID: 99, Name: "register", Level: 1, Machine: machine{},
		Doc: "One value, which can be read, set, and set if it is another", Unit: "values",
		Ops: []structures.OpInfo{
			{Op: opGet, Name: "get", Body: "[]", Result: "[] / [value]", Read: true, Right: structures.RightRead},
			{Op: opSet, Name: "set", Body: "[value]", Result: "[]", Codes: writes, Grows: true, Right: structures.RightWrite},
			{Op: opSwap, Name: "swap", Body: "[old: value, new: value]", Result: "[]", Codes: []protocol.Code{codeDiffers, codeLonger}, Grows: true, Right: structures.RightWrite},
		},
		Codes: []structures.CodeInfo{
			{Code: codeDiffers, Name: "differs", Err: errDiffers, Help: "the register has another value"},
			{Code: codeLonger, Name: "longer", Err: errLonger, Help: "the value is longer than most-bytes"},
		},
		Settings: []structures.SettingInfo{{Name: "most-bytes", Type: structures.SettingInt, Help: "bytes of a value; 0: as many as any value"}},
	}
}

var (
	kind = Kind()
	row  = []byte("v")
)

type machine struct{ structures.Base }

// read reads the values of a body.
func read(op protocol.Op, body []byte) (values [2][]byte, err error) {
	r := protocol.NewReader(body)
	n := int(op - opGet)
	r.Array(n)
	for i := range n {
		values[i] = r.Bytes()
	}
	return values, r.Done()
}

func (machine) Check(op protocol.Op, body []byte) error {
	if op > opSwap {
		return fmt.Errorf("%w: operation %d of a register", quorate.ErrUnsupported, op)
	}
	_, err := read(op, body)
	return err
}

func (machine) Apply(env structures.Env, op protocol.Op, body []byte) structures.Result {
	values, _ := read(op, body)
	most := env.Settings().Value(&kind.Settings[0]).Int
	now, _ := env.Get(row)
	value := values[op-opSet]
	switch {
	case op == opSwap && !bytes.Equal(now.Value, values[0]):
		return structures.Refuse(codeDiffers, "")
	case most > 0 && int64(len(value)) > most:
		return structures.Refuse(codeLonger, fmt.Sprintf("%d bytes", len(value)))
	}
	env.Put(row, structures.Row{Value: value})
	return structures.OK(protocol.AppendArray(nil, 0))
}

func (machine) Read(view structures.View, _ protocol.Op, _ []byte) structures.Result {
	if now, ok := view.Get(row); ok {
		return structures.OK(protocol.AppendBytes(protocol.AppendArray(nil, 1), now.Value))
	}
	return structures.OK(protocol.AppendArray(nil, 0))
}

func (machine) Len(view structures.View) int64 {
	if _, ok := view.Get(row); ok {
		return 1
	}
	return 0
}

// Register is a handle.
type Register struct{ structures.Handle }

// New returns the handle of a register.
func New(inv structures.Invoker, name string) *Register {
	return &Register{structures.NewHandle(inv, &kind, name, nil)}
}

// Set sets the value.
func (r *Register) Set(ctx context.Context, value []byte) error {
	_, err := r.Invoke(ctx, r.Call("set", opSet, 0, r.Partition(nil), protocol.AppendBytes(protocol.AppendArray(nil, 1), value)))
	return err
}
