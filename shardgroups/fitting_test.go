package shardgroups

import (
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dqueue"
)

// TestFitting shows by what an entry is full: as many plain requests as ever, and
// few that may touch many rows.
func TestFitting(t *testing.T) {
	kinds := groupstate.New([]structures.Kind{dcounter.Kind(), dqueue.Kind()}).Kinds()
	requests := func(n, size int, q protocol.Request) []*Request {
		all := make([]*Request, n)
		for i := range all {
			all[i] = &Request{Request: q, Raw: make([]byte, size), cost: groupstate.Cost(kinds, &q)}
		}
		return all
	}
	drain := protocol.Request{Kind: dqueue.Kind().ID, Op: 6, Body: protocol.AppendInts(nil, 1000, 0)}
	for _, c := range []struct {
		name   string
		queued []*Request
		want   int
	}{
		{"plain requests", requests(5000, 40, protocol.Request{Kind: dcounter.Kind().ID, Op: 3, Body: protocol.AppendInts(nil, 1)}), maxEntryRequests},
		{"bytes", requests(50, 100_000, protocol.Request{Kind: dcounter.Kind().ID}), 10},
		{"drains of 1,000", requests(500, 40, drain), groupstate.MaxEntryCost / 2016},
		{"one that costs more than an entry may", []*Request{{cost: 2 * groupstate.MaxEntryCost}, {cost: 1}}, 1},
		{"nothing", nil, 0},
	} {
		if n, _ := fitting(c.queued); n != c.want {
			t.Errorf("%s: an entry has room for %d, want %d", c.name, n, c.want)
		}
	}
}
