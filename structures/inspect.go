package structures

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/protocol"
)

// Inspection is what [Handle.Inspect] returns: the size and settings of a structure, its
// holders, and the calls that wait. For a structure that is spread over partitions it
// adds up what each partition had at some moment of the call.
type Inspection struct {
	Length   int64     // in the Unit of the kind
	Bytes    uint64    // of its rows, keys and values
	Settings []Setting // all, with their values in force
	// Version is that of the mutation that set the settings; 0: none has.
	Version protocol.Version
	// Holders has the holds, by number. A long list is read in pages, and so is not of
	// one moment.
	Holders []Holder
	// Waiters are calls that wait, the oldest first: of many only the first.
	Waiters []WaitingCall
	Waiting uint64 // how many calls wait
}

// Holder is a hold as Inspect shows it. Durations are those of the partition's log
// time, which stands still while its group has no leader. A new leader of an idle group
// shows them as of the group's last entry, until it logs one.
type Holder struct {
	ID      protocol.HoldID // which Revoke names
	Token   protocol.Token
	Session protocol.SessionID
	Client  string        // of the session, by name; empty: it has none, or nobody says
	Amount  int64         // how much is held, for example permits
	Mode    string        // how it is held, for example "read"; may be empty
	Note    string        // of the holder, human-readable; may be empty
	For     time.Duration // since it was granted
	Mark    HoldMark      // whether somebody asks for it or has revoked it
	Left    time.Duration // of the grace of one that is revoked, 0 when it is over
	Reason  string        // why it was asked for or revoked
}

// WaitingCall is a call that waits as Inspect shows it.
type WaitingCall struct {
	Session   protocol.SessionID
	Client    string // as that of a Holder
	Operation string // its name, for example "acquire"
	// Amount, Mode and Note are those of the hold that it waits for, zero if the
	// operation does not hold.
	Amount     int64
	Mode, Note string
	For        time.Duration // since it began to wait
	Left       time.Duration // how long it still waits; 0: without end
}

// inspectMost is how many holds, and how many waiting calls, an Inspect reads at a time.
const inspectMost = 1000

// InspectRequest is the body of OpInspect: [from, most]. Holds are shown from a number
// on; waiting calls only if that is 0.
type InspectRequest struct {
	From protocol.HoldID
	Most uint64 // holds, and waiting calls, at most; the limit of a page bounds it, too
}

// Append appends the body.
func (q *InspectRequest) Append(dst []byte) []byte {
	return protocol.AppendUint(protocol.AppendUint(protocol.AppendArray(dst, 2), uint64(q.From)), q.Most)
}

// Read reads the body.
func (q *InspectRequest) Read(body []byte) error {
	r := protocol.NewReader(body)
	r.Array(2)
	q.From, q.Most = protocol.HoldID(r.Uint()), r.Uint()
	if q.Most == 0 {
		r.Fail()
	}
	return r.Done()
}

// Inspected is the result of OpInspect, of one partition: [length, bytes, waiting,
// next, [* holder], [* waiting call]]. Times are milliseconds on the wire.
type Inspected struct {
	Length  int64
	Bytes   uint64
	Waiting uint64
	Next    protocol.HoldID // to go on with; 0: this was all
	Holders []Holder
	Waiters []WaitingCall
	ops     []protocol.Op // of the waiting calls
}

// AddWaiter adds a waiting call of an operation.
func (i *Inspected) AddWaiter(w WaitingCall, op protocol.Op) {
	i.Waiters, i.ops = append(i.Waiters, w), append(i.ops, op)
}

// Append appends the result.
func (i *Inspected) Append(dst []byte) []byte {
	dst = protocol.AppendInt(protocol.AppendArray(dst, 6), i.Length)
	dst = protocol.AppendUint(protocol.AppendUint(dst, i.Bytes), i.Waiting)
	dst = protocol.AppendArray(protocol.AppendUint(dst, uint64(i.Next)), len(i.Holders))
	for k := range i.Holders {
		h := &i.Holders[k]
		dst = protocol.AppendUint(protocol.AppendArray(dst, 10), uint64(h.ID))
		dst = protocol.AppendUint(protocol.AppendUint(dst, uint64(h.Token)), uint64(h.Session))
		dst = protocol.AppendInt(dst, h.Amount)
		dst = protocol.AppendString(protocol.AppendString(dst, h.Mode), h.Note)
		dst = protocol.AppendUint(protocol.AppendUint(dst, shownTime(h.For)), uint64(h.Mark))
		dst = protocol.AppendString(protocol.AppendUint(dst, shownTime(h.Left)), h.Reason)
	}
	dst = protocol.AppendArray(dst, len(i.Waiters))
	for k := range i.Waiters {
		w := &i.Waiters[k]
		dst = protocol.AppendUint(protocol.AppendArray(dst, 7), uint64(w.Session))
		dst = protocol.AppendInt(protocol.AppendUint(dst, uint64(i.ops[k])), w.Amount)
		dst = protocol.AppendString(protocol.AppendString(dst, w.Mode), w.Note)
		dst = protocol.AppendUint(protocol.AppendUint(dst, shownTime(w.For)), shownTime(w.Left))
	}
	return dst
}

