package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/internal/procgrid"
)

// usage is what a member's process uses of the machine, as /proc reports it. Where
// there is no /proc all is 0.
type usage struct {
	Resident, Peak uint64 // bytes
	Descriptors    int
	CPU            time.Duration // user and system, since the process began
}

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, 100 on every
// architecture that Go runs on.
const clockTick = 10 * time.Millisecond

func usageOf(pid int) usage {
	var u usage
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	b, _ := os.ReadFile(filepath.Join(dir, "status"))
	for line := range strings.Lines(string(b)) {
		name, rest, _ := strings.Cut(line, ":")
		kib, _ := strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		switch name {
		case "VmRSS":
			u.Resident = kib << 10
		case "VmHWM":
			u.Peak = kib << 10
		}
	}
	fds, _ := os.ReadDir(filepath.Join(dir, "fd"))
	u.Descriptors = len(fds)
	b, _ = os.ReadFile(filepath.Join(dir, "stat"))
	// The name, in brackets, may have blanks. After it: state is the 3rd field,
	// user and system time the 14th and 15th.
	if fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); len(fields) > 12 {
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		u.CPU = time.Duration(user+system) * clockTick
	}
	return u
}

// membersCPU is the processor time that all members have taken.
func membersCPU(g *procgrid.Grid) (all time.Duration) {
	for _, m := range g.Members {
		all += usageOf(m.Process.PID()).CPU
	}
	return all
}

// ownCPU is the processor time that this process has taken.
func ownCPU() time.Duration { return usageOf(os.Getpid()).CPU }

// cpuMeter measures processor time over a part of what goes on.
type cpuMeter struct {
	clocks []func() time.Duration
	timer  *time.Timer
	from   chan []time.Duration
}

// meterAfter begins to measure in a while.
func meterAfter(d time.Duration, clocks ...func() time.Duration) *cpuMeter {
	m := &cpuMeter{clocks: clocks, from: make(chan []time.Duration, 1)}
	m.timer = time.AfterFunc(d, func() { m.from <- m.read() })
	return m
}

func (m *cpuMeter) read() (all []time.Duration) {
	for _, clock := range m.clocks {
		all = append(all, clock())
	}
	return all
}

// stop returns what was taken meanwhile, by clock; nothing where it has not
// begun.
func (m *cpuMeter) stop() []time.Duration {
	now := m.read()
	if m.timer.Stop() {
		return make([]time.Duration, len(now))
	}
	for i, from := range <-m.from {
		now[i] -= from
	}
	return now
}

// scrape returns a member's metrics. Those with several series are added up,
// and also there by their whole name.
func scrape(ctx context.Context, m *procgrid.Member) (map[string]float64, error) {
	host, port, err := net.SplitHostPort(m.Address)
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, err
	}
	const httpOffset = 1000 // of --http auto
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/metrics", net.JoinHostPort(host, strconv.Itoa(n+httpOffset))), nil)
	if err != nil {
		return nil, err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	return parseMetrics(r.Body)
}

func parseMetrics(r io.Reader) (map[string]float64, error) {
	all := map[string]float64{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := lines.Text()
		i := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		v, err := strconv.ParseFloat(line[i+1:], 64)
		if err != nil {
			continue
		}
		name, _, labels := strings.Cut(line[:i], "{")
		all[name] += v
		if labels {
			all[line[:i]] = v
		}
	}
	return all, lines.Err()
}

// watcher looks at the members' processes until it is stopped.
type watcher struct {
	grid *procgrid.Grid
	stop context.CancelFunc
	done sync.WaitGroup

	mu    sync.Mutex
	peak  map[string]uint64             // resident bytes by member, since the start or the last reset
	most  map[string]map[string]float64 // metrics by member: the largest value seen
	watch []string
	ended []string
}

const usageEvery = 250 * time.Millisecond

// watchMembers notes the members' resident memory, and the largest values of
// the metrics named.
func watchMembers(ctx context.Context, g *procgrid.Grid, metrics ...string) *watcher {
	w := &watcher{grid: g, peak: map[string]uint64{}, most: map[string]map[string]float64{}, watch: metrics}
	ctx, w.stop = context.WithCancel(ctx)
	for _, m := range g.Members {
		w.most[m.Name] = map[string]float64{}
		w.done.Go(func() { w.follow(ctx, m) })
	}
	return w
}

func (w *watcher) follow(ctx context.Context, m *procgrid.Member) {
	for n := 0; ; n++ {
		if ended, status := m.Process.Ended(); ended {
			w.mu.Lock()
			w.ended = append(w.ended, fmt.Sprintf("%s: %v", m.Name, status))
			w.mu.Unlock()
			return
		}
		u := usageOf(m.Process.PID())
		values := map[string]float64{}
		if len(w.watch) > 0 && n%4 == 0 {
			values, _ = scrape(ctx, m) // a member that has no time for it is seen the next time
		}
		w.mu.Lock()
		w.peak[m.Name] = max(w.peak[m.Name], u.Resident)
		for _, name := range w.watch {
			w.most[m.Name][name] = max(w.most[m.Name][name], values[name])
		}
		w.mu.Unlock()
		if contexts.Sleep(ctx, usageEvery) != nil {
			return
		}
	}
}

// close stops watching.
func (w *watcher) close() {
	w.stop()
	w.done.Wait()
}

// resident returns the most resident memory by member, in MiB, as text.
func (w *watcher) resident() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, m := range w.grid.Members {
		all = append(all, fmt.Sprintf("%s %d MiB", m.Name, w.peak[m.Name]>>20))
	}
	return strings.Join(all, ", ")
}

// largest returns the largest value of a metric in any member.
func (w *watcher) largest(name string) float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0.0
	for _, values := range w.most {
		n = max(n, values[name])
	}
	return n
}

// dead returns the members whose process has ended.
func (w *watcher) dead() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}
