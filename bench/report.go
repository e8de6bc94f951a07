package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Grid describes what was measured.
type Grid struct {
	Cluster    string `json:"cluster,omitempty"`
	Durability string `json:"durability"`
	Members    int    `json:"members"`
	Groups     int    `json:"groups"` // of data
	Partitions int    `json:"partitions"`
	Clients    int    `json:"clients"`
}

// Result is a Measurement with all it takes to compare it with another.
type Result struct {
	Workload     string                   `json:"workload"`
	OpsPerSec    float64                  `json:"ops_per_sec"`
	Operations   map[string]ResultLatency `json:"operations"`
	Errors       map[string]int64         `json:"errors"`
	InFlight     int                      `json:"in_flight"`
	Rate         float64                  `json:"rate,omitempty"`
	Keys         int                      `json:"keys"`
	ValueSize    int                      `json:"value_size"`
	Distribution Distribution             `json:"distribution"`
	Seed         uint64                   `json:"seed"`
	WarmupSec    float64                  `json:"warmup_sec"`
	DurationSec  float64                  `json:"duration_sec"`
	Grid
	Time   time.Time `json:"time"`
	Commit string    `json:"commit"`
	Go     string    `json:"go"`
	OS     string    `json:"os"`
	CPUs   int       `json:"cpus"`
}

// ResultLatency is a Latency in microseconds.
type ResultLatency struct {
	Count int64 `json:"count"`
	Mean  int64 `json:"mean_us"`
	P50   int64 `json:"p50_us"`
	P90   int64 `json:"p90_us"`
	P99   int64 `json:"p99_us"`
	P999  int64 `json:"p999_us"`
	Max   int64 `json:"max_us"`
}

// Result returns the result of m on grid g, of this binary on this machine.
func (m *Measurement) Result(g Grid) *Result {
	r := &Result{
		Workload: m.Config.Workload, OpsPerSec: m.OpsPerSecond, Operations: map[string]ResultLatency{}, Errors: m.Errors,
		InFlight: m.Config.InFlight, Rate: m.Config.Rate, Keys: m.Config.Keys, ValueSize: m.Config.ValueSize,
		Distribution: m.Config.Distribution, Seed: m.Config.Seed, WarmupSec: m.Config.Warmup.Seconds(),
		DurationSec: m.Elapsed.Seconds(), Grid: g, Time: time.Now().UTC().Truncate(time.Second),
		Commit: Commit(), Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.NumCPU(),
	}
	for name, l := range m.Operations {
		r.Operations[name] = ResultLatency{
			Count: l.Count, Mean: l.Mean.Microseconds(), P50: l.P50.Microseconds(), P90: l.P90.Microseconds(),
			P99: l.P99.Microseconds(), P999: l.P999.Microseconds(), Max: l.Max.Microseconds(),
		}
	}
	return r
}

// Commit names the commit this binary was built from, "unknown" if the build
// did not say.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	commit, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(12, len(s.Value))]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	return commit + dirty
}

// WriteJSON writes r as one line.
func (r *Result) WriteJSON(w io.Writer) error { return json.NewEncoder(w).Encode(r) }

// WriteTable writes r as a human-readable table.
func (r *Result) WriteTable(w io.Writer) error {
	loop := "closed loop"
	if r.Rate > 0 {
		loop = fmt.Sprintf("open loop at %.0f/s", r.Rate)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "workload %s (%s), %s, %d in flight, %d %s, %s, %d byte values\n",
		r.Workload, About(r.Workload), loop, r.InFlight, r.Keys, things(r.Workload), r.Distribution, r.ValueSize)
	fmt.Fprintf(&b, "grid: durability %s, members %d, groups %d, partitions %d, clients %d\n",
		r.Durability, r.Members, r.Groups, r.Partitions, r.Clients)
	fmt.Fprintf(&b, "build: commit %s, %s, %s, %d CPUs\n\n", r.Commit, r.Go, r.OS, r.CPUs)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "operation\tcount\tper second\tmean\tp50\tp90\tp99\tp99.9\tmax\t")
	for _, name := range slices.Sorted(maps.Keys(r.Operations)) {
		l := r.Operations[name]
		fmt.Fprintf(t, "%s\t%d\t%.0f\t%s\t%s\t%s\t%s\t%s\t%s\t\n", name, l.Count, float64(l.Count)/r.DurationSec,
			micros(l.Mean), micros(l.P50), micros(l.P90), micros(l.P99), micros(l.P999), micros(l.Max))
	}
	t.Flush()
	fmt.Fprintf(&b, "\n%.0f operations a second for %.0f s", r.OpsPerSec, r.DurationSec)
	if len(r.Errors) == 0 {
		fmt.Fprint(&b, ", no errors")
	}
	fmt.Fprintln(&b)
	for _, name := range slices.Sorted(maps.Keys(r.Errors)) {
		fmt.Fprintf(&b, "%8d errors: %s\n", r.Errors[name], name)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// things names what a workload's keys are.
func things(workload string) string {
	if workloads[workload].mapped {
		return "keys"
	}
	return workload + "s"
}

// micros prints microseconds with three digits at least.
func micros(us int64) string {
	d := time.Duration(us) * time.Microsecond
	switch {
	case d < time.Millisecond:
		return d.String()
	case d < time.Second:
		return fmt.Sprintf("%.2fms", float64(us)/1e3)
	default:
		return fmt.Sprintf("%.2fs", float64(us)/1e6)
	}
}
