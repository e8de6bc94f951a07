package membership

import (
	"testing"
	"time"

	"github.com/quorate/quorate/grid/internal/gossip"
)

// TestConditionIsAskedFor: a member is asked at once when something else is
// announced of it, and again, but seldom, for as long as it does not say so itself.
func TestConditionIsAskedFor(t *testing.T) {
	now := time.Unix(1000, 0)
	full := gossip.State{MemoryFull: true}
	var k condition
	if ask, _ := k.due(now, full); !ask {
		t.Error("not asked at first")
	}
	k = condition{confirmed: true, announced: full, asked: now} // it has said that it is well
	asked := 0
	for range 100 {
		now = now.Add(conditionPause)
		if ask, _ := k.due(now, full); ask {
			asked++
			k.asked = now
		}
	}
	if asked != 10 {
		t.Errorf("asked %d times in ten seconds of forged news", asked)
	}
	if ask, in := k.due(now, gossip.State{}); ask || in != 0 {
		t.Errorf("asked although nothing is announced but what it says (%t, %v)", ask, in)
	}
	if ask, in := k.due(now, gossip.State{DiskFull: true}); ask || in != conditionPause {
		t.Errorf("of other news: %t, %v", ask, in)
	}
	if ask, _ := k.due(now.Add(conditionPause), gossip.State{DiskFull: true}); !ask {
		t.Error("not asked of other news")
	}
}
