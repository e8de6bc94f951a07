package protocol

import (
	"bytes"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// WireVersion is the version of the protocol this package speaks.
const WireVersion = 1

// Hello opens a client connection. The member answers with a Welcome or with a
// Reply whose code says why not.
type Hello struct {
	_       struct{} `cbor:",toarray"`
	Type    MessageType
	Version uint32
	Cluster string // the cluster the client expects by name or id; empty: any
	Client  UUID   // of the client process
	Name    string // of the client, for people
	Forward bool   // the client reaches this member only: forward for it
}

// Limits are the bounds a member enforces. The client refuses before sending.
type Limits struct {
	_           struct{} `cbor:",toarray"`
	Name        uint32   // bytes of a structure's name
	Key         uint32   // bytes of an encoded key
	Value       uint32   // bytes of an encoded value
	Frame       uint32   // bytes of a frame
	PageEntries uint32   // entries of a page of an iteration
	PageBytes   uint32   // bytes of a page, beyond its first entry
	InFlight    uint32   // operations in flight on a connection
	Slots       uint32   // slots of a client in a partition
	Waiters     uint32   // waiting calls of a structure
}

// DefaultLimits are the limits of a cluster that sets none.
func DefaultLimits() Limits {
	return Limits{
		Name: 255, Key: 4 << 10, Value: 1 << 20, Frame: MaxFrame,
		PageEntries: 1000, PageBytes: 1 << 20, InFlight: 4096, Slots: 1024, Waiters: 10_000,
	}
}

// Welcome accepts a connection.
type Welcome struct {
	_          struct{} `cbor:",toarray"`
	Type       MessageType
	Version    uint32
	Cluster    UUID
	Name       string // of the cluster
	Member     MemberID
	Durability string // "disk" or "memory"
	Limits     Limits
	Table      Table
}

// Table says where partitions are. A member sends it unasked when it changes
// and in answer to a TableRequest.
type Table struct {
	_          struct{} `cbor:",toarray"`
	Type       MessageType
	Epoch      Epoch
	Partitions []GroupID // by PartitionID
	Groups     []TableGroup
	Members    []TableMember
}

// TableGroup is a group as the sending member knows it; the system group is
// one of them. Of two views the one with the larger Term is newer.
type TableGroup struct {
	_        struct{} `cbor:",toarray"`
	ID       GroupID
	Term     uint64
	Leader   MemberID // 0: not known
	Replicas []MemberID
}

// TableMember is a member's address.
type TableMember struct {
	_       struct{} `cbor:",toarray"`
	ID      MemberID
	Name    string
	Address string
}

// TableRequest asks for the table; the member answers with a Table, several that
// come soon after each other perhaps with one, within a second.
type TableRequest struct {
	_    struct{} `cbor:",toarray"`
	Type MessageType
	Have Epoch
}

// Goodbye says that the member is going away: send nothing more here. What is
// in flight is answered.
type Goodbye struct {
	_      struct{} `cbor:",toarray"`
	Type   MessageType
	Reason string
}

// SessionAction says what a SessionRequest asks for.
type SessionAction uint8

// The actions on sessions. They go to the leader of the system group.
const (
	SessionOpen      SessionAction = 1 // open, or find, the session of a client's UUID
	SessionHeartbeat SessionAction = 2
	SessionClose     SessionAction = 3
)

// SessionRequest opens, keeps or closes a session. A Reply answers it; its
// body is a SessionState.
type SessionRequest struct {
	_       struct{} `cbor:",toarray"`
	Type    MessageType
	ID      uint64 // of the connection, shared with Request
	Action  SessionAction
	Client  UUID      // with SessionOpen: names the session until it ends
	Session SessionID // with the others
	TTL     uint32    // milliseconds, with SessionOpen
}

// SessionState is the body of the reply to a SessionRequest.
type SessionState struct {
	_       struct{} `cbor:",toarray"`
	Session SessionID
	TTL     uint32 // milliseconds in force
}

// AdminRequest asks a member for what operators look at. A Reply answers it;
// its body is a CBOR map that the What defines.
type AdminRequest struct {
	_    struct{} `cbor:",toarray"`
	Type MessageType
	ID   uint64
	What string // "status", "hash", "structures"
	Args []byte
}

// PeerRequest is what members ask of each other; What says what. A Reply
// answers it.
type PeerRequest struct {
	_    struct{} `cbor:",toarray"`
	Type MessageType
	ID   uint64
	What string
	Args []byte
}

var encMode, decMode, largeMode = modes()

func modes() (enc cbor.EncMode, dec, large cbor.DecMode) {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty // no message has a null where a slice is empty
	enc, err := options.EncMode()
	if err != nil {
		panic("protocol: bug: " + err.Error())
	}
	opts := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		MaxNestedLevels:   8,
		MaxArrayElements:  65536,
		MaxMapPairs:       4096,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}
	if dec, err = opts.DecMode(); err != nil {
		panic("protocol: bug: " + err.Error())
	}
	opts.MaxArrayElements = 1 << 24
	if large, err = opts.DecMode(); err != nil {
		panic("protocol: bug: " + err.Error())
	}
	return enc, dec, large
}

// Encode returns the encoding of a control message or of a reply's body: the
// types of this package that are not hot.
func Encode(v any) []byte {
	b, err := encMode.Marshal(v)
	if err != nil {
		panic("protocol: bug: " + err.Error())
	}
	return b
}

// Decode reads what Encode wrote into v, a pointer. It is strict: what Encode
// would write in another way is malformed, so a message has one encoding only.
func Decode(b []byte, v any) error {
	if err := decMode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	// cbor takes more than Encode writes: a null for any type, a byte string too
	// short or too long for a UUID, integers that are not in their shortest form.
	again, err := encMode.Marshal(v)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("%w: not in its only form", ErrMalformed)
	}
	return nil
}

// Key tags: the first byte of an encoded key says of which Go kind it is.
const (
	KeyText  byte = 1 // raw bytes of a string
	KeyInt   byte = 2 // signed, 8 bytes big-endian, sign flipped
	KeyUint  byte = 3 // unsigned, 8 bytes big-endian
	KeyBytes byte = 4 // a byte array, raw
	KeyCBOR  byte = 5 // a struct or array, deterministic CBOR
)

// EncodeLarge and DecodeLarge are Encode and Decode without the bounds of the
// wire, for state that a member wrote itself.
func EncodeLarge(v any) []byte { return Encode(v) }

// DecodeLarge reads what EncodeLarge wrote.
func DecodeLarge(b []byte, v any) error {
	if err := largeMode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return nil
}
