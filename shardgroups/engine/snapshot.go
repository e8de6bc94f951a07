package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrLogMissing is the error of a replica that the member has run before and
// whose log is not there.
var ErrLogMissing = errors.New("the replica's log is missing")

// A snapshot of ours begins with the index of the last entry in it, eight bytes
// big-endian.

// WriteIndex writes the index with which a snapshot begins.
func WriteIndex(w io.Writer, index uint64) error {
	_, err := w.Write(binary.BigEndian.AppendUint64(nil, index))
	return err
}

// ReadIndex reads the index with which a snapshot begins.
func ReadIndex(r io.Reader) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, fmt.Errorf("read snapshot: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}
