package disk

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

const gib = 1024 * mib

func TestMarks(t *testing.T) {
	for _, size := range []uint64{MinSize, 64 * mib, 100 * mib, 512 * mib, 10 * gib, 100 * gib, 10240 * gib} {
		m := MarksOf(size)
		t.Logf("%6d MiB: full below %d MiB, hard below %d, ballast %d", size/mib, m.Full/mib, m.Hard/mib, m.Ballast/mib)
		if m.Ballast > m.Hard || m.Hard*2 > m.Full || m.Full+m.Ballast > size/2 {
			t.Errorf("marks of %d MiB: %+v", size/mib, m)
		}
	}
}

// TestLevels walks down and up: the level falls at once, and rises only with
// space to spare and the ballast in place.
func TestLevels(t *testing.T) {
	const size = gib
	m := MarksOf(size)
	free := uint64(size)
	dir := t.TempDir()
	w := New(dir, func(string) (uint64, uint64, error) { return free, size, nil })
	now := time.Unix(0, 0)
	w.now = func() time.Time { return now }
	look := func(bytes uint64, want Level, ballast bool) {
		t.Helper()
		free = bytes
		before := w.level
		s, err := w.Look(0)
		if want < before {
			if s.Level != before {
				t.Errorf("with %d bytes free it is %v at once", bytes, s.Level)
			}
			now = now.Add(calm)
			s, err = w.Look(0)
		}
		if err != nil {
			t.Fatal(err)
		}
		if s.Level != want {
			t.Errorf("with %d bytes free it is %v, want %v", bytes, s.Level, want)
		}
		_, err = os.Stat(filepath.Join(dir, BallastFile))
		if (err == nil) != ballast {
			t.Errorf("with %d bytes free: ballast %v, want %t", bytes, err, ballast)
		}
	}
	look(size, OK, true)
	look(m.Full-1, Full, true)
	look(m.Full+1, Full, true)
	look(m.Full*5/4+1, OK, true)
	look(m.Hard-1, Hard, false)
	look(m.Hard-1+m.Ballast, Hard, false)
	look(m.Hard/2, Out, false)
	look(m.Hard*3/4+1, Out, false)
	look(m.Hard, Hard, false)
	look(m.Full+m.Ballast, Hard, false)
	look(size, OK, true)
	// A member that starts on a full disk has no ballast.
	if err := os.Remove(filepath.Join(dir, BallastFile)); err != nil {
		t.Fatal(err)
	}
	w = New(dir, w.space)
	look(m.Hard, Hard, false)
}

// TestSnapshotSpace: space for a snapshot is kept, up to half of the disk.
func TestSnapshotSpace(t *testing.T) {
	const size = gib
	free := uint64(size)
	w := New(t.TempDir(), func(string) (uint64, uint64, error) { return free, size, nil })
	if s, err := w.Look(0); s.Level != OK || err != nil {
		t.Fatalf("level %v, %v with all free", s.Level, err)
	}
	free = MarksOf(size).Full + 10*mib // the ballast is there
	if s, _ := w.Look(0); s.Level != OK {
		t.Errorf("level %v without a snapshot", s.Level)
	}
	if s, _ := w.Look(30 * mib); s.Level != Full {
		t.Errorf("level %v where a snapshot does not fit", s.Level)
	}
	free = size / 4 * 3
	w = New(t.TempDir(), w.space)
	if s, _ := w.Look(2 * size); s.Level != OK {
		t.Errorf("level %v on an empty disk", s.Level)
	}
}

// TestPace: the nearer a mark, at the rate at which free space shrinks, the sooner the
// next look.
func TestPace(t *testing.T) {
	const size = 10 * gib
	free := uint64(size / 2)
	now := time.Unix(0, 0)
	w := New(t.TempDir(), func(string) (uint64, uint64, error) { return free, size, nil })
	w.now = func() time.Time { return now }
	step := func(gone uint64) time.Duration {
		if _, err := w.Look(0); err != nil {
			t.Fatal(err)
		}
		now, free = now.Add(100*time.Millisecond), free-gone
		return w.Next()
	}
	for range 10 {
		if d := step(mib); d != longInterval {
			t.Fatalf("it looks again after %v, more than 4 GiB from the mark", d)
		}
	}
	free = MarksOf(size).Full + 2048*mib
	w.at = time.Time{} // what goes here is not what was written
	if d := step(0); d != Interval {
		t.Errorf("it looks again after %v, 2 GiB from the mark", d)
	}
	free = MarksOf(size).Full + 100*mib
	step(20 * mib)
	step(20 * mib)
	if d := step(20 * mib); d != shortInterval {
		t.Errorf("it looks again after %v, half a second from the mark", d)
	}
}

// TestBallast: it takes the space that it reserves.
func TestBallast(t *testing.T) {
	dir := t.TempDir()
	_, size, err := Space(dir)
	if err != nil || size == 0 {
		t.Skipf("the free space on %s is not known: %v", dir, err)
	}
	w := New(dir, nil)
	s, err := w.Look(0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, BallastFile))
	if s.Level < Hard && (err != nil || uint64(info.Size()) != s.Marks.Ballast) {
		t.Errorf("the ballast: %v, %v, want %d bytes", info, err, s.Marks.Ballast)
	}
}
