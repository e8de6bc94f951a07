package structurestest

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// Fuzz feeds a Machine requests made of arbitrary bytes. A fuzz input is a list
// of requests: operation, flags, length of the body, body. Seeds are bodies
// of well-formed requests.
func Fuzz(f *testing.F, kind structures.Kind, seeds ...Op) {
	var all []byte
	for _, op := range seeds {
		one := append([]byte{byte(op.Op), byte(op.Flags), byte(len(op.Body))}, op.Body...)
		f.Add(one)
		all = append(all, one...)
	}
	f.Add(all)
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := newReplica(kind)
		if err != nil {
			t.Fatal(err)
		}
		var b groupstate.Builder
		var elapsed time.Duration
		reset := func() {
			elapsed += time.Second
			b.Reset(groupstate.Header{ClockEpoch: 1, Elapsed: int64(elapsed)}, 64)
		}
		reset()
		b.Attach(1, 0)
		for sequence := uint64(1); len(in) >= 3; sequence++ {
			size := min(int(in[2]), len(in)-3)
			op := Op{Op: protocol.Op(in[0]), Flags: protocol.Flags(in[1]), Body: in[3 : 3+size]}
			in = in[3+size:]
			if op.Flags&protocol.FlagRead != 0 {
				noPanic(t, op, r.read(kind, op))
				continue
			}
			q := protocol.Request{
				Partition: home, Flags: op.Flags, Kind: kind.ID, Op: op.Op, Name: name, Body: op.Body,
				Caller: protocol.Caller{Session: 1, Slot: uint16(sequence % 4), Sequence: sequence},
			}
			if res := groupstate.Check(r.state.Kinds(), r.state.Limits(), &q); res.Code != protocol.CodeOK {
				noPanic(t, op, reply{code: res.Code, body: res.Body})
				continue
			}
			b.Request(q.Append(nil))
			if err := r.apply(b.Bytes()); err != nil {
				t.Fatal(err)
			}
			for _, p := range r.replies {
				noPanic(t, op, p)
			}
			reset()
		}
	})
}

func noPanic(t *testing.T, op Op, p reply) {
	t.Helper()
	if p.code == protocol.CodePanic {
		t.Fatalf("operation %d flags %#x body %x: panic: %s", op.Op, op.Flags, op.Body, p.body)
	}
}
