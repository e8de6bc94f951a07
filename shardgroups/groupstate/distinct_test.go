package groupstate_test

import (
	"fmt"
	"testing"
	"time"
)

// TestStructuresAreCountedOnce: a map is one structure, in however many partitions
// it has entries, also after a snapshot, and none when the last of them is gone.
func TestStructuresAreCountedOnce(t *testing.T) {
	d := newDriver(t)
	d.attach(1, 2)
	expect := func(what string, distinct, parts int) {
		t.Helper()
		for range 2 {
			if n := d.state.Totals(); n.Distinct != distinct || n.Structures != parts {
				t.Errorf("%s: %d structures of %d parts, want %d of %d", what, n.Distinct, n.Structures, distinct, parts)
			}
			d.restore(goldenKinds())
		}
	}
	d.entry(0, func() { d.puts(3*driverPartitions, 100) })
	expect("a map in every partition", 1, driverPartitions)
	d.entry(0, func() {
		for n := range 10 {
			d.call(slot{1, 1, 60}, 0, queues, fmt.Sprint(jobs, n), queueOffer, items(small(1)))
		}
	})
	expect("and ten queues", 11, driverPartitions+10)
	d.entry(time.Minute, func() {})
	d.settle(1000)
	expect("the entries have expired", 10, 10)
}
