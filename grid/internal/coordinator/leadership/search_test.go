package leadership

import (
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
)

// TestSearchIsBounded: a group that is without a leader for ever costs a member a
// few questions a second, however often it looks; all who may know are asked in
// turn; and a group that has just lost its leader is asked for at once.
func TestSearchIsBounded(t *testing.T) {
	var mayKnow []protocol.MemberID
	for id := protocol.MemberID(1); id <= 50; id++ {
		mayKnow = append(mayKnow, id)
	}
	var s search
	asked := map[protocol.MemberID]int{}
	questions := 0
	now := time.Unix(1000, 0)
	const seconds = 25
	for range seconds * 10 {
		round, _ := s.next(now, []protocol.GroupID{2}, mayKnow)
		questions += len(round)
		for _, id := range round {
			asked[id]++
		}
		now = now.Add(time.Second / 10)
	}
	if questions != seconds*searchAsks {
		t.Errorf("%d questions in %d s", questions, seconds)
	}
	for _, id := range mayKnow {
		if asked[id] != seconds*searchAsks/len(mayKnow) {
			t.Errorf("member %d was asked %d times", id, asked[id])
		}
	}
	if round, ok := s.next(now, []protocol.GroupID{2, 3}, mayKnow[:2]); !ok || len(round) != 2 {
		t.Errorf("another group: %v, %t", round, ok)
	}
	if round, ok := s.next(now, nil, nil); !ok || len(round) != 0 {
		t.Errorf("all leaders are known: %v, %t", round, ok) // what others have said is forgotten
	}
}
