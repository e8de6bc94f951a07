package gossip

import "github.com/quorate/quorate/protocol"

// State is the state that a member announces. Like all gossip it is a hint, since
// anybody may send a packet: nobody acts on it before the member itself has confirmed
// it.
type State struct {
	MemoryFull bool // its memory is above the watermark
	DiskFull   bool // its disk is above the watermark
	Closing    bool // it is shutting down
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

// Flags returns the state as it travels: a bit for each field.
func (s State) Flags() uint64 {
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

// StateOf returns the state for flags. Flags that a later version has added are
// skipped.
func StateOf(flags uint64) State {
	return State{
		MemoryFull: flags&flagMemoryFull != 0,
		DiskFull:   flags&flagDiskFull != 0,
		Closing:    flags&flagClosing != 0,
		Behind:     flags&flagBehind != 0,
		DiskOut:    flags&flagDiskOut != 0,
		DiskSlow:   flags&flagDiskSlow != 0,
	}
}

// meta is sent with memberlist's own announcement of a member, as a CBOR array. A later
// version may append elements and flags: unknown ones are skipped.
type meta struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Address string
	Cluster protocol.UUID
	Flags   uint64 // State
	Started uint64 // wall clock, in milliseconds, when the announcing began
}
