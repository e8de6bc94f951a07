package protocol

import (
	"bytes"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Table says where partitions are. A member sends it unasked when it changes
// and in answer to a TableRequest.
type Table struct {
	_          struct{} `cbor:",toarray"`
	Type       MessageType
	Epoch      Epoch
	Partitions []GroupID // by PartitionID
	Groups     []TableGroup
	Members    []TableMember
	Cluster    UUID   // whose table it is; zero before the cluster is formed
	ID         uint64 // of the TableRequest that it answers, the latest of several; 0: pushed
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
	ID   uint64 // chosen by the client; the Table has it
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

// Bounds of the time to live of a session. What is asked for is brought into them.
const (
	MinSessionTTL = 2 * time.Second
	MaxSessionTTL = time.Hour
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
	What string // such as AdminStatus
	Args []byte
}

// PeerRequest is what members ask of each other; What says what. A Reply
// answers it.
type PeerRequest struct {
	_         struct{} `cbor:",toarray"`
	Type      MessageType
	ID        uint64
	What      string
	Args      []byte
	Forwarded bool // the question of another member, which is passed on no further
}

var (
	encMode                        = encoder()
	decMode, largeMode, answerMode = decoders()
)

func encoder() cbor.EncMode {
	options := cbor.CoreDetEncOptions()
	options.NilContainers = cbor.NilContainerAsEmpty // no message has a null for an empty slice
	enc, err := options.EncMode()
	if err != nil {
		panic("protocol: bug: " + err.Error())
	}
	return enc
}

func decoders() (exact, large, answer cbor.DecMode) {
	mode := func(o cbor.DecOptions) cbor.DecMode {
		m, err := o.DecMode()
		if err != nil {
			panic("protocol: bug: " + err.Error())
		}
		return m
	}
	opts := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  8,
		MaxArrayElements: 65536,
		MaxMapPairs:      4096,
	}
	exact = mode(opts)
	opts.MaxArrayElements = 1 << 24
	large = mode(opts)
	answer = mode(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
		MaxNestedLevels:   maxSkipped,
		MaxArrayElements:  1 << 24,
	})
	return exact, large, answer
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

// DecodeExact reads what Encode wrote into v, a pointer, and nothing else: what
// Encode would write in another way, with more elements or with fewer, is
// malformed. It is for what is kept: replicas that skipped what they do not know
// would differ from those that know it.
func DecodeExact(b []byte, v any) error {
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

// DecodeAnswer reads the arguments of an AdminRequest or the answer to it, a map, into v, a pointer to a
// struct. Keys that this version does not know are skipped, and those that are
// missing leave a field as it is.
func DecodeAnswer(b []byte, v any) error {
	if err := answerMode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
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

// EncodeLarge and DecodeLarge are Encode and DecodeExact without the bounds of
// the wire, for state that a member wrote itself.
func EncodeLarge(v any) []byte { return Encode(v) }

// DecodeLarge reads what EncodeLarge wrote.
func DecodeLarge(b []byte, v any) error {
	if err := largeMode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	return nil
}
