package groupstate

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/quorate/quorate/archive"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/levels"
)

// entryVersion is the first byte of every entry.
const entryVersion = 1

// ErrEntry is the error of an entry that this version cannot read. It means a broken
// invariant, since only members write entries.
var ErrEntry = errors.New("unreadable log entry")

// Header begins an entry. Proposer and Number let the member that proposed the entry
// find its callers; the state does not use them.
type Header struct {
	Proposer   uint64 // a random number of the proposing Host's instance
	Number     uint64 // of the entry, among those of Proposer
	ClockEpoch uint64 // the claim under which Elapsed was measured
	Elapsed    int64  // nanoseconds since the claim was applied at the leader

	// Level is the level of the state that the entry is for, as the leader knew it, and
	// decides the shape of everything that follows. 0 stands for 1.
	Level uint32
}

const headerSize = 1 + 4 + 4*8

// command is the number of a command in an entry. Numbers are never reused.
type command byte

const (
	commandRequest command = 1  // a client's request, as it came
	commandClaim   command = 2  // the leader takes the clock
	commandAttach  command = 3  // a session becomes known
	commandEnds    command = 4  // sessions have ended
	commandOwn     command = 5  // the group's partitions and limits, once
	commandLevel   command = 6  // raises the level
	commandLoad    command = 7  // a frame of the archive that the group takes over
	commandPass    command = 9  // the cursor moves over ends that are no longer listed
	commandEnded   command = 10 // which of the sessions known before it have ended
)

// The payloads of commands, in the shape of the entry's level. A request is carried as
// it came, or as its proposer has encoded it anew.
type (
	claim  struct{ Nonce uint64 }
	attach struct {
		Session protocol.SessionID
		End     uint64
	}
	ends struct {
		From uint64
		IDs  []protocol.SessionID
	}
	passOver struct {
		End  uint64
		Next protocol.SessionID
	}
	frame struct {
		N       uint64
		Type    uint8
		Content []byte
	}
	raise struct{ Level uint32 }
)

// Builder builds an entry. The zero Builder is empty; Reset starts one.
type Builder struct {
	buf      []byte
	level    uint32
	requests int
	commands int
}

// Reset starts an entry, in a new buffer with a capacity of size bytes.
func (b *Builder) Reset(h Header, size int) {
	h.Level = max(h.Level, 1)
	buf := make([]byte, 0, headerSize+size)
	buf = append(buf, entryVersion)
	buf = binary.BigEndian.AppendUint32(buf, h.Level)
	buf = binary.BigEndian.AppendUint64(buf, h.Proposer)
	buf = binary.BigEndian.AppendUint64(buf, h.Number)
	buf = binary.BigEndian.AppendUint64(buf, h.ClockEpoch)
	buf = binary.BigEndian.AppendUint64(buf, uint64(h.Elapsed))
	*b = Builder{buf: buf, level: h.Level}
}

// Bytes returns the entry.
func (b *Builder) Bytes() []byte { return b.buf }

// Requests returns how many requests the entry holds.
func (b *Builder) Requests() int { return b.requests }

// Commands returns how many commands the entry holds, requests among them.
func (b *Builder) Commands() int { return b.commands }

// addShaped adds a command other than a request, in the shape of the entry's level.
func (b *Builder) addShaped(c command, v any) { b.add(c, levels.Append(nil, v, b.level)) }

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
	b.addShaped(commandClaim, claim{nonce})
}

// Attach makes session s known. The leader has read in the system group that s was
// alive when end was the number of the last ended session.
func (b *Builder) Attach(s protocol.SessionID, end uint64) {
	b.addShaped(commandAttach, attach{s, end})
}

// Ends adds the sessions that ended with the numbers from+1, from+2, ...
func (b *Builder) Ends(from uint64, ids []protocol.SessionID) {
	b.addShaped(commandEnds, ends{from, ids})
}

// PassOver moves the cursor of the ends to end, over ends that are no longer listed.
// Any session below next that was known before may have ended with one of these; Ended
// must tell for each.
func (b *Builder) PassOver(end uint64, next protocol.SessionID) {
	b.addShaped(commandPass, passOver{end, next})
}

// Ended tells which sessions of a range have ended (its IDs), after ends were passed
// over.
func (b *Builder) Ended(c Checked) { b.addShaped(commandEnded, c) }

// Ownership is what a new group is told once.
type Ownership struct {
	Partitions int                    // of the cluster
	Owned      []protocol.PartitionID // by the group
	Limits     protocol.Limits
	// History is how many bytes the group keeps of events; 0: DefaultHistory.
	History int
	// Generation is that of the partitions. It has risen if data was lost.
	Generation uint16
	// Revision is where the partitions' revisions begin.
	Revision protocol.Revision
	// GracePeriod is how long the group refuses operations that hold something, in log
	// time from the moment it serves: former holders may not know yet that they have
	// lost what they held.
	GracePeriod time.Duration
	// Ends is the number of the last ended session when the group was made. The group
	// never knows any of the sessions up to it.
	Ends uint64
	// Loading makes the group refuse requests until Load commands have loaded its
	// state.
	Loading bool
}

// Own gives a new group its partitions. A group that has them already ignores
// it.
func (b *Builder) Own(o Ownership) {
	o.History = cmp.Or(o.History, DefaultHistory)
	b.addShaped(commandOwn, o)
}

// Check reports why an ownership must not be logged: Apply would refuse it.
func (o *Ownership) Check() error {
	if o.Partitions < 0 || o.Partitions > maxPartitions || len(o.Owned) > maxPartitions || o.GracePeriod < 0 || o.GracePeriod > maxGracePeriod || o.Revision > maxFirstRevision || o.History < 0 || o.History > maxHistory {
		return fmt.Errorf("the ownership of %d partitions of %d, from revision %d, held off for %v, with %d bytes of history", len(o.Owned), o.Partitions, o.Revision, o.GracePeriod, o.History)
	}
	return nil
}

const (
	maxGracePeriod   = 365 * 24 * time.Hour
	maxFirstRevision = 1<<48 - 1
	maxHistory       = 1 << 40
)

// Load adds the n-th frame of an archive, counted from 0, for a group that is loading.
func (b *Builder) Load(n uint64, f archive.Frame) {
	b.addShaped(commandLoad, frame{n, uint8(f.Type), f.Content})
}

// Level raises the level of the group's state.
func (b *Builder) Level(level uint32) {
	b.addShaped(commandLevel, raise{level})
}

// ReadHeader reads the header of an entry and returns the rest of it.
func ReadHeader(entry []byte) (Header, []byte, error) {
	if len(entry) < headerSize || entry[0] != entryVersion {
		return Header{}, nil, fmt.Errorf("%w: %d bytes", ErrEntry, len(entry))
	}
	u := func(i int) uint64 { return binary.BigEndian.Uint64(entry[5+8*i:]) }
	h := Header{Proposer: u(0), Number: u(1), ClockEpoch: u(2), Elapsed: int64(u(3)), Level: binary.BigEndian.Uint32(entry[1:])}
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
