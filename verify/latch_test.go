package verify

import (
	"testing"

	"github.com/quorate/quorate/structures/dlatch"
)

func TestLatchModel(t *testing.T) {
	set := func(n int64) latchInput { return latchInput{op: latchSet, n: n} }
	down := func(n int64, in dlatch.Round) latchInput { return latchInput{op: latchDown, n: n, in: in} }
	hold, release := latchInput{op: latchHold, grant: 1}, latchInput{op: latchRelease, grant: 1}
	count, await := latchInput{op: latchCount}, latchInput{op: latchAwait}
	round := func(r dlatch.Round) latchOutput { return latchOutput{round: r} }
	is := func(n int64, r dlatch.Round) latchOutput { return latchOutput{n: n, round: r} }
	refused := func(err error) latchOutput { return latchOutput{err: err} }
	run(t, latches, []history{
		{name: "a round", want: Linearizable, ops: []op{
			{1, 2, set(2), round(5)},
			{3, 9, await, round(5)},
			{4, 5, down(1, 5), is(1, 0)},
			{6, 7, down(4, 0), is(0, 0)},
			{10, 11, set(1), round(9)},
			{12, 13, down(1, 5), refused(dlatch.ErrRound)},
			{14, 15, count, is(1, 9)},
		}},
		{name: "await before the count is 0", want: Illegal, ops: []op{
			{1, 2, set(2), round(5)}, {3, 6, await, round(5)}, {4, 5, down(1, 5), is(1, 0)},
		}},
		{name: "a lost latch is open", want: Illegal, ops: []op{{1, 2, await, round(5)}}},
		{name: "await of another round", want: Illegal, ops: []op{
			{1, 2, set(1), round(5)}, {3, 4, down(1, 0), is(0, 0)}, {5, 6, set(1), round(9)}, {7, 8, await, round(5)},
		}},
		{name: "a late worker counts", want: Illegal, ops: []op{
			{1, 2, set(1), round(5)}, {3, 4, down(1, 5), is(0, 0)}, {5, 6, set(2), round(9)}, {7, 8, down(1, 5), is(1, 0)},
		}},
		{name: "set while the count is above 0", want: Illegal, ops: []op{{1, 2, set(1), round(5)}, {3, 4, set(1), round(9)}}},
		{name: "rounds go back", want: Illegal, ops: []op{
			{1, 2, set(1), round(5)}, {3, 4, down(1, 0), is(0, 0)}, {5, 6, set(1), round(4)},
		}},
		{name: "an unknown set", want: Linearizable, ops: []op{
			{1, 0, set(2), nil}, {2, 3, count, refused(dlatch.ErrNotSet)}, {4, 5, count, is(2, 7)}, {6, 7, count, is(2, 7)},
		}},
		{name: "an unknown set in two rounds", want: Illegal, ops: []op{
			{1, 0, set(2), nil}, {4, 5, count, is(2, 7)}, {6, 7, count, is(2, 8)},
		}},
		{name: "hold and release", want: Linearizable, ops: []op{
			{1, 2, set(1), round(5)},
			{3, 4, hold, round(6)},
			{5, 6, down(1, 0), is(1, 0)},
			{7, 8, release, latchOutput{}},
			{9, 10, await, round(5)},
			{11, 12, hold, refused(dlatch.ErrDone)},
		}},
		{name: "a hold that does not count", want: Illegal, ops: []op{
			{1, 2, set(1), round(5)}, {3, 4, hold, round(6)}, {5, 6, down(1, 0), is(0, 0)},
		}},
		{name: "the hold of a dead worker", want: Linearizable, ops: []op{
			{1, 2, set(1), round(5)}, {3, 4, hold, round(6)}, {3, 0, release, nil}, {5, 6, count, is(2, 5)}, {7, 8, count, is(1, 5)},
		}},
		{name: "a hold of an earlier round counts down", want: Illegal, ops: []op{
			{1, 2, set(1), round(5)},
			{3, 4, hold, round(6)},
			{5, 6, down(2, 0), is(0, 0)},
			{7, 8, set(2), round(9)},
			{10, 11, release, latchOutput{}},
			{12, 13, count, is(1, 9)},
		}},
		{name: "a token of an earlier round", want: Illegal, ops: []op{{1, 2, set(1), round(5)}, {3, 4, hold, round(5)}}},
	})
}
