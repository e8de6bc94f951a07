package protocol

import (
	"bytes"
	"testing"
)

type watchMirror struct {
	_        struct{} `cbor:",toarray"`
	Kind     uint8
	Options  uint32
	From, To []byte
	Types    uint32
	Credit   uint32
	Parts    []watchPartMirror
}

type watchPartMirror struct {
	_         struct{} `cbor:",toarray"`
	Partition uint32
	Start     uint8
	Version   uint64
	Skip      uint32
	Listed    []byte
}

type watchEventsMirror struct {
	_        struct{} `cbor:",toarray"`
	Type     uint8
	IDs      []uint64
	Sections []watchSectionMirror
}

type watchSectionMirror struct {
	_         struct{} `cbor:",toarray"`
	Partition uint32
	Version   uint64
	Skip      uint32
	Events    []watchEventMirror
}

type watchEventMirror struct {
	_               struct{} `cbor:",toarray"`
	Type, Flags     uint8
	Version         uint64
	Previous        uint64
	Key, Value, Old []byte
}

type watchNoteMirror struct {
	_      struct{} `cbor:",toarray"`
	Type   uint8
	ID     uint64
	What   uint8
	N      uint64
	Parts  []watchPositionMirror
	Detail []byte
}

type watchPositionMirror struct {
	_         struct{} `cbor:",toarray"`
	Partition uint32
	Version   uint64
}

type watchControlMirror struct {
	_      struct{} `cbor:",toarray"`
	Type   uint8
	ID     uint64
	Action uint8
	N      uint64
}

func mirrorWatch(w Watch) watchMirror {
	m := watchMirror{Kind: uint8(w.Kind), Options: uint32(w.Options), From: w.From, To: w.To, Types: w.Types, Credit: w.Credit}
	for _, p := range w.Parts {
		m.Parts = append(m.Parts, watchPartMirror{Partition: uint32(p.Partition), Start: uint8(p.Start), Version: uint64(p.Version), Skip: p.Skip, Listed: orEmpty(p.Listed)})
	}
	return m
}

func mirrorWatchEvents(e WatchEvents) watchEventsMirror {
	m := watchEventsMirror{Type: uint8(TypeWatchEvents), IDs: e.IDs, Sections: []watchSectionMirror{}}
	for _, s := range e.Sections {
		section := watchSectionMirror{Partition: uint32(s.Partition), Version: uint64(s.Version), Skip: s.Skip, Events: []watchEventMirror{}}
		for _, e := range s.Events {
			section.Events = append(section.Events, watchEventMirror{
				Type: e.Type, Flags: uint8(e.Flags), Version: uint64(e.Version), Previous: uint64(e.Previous), Key: orEmpty(e.Key), Value: orEmpty(e.Value), Old: orEmpty(e.Old),
			})
		}
		m.Sections = append(m.Sections, section)
	}
	return m
}

func mirrorWatchNote(n WatchNote) watchNoteMirror {
	m := watchNoteMirror{Type: uint8(TypeWatchNote), ID: n.ID, What: uint8(n.What), N: n.N, Detail: orEmpty(n.Detail), Parts: []watchPositionMirror{}}
	for _, p := range n.Parts {
		m.Parts = append(m.Parts, watchPositionMirror{Partition: uint32(p.Partition), Version: uint64(p.Version)})
	}
	return m
}

func mirrorWatchControl(c WatchControl) watchControlMirror {
	return watchControlMirror{Type: uint8(TypeWatchControl), ID: c.ID, Action: uint8(c.Action), N: c.N}
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// FuzzWatch reads any bytes as each message of watches: what is accepted is written again,
// and read again, as it was.
func FuzzWatch(f *testing.F) {
	seed(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, &Watch{}, &Watch{})
		again(t, b, &WatchEvents{}, &WatchEvents{})
		again(t, b, &WatchNote{}, &WatchNote{})
		again(t, b, &WatchControl{}, &WatchControl{})
		if at, err := DecodePositions(b); err == nil && len(at) > len(b) {
			t.Fatalf("%d positions in %d bytes", len(at), len(b))
		}
	})
}

type watchMessage interface {
	Append([]byte) []byte
	Decode([]byte) error
}

// again writes what was read of b, which may have had elements of a later version.
func again(t *testing.T, b []byte, one, other watchMessage) {
	t.Helper()
	if one.Decode(b) != nil {
		return
	}
	written := one.Append(nil)
	if err := other.Decode(written); err != nil {
		t.Fatalf("%x became %x: %v", b, written, err)
	}
	if twice := other.Append(nil); !bytes.Equal(twice, written) {
		t.Fatalf("%x became %x", written, twice)
	}
}

// A registration with a part that makes no sense, or too many, is malformed.
func TestWatch_Malformed(t *testing.T) {
	good := Watch{Kind: 1, Parts: []WatchPart{{Partition: 1, Start: WatchCurrent, Listed: []byte("a")}}}
	var w Watch
	if err := w.Decode(good.Append(nil)); err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string]Watch{
		"no partition":             {Kind: 1},
		"an unknown start":         {Parts: []WatchPart{{Start: 3}}},
		"a list that is from now":  {Parts: []WatchPart{{Start: WatchNow, Listed: []byte("a")}}},
		"a bound that is too long": {From: make([]byte, maxWatchKey+1), Parts: good.Parts},
		"too many partitions":      {Parts: make([]WatchPart, MaxWatchParts+1)},
	} {
		if err := w.Decode(bad.Append(nil)); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	if err := new(WatchEvents).Decode((&WatchEvents{}).Append(nil)); err == nil {
		t.Error("events for nobody are accepted")
	}
}
