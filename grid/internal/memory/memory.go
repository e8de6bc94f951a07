package memory

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The marks, in thousandths of the limit.
const (
	fullMark = 850 // live: the member is full (LIMIT-1)
	freeMark = 800 // live, of a member that was full: it has headroom again
	overMark = 970 // live: the system is about to end the process
)

// How often a Watch starts a collection: at most every collectGap, and for at most a
// twentieth of the time.
const (
	collectGap   = time.Second
	fullGap      = 2 * time.Second // while full: that is how deletes are seen
	collectShare = 20
)

// Sample is the memory of the process at one moment, in bytes.
type Sample struct {
	Live  uint64 // of the heap, what the last collection found live
	Heap  uint64 // of the heap, what is live or was not collected yet
	Other uint64 // stacks and the runtime's own memory; not what is free for the heap
	// Outside is resident memory that the runtime does not manage: what the log store
	// allocates in C, if the program was built with cgo, and the program itself.
	Outside uint64
}

// State is the state of a member's memory.
type State struct {
	Used  uint64 // alive
	Limit uint64 // 0: none is known, and nothing is ever full
	// Headroom is how much may be added before the member is full, if everything that
	// was not collected yet is live: it may be more, not less. It is 0 if the member is
	// full.
	Headroom uint64
	Full     bool
	Over     bool // so near the limit that a member must not go on growing at all
}

// Watch turns samples into the state of the memory. It belongs to one goroutine.
type Watch struct {
	limit   uint64
	meter   func() Sample
	collect func()
	now     func() time.Time

	full      bool
	collected time.Time     // when the last collection of ours had ended
	took      time.Duration // what it took
}

// New returns a Watch against a limit; 0: none. If meter and collect are nil it
// measures and collects the memory of the process.
func New(limit uint64, meter func() Sample, collect func()) *Watch {
	if meter == nil {
		meter = Meter()
	}
	if collect == nil {
		collect = runtime.GC
	}
	return &Watch{limit: limit, meter: meter, collect: collect, now: time.Now}
}

// Look takes a sample. It may collect garbage first, and blocks until that is done.
func (w *Watch) Look() State { return w.look(false) }

// LookClosely is Look for a caller that needs more headroom than is known: it collects
// first, unless it has done so a moment ago.
func (w *Watch) LookClosely() State { return w.look(true) }

func (w *Watch) look(closely bool) State {
	s := w.meter()
	if w.limit == 0 {
		return State{Used: s.Live + s.Other + s.Outside}
	}
	if w.stale(s, closely) {
		start := w.now()
		w.collect()
		w.collected = w.now()
		w.took = w.collected.Sub(start)
		s = w.meter()
	}
	used := s.Live + s.Other + s.Outside
	mark := w.limit / 1000 * fullMark
	if w.full {
		mark = w.limit / 1000 * freeMark
	}
	w.full = used >= mark
	state := State{Used: used, Limit: w.limit, Full: w.full, Over: used >= w.limit/1000*overMark}
	if most := s.Heap + s.Other + s.Outside; !w.full {
		state.Headroom = mark - min(mark, max(most, used))
	}
	return state
}

// stale reports whether to collect, in order to find out anew what is live.
func (w *Watch) stale(s Sample, closely bool) bool {
	gap := collectGap
	if w.full || closely {
		gap = fullGap
	}
	if w.now().Sub(w.collected) < max(gap, collectShare*w.took) {
		return false
	}
	if w.full || closely {
		// Removed data counts as live until it is collected, and a member that refuses
		// to grow allocates too little to make the runtime collect soon.
		return true
	}
	unknown := s.Heap - min(s.Heap, s.Live)
	return s.Heap+s.Other+s.Outside >= w.limit/1000*fullMark && unknown >= w.limit/20
}

// Meter returns a function that samples the process.
func Meter() func() Sample {
	names := []string{
		"/gc/heap/live:bytes",
		"/memory/classes/heap/objects:bytes",
		"/memory/classes/total:bytes",
		"/memory/classes/heap/released:bytes",
		"/memory/classes/heap/free:bytes",
		"/memory/classes/heap/unused:bytes",
	}
	read := make([]metrics.Sample, len(names))
	for i, name := range names {
		read[i].Name = name
	}
	return func() Sample {
		metrics.Read(read)
		v := func(i int) uint64 { return read[i].Value.Uint64() }
		used := v(1) + v(3) + v(4) + v(5)
		return Sample{
			Live: v(0), Heap: v(1), Other: v(2) - min(v(2), used),
			Outside: outside(resident(), v(2)-min(v(2), v(3))),
		}
	}
}

// Resident returns the process's resident memory, and how much of it the runtime
// does not count. 0: none, or the system does not say.
func Resident() (all, beyond uint64) {
	read := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(read)
	total, released := read[0].Value.Uint64(), read[1].Value.Uint64()
	all = resident()
	return all, outside(all, total-min(total, released))
}

// outside returns the resident memory that the runtime does not manage: what is
// resident less what the runtime has mapped and not returned. Some of what the runtime
// has mapped was never touched, so the result may be a little too small; but together
// the two are never less than what is resident.
func outside(resident, runtime uint64) uint64 { return resident - min(resident, runtime) }

// resident returns the resident memory of the process, 0 if it is not known.
func resident() uint64 {
	b, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}

// Limit returns the memory limit of this process: the runtime's, which GOMEMLIMIT or
// the program has set, or else nine tenths of what the system lets the process have. 0:
// not known.
func Limit() uint64 {
	limit := uint64(debug.SetMemoryLimit(-1)) // reads it
	if limit < math.MaxInt64 {
		return limit
	}
	system := System()
	return system - system/10
}

// System returns how much memory the system lets the process have: what its
// control group may use, or else what the machine has. 0: not known.
func System() uint64 {
	limit := uint64(math.MaxUint64)
	if b, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		for _, file := range groupFiles(string(b)) {
			if b, err := os.ReadFile(file); err == nil {
				if n, ok := parseBytes(string(b)); ok {
					limit = min(limit, n)
				}
			}
		}
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		if n := machine(string(b)); n > 0 {
			limit = min(limit, n)
		}
	}
	if limit == math.MaxUint64 {
		return 0
	}
	return limit
}

// groupFiles returns the files with the limits of a process's control group and of the
// groups above it, given its /proc/self/cgroup. All these limits apply. In a container
// the group's own path may not be visible; the root is the container's then.
func groupFiles(cgroup string) []string {
	var files []string
	for line := range strings.Lines(cgroup) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		root, name := "/sys/fs/cgroup", "memory.max"
		switch controllers := strings.Split(fields[1], ","); {
		case fields[0] == "0" && fields[1] == "":
		case slices.Contains(controllers, "memory"):
			root, name = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for path := strings.Trim(fields[2], "/"); ; {
			files = append(files, strings.TrimSuffix(root+"/"+path, "/")+"/"+name)
			if path == "" {
				break
			}
			i := strings.LastIndexByte(path, '/')
			path = path[:max(i, 0)]
		}
	}
	return files
}

// parseBytes reads a limit of a control group; "max" is none.
func parseBytes(s string) (uint64, bool) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64)
	return n, err == nil && n > 0
}

// machine reads the memory of the machine from /proc/meminfo.
func machine(meminfo string) uint64 {
	for line := range strings.Lines(meminfo) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, err := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			if err == nil {
				return kib << 10
			}
		}
	}
	return 0
}
