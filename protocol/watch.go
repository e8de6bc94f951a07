package protocol

// A watch is registered with a request of KindControl and OpWatch, whose body is a
// Watch. Its reply has where each partition begins, as a list of WatchPosition. After
// that the member sends WatchEvents and WatchNotes under the request's ID, and the
// client WatchControls.

// WatchOptions say what a watch is sent: bits.
type WatchOptions uint32

// The options of a watch. 4 is not used.
const (
	WatchKeysOnly  WatchOptions = 1 << 0 // events without values
	WatchOldValues WatchOptions = 1 << 1 // events with the value before, if the structure keeps it
	WatchRow       WatchOptions = 1 << 3 // the newest state of one row, in place of its changes
)

// WatchStart says where a partition of a watch begins.
type WatchStart uint8

// The starts of a partition of a watch.
const (
	WatchAfter   WatchStart = 0 // behind a position
	WatchNow     WatchStart = 1 // with the first change that was not there when the watch was asked for
	WatchCurrent WatchStart = 2 // with the entries behind a key, and then their changes
)

// Watch is the body of the request that registers a watch: of one structure, in
// partitions of one group.
type Watch struct {
	Kind     KindID
	Options  WatchOptions
	From, To []byte // encoded keys from From on and before To; an empty To is no end
	Types    uint32 // of events: a bit for each type; 0: all
	Credit   uint32 // bytes of events that may be sent
	Parts    []WatchPart
}

// WatchPart is a partition of a watch.
type WatchPart struct {
	Partition PartitionID
	Start     WatchStart
	Version   Version // the position, except with WatchNow, and with WatchCurrent and no Listed
	Skip      uint32
	Listed    []byte // with WatchCurrent: the last key that was listed
}

// WatchPosition is where a partition of a watch is.
type WatchPosition struct {
	Partition PartitionID
	Version   Version
}

// Bounds of a watch.
const (
	MaxWatchParts = 4096
	MaxWatchBody  = 256 << 10
	maxWatchKey   = 64 << 10
)

const (
	watchFields         = 7
	watchPartFields     = 5
	watchPositionFields = 2
)

// Append appends the watch as one CBOR array.
func (w *Watch) Append(dst []byte) []byte {
	dst = AppendArray(dst, watchFields)
	dst = AppendUint(dst, uint64(w.Kind))
	dst = AppendUint(dst, uint64(w.Options))
	dst = AppendBytes(dst, w.From)
	dst = AppendBytes(dst, w.To)
	dst = AppendUint(dst, uint64(w.Types))
	dst = AppendUint(dst, uint64(w.Credit))
	dst = AppendArray(dst, len(w.Parts))
	for i := range w.Parts {
		p := &w.Parts[i]
		dst = AppendArray(dst, watchPartFields)
		dst = AppendUint(dst, uint64(p.Partition))
		dst = AppendUint(dst, uint64(p.Start))
		dst = AppendUint(dst, uint64(p.Version))
		dst = AppendUint(dst, uint64(p.Skip))
		dst = AppendBytes(dst, p.Listed)
	}
	return dst
}

// Decode reads a watch; its keys alias b.
func (w *Watch) Decode(b []byte) error {
	r := NewReader(b)
	later := r.atLeast(watchFields)
	w.Kind = KindID(r.small())
	w.Options = WatchOptions(r.Uint32())
	w.From, w.To = r.Bytes(), r.Bytes()
	w.Types, w.Credit = r.Uint32(), r.Uint32()
	n := r.ArrayLen()
	if n == 0 || n > MaxWatchParts || len(w.From) > maxWatchKey || len(w.To) > maxWatchKey {
		r.fail()
	}
	w.Parts = nil
	for range n {
		more := r.atLeast(watchPartFields)
		p := WatchPart{Partition: PartitionID(r.Uint32()), Start: WatchStart(r.small()), Version: Version(r.Uint()), Skip: r.Uint32(), Listed: r.Bytes()}
		r.skipItems(more)
		if p.Start > WatchCurrent || p.Start != WatchCurrent && len(p.Listed) > 0 {
			r.fail()
		}
		if r.err != nil {
			return r.err
		}
		w.Parts = append(w.Parts, p)
	}
	r.skipItems(later)
	return r.Done()
}

