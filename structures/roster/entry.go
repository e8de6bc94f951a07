package roster

import (
	"fmt"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// Entry is what is registered under an ID.
type Entry struct {
	ID   string
	Data []byte // as its package encodes it; must not be changed
	Health
	Note      string // of the health, human-readable; may be empty
	Drained   bool
	Reason    string        // of the drain
	Permanent bool          // it does not end with a session
	TTL       time.Duration // without a report for so long it is critical; 0: never
	Remove    time.Duration // critical for so long it is removed; 0: never
	Nonce     uint64        // names the registration

	// Version is that of the mutation that wrote the entry.
	Version structures.Version
	// Session owns it, 0 if it is permanent. For is how long it has had its health. Both
	// are known of entries that were listed.
	Session protocol.SessionID
	For     time.Duration
}

// row is the value of an entry's row, which watchers see as it is.
type row struct {
	nonce       uint64
	health      Health
	note        string
	flags       uint64
	reason      string // of the drain
	ttl, remove int64  // milliseconds
	since       protocol.LogTime
	data        []byte
}

func (e *row) append(dst []byte) []byte {
	dst = protocol.AppendUint(protocol.AppendArray(dst, 9), e.nonce)
	dst = protocol.AppendString(protocol.AppendUint(dst, uint64(e.health)), e.note)
	dst = protocol.AppendString(protocol.AppendUint(dst, e.flags), e.reason)
	dst = protocol.AppendUint(protocol.AppendUint(dst, uint64(e.ttl)), uint64(e.remove))
	return protocol.AppendBytes(protocol.AppendUint(dst, uint64(e.since)), e.data)
}

// read reads the value of a row; it aliases value.
func (e *row) read(value []byte) error {
	r := protocol.NewReader(value)
	r.Array(9)
	e.nonce, e.health, e.note = r.Uint(), Health(min(r.Uint(), 255)), r.String()
	e.flags, e.reason = r.Uint(), r.String()
	e.ttl, e.remove = int64(r.Uint()), int64(r.Uint())
	e.since, e.data = protocol.LogTime(r.Uint()), r.Bytes()
	return r.Done()
}

// entry returns the row as users see it. Value must stay unchanged.
func entryOf(id string, version structures.Version, value []byte) (Entry, protocol.LogTime, error) {
	var e row
	if err := e.read(value); err != nil {
		return Entry{}, 0, err
	}
	return Entry{
		ID: id, Data: e.data, Health: e.health, Note: e.note, Drained: e.flags&flagDrained != 0, Reason: e.reason,
		Permanent: e.flags&flagPermanent != 0, Nonce: e.nonce, Version: version,
		TTL: time.Duration(e.ttl) * time.Millisecond, Remove: time.Duration(e.remove) * time.Millisecond,
	}, e.since, nil
}

// The rows' keys. Entries have the key that an ID has as the key of a map; what else a
// roster keeps comes before them.
var (
	firstEntry = []byte{protocol.KeyText}
	countKey   = []byte{0, 'n'}
)

func entryKey(id string) []byte { return append([]byte{protocol.KeyText}, id...) }

func timerKey(id string) []byte { return append([]byte{0, 't'}, id...) }

func drainKey(id string) []byte { return append([]byte{0, 'x'}, id...) }

// Decode returns what entries say, decoded one by one. Those that cannot be decoded are left
// out: the error is that of the first of them, with its ID and how many more there are.
func Decode[T any](r *Roster, noun string, entries []Entry, decode func(*Entry) (T, error)) ([]T, error) {
	list, bad := make([]T, 0, len(entries)), 0
	var first error
	for i := range entries {
		v, err := decode(&entries[i])
		if err == nil {
			list = append(list, v)
			continue
		}
		if bad++; bad == 1 {
			first = fmt.Errorf("%s %s: %w", noun, entries[i].ID, err)
		}
	}
	switch {
	case bad == 1:
		return list, r.handle.Fail(listVerb, first, "")
	case bad > 1:
		return list, r.handle.Fail(listVerb, first, fmt.Sprintf("and %d more", bad-1))
	}
	return list, nil
}
