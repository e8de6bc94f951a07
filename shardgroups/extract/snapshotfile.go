package extract

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/lni/dragonboat/v4/raftpb"
)

// A snapshot file of dragonboat's, version 2: a header of 1024 bytes (length,
// 8 bytes little-endian, and a raftpb.SnapshotHeader), blocks of 2 MiB, the last
// one shorter, each followed by its CRC-32 (IEEE), and a tail of the length of
// all blocks (8 bytes little-endian) and a magic number.
const (
	snapshotHeader    = 1024
	snapshotBlock     = 2 << 20
	snapshotChecksum  = 4
	snapshotTail      = 16
	snapshotFlagFile  = "dragonboat.snapshot.message"
	snapshotFileName  = "snapshot-%016X"
	snapshotExtension = ".gbsnap"
)

var snapshotMagic = []byte{0x3F, 0x5B, 0xCB, 0xF1, 0xFA, 0xBA, 0x81, 0x9F}

// snapshot verifies the snapshot at index in a replica's folder, and the small
// files that dragonboat reads beside it at the start.
func (in *inspection) snapshot(dir string, index uint64) error {
	flags, err := filepath.Glob(filepath.Join(dir, "*", snapshotFlagFile))
	if err != nil {
		return err
	}
	for _, f := range flags {
		if filepath.Ext(filepath.Dir(f)) != "" {
			continue // half written, and removed unread
		}
		if err := in.flagFile(f); err != nil {
			return err
		}
	}
	name := fmt.Sprintf(snapshotFileName, index)
	in.at = filepath.Join(dir, name, name+snapshotExtension)
	f, err := os.Open(in.at)
	if errors.Is(err, fs.ErrNotExist) {
		return &DamagedError{in.at, errors.New("it is missing")}
	}
	if err != nil {
		return err
	}
	return errors.Join(in.snapshotFile(f), f.Close())
}

func (in *inspection) snapshotFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	damaged := func(format string, args ...any) error {
		return &DamagedError{in.at, fmt.Errorf(format, args...)}
	}
	left := info.Size() - snapshotHeader - snapshotTail
	if left < 0 {
		return damaged("it has only %d bytes", info.Size())
	}
	head := make([]byte, snapshotHeader)
	if _, err := io.ReadFull(f, head); err != nil {
		return err
	}
	header, err := readSnapshotHeader(head)
	if err != nil {
		return damaged("its header: %w", err)
	}
	total := left
	sums := crc32.NewIEEE()
	block := make([]byte, min(left, snapshotBlock+snapshotChecksum))
	for n := 1; left > 0; n++ {
		b := block[:min(left, int64(len(block)))]
		if _, err := io.ReadFull(f, b); err != nil {
			return err
		}
		left -= int64(len(b))
		data := len(b) - snapshotChecksum
		if data <= 0 || binary.BigEndian.Uint32(b[data:]) != crc32.ChecksumIEEE(b[:data]) {
			return damaged("the checksum of block %d does not fit its content", n)
		}
		_, _ = sums.Write(b[data:])
		if err := in.progress(int64(len(b))); err != nil {
			return err
		}
	}
	tail := make([]byte, snapshotTail)
	if _, err := io.ReadFull(f, tail); err != nil {
		return err
	}
	switch {
	case !bytes.Equal(tail[8:], snapshotMagic), binary.LittleEndian.Uint64(tail) != uint64(total):
		return damaged("its end is not that of a snapshot of %d bytes", info.Size())
	case !isZero(header.PayloadChecksum) && !bytes.Equal(header.PayloadChecksum, sums.Sum(nil)):
		return damaged("its checksum does not fit its blocks")
	}
	return nil
}

func readSnapshotHeader(b []byte) (raftpb.SnapshotHeader, error) {
	var h raftpb.SnapshotHeader
	n := binary.LittleEndian.Uint64(b)
	if n > snapshotHeader-8-snapshotChecksum {
		return h, fmt.Errorf("a length of %d", n)
	}
	if err := h.Unmarshal(b[8 : 8+n]); err != nil {
		return h, err
	}
	if h.Version != 2 || h.ChecksumType != raftpb.CRC32IEEE {
		return h, fmt.Errorf("version %d with checksum type %d", h.Version, h.ChecksumType)
	}
	// A snapshot that was streamed has its header's checksum behind the header,
	// any other has it inside.
	outer := b[8+n : 8+n+snapshotChecksum]
	if !isZero(outer) && !bytes.Equal(outer, binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(b[8:8+n]))) {
		return h, errors.New("its checksum does not fit its content")
	}
	if !isZero(b[8+n+snapshotChecksum:]) {
		return h, errors.New("it is not followed by zeros")
	}
	if sum := h.HeaderChecksum; len(sum) > 0 {
		h.HeaderChecksum = nil
		c, err := h.Marshal()
		if err != nil {
			return h, err
		}
		if !bytes.Equal(sum, binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(c))) {
			return h, errors.New("its checksum does not fit its content")
		}
	}
	return h, nil
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// A manifest of Pebble's is a sequence of chunks in blocks of 32 KiB: a masked
// CRC-32C (4 bytes), a length (2) and a type (1), little-endian, and the payload.
// No chunk crosses the end of a block.
const (
	recordBlock  = 32 << 10
	recordHeader = 7
	recordTypes  = 4 // whole, first, middle, last
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// brokenRecord looks for a chunk that is not whole and is followed by one that
// is, and returns where.
func brokenRecord(b []byte) (at int, broken bool) {
	for {
		if recordBlock-at%recordBlock < recordHeader {
			at += recordBlock - at%recordBlock
		}
		n := wholeRecord(b, at)
		if n == 0 {
			break
		}
		at += n
	}
	for o := at + 1; o < len(b); o++ {
		if wholeRecord(b, o) > 0 {
			return at, true
		}
	}
	return 0, false
}

// wholeRecord returns the length of the chunk at an offset with its header, 0
// if there is none or it is broken.
func wholeRecord(b []byte, at int) int {
	if at+recordHeader > len(b) {
		return 0
	}
	h := b[at:]
	n := recordHeader + int(binary.LittleEndian.Uint16(h[4:]))
	kind := h[6]
	if kind < 1 || kind > recordTypes || n > len(h) || n == recordHeader || at%recordBlock+n > recordBlock {
		return 0
	}
	sum := crc32.Checksum(h[6:n], castagnoli)
	if binary.LittleEndian.Uint32(h) != (sum>>15|sum<<17)+0xa282ead8 {
		return 0
	}
	return n
}
