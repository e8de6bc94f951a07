package protocol

// MessageType is the first element of every message. Numbers are never used
// again.
type MessageType uint8

// The message types. A client sends the odd ones. 15, 17 and 19, and 16, are kept for
// logins.
const (
	TypeHello        MessageType = 1
	TypeWelcome      MessageType = 2
	TypeRequest      MessageType = 3
	TypeReply        MessageType = 4
	TypeBatch        MessageType = 5
	TypeTable        MessageType = 6
	TypeTableRequest MessageType = 7
	TypeGoodbye      MessageType = 8
	TypeSession      MessageType = 9
	TypeAdmin        MessageType = 11
	TypePeer         MessageType = 13
	TypeWatchEvents  MessageType = 18
	TypeWatchNote    MessageType = 20
	TypeWatchControl MessageType = 21
)

// PeekType returns the type of an encoded message and 0 for anything else.
func PeekType(b []byte) MessageType {
	if len(b) < 2 || b[0]&0xe0 != majorArray || b[0]&0x1f > 23 || b[1] > 23 {
		return peekLong(b)
	}
	return MessageType(b[1])
}

// peekLong is PeekType for more than 23 elements, or a type above 23.
func peekLong(b []byte) MessageType {
	r := NewReader(b)
	if r.ArrayLen() == 0 {
		return 0
	}
	return MessageType(r.small())
}

// KindID numbers a kind of structure on the wire, for ever.
type KindID uint8

// Kinds that are not structures. The operations of KindControl act on the record of a
// call, and the one of KindTxn is a transaction.
const (
	KindControl KindID = 0
	KindTxn     KindID = 255
)

// Op numbers an operation of a kind, for ever.
type Op uint8

// The operations of KindControl. Of OpCancel and OpConfirm the request's Caller names
// the call that is meant; both are idempotent. OpNames is a read. So is OpWatch, which
// registers a watch, and is not carried out by a group's state.
const (
	OpCancel  Op = 1 // withdraw a waiting call, or return the reply it has had
	OpConfirm Op = 2 // take what was reserved for a call
	OpNames   Op = 3 // list the structures of a kind in a partition
	OpWatch   Op = 4 // register a watch
)

// Flags of a Request.
type Flags uint8

// The flags of a request.
const (
	FlagRead   Flags = 1 << 0 // changes nothing; Caller is empty
	FlagStale  Flags = 1 << 1 // with FlagRead: any replica may answer from what it has
	FlagWait   Flags = 1 << 2 // the reply may come with a later grant
	FlagRepeat Flags = 1 << 3 // not the first attempt under this identity
)

// Request is one operation inside one partition. A mutation is applied exactly
// once under (Session, Partition, Slot, Sequence), however often it is sent.
type Request struct {
	ID        uint64 // of the connection; the reply carries it
	Partition PartitionID
	Epoch     Epoch  // of the sender's table
	TimeLeft  uint32 // milliseconds until the caller gives up on this attempt; 0: never
	Flags     Flags
	Kind      KindID
	Op        Op
	Name      string // of the structure
	Caller    Caller
	Highest   uint16 // highest slot in use by the client in this partition
	Body      []byte // what the operation's definition says

	// Extended says that the request came with elements that this version does not
	// know. They are not in the other fields, and Append leaves them out.
	Extended bool
}

// requestFields is the length of a request's array: the type and 13 fields.
const requestFields = 14

// Append appends the request as one CBOR array.
func (q *Request) Append(dst []byte) []byte {
	dst = append(dst, majorArray|requestFields, byte(TypeRequest))
	dst = AppendUint(dst, q.ID)
	dst = AppendUint(dst, uint64(q.Partition))
	dst = AppendUint(dst, uint64(q.Epoch))
	dst = AppendUint(dst, uint64(q.TimeLeft))
	dst = AppendUint(dst, uint64(q.Flags))
	dst = AppendUint(dst, uint64(q.Kind))
	dst = AppendUint(dst, uint64(q.Op))
	dst = AppendString(dst, q.Name)
	dst = AppendUint(dst, uint64(q.Caller.Session))
	dst = AppendUint(dst, uint64(q.Caller.Slot))
	dst = AppendUint(dst, q.Caller.Sequence)
	dst = AppendUint(dst, uint64(q.Highest))
	return AppendBytes(dst, q.Body)
}

// Decode reads a request; Name and Body alias b.
func (q *Request) Decode(b []byte) error {
	r := NewReader(b)
	q.read(&r)
	return r.Done()
}

// DecodeExact is Decode for what is kept: a request with elements that this
// version does not know is malformed.
func (q *Request) DecodeExact(b []byte) error {
	err := q.Decode(b)
	if err == nil && q.Extended {
		err = ErrMalformed
	}
	return err
}

func (q *Request) read(r *Reader) {
	later := r.atLeast(requestFields)
	if MessageType(r.small()) != TypeRequest {
		r.fail()
	}
	q.ID = r.Uint()
	q.Partition = PartitionID(r.Uint32())
	q.Epoch = Epoch(r.Uint())
	q.TimeLeft = r.Uint32()
	q.Flags = Flags(r.small())
	q.Kind = KindID(r.small())
	q.Op = Op(r.small())
	q.Name = r.String()
	q.Caller.Session = SessionID(r.Uint())
	q.Caller.Slot = r.Uint16()
	q.Caller.Sequence = r.Uint()
	q.Highest = r.Uint16()
	q.Body = r.Bytes()
	q.Extended = later > 0
	r.skipItems(later)
}

// small reads an unsigned integer of at most 8 bits.
func (r *Reader) small() uint8 {
	n := r.head(majorUint)
	if n > 255 {
		r.fail()
		return 0
	}
	return uint8(n)
}

// Batch is several requests to one member in one frame. Each is an operation
// of its own and gets a reply of its own.
type Batch struct {
	Requests []Request
}

const batchFields = 2

// Append appends the batch as one CBOR array.
func (m *Batch) Append(dst []byte) []byte {
	dst = append(dst, majorArray|batchFields, byte(TypeBatch))
	dst = AppendArray(dst, len(m.Requests))
	for i := range m.Requests {
		dst = m.Requests[i].Append(dst)
	}
	return dst
}

// BatchLen returns how many requests an encoded batch says it has.
func BatchLen(b []byte) (int, error) {
	r, n, _ := readBatch(b)
	return n, r.err
}

// EachRequest calls f for every request of an encoded batch, with the bytes it
// was encoded in. It checks the whole batch before the first call. f may keep
// both.
func EachRequest(b []byte, f func(raw []byte, q *Request)) error {
	var checked Request
	r, n, later := readBatch(b)
	for range n {
		if checked.read(&r); r.err != nil {
			return r.err
		}
	}
	r.skipItems(later)
	if err := r.Done(); err != nil {
		return err
	}
	r, n, _ = readBatch(b)
	for range n {
		before := r.b
		q := new(Request)
		q.read(&r)
		used := len(before) - len(r.b)
		f(before[:used:used], q)
	}
	return nil
}

// readBatch returns a Reader at the first of n requests, which so many elements
// follow.
func readBatch(b []byte) (r Reader, n, later int) {
	r = NewReader(b)
	later = r.atLeast(batchFields)
	if MessageType(r.small()) != TypeBatch {
		r.fail()
	}
	return r, r.ArrayLen(), later
}
