package protocol

import (
	"errors"
	"fmt"
)

// WireVersion is the newest version of the protocol that this package speaks,
// OldestVersion the oldest.
const (
	WireVersion   = 1
	OldestVersion = 1
)

// Features are what both ends of a connection may use if both say so: bits. A bit
// that is not known is ignored.
type Features uint64

// KnownFeatures are the features of this package. There are none yet.
const KnownFeatures Features = 0

// HelloFlags say how a client wants to be served: bits. A bit that is not known
// is ignored.
type HelloFlags uint32

// The flags of a Hello.
const (
	HelloForward  HelloFlags = 1 << 0 // the client reaches this member only: it passes requests on
	HelloRoute    HelloFlags = 1 << 1 // with HelloForward: the member finds the partition, too
	HelloNoTables HelloFlags = 1 << 2 // no table is pushed, and Welcome.Table is empty
)

// Hello opens a client connection. The member answers with a Welcome or with a
// Reply whose code says why not.
type Hello struct {
	_          struct{} `cbor:",toarray"`
	Type       MessageType
	Oldest     uint32 // version of the protocol that the client speaks
	Newest     uint32
	Features   Features
	Cluster    string // the cluster the client expects by name or id; empty: any
	Client     UUID   // of the client process
	Name       string // of the client, human-readable
	Flags      HelloFlags
	SessionTTL uint32 // milliseconds: open, or find, the session of Client before the Welcome; 0: none
}

// NewHello returns the Hello of a client that speaks what this package does.
func NewHello(client UUID, name string) Hello {
	return Hello{
		Type: TypeHello, Oldest: OldestVersion, Newest: WireVersion, Features: KnownFeatures,
		Client: client, Name: name,
	}
}

// errNoVersion says that two ends have no version of the protocol in common.
var errNoVersion = errors.New("no protocol version in common")

// CommonVersion returns the version in force on a connection with a client that
// speaks the versions from oldest to newest: the highest that both speak. Its
// error names both ranges.
func CommonVersion(oldest, newest uint32) (uint32, error) {
	if newest < OldestVersion || oldest > WireVersion || oldest > newest {
		return 0, fmt.Errorf("%w: the client speaks %s, this member %s",
			errNoVersion, versions(oldest, newest), versions(OldestVersion, WireVersion))
	}
	return min(newest, WireVersion), nil
}

func versions(oldest, newest uint32) string {
	if oldest == newest {
		return fmt.Sprint("version ", newest)
	}
	return fmt.Sprintf("versions %d to %d", oldest, newest)
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

// bodySlack is what a request's body may have beyond a key and a value.
const bodySlack = 1 << 10

// Body returns how many bytes the body of a request may have. A Welcome announces
// it, so that a client need not know how it is made up.
func (l *Limits) Body() uint32 { return l.Key + l.Value + bodySlack }

// Welcome accepts a connection.
type Welcome struct {
	_          struct{} `cbor:",toarray"`
	Type       MessageType
	Version    uint32 // in force on the connection
	Oldest     uint32 // version of the protocol that the member speaks
	Newest     uint32
	Features   Features // of the member; those of the Hello, too, are in force
	Cluster    UUID     // not to be kept while Table is empty: the cluster is not formed
	Name       string   // of the cluster
	Member     MemberID
	Durability string // "disk" or "memory"
	Limits     Limits
	Body       uint32 // bytes of the body of a request, as Limits.Body has it
	Partitions uint32 // of the cluster, also where Table is empty because none is wanted; 0: not formed
	Table      Table
	Session    SessionID // of the client, if the Hello asked for one
	SessionTTL uint32    // milliseconds in force; 0: the Hello asked for none
}
