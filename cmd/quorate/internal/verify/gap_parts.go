package verify

import (
	"slices"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/verify/nemesis"
)

// quantiles are those of a number of times.
type quantiles struct {
	N   int       `json:"n"`
	P50 float64   `json:"p50_seconds"`
	P99 float64   `json:"p99_seconds"`
	Max float64   `json:"max_seconds"`
	All []float64 `json:"all_seconds"`
}

func (q *quantiles) add(d time.Duration) { q.All = append(q.All, d.Seconds()) }

func (q *quantiles) compute() {
	q.N = len(q.All)
	if q.N > 0 {
		sorted := slices.Sorted(slices.Values(q.All))
		q.P50, q.P99, q.Max = sorted[(q.N-1)/2], sorted[(q.N*99+99)/100-1], sorted[q.N-1]
	}
}

// add takes in a round that was struck at a time.
func (r *gapResult) add(gaps map[protocol.GroupID]interval, leads []nemesis.Lead, struck time.Time) {
	for _, l := range leads {
		if l.Gated > 0 {
			r.Transfers.add(l.Gated)
		}
	}
	for id, gap := range gaps {
		r.quantiles.add(gap.took)
		from := struck.Add(gap.after)
		to := from.Add(gap.took)
		var last time.Time // when the member that acknowledged next began to lead
		elected := 0
		for _, l := range leads {
			if l.Group == id && l.Begins && l.At.After(from) && l.At.Before(to) {
				last = l.At
				elected++
			}
		}
		if elected == 0 {
			continue // nobody else was elected in the gap: the machine, or the network
		}
		r.NoLeader.add(last.Sub(from))
		r.After.add(to.Sub(last))
		r.Again += elected - 1
	}
}
