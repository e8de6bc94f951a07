package groupstate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/protocol"
)

// entryVersion is the first byte of every entry.
const entryVersion = 1

// ErrEntry is the error of an entry this version cannot read: a broken
// invariant, since only members write entries.
var ErrEntry = errors.New("unreadable log entry")

// Header opens an entry. Proposer and Number let the member that proposed it
// find its callers again; they mean nothing to the state.
type Header struct {
	Proposer   uint64 // a random number of the proposing Host's life
	Number     uint64 // of the entry, among those of Proposer
	ClockEpoch uint64 // the claim under which Elapsed was measured
	Elapsed    int64  // nanoseconds since the claim was applied at the leader
}

const headerSize = 1 + 4*8

// command numbers what an entry holds. Numbers are never used again.
type command byte

const (
	commandRequest command = 1 // a client's request, as it came
	commandClaim   command = 2 // the leader takes the clock
	commandAttach  command = 3 // a session becomes known
	commandEnds    command = 4 // sessions have ended
	commandOwn     command = 5 // the group's partitions and limits, once
	commandLevel   command = 6 // raises the level
	commandLoad    command = 7 // a chunk of a snapshot that the group takes over
	commandLoaded  command = 8 // the snapshot's length and sum: the load is over
)

// Builder builds an entry. The zero Builder is empty; Reset starts one.
type Builder struct {
	buf      []byte
	requests int
	commands int
}

// Reset starts an entry, in a buffer of its own with room for size bytes.
func (b *Builder) Reset(h Header, size int) {
	buf := make([]byte, 0, headerSize+size)
	buf = append(buf, entryVersion)
	buf = binary.BigEndian.AppendUint64(buf, h.Proposer)
	buf = binary.BigEndian.AppendUint64(buf, h.Number)
	buf = binary.BigEndian.AppendUint64(buf, h.ClockEpoch)
	buf = binary.BigEndian.AppendUint64(buf, uint64(h.Elapsed))
	*b = Builder{buf: buf}
}

// Bytes returns the entry.
func (b *Builder) Bytes() []byte { return b.buf }

// Requests returns how many requests the entry holds.
func (b *Builder) Requests() int { return b.requests }

// Commands returns how many commands the entry holds, requests among them.
func (b *Builder) Commands() int { return b.commands }

func (b *Builder) add(c command, payload []byte) {
	b.buf = append(b.buf, byte(c))
	b.buf = binary.AppendUvarint(b.buf, uint64(len(payload)))
	b.buf = append(b.buf, payload...)
	b.commands++
}

// Request adds an encoded protocol.Request.
func (b *Builder) Request(raw []byte) {
	b.add(commandRequest, raw)
	b.requests++
}

// Claim adds the claim of the clock by a leader; nonce names this claim.
func (b *Builder) Claim(nonce uint64) {
	b.add(commandClaim, binary.BigEndian.AppendUint64(nil, nonce))
}

// Attach makes session s known. The leader has read in the system group that s
// lived when end had been the number of the last ended session.
func (b *Builder) Attach(s protocol.SessionID, end uint64) {
	b.add(commandAttach, protocol.AppendUint(protocol.AppendUint(nil, uint64(s)), end))
}

// Ends adds the sessions that ended with the numbers from+1, from+2, ...
func (b *Builder) Ends(from uint64, ids []protocol.SessionID) {
	p := protocol.AppendArray(protocol.AppendUint(nil, from), len(ids))
	for _, id := range ids {
		p = protocol.AppendUint(p, uint64(id))
	}
	b.add(commandEnds, p)
}

// Ownership is what a new group is told, once.
type Ownership struct {
	Partitions int                    // of the cluster
	Owned      []protocol.PartitionID // by the group
	Limits     protocol.Limits
	// Generation of the partitions: it has risen where data was lost.
	Generation uint16
	// Revision is where the partitions' revisions begin.
	Revision protocol.Revision
	// HoldOff is how long, in log time from the moment the group serves, nothing
	// is granted that a session holds: who held it before the group was there may
	// not know yet that it is lost.
	HoldOff time.Duration
	// Ends is the number of the last ended session when the group was made: none
	// of those is ever known to it.
	Ends uint64
	// Loading makes the group refuse requests until Load commands have brought it
	// a state.
	Loading bool
}

