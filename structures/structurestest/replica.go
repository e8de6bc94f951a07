package structurestest

import (
	"bytes"
	"fmt"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// name is the structure all calls go to, and home where it lives.
const (
	name = "s"
	home = protocol.PartitionID(3)
)

// reply is what a replica says to one request or waiting call.
type reply struct {
	caller protocol.Caller
	code   protocol.Code
	body   []byte
	at     protocol.Version
}

// replica is one copy of the state, and what it has said in the last entry.
type replica struct {
	state   *groupstate.State
	replies []reply // of the requests, and of grants after them as they come
	// panicked is what the structure panicked with last.
	panicked any
}

// newReplica returns a replica that knows its partitions and keeps time.
func newReplica(kind structures.Kind) (*replica, error) {
	r := &replica{state: groupstate.New([]structures.Kind{kind, refuser})}
	r.state.OnPanic(func(p groupstate.Panic) { r.panicked = p.Value })
	var b groupstate.Builder
	b.Reset(groupstate.Header{}, 0)
	b.Own(groupstate.Ownership{Partitions: 8, Owned: []protocol.PartitionID{1, home, 5}, Limits: protocol.DefaultLimits()})
	b.Claim(1)
	return r, r.apply(b.Bytes())
}

// apply applies an entry and keeps what was said.
func (r *replica) apply(entry []byte) error {
	r.replies = r.replies[:0]
	return r.state.Apply(entry, r)
}

// Replied implements groupstate.Sink.
func (r *replica) Replied(_ int, q *protocol.Request, res structures.Result, at protocol.Version) {
	if res.IsWaiting() {
		return
	}
	r.replies = append(r.replies, reply{q.Caller, res.Code, bytes.Clone(res.Body), at})
}

// Granted implements groupstate.Sink.
func (r *replica) Granted(_ protocol.PartitionID, c protocol.Caller, res structures.Result, at protocol.Version) {
	r.replies = append(r.replies, reply{c, res.Code, bytes.Clone(res.Body), at})
}

func (r *replica) hash() uint64 { return r.state.Prepare().Hash() }

// reborn returns a replica that was restored from a snapshot of r.
func (r *replica) reborn(kind structures.Kind) (*replica, error) {
	var b bytes.Buffer
	if err := r.state.Prepare().WriteTo(&b, nil); err != nil {
		return nil, err
	}
	n := &replica{state: groupstate.New([]structures.Kind{kind, refuser})}
	return n, n.state.Restore(&b, nil)
}

// read answers a read.
func (r *replica) read(kind structures.Kind, op Op) reply {
	q := protocol.Request{Partition: home, Flags: op.Flags, Kind: kind.ID, Op: op.Op, Name: name, Body: op.Body}
	if kind.ID == protocol.KindControl {
		q.Name = ""
	}
	gate := r.state.Gate()
	if res := gate.Check(&q); res.Code != protocol.CodeOK {
		return reply{code: res.Code, body: res.Body}
	}
	var reader groupstate.Reader
	res, at := reader.Read(r.state, &q)
	return reply{code: res.Code, body: bytes.Clone(res.Body), at: at}
}

// len returns the structure's length, 0 if it does not exist.
func (r *replica) len() int64 {
	for _, info := range r.state.Structures() {
		if info.Name == name {
			return info.Len
		}
	}
	return 0
}

func (p reply) equal(o reply) bool {
	return p.caller == o.caller && p.code == o.code && p.at == o.at && bytes.Equal(p.body, o.body)
}

func (p reply) String() string {
	return fmt.Sprintf("session %d slot %d sequence %d: code %d body %x at %d",
		p.caller.Session, p.caller.Slot, p.caller.Sequence, p.code, p.body, p.at)
}
