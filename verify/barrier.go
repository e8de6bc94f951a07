package verify

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/quorate/quorate/structures/dbarrier"
)

// Meeting is one party that has met others at a barrier, as its client saw it. Times are
// of one clock.
type Meeting struct {
	Round        dbarrier.Round
	Index        int   // of a cyclic barrier
	Call, Return int64 // of the Await or the Enter
	// Leaves is when a party of a double barrier began to leave, if its hold had not ended
	// by then; 0: it is not known how long it was inside. Left is when its Leave returned;
	// 0: it did not.
	Leaves, Left int64
}

// CheckMeetings reports whether the parties of a barrier have met as they should: of each
// round there are so many, at an instant at which all of them waited; rounds come one after
// the other; and at a double barrier nobody enters while one of an earlier round is inside,
// and nobody has left before all of its round have. Unknown is how many more may have met
// others.
func CheckMeetings(all []Meeting, parties, unknown int, double bool) error {
	rounds := map[dbarrier.Round][]Meeting{}
	for _, m := range all {
		rounds[m.Round] = append(rounds[m.Round], m)
	}
	var errs []error
	missing := 0
	var begun, leaves int64 // the latest of the rounds before: when all had come, and when one that was inside left
	for _, round := range slices.Sorted(maps.Keys(rounds)) {
		met := rounds[round]
		fails := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("round %d: "+format, append([]any{round}, args...)...))
		}
		missing += parties - len(met)
		if len(met) > parties {
			fails("%d parties have met, and there are %d", len(met), parties)
		}
		last := slices.MaxFunc(met, func(a, b Meeting) int { return cmp.Compare(a.Call, b.Call) }).Call
		first := slices.MinFunc(met, func(a, b Meeting) int { return cmp.Compare(a.Return, b.Return) }).Return
		if last > first {
			fails("a party came at %d, when another had gone at %d", last, first)
		}
		if begun > first {
			fails("a party went at %d, and one of an earlier round came at %d", first, begun)
		}
		if double && leaves > first {
			fails("a party entered before %d, and one of an earlier round was inside until %d", first, leaves)
		}
		seen := map[int]bool{}
		for _, m := range met {
			if !double && (seen[m.Index] || m.Index < 0 || m.Index >= parties) {
				fails("a party has the index %d, not one of its own", m.Index)
			}
			seen[m.Index] = true
			for _, other := range met {
				if m.Left != 0 && m.Left < other.Leaves {
					fails("a party has left at %d, and another was inside until %d", m.Left, other.Leaves)
				}
			}
			leaves = max(leaves, m.Leaves)
		}
		begun = max(begun, last)
	}
	if missing > unknown {
		errs = append(errs, fmt.Errorf("%d parties that others have met are not there, and only %d are unknown", missing, unknown))
	}
	return errors.Join(errs...)
}
