package memory

import (
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const mib = 1 << 20

// fake is a process whose heap is collected by request only.
type fake struct {
	sample    Sample
	alive     uint64 // what a collection would find
	collected int
	now       time.Time
}

func (f *fake) collect() {
	f.sample.Live, f.sample.Heap = f.alive, f.alive
	f.collected++
	f.now = f.now.Add(100 * time.Millisecond)
}

func newFake(limit uint64) (*fake, *Watch) {
	f := &fake{now: time.Unix(0, 0)}
	w := New(limit, func() Sample { return f.sample }, f.collect)
	w.now = func() time.Time { return f.now }
	return f, w
}

// TestNoFalseAlarm: a heap that is full of what does not live is not full.
func TestNoFalseAlarm(t *testing.T) {
	f, w := newFake(1000 * mib)
	f.alive = 400 * mib
	for i := range 1000 {
		f.now = f.now.Add(100 * time.Millisecond)
		f.sample.Heap = min(f.sample.Heap+50*mib, 990*mib)
		if s := w.Look(); s.Full || s.Over {
			t.Fatalf("round %d: full at %d MiB alive: %+v", i, f.alive/mib, s)
		}
	}
	if f.collected == 0 || f.collected > 50 {
		t.Errorf("%d collections in 100 s", f.collected)
	}
}

func TestMarks(t *testing.T) {
	f, w := newFake(1000 * mib)
	for _, step := range []struct {
		live       uint64
		full, over bool
	}{
		{840, false, false},
		{850, true, false},
		{810, true, false},
		{799, false, false},
		{849, false, false},
		{980, true, true},
		{100, false, false},
	} {
		f.now = f.now.Add(10 * time.Second)
		f.alive = step.live * mib
		f.sample = Sample{Live: f.alive, Heap: f.alive}
		if s := w.Look(); s.Full != step.full || s.Over != step.over || s.Used != f.alive {
			t.Errorf("%d MiB alive: %+v", step.live, s)
		}
	}
}

// TestRemovalsAreSeen: what was removed lives in the last collection's count
// until there is another.
func TestRemovalsAreSeen(t *testing.T) {
	f, w := newFake(1000 * mib)
	f.alive = 900 * mib
	f.sample = Sample{Live: f.alive, Heap: f.alive}
	if s := w.Look(); !s.Full {
		t.Fatalf("%+v", s)
	}
	f.alive = 100 * mib
	rounds := 0
	for w.Look().Full {
		f.now = f.now.Add(100 * time.Millisecond)
		if rounds++; rounds > 100 {
			t.Fatal("still full after 10 s")
		}
	}
}

// TestGrowthIsSeen: between two collections of the runtime the heap may have
// grown by what lives.
func TestGrowthIsSeen(t *testing.T) {
	f, w := newFake(1000 * mib)
	f.sample = Sample{Live: 300 * mib, Heap: 300 * mib}
	for f.alive = 300 * mib; f.alive < 950*mib; f.alive += 5 * mib {
		f.now = f.now.Add(100 * time.Millisecond)
		f.sample.Heap = f.alive
		if w.Look().Full {
			if f.alive < 850*mib {
				t.Fatalf("full at %d MiB", f.alive/mib)
			}
			return
		}
	}
	t.Fatal("not full at 950 MiB")
}

// TestRoom: what was not collected yet takes room, until somebody needs it.
func TestRoom(t *testing.T) {
	f, w := newFake(1000 * mib)
	f.alive = 300 * mib
	f.sample = Sample{Live: 200 * mib, Heap: 700 * mib, Outside: 50 * mib}
	if s := w.Look(); s.Headroom != 100*mib || f.collected != 0 {
		t.Errorf("%d collections: %+v", f.collected, s)
	}
	for range 2 { // one collection is enough for both
		if s := w.LookClosely(); s.Headroom != 500*mib || f.collected != 1 {
			t.Errorf("closely, %d collections: %+v", f.collected, s)
		}
	}
	f.now = f.now.Add(time.Minute)
	f.alive = 900 * mib
	if s := w.LookClosely(); s.Headroom != 0 || !s.Full {
		t.Errorf("full: %+v", s)
	}
}

// TestOutsideCounts: what the runtime does not know of is in the same memory.
func TestOutsideCounts(t *testing.T) {
	f, w := newFake(1000 * mib)
	f.alive = 700 * mib
	f.sample = Sample{Live: f.alive, Heap: f.alive, Outside: 100 * mib}
	if s := w.Look(); s.Full || s.Used != 800*mib {
		t.Errorf("%+v", s)
	}
	f.sample.Outside = 160 * mib
	if s := w.Look(); !s.Full || s.Used != 860*mib {
		t.Errorf("%+v", s)
	}
}

func TestOutside(t *testing.T) {
	for _, test := range []struct{ resident, runtime, want uint64 }{
		{700, 500, 200},
		{500, 700, 0}, // mapped and never touched
		{0, 700, 0},   // not known
	} {
		if got := outside(test.resident, test.runtime); got != test.want {
			t.Errorf("%d resident, the runtime has %d: %d", test.resident, test.runtime, got)
		}
	}
	if _, err := os.Stat("/proc/self/statm"); err == nil && resident() == 0 {
		t.Error("resident memory is not known")
	}
}

func TestWithoutLimit(t *testing.T) {
	f, w := newFake(0)
	f.sample = Sample{Live: 1 << 40, Heap: 1 << 40}
	if s := w.Look(); s.Full || s.Over || f.collected != 0 {
		t.Errorf("%+v, %d collections", s, f.collected)
	}
}

func TestMeter(t *testing.T) {
	held := make([]byte, 64*mib)
	w := New(1<<40, nil, nil)
	w.collect()
	s := w.Look()
	if s.Used < 64*mib || s.Used > 10<<30 || s.Full {
		t.Errorf("%+v with %d bytes held", s, len(held))
	}
	held[0] = 1
}

func TestGroupFiles(t *testing.T) {
	for _, test := range []struct {
		cgroup string
		want   []string
	}{
		{"0::/\n", []string{"/sys/fs/cgroup/memory.max"}},
		{"0::/system.slice/quorate.service\n", []string{
			"/sys/fs/cgroup/system.slice/quorate.service/memory.max",
			"/sys/fs/cgroup/system.slice/memory.max",
			"/sys/fs/cgroup/memory.max",
		}},
		{"5:cpu,cpuacct:/a\n4:memory:/docker/x\n", []string{
			"/sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes",
			"/sys/fs/cgroup/memory/docker/memory.limit_in_bytes",
			"/sys/fs/cgroup/memory/memory.limit_in_bytes",
		}},
		{"rubbish", nil},
	} {
		if diff := cmp.Diff(test.want, groupFiles(test.cgroup)); diff != "" {
			t.Errorf("%q: %s", test.cgroup, diff)
		}
	}
	if n, ok := parseBytes("max\n"); ok {
		t.Errorf("max is %d", n)
	}
	if n := machine("MemFree: 1 kB\nMemTotal:       1024 kB\n"); n != mib {
		t.Errorf("machine: %d", n)
	}
}
