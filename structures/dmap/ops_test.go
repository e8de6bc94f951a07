package dmap

import (
	"bytes"
	"testing"

	"github.com/quorate/quorate/protocol"
)

func TestItem(t *testing.T) {
	for _, n := range []int{0, 1, 23, 24, 255, 256, 65535, 65536} {
		content := bytes.Repeat([]byte{7}, n)
		before := []byte("before")
		got, at := closeItem(append(openItem(before), content...), len(before))
		if want := protocol.AppendBytes([]byte("before"), content); !bytes.Equal(got, want) || !bytes.Equal(got[at:], content) {
			t.Errorf("%d bytes: %d bytes, content at %d", n, len(got), at)
		}
	}
}

func TestCheck(t *testing.T) {
	a, b := testKeys[1], testKeys[3]
	v := testValues[0]
	for name, o := range map[string]struct {
		op   protocol.Op
		body []byte
	}{
		"unknown operation":   {99, op(0).Body},
		"empty body":          {opPut, nil},
		"a field more":        {opPut, op(opPut, a, v, 0, 0).Body},
		"bytes behind":        {opPut, append(op(opPut, a, v, 0).Body, 0)},
		"empty key":           {opPut, op(opPut, []byte{}, v, 0).Body},
		"key of no type":      {opPut, op(opPut, []byte{0, 'n'}, v, 0).Body},
		"short integer key":   {opPut, op(opPut, []byte{protocol.KeyInt, 1}, v, 0).Body},
		"value without codec": {opPut, op(opPut, a, []byte{}, 0).Body},
		"short TTL":           {opPut, op(opPut, a, v, 99).Body},
		"TTL out of range":    {opPut, op(opPut, a, v, -3).Body},
		"long TTL":            {opPut, op(opPut, a, v, maxTTL.Milliseconds()+1).Body},
		"keys that descend":   {opDeleteAll, op(opDeleteAll, b, a).Body},
		"a key twice":         {opDeleteAll, op(opDeleteAll, a, a).Body},
		"half a pair":         {opPutAll, op(opPutAll, 0, a).Body},
		"bits":                {opAdd, op(opAdd, a, 1, uint64(16)).Body},
	} {
		if err := (machine{}).Check(o.op, o.body); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	many := []any{}
	for i := range maxPart + 1 {
		many = append(many, []byte{protocol.KeyText, byte(i >> 8), byte(i)})
	}
	if err := (machine{}).Check(opDeleteAll, op(opDeleteAll, many...).Body); err == nil {
		t.Errorf("%d keys are accepted", len(many))
	}
	if err := (machine{}).Check(opDeleteAll, op(opDeleteAll, many[1:]...).Body); err != nil {
		t.Errorf("%d keys: %v", maxPart, err)
	}
}