// AppendPositions appends positions as one CBOR array.
func AppendPositions(dst []byte, at []WatchPosition) []byte {
	dst = AppendArray(dst, len(at))
	for _, p := range at {
		dst = AppendArray(dst, watchPositionFields)
		dst = AppendUint(dst, uint64(p.Partition))
		dst = AppendUint(dst, uint64(p.Version))
	}
	return dst
}

// DecodePositions reads what AppendPositions wrote.
func DecodePositions(b []byte) ([]WatchPosition, error) {
	r := NewReader(b)
	at := r.positions()
	return at, r.Done()
}

func (r *Reader) positions() (at []WatchPosition) {
	n := r.ArrayLen()
	if n > MaxWatchParts {
		r.fail()
	}
	for i := 0; i < n && r.err == nil; i++ {
		more := r.atLeast(watchPositionFields)
		at = append(at, WatchPosition{PartitionID(r.Uint32()), Version(r.Uint())})
		r.skipItems(more)
	}
	return at
}

// WatchEventFlags are flags of an event: bits.
type WatchEventFlags uint8

// The flags of an event.
const (
	WatchMore   WatchEventFlags = 1 << 0 // the watch gets another event of the same mutation
	WatchListed WatchEventFlags = 1 << 1 // an entry that is there, not a change
)

// WatchEvent is an event, or an entry of a list. With WatchListed Previous is the time
// that the entry has left, in milliseconds, 0: it has no end; and Type 0 says that the
// list has come to Key, where no entry is.
type WatchEvent struct {
	Type            uint8
	Flags           WatchEventFlags
	Version         Version
	Previous        Version
	Key, Value, Old []byte
}

const watchEventFields = 7

// watchEventCost is what an event takes of the credit beside its bytes.
const watchEventCost = 32

// Cost returns what the event takes of the credit of its watch.
func (e *WatchEvent) Cost() int { return watchEventCost + len(e.Key) + len(e.Value) + len(e.Old) }

func (e *WatchEvent) append(dst []byte) []byte {
	dst = AppendArray(dst, watchEventFields)
	dst = AppendUint(dst, uint64(e.Type))
	dst = AppendUint(dst, uint64(e.Flags))
	dst = AppendUint(dst, uint64(e.Version))
	dst = AppendUint(dst, uint64(e.Previous))
	dst = AppendBytes(dst, e.Key)
	dst = AppendBytes(dst, e.Value)
	return AppendBytes(dst, e.Old)
}

func (e *WatchEvent) read(r *Reader) {
	more := r.atLeast(watchEventFields)
	e.Type, e.Flags = r.small(), WatchEventFlags(r.small())
	e.Version, e.Previous = Version(r.Uint()), Version(r.Uint())
	e.Key, e.Value, e.Old = r.Bytes(), r.Bytes(), r.Bytes()
	r.skipItems(more)
}

// WatchSection is what a watch gets of one partition. Behind its events the position
// of the watch there is (Version, Skip): all mutations up to Version, and the first
// Skip events behind them.
type WatchSection struct {
	Partition PartitionID
	Version   Version
	Skip      uint32
	Events    []WatchEvent
}

const watchSectionFields = 4

// Append appends the section as one CBOR array.
func (s *WatchSection) Append(dst []byte) []byte {
	dst = AppendArray(dst, watchSectionFields)
	dst = AppendUint(dst, uint64(s.Partition))
	dst = AppendUint(dst, uint64(s.Version))
	dst = AppendUint(dst, uint64(s.Skip))
	dst = AppendArray(dst, len(s.Events))
	for i := range s.Events {
		dst = s.Events[i].append(dst)
	}
	return dst
}

// WatchEvents are events for the watches with the given IDs.
type WatchEvents struct {
	IDs      []uint64
	Sections []WatchSection
}

const watchEventsFields = 3

// Append appends the message as one CBOR array.
func (m *WatchEvents) Append(dst []byte) []byte {
	dst = AppendWatchEvents(dst, m.IDs, len(m.Sections))
	for i := range m.Sections {
		dst = m.Sections[i].Append(dst)
	}
	return dst
}

// AppendWatchEvents appends the beginning of a WatchEvents; so many sections follow,
// which may have been encoded before.
func AppendWatchEvents(dst []byte, ids []uint64, sections int) []byte {
	dst = append(dst, majorArray|watchEventsFields, byte(TypeWatchEvents))
	dst = AppendArray(dst, len(ids))
	for _, id := range ids {
		dst = AppendUint(dst, id)
	}
	return AppendArray(dst, sections)
}

