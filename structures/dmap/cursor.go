package dmap

import (
	"encoding/base64"
	"fmt"
	"math"
	"strings"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
)

// Cursor is a place in an iteration: see Resume. The zero Cursor is the beginning. It
// is a plain value, and as text or bytes it can be kept anywhere; it stays good while
// the map's grid exists, whatever happens to clients, members and the map.
type Cursor struct {
	name       string // of the map; empty: the zero Cursor
	partitions int    // of the grid
	partition  int    // where to go on; partitions: nowhere
	from       string // the first key there that has not come, encoded; empty: all of them
}

// Resume begins an iteration where at stands, and keeps at up to date: in the body of
// the loop it stands behind the entry that came, after the loop behind all that is
// done with. So an iteration that was left, or has failed, goes on with what at was
// then, in this or another process, and with other options. Together they are one: every
// entry that is there throughout comes exactly once. An entry that cannot be read is not
// passed. A cursor of another map, or of a grid with another number of partitions, is
// ErrInvalid.
//
// An iteration writes to at until it ends; nobody else may use it meanwhile but the
// body of its loop.
func Resume(at *Cursor) ScanOption { return func(o *scanOptions) { o.at = at } }

// Done reports whether the iteration came to its end: resuming it gives nothing.
func (c Cursor) Done() bool { return c.name != "" && c.partition == c.partitions }

// String returns the text of the cursor: letters, digits, - and _, a third more than
// the map's name and a key together. That of the zero Cursor is empty.
func (c Cursor) String() string {
	text, _ := c.MarshalText()
	return string(text)
}

// MarshalText implements encoding.TextMarshaler.
func (c Cursor) MarshalText() ([]byte, error) {
	b, err := c.MarshalBinary()
	return base64.RawURLEncoding.AppendEncode(nil, b), err
}

// UnmarshalText implements encoding.TextUnmarshaler. What is no cursor is
// quorate.ErrInvalid.
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

// MarshalBinary implements encoding.BinaryMarshaler.
func (c Cursor) MarshalBinary() ([]byte, error) {
	if c == (Cursor{}) {
		return nil, nil
	}
	b := protocol.AppendUint(protocol.AppendArray(nil, 5), cursorOfScan)
	b = protocol.AppendString(b, c.name)
	b = protocol.AppendUint(protocol.AppendUint(b, uint64(c.partitions)), uint64(c.partition))
	return protocol.AppendBytes(b, []byte(c.from)), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. What is no cursor is
// quorate.ErrInvalid.
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

// begin checks that the cursor is one of the map's, and makes the zero one so.
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

// move goes on to a place, where there is a cursor: everything before it has come.
func (c *Cursor) move(p protocol.PartitionID, from string) {
	if c != nil {
		c.partition, c.from = int(p), from
	}
}

// pass goes on behind a key.
func (c *Cursor) pass(p protocol.PartitionID, key []byte) {
	if c != nil {
		c.partition, c.from = int(p), string(key)+"\x00" // the next key that there can be
	}
}
