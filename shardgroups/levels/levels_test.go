package levels_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/levels"
)

type part struct {
	_    struct{} `cbor:",toarray"`
	ID   protocol.MemberID
	Zone string `level:"2"`
}

type whole struct {
	Name  string
	UUID  protocol.UUID
	Wait  time.Duration
	Last  bool
	Bytes []byte
	IDs   []protocol.SessionID
	Parts []part
	One   *part
	Small uint16
	More  []part `level:"2"`
	Most  uint64 `level:"3"`
}

func example() whole {
	return whole{
		Name: "a", UUID: protocol.UUID{1, 2}, Wait: -time.Second, Last: true, Bytes: []byte{7}, IDs: []protocol.SessionID{1, math.MaxUint64},
		Parts: []part{{ID: 1, Zone: "x"}, {ID: 2, Zone: "y"}}, One: &part{ID: 3, Zone: "z"}, Small: 9,
		More: []part{{ID: 4, Zone: "w"}}, Most: 1 << 40,
	}
}

// TestShapes: what is written at a level has the fields of that level, in every
// struct within, and is read with the others zero; at another level it is malformed.
func TestShapes(t *testing.T) {
	at := map[uint32]whole{1: example(), 2: example(), 3: example()}
	for level, v := range at {
		if level < 3 {
			v.Most = 0
		}
		if level < 2 {
			v.More, v.Parts, v.One = nil, []part{{ID: 1}, {ID: 2}}, &part{ID: 3}
		}
		at[level] = v
	}
	for level, want := range at {
		b := levels.Append(nil, example(), level)
		var got whole
		if err := levels.Decode(b, &got, level); err != nil {
			t.Fatalf("level %d: %v", level, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(whole{}), cmp.Comparer(func(a, b part) bool { return a.ID == b.ID && a.Zone == b.Zone })); diff != "" {
			t.Errorf("level %d (-want +got):\n%s", level, diff)
		}
		for other := range at {
			var v whole
			if err := levels.Decode(b, &v, other); (err == nil) != (other == level) {
				t.Errorf("written at level %d, read at %d: %v", level, other, err)
			}
		}
	}
}

// TestMadeUp: levels that this version does not know have elements that are not of
// this version.
func TestMadeUp(t *testing.T) {
	var v struct{ N uint64 }
	if b := levels.Append(nil, v, levels.Max); !bytes.Equal(b, []byte{0x81, 0}) {
		t.Errorf("%x", b)
	}
	if b := levels.Append(nil, v, levels.Max+2); !bytes.Equal(b, []byte{0x83, 0, levels.Max + 2, levels.Max + 2}) {
		t.Errorf("%x", b)
	}
}

func TestKnown(t *testing.T) {
	if err := levels.Known("the entry", 1, 1); err != nil {
		t.Error(err)
	}
	if err := levels.Known("the entry", 0, 1); err == nil {
		t.Error("level 0 is known")
	}
	err := levels.Known("the entry", 3, 2)
	if err == nil || !strings.Contains(err.Error(), "the entry has level 3, this version knows levels up to 2: install a newer version") {
		t.Error(err)
	}
}

// FuzzDecode: any bytes are what Append writes of what was read, or malformed.
func FuzzDecode(f *testing.F) {
	for level := range uint32(4) {
		f.Add(levels.Append(nil, example(), level+1), level)
	}
	f.Fuzz(func(t *testing.T, b []byte, level uint32) {
		level = level%4 + 1
		var v whole
		if levels.Decode(b, &v, level) != nil {
			return
		}
		if again := levels.Append(nil, v, level); !bytes.Equal(again, b) {
			t.Fatalf("level %d: %x is read as %+v, which is %x", level, b, v, again)
		}
	})
}