// Read reads the result; the kind names the operations.
func (i *Inspected) Read(body []byte, k *Kind) error {
	r := protocol.NewReader(body)
	r.Array(6)
	i.Length, i.Bytes, i.Waiting = r.Int(), r.Uint(), r.Uint()
	i.Next = protocol.HoldID(r.Uint())
	for range r.ArrayLen() {
		var h Holder
		r.Array(10)
		h.ID, h.Token, h.Session = protocol.HoldID(r.Uint()), protocol.Token(r.Uint()), protocol.SessionID(r.Uint())
		h.Amount, h.Mode, h.Note = r.Int(), strings.Clone(r.String()), strings.Clone(r.String())
		h.For, h.Mark = readShownTime(&r), readMark(&r)
		h.Left, h.Reason = readShownTime(&r), strings.Clone(r.String())
		if r.Err() != nil {
			break
		}
		i.Holders = append(i.Holders, h)
	}
	for range r.ArrayLen() {
		var w WaitingCall
		r.Array(7)
		w.Session = protocol.SessionID(r.Uint())
		op := r.Uint()
		if op > math.MaxUint8 {
			r.Fail()
		}
		if w.Operation = k.OpName(protocol.Op(op)); w.Operation == "" {
			w.Operation = fmt.Sprint("operation ", op)
		}
		w.Amount, w.Mode, w.Note = r.Int(), strings.Clone(r.String()), strings.Clone(r.String())
		w.For, w.Left = readShownTime(&r), readShownTime(&r)
		if r.Err() != nil {
			break
		}
		i.AddWaiter(w, protocol.Op(op))
	}
	return r.Done()
}

// shownTime is a duration on the wire, in milliseconds, rounded up.
func shownTime(d time.Duration) uint64 {
	if d <= 0 {
		return 0
	}
	return uint64((d-1)/time.Millisecond) + 1
}

func readShownTime(r *protocol.Reader) time.Duration {
	return time.Duration(min(r.Uint(), math.MaxInt64/uint64(time.Millisecond))) * time.Millisecond
}

func readMark(r *protocol.Reader) HoldMark { return HoldMark(min(r.Uint(), math.MaxUint8)) }

// Inspect returns the size and settings of the structure, its holders, and the calls
// that wait. For a structure that does not exist it is empty. It reads 1,000 holds at a
// time; the pages are not of one moment. The names of clients are asked for at the system
// group, once for each session.
func (h *Handle) Inspect(ctx context.Context) (Inspection, error) {
	const verb = "inspect"
	q := InspectRequest{Most: inspectMost}
	calls := h.Everywhere(verb, OpInspect, protocol.FlagRead, q.Append(nil))
	calls = append(calls, h.Call(verb, OpSettings, protocol.FlagRead, h.Partition(nil), emptyBody))
	replies, err := h.InvokeEach(ctx, calls)
	if err != nil {
		return Inspection{}, err
	}
	var all Inspection
	last := len(replies) - 1
	s, err := ReadSettings(replies[last].Body)
	if err != nil {
		return Inspection{}, h.Garbled(verb, replies[last])
	}
	all.Settings, all.Version = s.List, s.Version
	for i, reply := range replies[:last] {
		var part Inspected
		if part.Read(reply.Body, h.kind) != nil {
			return Inspection{}, h.Garbled(verb, reply)
		}
		all.Length, all.Bytes, all.Waiting = all.Length+part.Length, all.Bytes+part.Bytes, all.Waiting+part.Waiting
		all.Holders, all.Waiters = append(all.Holders, part.Holders...), append(all.Waiters, part.Waiters...)
		for from := part.Next; from != 0; {
			call := calls[i]
			call.Body = (&InspectRequest{From: from, Most: inspectMost}).Append(nil)
			reply, err := h.Invoke(ctx, call)
			if err != nil {
				return Inspection{}, err
			}
			var page Inspected
			if page.Read(reply.Body, h.kind) != nil || page.Next != 0 && page.Next <= from {
				return Inspection{}, h.Garbled(verb, reply)
			}
			all.Holders, from = append(all.Holders, page.Holders...), page.Next
		}
	}
	slices.SortStableFunc(all.Waiters, func(a, b WaitingCall) int { return int(b.For - a.For) })
	if n, ok := h.inv.(SessionNamer); ok {
		NameClients(ctx, n, &Inspected{Holders: all.Holders, Waiters: all.Waiters})
	}
	return all, nil
}

// NameClients fills in the clients of all that hold and wait, as [SessionNamer] names them.
func NameClients(ctx context.Context, names SessionNamer, all ...*Inspected) {
	var ids []protocol.SessionID
	for _, i := range all {
		for j := range i.Holders {
			ids = append(ids, i.Holders[j].Session)
		}
		for j := range i.Waiters {
			ids = append(ids, i.Waiters[j].Session)
		}
	}
	if len(ids) == 0 {
		return
	}
	named := names.SessionNames(ctx, ids...)
	for _, i := range all {
		for j := range i.Holders {
			i.Holders[j].Client = named[i.Holders[j].Session]
		}
		for j := range i.Waiters {
			i.Waiters[j].Client = named[i.Waiters[j].Session]
		}
	}
}
