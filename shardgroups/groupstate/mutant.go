//go:build mutants

package groupstate

import (
	"github.com/tidwall/btree"

	"github.com/quorate/quorate/mutants"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
)

// plantWaitersLost removes the rows of waiting calls; their records stay.
func plantWaitersLost(s *State) {
	if !mutants.On(mutants.WaitersLost) {
		return
	}
	for _, p := range s.partitions {
		if p != nil {
			loseWaiters(p)
		}
	}
}

// loseWaiters removes the rows of a partition's waiting calls.
func loseWaiters(p *partition) {
	var lost []string
	p.rows.Scan(func(key string, _ structures.Row) bool {
		if key[instanceSize-1] == rowWaiter {
			lost = append(lost, key)
		}
		return true
	})
	for _, key := range lost {
		row, _ := p.deleteRow(key)
		id, _, _ := splitRowKey(key)
		if l, ok := p.instances.Get(id); ok {
			l.waiters--
			l.waiterBytes -= len(row.Value)
			p.setInstance(id, l)
		}
	}
}

// plantNotOwnedServed lets a group own any partition that it is asked for.
func plantNotOwnedServed(s *State, id protocol.PartitionID) {
	if mutants.On(mutants.NotOwnedServed) && int(id) < len(s.partitions) && s.partitions[id] == nil {
		s.partitions[id] = newPartition(id, s.counts)
	}
}

// plantCancelForgotten forgets a cancel of a call that the partition has not seen.
func plantCancelForgotten(p *partition, key uint64, seen bool) {
	if mutants.On(mutants.CancelForgotten) && !seen {
		p.deleteRecord(key)
	}
}

// plantTokenReused lets a partition count its revisions anew.
func plantTokenReused(p *partition) {
	if mutants.On(mutants.TokenReused) {
		p.revision = 0
	}
}

// mutantOffset takes a partition to have the log time of its group.
func mutantOffset(offset protocol.LogTime) protocol.LogTime {
	if mutants.On(mutants.OffsetForgotten) {
		return 0
	}
	return offset
}

// mutantHoldEnds reports whether a hold with a mark ends by itself: never once it is
// acknowledged, or as soon as it is revoked.
func mutantHoldEnds(mark structures.HoldMark, ends bool) bool {
	return ends && !mutants.On(mutants.AcknowledgedKept) || mark == structures.HoldRevoked && mutants.On(mutants.GraceUnacknowledged)
}

// mutantGrantsLeft lets a call grant to as many as an entry may.
func mutantGrantsLeft(left int) int {
	if mutants.On(mutants.SweepCountsCalls) {
		return maxGrants
	}
	return left
}

// mutantCost takes a call of the clean-up to cost the least there is.
func mutantCost(cost int) int {
	if mutants.On(mutants.SweepCountsCalls) {
		return 1
	}
	return cost
}

// plantHistoryByChunk drops the events that share an array with the last that was
// dropped, and returns the version up to which events are gone.
func plantHistoryByChunk(h *history, end protocol.Version) protocol.Version {
	for mutants.On(mutants.HistoryByChunk) && h.events > 0 && h.head > 0 {
		end = h.firstEnd()
		h.dropFirst()
	}
	return end
}

// mutantFloor returns the floor of a history before events were dropped.
func mutantFloor(before, after protocol.Version) protocol.Version {
	if mutants.On(mutants.FloorForgotten) {
		return before
	}
	return after
}

// plantSnapshotAliased lets a copy of a partition have the rows that are written later.
func plantSnapshotAliased(p, c *partition) {
	if mutants.On(mutants.SnapshotAliased) {
		c.rows = p.rows
	}
}

// plantRecordsLost empties the exactly-once records of a copy.
func plantRecordsLost(c *partition) {
	if mutants.On(mutants.RecordsLost) {
		c.records = new(btree.Map[uint64, record])
	}
}

// plantWatchRingLost empties the history of a partition that was read from a snapshot.
func plantWatchRingLost(p *partition) {
	if mutants.On(mutants.WatchRingLost) {
		p.history = history{floor: p.version(p.revision)}
	}
}

// plantTxnTestedEarly tests the conditions of all transactions of an entry before anything
// of it is applied.
func plantTxnTestedEarly(s applying, entry []byte) {
	for mutants.On(mutants.TxnTestedEarly) && len(entry) > 0 {
		c, payload, rest, err := nextCommand(entry)
		if err != nil {
			return
		}
		entry = rest
		var q protocol.Request
		if c != commandRequest || q.DecodeExact(payload) != nil || q.Kind != protocol.KindTxn {
			continue
		}
		if p := s.partition(q.Partition); p != nil && s.txn.body.Read(q.Body) == nil {
			first, code := s.test(p, q.Caller)
			if code == protocol.CodeOK {
				mutants.Keep(q.Caller, first)
			}
			s.txn.forget()
		}
	}
}

// mutantTested returns the first condition of a transaction that does not hold, as it was
// tested before.
func mutantTested(caller protocol.Caller, first int) int {
	if was, ok := mutants.Kept(caller); ok {
		return was
	}
	return first
}

// plantTurnForgotten forgets where the clean-up of a restored state goes on.
func plantTurnForgotten(s *State) {
	if mutants.On(mutants.TurnForgotten) {
		s.turns = turns{}
	}
}

// mutantNextDue takes nothing to be due in a restored partition.
func mutantNextDue(next protocol.LogTime) protocol.LogTime {
	if mutants.On(mutants.DueForgotten) {
		return never
	}
	return next
}

// mutantCounted hides a row of a snapshot from what is counted.
func mutantCounted(value []byte) []byte {
	if mutants.On(mutants.RestoredUncounted) {
		return nil
	}
	return value
}

// mutantRevoked revokes the first hold that there is.
func mutantRevoked(t *tx, id protocol.HoldID) protocol.HoldID {
	if mutants.On(mutants.RevokeAny) {
		t.Ascend(structures.HoldKey(0), func(key []byte, _ structures.Row) bool {
			if first, ok := structures.HoldOf(key); ok {
				id = first
			}
			return false
		})
	}
	return id
}
