package structures_test

import (
	"errors"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

func TestReadWith(t *testing.T) {
	var first, later structures.Version
	r := structures.ReadWith([]structures.ReadOption{structures.Seen(&first), {}, structures.Stale(), structures.Seen(&later)})
	if r.Flags != protocol.FlagRead|protocol.FlagStale {
		t.Errorf("flags %#x", r.Flags)
	}
	r.Saw(structures.Reply{Version: 7})
	if first != 0 || later != 7 {
		t.Errorf("seen %d and %d, want 0 and 7", first, later)
	}
	r = structures.ReadWith(nil)
	if r.Saw(structures.Reply{Version: 9}); r.Flags != protocol.FlagRead || later != 7 {
		t.Errorf("without options: flags %#x, seen %d", r.Flags, later)
	}
}

func TestWaitWith(t *testing.T) {
	for _, test := range []struct {
		opts  []structures.WaitOption
		never bool
		time  time.Duration
	}{
		{nil, false, 0},
		{[]structures.WaitOption{{}}, false, 0},
		{[]structures.WaitOption{structures.Wait(0)}, true, 0},
		{[]structures.WaitOption{structures.Wait(-time.Second)}, true, 0},
		{[]structures.WaitOption{structures.Wait(0), structures.Wait(time.Second), {}}, false, time.Second},
	} {
		if w := structures.WaitWith(test.opts); w.Never() != test.never || w.Time() != test.time {
			t.Errorf("%v: never %t, time %v", test, w.Never(), w.Time())
		}
	}
	w := structures.WaitWith([]structures.WaitOption{structures.Wait(time.Second)})
	if w = w.Less(400 * time.Millisecond); w.Time() != 600*time.Millisecond {
		t.Errorf("%v are left", w.Time())
	}
	if w = w.Less(time.Second); !w.Never() {
		t.Error("time is left")
	}
	if w := structures.WaitWith(nil).Less(time.Hour); w.Never() || w.Time() != 0 {
		t.Error("there was no bound")
	}
}

func TestCodecWith(t *testing.T) {
	for _, test := range []struct {
		opts []structures.HandleOption
		want structures.Codec
		bad  bool
	}{
		{nil, structures.CBOR, false},
		{[]structures.HandleOption{{}}, structures.CBOR, false},
		{[]structures.HandleOption{structures.WithCodec(structures.JSON)}, structures.JSON, false},
		{[]structures.HandleOption{structures.WithCodec(nil)}, structures.CBOR, true},
	} {
		if c, err := structures.CodecWith(test.opts); c != test.want || errors.Is(err, quorate.ErrInvalid) != test.bad {
			t.Errorf("%v: %v, %v", test.opts, c, err)
		}
	}
}

// TestOptionsCostNothing: they do not escape.
func TestOptionsCostNothing(t *testing.T) {
	var seen structures.Version
	var flags protocol.Flags
	var wait time.Duration
	if n := testing.AllocsPerRun(100, func() {
		r := structures.ReadWith([]structures.ReadOption{structures.Stale(), structures.Seen(&seen)})
		r.Saw(structures.Reply{Version: 7})
		flags = r.Flags
		wait = structures.WaitWith([]structures.WaitOption{structures.Wait(time.Second)}).Time()
	}); n != 0 || flags == 0 || wait == 0 {
		t.Errorf("%v allocations", n)
	}
}
