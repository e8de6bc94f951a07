package formation

import (
	"slices"
	"testing"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/systemstate"
)

// TestRestoredGroups: a group of which there is no backup begins empty.
func TestRestoredGroups(t *testing.T) {
	v := &systemstate.ClusterState{Groups: []systemstate.Group{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 5}}}
	restored, empty := restoredGroups(v, map[protocol.GroupID]bool{1: true, 3: true, 9: true})
	if !slices.Equal(restored, []protocol.GroupID{3}) || !slices.Equal(empty, []protocol.GroupID{2, 5}) {
		t.Errorf("%d are restored, %d empty", restored, empty)
	}
}