// Decode reads the message; what is in its events aliases b.
func (m *WatchEvents) Decode(b []byte) error {
	r := NewReader(b)
	later := r.atLeast(watchEventsFields)
	if MessageType(r.small()) != TypeWatchEvents {
		r.fail()
	}
	m.IDs, m.Sections = m.IDs[:0], m.Sections[:0]
	n := r.ArrayLen()
	if n == 0 {
		r.fail()
	}
	for i := 0; i < n && r.err == nil; i++ {
		m.IDs = append(m.IDs, r.Uint())
	}
	n = r.ArrayLen()
	for i := 0; i < n && r.err == nil; i++ {
		more := r.atLeast(watchSectionFields)
		s := WatchSection{Partition: PartitionID(r.Uint32()), Version: Version(r.Uint()), Skip: r.Uint32()}
		events := r.ArrayLen()
		for j := 0; j < events && r.err == nil; j++ {
			var e WatchEvent
			e.read(&r)
			s.Events = append(s.Events, e)
		}
		r.skipItems(more)
		m.Sections = append(m.Sections, s)
	}
	r.skipItems(later)
	return r.Done()
}

// WatchNotice says what a WatchNote is about.
type WatchNotice uint8

// The notices.
const (
	WatchConfirmed WatchNotice = 1 // N: of a probe; the member led when it came
	WatchSynced    WatchNotice = 2 // N: of a probe; all that was there when it came has been sent
	WatchAllListed WatchNotice = 3 // of Parts all entries have been sent
	WatchGap       WatchNotice = 4 // of Parts, with N a WatchGapReason: the versions are those below which events are missing
	WatchNotHere   WatchNotice = 5 // of Parts, with N a Code: they are served elsewhere
	WatchEnded     WatchNotice = 6 // the watch has ended; N is a Code, the detail a Problem
)

// The reasons of a gap.
const (
	GapCompacted    = 1 // the events are no longer kept
	GapDataLost     = 2 // the group has lost the data of its majority
	GapOtherHistory = 3 // the position is in another history
	GapOtherGrid    = 4 // the grid was lost and formed anew
)

// WatchNote tells of a watch something other than events.
type WatchNote struct {
	ID     uint64
	What   WatchNotice
	N      uint64
	Parts  []WatchPosition
	Detail []byte
}

const watchNoteFields = 6

// Append appends the note as one CBOR array.
func (m *WatchNote) Append(dst []byte) []byte {
	dst = append(dst, majorArray|watchNoteFields, byte(TypeWatchNote))
	dst = AppendUint(dst, m.ID)
	dst = AppendUint(dst, uint64(m.What))
	dst = AppendUint(dst, m.N)
	dst = AppendPositions(dst, m.Parts)
	return AppendBytes(dst, m.Detail)
}

// Decode reads a note; Detail aliases b.
func (m *WatchNote) Decode(b []byte) error {
	r := NewReader(b)
	later := r.atLeast(watchNoteFields)
	if MessageType(r.small()) != TypeWatchNote {
		r.fail()
	}
	m.ID, m.What, m.N = r.Uint(), WatchNotice(r.small()), r.Uint()
	m.Parts = r.positions()
	m.Detail = r.Bytes()
	r.skipItems(later)
	return r.Done()
}

// WatchAction says what a WatchControl asks for.
type WatchAction uint8

// The actions.
const (
	WatchCredit WatchAction = 1 // N bytes more may be sent
	WatchEnd    WatchAction = 2 // no answer
	WatchSync   WatchAction = 3 // a probe with the number N: WatchConfirmed and WatchSynced answer it
)

// WatchControl is what a client says of a watch.
type WatchControl struct {
	ID     uint64
	Action WatchAction
	N      uint64
}

const watchControlFields = 4

// Append appends the message as one CBOR array.
func (m *WatchControl) Append(dst []byte) []byte {
	dst = append(dst, majorArray|watchControlFields, byte(TypeWatchControl))
	dst = AppendUint(dst, m.ID)
	dst = AppendUint(dst, uint64(m.Action))
	return AppendUint(dst, m.N)
}

// Decode reads the message.
func (m *WatchControl) Decode(b []byte) error {
	r := NewReader(b)
	later := r.atLeast(watchControlFields)
	if MessageType(r.small()) != TypeWatchControl {
		r.fail()
	}
	m.ID, m.Action, m.N = r.Uint(), WatchAction(r.small()), r.Uint()
	r.skipItems(later)
	return r.Done()
}
