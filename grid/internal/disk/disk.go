package disk

import (
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"
)

// Level is how short of free space a file system is (LIMIT-2).
type Level uint8

// The levels.
const (
	OK   Level = iota
	Full       // below the first mark: the member transfers its leadership away
	Hard       // below the second: the ballast is released
	Out        // the space that the ballast released is used up, too
)

var levels = [...]string{"ok", "full", "hard", "out"}

func (l Level) String() string { return levels[l] }

// Bounds of the marks.
const (
	mib = 1 << 20

	// MinSize is the smallest file system that a member works on. A smaller one cannot
	// hold its log, two snapshots and the ballast.
	MinSize = 48 * mib

	// Small is the size of a file system below which the writes between two
	// measurements, and those until replicas have stopped, matter: its replicas stop at
	// half the first mark.
	Small = 1024 * mib

	fullPart, fullLeast, fullMost = 20, 24 * mib, 1024 * mib
	hardMost, ballastMost         = 128 * mib, 64 * mib
)

// Marks are the watermarks of a file system, in free bytes.
type Marks struct {
	Full, Hard uint64
	Ballast    uint64 // size of the file that reserves space
}

// MarksOf returns the marks of a file system of the given size.
func MarksOf(size uint64) Marks {
	full := min(max(size/fullPart, fullLeast), fullMost, size/4)
	hard := min(full/3, hardMost)
	m := Marks{Full: full, Hard: hard, Ballast: min(hard, ballastMost)}
	if size < Small {
		m.Hard = full / 2
	}
	return m
}

// State is how much free space a member has.
type State struct {
	Free  uint64 // on the file system, without what the ballast takes
	Size  uint64 // of the file system; 0: not known, and nothing is ever full
	Marks Marks  // of this moment
	Level Level
}

// BallastFile is the name of the ballast in the data directory.
const BallastFile = "ballast"

// Intervals between two measurements.
const (
	Interval      = 100 * time.Millisecond
	calm          = 2 * time.Second
	shortInterval = 10 * time.Millisecond
	longInterval  = time.Second     // farther from a mark than can be written in this time: measure seldom
	fastest       = 4096 * mib      // bytes a second that can be written
	ahead         = 2 * time.Second // nearer to a mark than this, at the present rate: measure often
)

// Watch measures the free space of one directory. It belongs to one goroutine.
type Watch struct {
	dir   string
	space func(dir string) (free, size uint64, err error)
	now   func() time.Time

	held   uint64 // bytes of the ballast that is there
	level  Level
	state  State
	better time.Time // since when there is more free space than at level; zero: there is not
	at     time.Time
	rate   float64 // bytes a second by which free space shrinks
}

// New returns a Watch on a directory that exists. A nil space is Space.
func New(dir string, space func(dir string) (free, size uint64, err error)) *Watch {
	if space == nil {
		space = Space
	}
	w := &Watch{dir: dir, space: space, now: time.Now}
	if info, err := os.Stat(w.ballast()); err == nil {
		w.held = uint64(info.Size())
	}
	return w
}

// Left returns how much may still be written: the free space less the second mark, or
// less twice the second mark below the first. If the free space is not known there is
// no limit. It may be called by any goroutine.
func (w *Watch) Left() uint64 {
	free, size, err := w.space(w.dir)
	if err != nil || size == 0 {
		return math.MaxUint64
	}
	m := MarksOf(size)
	stay := m.Hard
	if free < m.Full {
		stay = 2 * m.Hard
	}
	return free - min(free, stay)
}

func (w *Watch) ballast() string { return filepath.Join(w.dir, BallastFile) }

// Look measures the free space. snapshot is the size of the largest snapshot that the
// member may have to write. If the ballast cannot be written, or the system cannot be
// asked, it returns an error, and the state all the same: the present one if it could
// be measured, else the last.
func (w *Watch) Look(snapshot uint64) (State, error) {
	free, size, err := w.space(w.dir)
	if errors.Is(err, errors.ErrUnsupported) {
		return w.state, nil
	}
	if err != nil {
		return w.state, err
	}
	m := MarksOf(size)
	// Space that the ballast needs to be written again is not available for anything
	// else.
	avail := free - min(free, m.Ballast-min(m.Ballast, w.held))
	m.Full = min(m.Full+snapshot, max(size/2, m.Full))
	w.settle(w.levelOf(avail, free, m))
	if w.level >= Hard && w.held > 0 {
		err = w.drop()
	} else if w.level < Hard && w.held < m.Ballast && avail > m.Hard {
		err = w.keep(m.Ballast)
	}
	w.pace(avail)
	w.state = State{Free: avail, Size: size, Marks: m, Level: w.level}
	return w.state, err
}

// levelOf returns the level for the free space. The level gets worse at the mark, and
// better only some way above it.
func (w *Watch) levelOf(avail, free uint64, m Marks) Level {
	below := func(l Level, avail, mark uint64) bool {
		if w.level >= l {
			mark += mark / 4
		}
		return avail < mark
	}
	hard := m.Hard
	if w.level >= Hard {
		hard = m.Full // replicas that are started again have to catch up
	}
	switch {
	case w.held == 0 && below(Out, free, m.Hard/4*3):
		return Out
	case below(Hard, avail, hard):
		return Hard
	case below(Full, avail, m.Full):
		return Full
	}
	return OK
}

// settle adopts a level: a worse one at once, a better one only after a while, since a
// snapshot or a compaction that fails frees all the space that it took.
func (w *Watch) settle(l Level) {
	now := w.now()
	if l >= w.level {
		w.level, w.better = l, time.Time{}
		return
	}
	if w.better.IsZero() {
		w.better = now
	}
	if now.Sub(w.better) >= calm {
		w.level, w.better = l, time.Time{}
	}
}

// pace updates the rate by which free space shrinks.
func (w *Watch) pace(avail uint64) {
	now := w.now()
	if passed := now.Sub(w.at).Seconds(); !w.at.IsZero() && passed > 0 {
		gone := max(float64(w.state.Free)-float64(avail), 0) / passed
		w.rate = max(gone, w.rate*3/4)
	}
	w.at = now
}

// Next returns when to measure again: soon if a mark is near at the present rate,
// seldom if it is far at any rate.
func (w *Watch) Next() time.Duration {
	s := &w.state
	mark := s.Marks.Full
	if s.Level >= Full {
		mark = s.Marks.Hard
	}
	left := float64(s.Free - min(s.Free, mark))
	switch {
	case s.Size > 0 && s.Level < Out && w.rate > 0 && left < w.rate*ahead.Seconds():
		return shortInterval
	case s.Level == OK && left > fastest*longInterval.Seconds():
		return longInterval
	}
	return Interval
}

// drop releases the ballast's space.
func (w *Watch) drop() error {
	err := os.Remove(w.ballast())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	w.held = 0
	return nil
}

// keep makes the ballast.
func (w *Watch) keep(size uint64) error {
	f, err := os.OpenFile(w.ballast(), os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(reserve(f, size), f.Close())
	if err != nil {
		return errors.Join(err, os.Remove(w.ballast()))
	}
	w.held = size
	return nil
}

// fill writes data that no file system can compress.
func fill(f *os.File, size uint64) error {
	random := rand.NewChaCha8([32]byte{})
	b := make([]byte, 1<<20)
	for size > 0 {
		n := min(size, uint64(len(b)))
		_, _ = random.Read(b[:n])
		if _, err := f.Write(b[:n]); err != nil {
			return err
		}
		size -= n
	}
	return f.Sync()
}