// ownFields is how many fields an Ownership is written with. A later version
// that writes more, under a higher level, reads both.
const ownFields = 8

// Own gives a new group its partitions. A group that has them already ignores
// it.
func (b *Builder) Own(o Ownership) {
	p := protocol.AppendArray(nil, ownFields)
	p = protocol.AppendUint(p, uint64(o.Partitions))
	p = protocol.AppendArray(p, len(o.Owned))
	for _, id := range o.Owned {
		p = protocol.AppendUint(p, uint64(id))
	}
	p = protocol.AppendBytes(p, protocol.Encode(o.Limits))
	p = protocol.AppendUint(p, uint64(o.Generation))
	p = protocol.AppendUint(p, uint64(o.Revision))
	p = protocol.AppendUint(p, uint64(o.HoldOff))
	p = protocol.AppendUint(p, o.Ends)
	b.add(commandOwn, protocol.AppendBool(p, o.Loading))
}

// readOwnership reads what Own wrote.
func readOwnership(r *protocol.Reader) (Ownership, error) {
	var o Ownership
	r.Array(ownFields)
	o.Partitions = int(r.Uint32())
	o.Owned = make([]protocol.PartitionID, r.ArrayLen())
	for i := range o.Owned {
		o.Owned[i] = protocol.PartitionID(r.Uint32())
	}
	limits := r.Bytes()
	o.Generation = r.Uint16()
	o.Revision = protocol.Revision(r.Uint())
	o.HoldOff = time.Duration(r.Uint())
	o.Ends, o.Loading = r.Uint(), r.Bool()
	if o.Partitions > maxPartitions || o.HoldOff < 0 || o.HoldOff > maxHoldOff || o.Revision > maxFirstRevision {
		return o, fmt.Errorf("%w: the ownership of %d partitions", ErrEntry, o.Partitions)
	}
	if r.Err() == nil {
		if err := protocol.Decode(limits, &o.Limits); err != nil {
			return o, fmt.Errorf("%w: limits: %v", ErrEntry, err)
		}
	}
	return o, nil
}

const (
	maxHoldOff       = 365 * 24 * time.Hour
	maxFirstRevision = 1<<48 - 1
)

// Load adds a chunk of at most MaxLoadChunk bytes of a snapshot, from offset
// on, to a group that was told to load one.
func (b *Builder) Load(offset uint64, chunk []byte) {
	b.add(commandLoad, protocol.AppendBytes(protocol.AppendUint(protocol.AppendArray(nil, 2), offset), chunk))
}

// Loaded ends a load: the snapshot had length bytes, with a LoadSum of sum.
func (b *Builder) Loaded(length, sum uint64) {
	b.add(commandLoaded, protocol.AppendUint(protocol.AppendUint(protocol.AppendArray(nil, 2), length), sum))
}

// Level raises the level of the group's state.
func (b *Builder) Level(level uint32) {
	b.add(commandLevel, protocol.AppendUint(nil, uint64(level)))
}

// ReadHeader reads the header of an entry and returns the rest of it.
func ReadHeader(entry []byte) (Header, []byte, error) {
	if len(entry) < headerSize || entry[0] != entryVersion {
		return Header{}, nil, fmt.Errorf("%w: %d bytes", ErrEntry, len(entry))
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(entry[1+8*i:]) }
	h := Header{Proposer: u(0), Number: u(1), ClockEpoch: u(2), Elapsed: int64(u(3))}
	return h, entry[headerSize:], nil
}

// nextCommand splits the first command off the commands of an entry.
func nextCommand(b []byte) (c command, payload, rest []byte, err error) {
	n, used := binary.Uvarint(b[1:])
	if used <= 0 || n > uint64(len(b)-1-used) {
		return 0, nil, nil, fmt.Errorf("%w: a command of %d bytes in %d", ErrEntry, n, len(b))
	}
	start := 1 + used
	end := start + int(n)
	return command(b[0]), b[start:end:end], b[end:], nil
}
