package verify

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/quorate/quorate/verify/workloads"
)

// verifyReport is the verdict.
type verifyReport struct {
	workloads.Report
	Passed       bool               `json:"passed"`
	Interrupted  bool               `json:"interrupted,omitempty"` // by a signal
	Network      string             `json:"network,omitempty"`
	Durability   string             `json:"durability"`
	Members      int                `json:"members"`
	Seed         uint64             `json:"seed"`
	Seconds      float64            `json:"seconds"`
	Load         float64            `json:"load_seconds"`  // of which faults and load went on
	Asked        float64            `json:"asked_seconds"` // for how long they were to
	Faults       map[string]int     `json:"faults"`
	Impossible   []string           `json:"impossible,omitempty"`
	Undone       []string           `json:"undone,omitempty"`
	Gaps         map[string]float64 `json:"longest_gap_seconds"` // by fault
	Holders      int                `json:"holders"`             // clients that held a permit all the time
	LostSessions int64              `json:"sessions_lost"`       // of those, for whatever reason
	Newcomers    int64              `json:"newcomers"`           // clients that came and were served
	Damaged      uint64             `json:"damaged"`             // chunks and packets with a flipped bit
	Hashes       bool               `json:"hashes_equal"`
	Lost         []string           `json:"majority_lost,omitempty"`          // memory: what became of the grid
	LossCalls    int64              `json:"majority_lost_calls,omitempty"`    // of clients that lived through it
	LossNotified int64              `json:"majority_lost_notified,omitempty"` // how often they were notified
	Violations   []string           `json:"violations,omitempty"`
}

func (v *verification) fillReport(r *verifyReport) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r.Durability, r.Members, r.Seed = v.durability(), len(v.seeds), v.cmd.Seed
	r.Seconds = time.Since(v.began).Seconds()
	r.Faults, r.Impossible, r.Undone = v.done, v.impossible, v.undone
	r.Gaps = map[string]float64{}
	for fault, d := range v.longest {
		r.Gaps[fault] = d.Seconds()
	}
	r.Violations = v.broken
	if v.sessions != nil {
		r.Holders, r.LostSessions, r.Newcomers = v.sessions.Holders(), v.sessions.Lost(), v.sessions.Came()
	}
	r.Load, r.Asked = v.lasted.Seconds(), v.asked.Seconds()
	if v.grid != nil {
		kind, lacks := v.grid.NetworkKind()
		r.Network = kind
		if lacks != "" {
			r.Impossible = append(r.Impossible, "network: "+lacks)
		}
	}
	r.Passed = len(v.broken) == 0 && len(r.Unchecked) == 0 && !r.Interrupted
}

// durabilityRules is what each durability promises.
var durabilityRules = map[string]string{
	"disk":   "an acknowledged write survives the loss of any minority of members, and SIGKILL of all",
	"memory": "an acknowledged write survives the loss of any minority of members; with a majority's memory all is lost, and said so",
}

// String returns the verdict, human-readable.
func (r *verifyReport) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-14s%s\n", name, fmt.Sprintf(format, args...))
	}
	total := 0
	for _, n := range r.Faults {
		total += n
	}
	for _, d := range []string{"disk", "memory"} {
		mark := " "
		if d == r.Durability {
			mark = "*"
		}
		line("durability", "%s %-7s %s", mark, d, durabilityRules[d])
	}
	line("members", "%d", r.Members)
	if r.Network != "" {
		line("network", "%s", r.Network)
	}
	line("seed", "%d", r.Seed)
	line("time", "%.0f s", r.Seconds)
	line("operations", "%d answered, %d with an unknown outcome, %d refused", r.Calls, r.Unknown, r.Failed)
	line("checked", "%d: %d by porcupine in %d histories, %d by counting", r.Searched+r.Counted, r.Searched, r.Epochs, r.Counted)
	if r.Undecided > 0 {
		line("undecided", "%d histories: the search took too long", r.Undecided)
	}
	line("watches", "%d events; went on behind a cursor %d times, were told of %d gaps", r.WatchEvents, r.WatchResumes, r.WatchGaps)
	line("sessions", "%d clients held permits all the time and lost %d sessions; %d more came and were served", r.Holders, r.LostSessions, r.Newcomers)
	line("revoked", "%d holds; %d holders that do not release were notified", r.Revoked, r.RevokedNotified)
	line("faults", "%d", total)
	for _, name := range slices.Sorted(maps.Keys(r.Faults)) {
		gap := "-"
		if s, ok := r.Gaps[name]; ok {
			gap = fmt.Sprintf("%.2f s", s)
		}
		fmt.Fprintf(&b, "  %-18s %4d   longest without an acknowledgement in a group %s\n", name, r.Faults[name], gap)
	}
	if s, ok := r.Gaps[noFault]; ok {
		fmt.Fprintf(&b, "  %-18s        longest without an acknowledgement in a group %.2f s\n", "(between faults)", s)
	}
	if r.Damaged > 0 {
		line("damaged", "%d chunks and packets had a bit flipped on the way", r.Damaged)
	}
	for _, what := range r.Impossible {
		line("not possible", "%s", what)
	}
	for _, what := range r.Undone {
		line("not injected", "%s", what)
	}
	for _, what := range r.Lost {
		line("majority lost", "%s", what)
	}
	if len(r.Lost) > 0 {
		line("", "%d calls of clients that lived through it, who were notified %d times", r.LossCalls, r.LossNotified)
	}
	if r.Hashes {
		line("replicas", "equal hashes of all replicas at the end")
	}
	for _, what := range r.Violations {
		line("BROKEN", "%s", what)
	}
	for _, what := range r.Unchecked {
		line("not checked", "%s: there was no time", what)
	}
	switch {
	case r.Passed:
		line("verdict", "every promise was kept")
	case len(r.Violations) == 0 && r.Interrupted:
		line("verdict", "interrupted after %.0f of %.0f s: no violation in what was checked", r.Load, r.Asked)
	case len(r.Violations) == 0:
		line("verdict", "no violation in what was checked, and not all of it was")
	default:
		line("verdict", "%d promises were broken", len(r.Violations))
	}
	return b.String()
}
