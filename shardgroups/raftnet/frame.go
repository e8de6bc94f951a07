package raftnet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/quorate/quorate/protocol"
)

// A Raft connection carries frames after its preface: length of the payload
// (4 bytes), its CRC-32C (4 bytes), its type (1 byte), the CRC-32C of these nine
// bytes (4 bytes), all big-endian, and the payload in dragonboat's encoding. A
// frame is written with one write and read through a buffer; dragonboat's own
// transport needs three of each.
//
// The header has a checksum of its own, because the reader must trust the length before
// the payload has arrived: with a damaged length it would swallow everything that
// follows, for frameLimit, and nobody would notice.
const (
	headerSize    = headerSum + 4
	headerSum     = 9              // where the header's own checksum is
	maxFrame      = 64<<20 + 1<<20 // dragonboat's largest batch, and its envelope
	frameBatch    = 1
	frameChunk    = 2
	writeLimit    = 10 * time.Second
	reopenLimit   = time.Second
	firstLimit    = 10 * time.Second // for the first frame of a connection
	frameLimit    = 30 * time.Second // for the rest of a frame
	bufferSize    = 64 << 10
	keepBuffer    = 1 << 20
	transportName = "quorate"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errFrame = errors.New("damaged raft frame")

// readFrame reads a frame into buf, or into memory that grows only as the
// bytes arrive.
func readFrame(r io.Reader, buf []byte) (byte, []byte, error) {
	var head [headerSize]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	if crc32.Checksum(head[:headerSum], castagnoli) != binary.BigEndian.Uint32(head[headerSum:]) {
		return 0, nil, fmt.Errorf("%w: header", errFrame)
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n == 0 || n > maxFrame {
		return 0, nil, fmt.Errorf("%w: %d bytes", errFrame, n)
	}
	buf, err := protocol.ReadGrowing(r, buf, n)
	if err != nil {
		return 0, nil, err
	}
	if crc32.Checksum(buf, castagnoli) != binary.BigEndian.Uint32(head[4:]) {
		return 0, nil, fmt.Errorf("%w: checksum", errFrame)
	}
	return head[8], buf, nil
}
