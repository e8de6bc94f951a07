//go:build !mutants

package groupstate

import (
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// No bug is planted, see mutant.go.

func plantWaitersLost(*State) {}

func plantNotOwnedServed(*State, protocol.PartitionID) {}

func plantCancelForgotten(*partition, uint64, bool) {}

func plantTokenReused(*partition) {}

func plantWatchRingLost(*partition) {}

func plantTxnTestedEarly(applying, []byte) {}

func mutantTested(_ protocol.Caller, first int) int { return first }

func mutantOffset(offset protocol.LogTime) protocol.LogTime { return offset }

func mutantHoldEnds(_ structures.HoldMark, ends bool) bool { return ends }

func mutantGrantsLeft(left int) int { return left }

func mutantCost(cost int) int { return cost }

func plantHistoryByChunk(_ *history, end protocol.Version) protocol.Version { return end }

func mutantFloor(_, after protocol.Version) protocol.Version { return after }

func plantSnapshotAliased(_, _ *partition) {}

func plantRecordsLost(*partition) {}

func plantTurnForgotten(*State) {}

func mutantNextDue(next protocol.LogTime) protocol.LogTime { return next }

func mutantCounted(value []byte) []byte { return value }

func mutantRevoked(_ *tx, id protocol.HoldID) protocol.HoldID { return id }
