package dmap

import (
	"encoding/base64"
	"fmt"
	"math"
	"strings"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// Cursor is a position in an iteration: see [Resume]. The zero Cursor is the beginning.
// It is a plain value, and as text or bytes it can be kept anywhere. It stays valid as
// long as the map's grid exists, whatever happens to clients, members and the map.
type Cursor struct {
	name       string // of the map; empty: the zero Cursor
	partitions int    // of the grid
	partition  int    // to go on with; partitions: the iteration is done
	from       string // the first key there that has not come, encoded; empty: all of them
}

// Resume begins an iteration at the position at, and keeps at up to date: in the body of
// the loop it is behind the current entry, after the loop behind the last one that the
// loop has finished. So an iteration that was left, or has failed, can be resumed from
// at, in this or another process, and with other options. Together they are one
// iteration: every entry that exists throughout comes exactly once. The cursor does not
// pass an entry that cannot be read. A cursor of another map, or of a grid with another
// number of partitions, is [quorate.ErrInvalid].
//
// The iteration writes to at until it ends. Until then only the body of its loop may
// use at.
func Resume(at *Cursor) ScanOption { return ScanOption{at: at} }

// Done reports whether the iteration came to its end: resuming it gives nothing.
func (c Cursor) Done() bool { return c.name != "" && c.partition == c.partitions }

// String returns the text of the cursor: letters, digits, - and _, a third more than
// the map's name and a key together. That of the zero Cursor is empty.
func (c Cursor) String() string {
	text, _ := c.MarshalText()
	return string(text)
}

// MarshalText implements [encoding.TextMarshaler]. Its error is always nil.
func (c Cursor) MarshalText() ([]byte, error) {
	b, err := c.MarshalBinary()
	return base64.RawURLEncoding.AppendEncode(nil, b), err
}

// UnmarshalText implements [encoding.TextUnmarshaler]. Text that is no cursor is
// [quorate.ErrInvalid].
func (c *Cursor) UnmarshalText(text []byte) error {
	b, err := base64.RawURLEncoding.Strict().DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("%w: a cursor: %w", quorate.ErrInvalid, err)
	}
	return c.UnmarshalBinary(b)
}

// cursorOfScan is the first element of every cursor of this form. Another form gets
// another number.
const cursorOfScan = 1

// MarshalBinary implements [encoding.BinaryMarshaler]. Its error is always nil.
func (c Cursor) MarshalBinary() ([]byte, error) {
	if c == (Cursor{}) {
		return nil, nil
	}
	b := protocol.AppendUint(protocol.AppendArray(nil, 5), cursorOfScan)
	b = protocol.AppendString(b, c.name)
	b = protocol.AppendUint(protocol.AppendUint(b, uint64(c.partitions)), uint64(c.partition))
	return protocol.AppendBytes(b, []byte(c.from)), nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]. Bytes that are no cursor are
// [quorate.ErrInvalid].
func (c *Cursor) UnmarshalBinary(b []byte) error {
	if len(b) == 0 {
		*c = Cursor{}
		return nil
	}
	r := protocol.NewReader(b)
	r.Array(5)
	form := r.Uint()
	name := r.String()
	partitions, partition := r.Uint(), r.Uint()
	from := r.Bytes()
	if form != cursorOfScan || name == "" || partitions > math.MaxInt32 || partition > partitions || partition == partitions && len(from) > 0 {
		r.Fail()
	}
	if err := r.Done(); err != nil {
		return fmt.Errorf("%w: a cursor: %w", quorate.ErrInvalid, err)
	}
	*c = Cursor{strings.Clone(name), int(partitions), int(partition), string(from)}
	return nil
}

// begin checks that the cursor is of this map. It gives the zero cursor the map's name.
func (c *Cursor) begin(name string, partitions int) error {
	switch {
	case *c == (Cursor{}):
		*c = Cursor{name: name, partitions: partitions}
	case c.name != name:
		return fmt.Errorf("%w: a cursor of map %s", quorate.ErrInvalid, c.name)
	case c.partitions != partitions:
		return fmt.Errorf("%w: a cursor of a grid with %d partitions, this one has %d", quorate.ErrInvalid, c.partitions, partitions)
	}
	return nil
}

// move sets the cursor, if there is one, to a position: everything before it has come.
func (c *Cursor) move(p protocol.PartitionID, from string) {
	if c != nil {
		c.partition, c.from = int(p), from
	}
}

// pass moves the cursor, if there is one, behind a key.
func (c *Cursor) pass(p protocol.PartitionID, key []byte) {
	if c != nil {
		c.partition, c.from = int(p), string(key)+"\x00" // the next key that there can be
	}
}
