package gossip

import "github.com/quorate/quorate/protocol"

// State is what a member announces of itself, for the others to take into
// account. It is a hint as all of the gossip is: nothing rests on it alone.
type State struct {
	MemoryFull bool // its memory is above the watermark
	DiskFull   bool // its disk is above the watermark
	Closing    bool // it was told to end
	Behind     bool // a replica of it has not caught up since it was started
	DiskOut    bool // nothing at all may be written to its disk
	DiskSlow   bool // the syncs of its log have been slow for some seconds
}

const (
	flagMemoryFull = 1 << iota
	flagDiskFull
	flagClosing
	flagBehind
	flagDiskOut
	flagDiskSlow
)

func (s State) flags() uint64 {
	var f uint64
	if s.MemoryFull {
		f |= flagMemoryFull
	}
	if s.DiskFull {
		f |= flagDiskFull
	}
	if s.Closing {
		f |= flagClosing
	}
	if s.Behind {
		f |= flagBehind
	}
	if s.DiskOut {
		f |= flagDiskOut
	}
	if s.DiskSlow {
		f |= flagDiskSlow
	}
	return f
}

func stateOf(flags uint64) State {
	return State{
		MemoryFull: flags&flagMemoryFull != 0,
		DiskFull:   flags&flagDiskFull != 0,
		Closing:    flags&flagClosing != 0,
		Behind:     flags&flagBehind != 0,
		DiskOut:    flags&flagDiskOut != 0,
		DiskSlow:   flags&flagDiskSlow != 0,
	}
}

// meta travels with memberlist's own announcement of a member, as a CBOR array.
// A later version may append elements and flags: what is not known is skipped.
type meta struct {
	name    string
	address string
	cluster protocol.UUID
	state   State
	started uint64 // wall clock, in milliseconds, when the announcing began
}

const (
	metaFields    = 5
	metaFieldsMin = 4 // started was added later
)

func (m meta) append(dst []byte) []byte {
	dst = protocol.AppendArray(dst, metaFields)
	dst = protocol.AppendString(dst, m.name)
	dst = protocol.AppendString(dst, m.address)
	dst = protocol.AppendBytes(dst, m.cluster[:])
	dst = protocol.AppendUint(dst, m.state.flags())
	return protocol.AppendUint(dst, m.started)
}

func parseMeta(b []byte) (m meta, ok bool) {
	r := protocol.NewReader(b)
	fields := r.ArrayLen()
	if fields < metaFieldsMin {
		return meta{}, false
	}
	m.name, m.address = r.String(), r.String()
	if copy(m.cluster[:], r.Bytes()) != len(m.cluster) {
		return meta{}, false
	}
	m.state = stateOf(r.Uint())
	if fields > metaFieldsMin {
		m.started = r.Uint()
	}
	return m, r.Err() == nil
}
