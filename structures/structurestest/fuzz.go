package structurestest

import (
	"slices"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// Fuzz feeds a Machine requests made of arbitrary bytes. A fuzz input is a list
// of requests: operation, flags, length of the body, body. Seeds are bodies
// of well-formed requests, at least one of each operation that the kind describes;
// those of the operations that every kind has are added to them.
func Fuzz(f *testing.F, kind structures.Kind, seeds ...Op) {
	seeds = append(seeds, genericSeeds(&kind)...)
	for _, info := range slices.Concat(kind.Ops, kind.Generic()) {
		if len(kind.Settings) == 0 && info.Op == structures.OpConfigure {
			continue
		}
		if !slices.ContainsFunc(seeds, func(op Op) bool { return op.Op == info.Op && accepted(kind, op) }) {
			f.Fatalf("no seed of the operation %s is well formed", info.Name)
		}
	}
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
				noPanic(t, op, r, r.read(kind, op))
				continue
			}
			q := protocol.Request{
				Partition: home, Flags: op.Flags, Kind: kind.ID, Op: op.Op, Name: name, Body: op.Body,
				Caller: protocol.Caller{Session: 1, Slot: uint16(sequence % 4), Sequence: sequence},
			}
			gate := r.state.Gate()
			gate.Panicked = func(p groupstate.Panic) { r.panicked = p.Value }
			if res := gate.Check(&q); res.Code != protocol.CodeOK {
				noPanic(t, op, r, reply{code: res.Code, body: res.Body})
				continue
			}
			b.Request(q.Append(nil))
			if err := r.apply(b.Bytes()); err != nil {
				t.Fatal(err)
			}
			for _, p := range r.replies {
				noPanic(t, op, r, p)
			}
			reset()
		}
	})
}

// accepted reports whether a leader accepts an operation.
func accepted(kind structures.Kind, op Op) bool {
	q := protocol.Request{Partition: home, Flags: op.Flags, Kind: kind.ID, Op: op.Op, Name: name, Body: op.Body}
	if op.Flags&protocol.FlagRead == 0 {
		q.Caller = protocol.Caller{Session: 1, Sequence: 1}
	}
	gate := groupstate.New([]structures.Kind{kind}).Gate()
	return gate.Check(&q).Code == protocol.CodeOK
}

// seedHold is a hold that the first of many seeds may have brought.
const seedHold protocol.HoldID = 2

// genericSeeds returns operations that every kind has.
func genericSeeds(kind *structures.Kind) (seeds []Op) {
	for _, info := range kind.Generic() {
		op := Op{Op: info.Op, Body: protocol.AppendArray(nil, 0)}
		if info.Read {
			op.Flags = protocol.FlagRead
		}
		agreed := structures.Settings{Version: 7, List: kind.InForce(nil)}
		switch info.Op {
		case structures.OpConfigure:
			op.Body = configureBody(agreed.List)
		case structures.OpAdopt:
			op.Body = agreed.Append(nil)
		case structures.OpInspect:
			op.Body = (&structures.InspectRequest{Most: 9}).Append(nil)
		case structures.OpAcknowledge, structures.OpHold:
			op.Body = structures.AppendHold(nil, seedHold)
		case structures.OpRevoke:
			op.Body = (&structures.Revocation{Hold: seedHold, Grace: 1500, Reason: "seed"}).Append(nil)
		}
		seeds = append(seeds, op)
	}
	return append(seeds[1:], seeds[0]) // destroy comes last
}

func noPanic(t *testing.T, op Op, r *replica, p reply) {
	t.Helper()
	if p.code == protocol.CodePanic {
		t.Fatalf("operation %d flags %#x body %x: panic: %v", op.Op, op.Flags, op.Body, r.panicked)
	}
}
