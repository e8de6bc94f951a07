package groupstate_test

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dbarrier"
)

// TestBarrier_HiddenIsNoParty: a call whose time is over, or whose session has ended, is out
// of sight before it is answered. It still counts as waiting, and is no party at a barrier.
func TestBarrier_HiddenIsNoParty(t *testing.T) {
	const await, forever, second = 1, 0, 1000
	barriers := dbarrier.Kind().ID
	for name, hide := range map[string]struct {
		after time.Duration
		ends  []protocol.SessionID
	}{
		"its time is over":      {after: 2 * time.Second},
		"its session has ended": {ends: []protocol.SessionID{2}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDriver(t)
			d.state = groupstate.New([]structures.Kind{dbarrier.Kind()})
			owned := make([]protocol.PartitionID, driverPartitions)
			for i := range owned {
				owned[i] = protocol.PartitionID(i)
			}
			d.entry(0, func() {
				d.b.Own(groupstate.Ownership{Partitions: driverPartitions, Owned: owned, Limits: protocol.DefaultLimits()})
				d.b.Claim(1)
			})
			d.attach(1, 5)
			arrive := func(session protocol.SessionID, ms int64) {
				d.call(slot{session, 1, 0}, protocol.FlagWait, barriers, writers, await, ints(3, ms))
			}
			d.entry(0, func() { arrive(1, forever); arrive(2, second) })
			d.entry(hide.after, func() {
				if len(hide.ends) > 0 {
					d.ends(hide.ends...)
				}
				arrive(3, forever)
			})
			if n := d.codes[protocol.CodeOK]; n != 0 || d.replies[protocol.CodeOK] == 2 {
				t.Fatalf("%d of two parties have met a third one, which is not there any more", n)
			}
			d.entry(0, func() { arrive(4, forever) })
			if n := d.codes[protocol.CodeOK]; n != 2 {
				t.Errorf("%d parties that waited have met the third one", n)
			}
		})
	}
}
