package groupstate_test

import (
	"fmt"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/shardgroups/groupstate"
	"github.com/quorate/quorate/structures"
)

// The structures of the script.
const (
	maps, counters, semaphores, queues = protocol.KindID(1), protocol.KindID(2), protocol.KindID(3), protocol.KindID(4)

	users, scores                              = "users", "scores"
	hits, full                                 = "hits", "full"
	writers                                    = "writers"
	jobs, narrow, doomed                       = "jobs", "narrow", "doomed"
	ann, bob, cyd, dan                         = protocol.SessionID(1), protocol.SessionID(2), protocol.SessionID(3), protocol.SessionID(4)
	home, other, third, elsewhere, nobodysHere = protocol.PartitionID(1), protocol.PartitionID(2), protocol.PartitionID(4), protocol.PartitionID(5), protocol.PartitionID(3)
)

// The operations of the structures.
const (
	mapGet           protocol.Op = 1
	mapPut           protocol.Op = 2
	mapSwap          protocol.Op = 3
	mapPutIfAbsent   protocol.Op = 4
	mapReplace       protocol.Op = 5
	mapDelete        protocol.Op = 6
	mapRemove        protocol.Op = 7
	mapDeleteVersion protocol.Op = 8
	mapSetTTL        protocol.Op = 9
	mapAdd           protocol.Op = 10
	mapPutAll        protocol.Op = 12
	mapDeleteAll     protocol.Op = 13
	mapAddAll        protocol.Op = 14
	mapScan          protocol.Op = 15
	mapScanKeys      protocol.Op = 16
	mapClear         protocol.Op = 18

	counterGet           protocol.Op = 1
	counterSet           protocol.Op = 2
	counterAdd           protocol.Op = 3
	counterCompareAndSet protocol.Op = 4

	semaphoreInit       protocol.Op = 1
	semaphoreAcquire    protocol.Op = 2
	semaphoreTryAcquire protocol.Op = 3
	semaphoreRelease    protocol.Op = 4
	semaphoreAvailable  protocol.Op = 5
	semaphoreDrain      protocol.Op = 6
	semaphoreAddPermits protocol.Op = 7

	queuePut    protocol.Op = 1
	queueOffer  protocol.Op = 2
	queueTake   protocol.Op = 3
	queuePoll   protocol.Op = 4
	queueDrain  protocol.Op = 6
	queueClear  protocol.Op = 8
	queuePutAll protocol.Op = 11
	queueTakeN  protocol.Op = 12
)

// play writes the golden log: each operation that mutates, with each answer it
// can give, and everything that moves by itself.
func (s *script) play() {
	s.begin()
	s.playCounters()
	s.playMaps()
	s.playSemaphores()
	s.playRevocations()
	s.playQueues()
	s.playTxns()
	s.playTime()
	s.playEnds()
	s.playGarbage()
	s.playPassedOver()
}

func (s *script) begin() {
	s.entry("the group gets its partitions, and a leader the clock", 0, func() {
		s.b.Own(groupstate.Ownership{Partitions: 8, Owned: []protocol.PartitionID{home, other, third, elsewhere}, Limits: protocol.DefaultLimits()})
		s.b.Claim(77)
	})
	s.epoch = 1
	s.state.SetOffset(protocol.LogTime(s.offset))
	s.entry("its partitions again, which changes nothing; its level; sessions", 5, func() {
		s.b.Own(groupstate.Ownership{Partitions: 8, Owned: []protocol.PartitionID{nobodysHere}, Limits: protocol.DefaultLimits()})
		s.b.Level(1)
		for _, id := range []protocol.SessionID{ann, bob, cyd, dan} {
			s.b.Attach(id, 0)
		}
	})
}

func (s *script) playCounters() {
	in := slot{ann, home, 0}
	var first protocol.Caller
	s.entry("counters", 10, func() {
		first = s.call(in, counters, hits, counterAdd, ints(5))
		s.call(in, counters, hits, counterSet, ints(-9))
		s.call(in, counters, hits, counterCompareAndSet, ints(-9, 40))
		s.call(in, counters, hits, counterCompareAndSet, ints(-9, 41))
		s.call(in, counters, full, counterSet, ints(1<<62))
		s.call(in, counters, full, counterAdd, ints(1<<62))
	})
	s.entry("a repeat, a sequence below the slot's, what is not owned, an unknown session", 11, func() {
		in := slot{ann, home, 1}
		c := s.call(in, counters, hits, counterAdd, ints(1))
		s.request(protocol.Request{Partition: home, Kind: counters, Op: counterAdd, Name: hits, Caller: c, Body: ints(1), Highest: 3, Flags: protocol.FlagRepeat})
		s.request(protocol.Request{Partition: home, Kind: counters, Op: counterAdd, Name: hits, Caller: first, Body: ints(5), Highest: 3})
		s.call(slot{ann, nobodysHere, 0}, counters, hits, counterAdd, ints(1))
		s.call(slot{99, home, 0}, counters, hits, counterAdd, ints(1))
	})
	s.entry("a reply above the highest slot in use is dropped, its sequence stays", 12, func() {
		in := slot{ann, home, 3}
		c := s.call(in, counters, hits, counterAdd, ints(1))
		low := protocol.Caller{Session: ann, Slot: 0, Sequence: 7}
		s.sequences[slot{ann, home, 0}] = 7
		s.request(protocol.Request{Partition: home, Kind: counters, Op: counterAdd, Name: hits, Caller: low, Body: ints(1), Highest: 1})
		s.request(protocol.Request{Partition: home, Kind: counters, Op: counterAdd, Name: hits, Caller: c, Body: ints(1), Highest: 3})
	})
	s.entry("a counter is destroyed and begins anew", 13, func() {
		s.call(in, counters, full, structures.OpDestroy, items())
		s.call(in, counters, full, counterAdd, ints(2))
	})
}

func (s *script) playMaps() {
	in := slot{ann, other, 0}
	s.entry("writes of single entries", 20, func() {
		s.call(in, maps, users, mapPut, items(key("ada"), text("a1"), 0))
		s.call(in, maps, users, mapSwap, items(key("ada"), text("a2"), 0))
		s.call(in, maps, users, mapSwap, items(key("bea"), text("b1"), 0))
		s.call(in, maps, users, mapPutIfAbsent, items(key("bea"), text("b2"), 0))
		s.call(in, maps, users, mapPutIfAbsent, items(key("cid"), text("c1"), 0))
		s.call(in, maps, users, mapReplace, items(key("cid"), text("c2"), 0, 5))
		s.call(in, maps, users, mapReplace, items(key("cid"), text("c3"), 0, 5))
		s.call(in, maps, users, mapDelete, items(key("bea")))
		s.call(in, maps, users, mapDelete, items(key("bea")))
		s.call(in, maps, users, mapRemove, items(key("cid")))
		s.call(in, maps, users, mapRemove, items(key("cid")))
		s.call(in, maps, users, mapPut, items(key("dot"), text("d1"), 0))
		s.call(in, maps, users, mapDeleteVersion, items(key("dot"), 1))
		s.call(in, maps, users, mapDeleteVersion, items(key("dot"), 9))
	})
	s.entry("times to live: given, kept, set, none, and the map's default", 25, func() {
		s.call(in, maps, users, mapPut, items(key("soon"), text("x"), 100))
		s.call(in, maps, users, mapPut, items(key("late"), text("x"), 1000))
		s.call(in, maps, users, mapPut, items(key("late"), text("y"), -1))
		s.call(in, maps, users, mapSetTTL, items(key("ada"), 150))
		s.call(in, maps, users, mapSetTTL, items(key("nobody"), 150))
		s.call(in, maps, users, structures.OpConfigure, items(word("ttl"), 60_000))
		s.call(in, maps, users, structures.OpConfigure, items(word("ttl"), 70_000))
		s.call(in, maps, users, structures.OpConfigure, items(word("ttl"), 60_000))
		s.call(in, maps, users, structures.OpAdopt, items(40, word("ttl"), 50_000))
		s.call(in, maps, users, structures.OpAdopt, items(1, word("ttl"), 40_000))
		s.call(in, maps, users, mapPut, items(key("default"), text("z"), 0))
		s.call(in, maps, users, mapPut, items(key("ever"), text("z"), -2))
	})
	s.entry("sums", 30, func() {
		s.call(in, maps, scores, mapAdd, items(key("a"), 5, 64))
		s.call(in, maps, scores, mapAdd, items(key("a"), -7, 64))
		s.call(in, maps, scores, mapAdd, items(key("b"), 1<<31-1, 32))
		s.call(in, maps, scores, mapAdd, items(key("b"), 1, 32))
		s.call(in, maps, scores, mapPut, items(key("c"), text("no"), 0))
		s.call(in, maps, scores, mapAdd, items(key("c"), 1, 64))
		s.call(in, maps, scores, mapAddAll, items(64, key("a"), 1, key("d"), 3))
		s.call(in, maps, scores, mapAddAll, items(64, key("a"), 1, key("c"), 3))
	})
	s.entry("many keys at once; clear; destroy", 35, func() {
		s.call(in, maps, scores, mapPutAll, items(200, key("p"), small(1), key("q"), small(2), key("r"), small(3)))
		s.call(in, maps, scores, mapDeleteAll, items(key("p"), key("x")))
		s.call(slot{bob, other, 0}, maps, "cleared", mapPutAll, items(0, key("p"), small(1), key("q"), small(2)))
		s.call(slot{bob, other, 0}, maps, "cleared", mapClear, items([]byte{}))
		s.call(slot{bob, other, 0}, maps, "gone", mapPut, items(key("p"), small(1), 0))
		s.call(slot{bob, other, 0}, maps, "gone", structures.OpDestroy, items())
		s.call(slot{bob, other, 0}, maps, "gone", mapPut, items(key("q"), small(2), 0))
	})
}

func (s *script) playSemaphores() {
	a, b, c := slot{ann, third, 0}, slot{bob, third, 0}, slot{cyd, third, 0}
	s.entry("before and after init", 40, func() {
		s.call(a, semaphores, writers, semaphoreTryAcquire, asking(1))
		s.waiting(a, semaphores, writers, semaphoreAcquire, asking(1, 0))
		s.call(a, semaphores, writers, semaphoreInit, ints(3))
		s.call(a, semaphores, writers, semaphoreInit, ints(3))
		s.call(a, semaphores, writers, semaphoreInit, ints(4))
		s.call(a, semaphores, writers, semaphoreTryAcquire, asking(4))
	})
	s.entry("permits are taken, waited for in order, and given back", 45, func() {
		s.waiting(a, semaphores, writers, semaphoreAcquire, asking(2, 0))
		s.waiting(b, semaphores, writers, semaphoreAcquire, asking(3, 0))
		s.waiting(c, semaphores, writers, semaphoreAcquire, asking(1, 0)) // not before b, which waits for more
		s.call(slot{dan, third, 0}, semaphores, writers, semaphoreTryAcquire, asking(1))
	})
	s.entry("a release of what is not held, and of what is", 50, func() {
		s.call(slot{dan, third, 0}, semaphores, writers, semaphoreRelease, ints(3))
		s.call(slot{ann, third, 1}, semaphores, writers, semaphoreRelease, ints(2))
	})
	s.entry("more and fewer permits; drain", 55, func() {
		s.call(slot{ann, third, 1}, semaphores, writers, semaphoreAddPermits, ints(1))
		s.call(slot{ann, third, 1}, semaphores, writers, semaphoreAddPermits, ints(-1))
		s.call(slot{ann, third, 1}, semaphores, writers, semaphoreDrain, ints())
		s.waiting(slot{dan, third, 1}, semaphores, writers, semaphoreAcquire, asking(1, 70)) // times out
	})
	s.entry("a semaphore is destroyed while calls wait", 60, func() {
		s.call(slot{dan, elsewhere, 0}, semaphores, doomed, semaphoreInit, ints(0))
		s.call(slot{dan, elsewhere, 0}, semaphores, doomed, semaphoreAddPermits, ints(1))
		s.call(slot{dan, elsewhere, 1}, semaphores, doomed, semaphoreTryAcquire, asking(1))
		s.waiting(slot{dan, elsewhere, 3}, semaphores, doomed, semaphoreAcquire, asking(1, 0))
		s.call(slot{dan, elsewhere, 0}, semaphores, doomed, structures.OpDestroy, items())
	})
}

// playRevocations takes holds away: at once, with a grace, and by asking.
func (s *script) playRevocations() {
	const kept = "kept"
	a, b := slot{ann, elsewhere, 0}, slot{bob, elsewhere, 0}
	s.entry("three are held, one waits", 61, func() {
		s.call(a, semaphores, kept, semaphoreInit, ints(3))
		s.call(a, semaphores, kept, semaphoreTryAcquire, asking(1))
		s.call(a, semaphores, kept, semaphoreTryAcquire, asking(1))
		s.call(b, semaphores, kept, semaphoreTryAcquire, asking(1))
		s.waiting(slot{dan, elsewhere, 1}, semaphores, kept, semaphoreAcquire, asking(1, 0))
	})
	revoke := func(hold, grace int, reason string) {
		s.call(slot{dan, elsewhere, 0}, semaphores, kept, structures.OpRevoke, items(hold, grace, word(reason)))
	}
	acknowledge := func(in slot, hold int) { s.call(in, semaphores, kept, structures.OpAcknowledge, items(hold)) }
	s.entry("asked for; revoked; with less grace, and with more; one that is not there; acknowledged too early and by another", 61, func() {
		revoke(7, -1, "please")
		acknowledge(a, 7)
		revoke(7, 100, "host gone")
		revoke(7, -1, "please")
		revoke(7, 1, "now")
		revoke(7, 50, "")
		revoke(3, 50, "")
		revoke(8, 40, "slowly")
		acknowledge(b, 7)
	})
	s.entry("a grace is over, which its holder has not acknowledged: it holds on", 63, func() {
		s.call(slot{dan, elsewhere, 2}, semaphores, kept, semaphoreTryAcquire, asking(1))
	})
	s.entry("acknowledged after its grace: it goes at once, to who waits; and before it, which may still be shortened", 64, func() {
		acknowledge(a, 7)
		acknowledge(a, 7)
		acknowledge(a, 8)
		acknowledge(a, 8)
		revoke(8, 30, "sooner")
		revoke(8, 60, "later")
	})
	s.entry("revoked at once", 64, func() { revoke(9, 0, "by force") })
}

func (s *script) playQueues() {
	a, b, c, d := slot{ann, elsewhere, 0}, slot{bob, elsewhere, 0}, slot{cyd, elsewhere, 0}, slot{dan, elsewhere, 2}
	s.entry("a narrow queue: full, and a put that waits", 65, func() {
		s.call(a, queues, narrow, structures.OpConfigure, items(word("capacity"), 1))
		s.call(a, queues, narrow, structures.OpConfigure, items(word("capacity"), 2))
		s.waiting(a, queues, narrow, queuePut, items(text("n1"), 0))
		s.call(a, queues, narrow, queueOffer, items(text("n2")))
		s.waiting(b, queues, narrow, queuePut, items(text("n3"), 0))
		s.call(a, queues, narrow, queuePoll, ints(0))
		s.call(a, queues, narrow, queueDrain, ints(10, 0))
		s.call(a, queues, narrow, queuePoll, ints(0))
	})
	var taken, withdrawn, late protocol.Caller
	s.entry("takes that wait: an element is reserved for each", 70, func() {
		s.waiting(d, queues, jobs, queueTake, ints(20, 0)) // times out
		taken = s.waiting(a, queues, jobs, queueTake, ints(0, 0))
		withdrawn = s.waiting(b, queues, jobs, queueTake, ints(0, 0))
		s.control(elsewhere, s.waiting(slot{dan, elsewhere, 3}, queues, jobs, queueTake, ints(0, 0)), protocol.OpCancel)
	})
	s.entry("elements come, after the first that waited has given up", 95, func() {
		in := slot{ann, elsewhere, 1}
		s.waiting(in, queues, jobs, queuePut, items(text("j1"), 0))
		s.call(in, queues, jobs, queueOffer, items(text("j2")))
	})
	s.entry("one confirms, also twice; one cancels, and what it had comes back", 96, func() {
		s.control(elsewhere, taken, protocol.OpConfirm)
		s.control(elsewhere, taken, protocol.OpConfirm)
		s.control(elsewhere, withdrawn, protocol.OpCancel)
		s.control(elsewhere, withdrawn, protocol.OpConfirm)
		s.control(elsewhere, taken, protocol.OpCancel) // the result wins
	})
	s.entry("a call is cancelled before it comes, and refused when it does", 97, func() {
		in := slot{bob, elsewhere, 1}
		late = protocol.Caller{Session: bob, Slot: 1, Sequence: 1}
		s.control(elsewhere, late, protocol.OpCancel)
		s.waiting(in, queues, jobs, queueTake, ints(0, 0))
		s.control(elsewhere, late, protocol.OpConfirm)
	})
	s.entry("a take that finds an element has it; one that waits is to lose its session", 98, func() {
		s.waiting(a, queues, jobs, queueTake, ints(0, 0))
		s.waiting(c, queues, jobs, queueTake, ints(0, 0))
		s.waiting(slot{cyd, elsewhere, 1}, queues, jobs, queueTake, ints(0, 0))
		s.call(slot{ann, elsewhere, 1}, queues, jobs, queueOffer, items(text("j3")))
	})
	var all protocol.Caller
	s.entry("many at once: for two that wait, and the rest at the tail; as many as there is room for", 99, func() {
		in := slot{bob, elsewhere, 2}
		all = s.waiting(slot{ann, elsewhere, 2}, queues, "batch", queueTakeN, ints(3, 0, 0))
		s.waiting(slot{ann, elsewhere, 3}, queues, "batch", queueTakeN, ints(3, 1, 0))
		s.call(in, queues, "batch", queuePutAll, items(text("b1"), text("b2"), text("b3"), text("b4")))
		s.call(in, queues, "batch", queuePutAll, items(text("b5"), text("b6")))
		s.waiting(slot{bob, elsewhere, 3}, queues, "batch", queueTakeN, ints(1, 0, 0))
		s.call(in, queues, narrow, queuePutAll, items(text("n4"), text("n5"), text("n6")))
		s.waiting(slot{bob, elsewhere, 3}, queues, narrow, queuePut, items(text("n7"), 1))
	})
	s.entry("what was reserved together comes back together", 99, func() {
		s.control(elsewhere, all, protocol.OpCancel)
	})
	s.entry("drain, clear, and destroy while a call waits", 99, func() {
		in := slot{bob, elsewhere, 2}
		for i := range 5 {
			s.call(in, queues, "many", queueOffer, items(text(fmt.Sprint("m", i))))
		}
		s.call(in, queues, "many", queueDrain, ints(2, 0))
		s.call(in, queues, "many", queueClear, ints(0))
		s.waiting(slot{bob, elsewhere, 3}, queues, doomed, queueTake, ints(0, 0))
		s.call(in, queues, doomed, structures.OpDestroy, items())
		s.call(in, queues, doomed, queueOffer, items(text("again")))
	})
}

// playTxns plays transactions: both branches, refusals, and what they do to who waits.
func (s *script) playTxns() {
	a, b := slot{ann, home, 2}, slot{dan, home, 2}
	s.entry("a transaction of all kinds, and one whose condition does not hold", 100, func() {
		s.call(a, semaphores, "gate", 1, ints(1))
		s.txn(a, structures.TxnBody{
			If: []structures.TxnItem{where(maps, "m", items(2, key("k"))), where(counters, "n", ints(3, 0)), where(semaphores, "gate", ints(1, 1)), where(queues, "q", ints(2))},
			Then: []structures.TxnItem{
				of(maps, "m", 2, items(key("k"), text("v"), 0)), of(maps, "m", 10, items(key("n"), 7, 64)), of(maps, "m", 1, items(key("k"))), of(counters, "n", 3, ints(5)),
				of(queues, "q", 2, items(text("e"))), of(queues, "q", 4, ints(0)), of(queues, "q", 4, ints(0)), of(semaphores, "gate", 7, ints(1)), of(semaphores, "gate", 5, ints()),
			},
			Else: []structures.TxnItem{of(counters, "n", 2, ints(0))},
		})
		s.txn(a, structures.TxnBody{
			If:   []structures.TxnItem{where(counters, "n", ints(1, 5)), where(counters, "n", ints(2, 6))},
			Then: []structures.TxnItem{of(counters, "n", 2, ints(0))}, Else: []structures.TxnItem{of(counters, "n", 3, ints(1))},
		})
	})
	s.entry("one is refused: who waits is told nothing, and waits on; the next one gives, once", 100, func() {
		s.waiting(b, queues, "q", 3, ints(0, 0))
		s.then(a, of(queues, "q", 2, items(text("never"))), of(maps, "m", 6, items(key("k"))), of(maps, "m", 5, items(key("k"), text("w"), 0, 1)))
		s.then(a, of(queues, "q", 2, items(text("f"))), of(queues, "q", 2, items(text("g"))), of(maps, "m", 7, items(key("k"))))
	})
	s.entry("the last of a structure goes, and comes back", 100, func() {
		s.then(a, of(queues, "q", 4, ints(0)), of(counters, full, 3, ints(1<<62)), of(counters, full, 3, ints(1<<62)))
	})
	s.entry("held, not held, and released", 100, func() {
		s.call(a, semaphores, "gate", 3, asking(1)) // hold 22
		for _, hold := range []int64{1, 22, 22} {
			s.txn(slot{ann, home, 1}, structures.TxnBody{
				If:   []structures.TxnItem{where(semaphores, "gate", ints(240, hold))},
				Then: []structures.TxnItem{of(counters, "n", 3, ints(1000)), of(semaphores, "gate", 4, items(int(hold)))}, Else: []structures.TxnItem{of(counters, "n", 1, ints())},
			})
		}
	})
}

func (s *script) playTime() {
	s.epoch = 0
	s.entry("a minute, but of a clock that is not the group's: time stands", 60_000, func() {})
	s.epoch = 1
	s.entry("time passes: the first deadlines", 130, func() {})
	s.entry("a write onto what was due", 180, func() {
		s.call(slot{ann, other, 0}, maps, users, mapPutIfAbsent, items(key("ada"), text("a9"), 0))
	})
	s.entry("a second leader takes the clock", 300, func() { s.b.Claim(78) })
	s.entry("the first one's entries still come: time stands", 5000, func() {
		s.call(slot{ann, home, 0}, counters, hits, counterAdd, ints(1))
	})
	s.epoch = 2
	s.entry("its own entries move time on from the claim", 800, func() {
		s.call(slot{ann, home, 0}, counters, hits, counterAdd, ints(1))
	})
}

func (s *script) playEnds() {
	s.entry("a session ends: its calls are withdrawn, what it held comes back", 810, func() {
		s.b.Ends(0, []protocol.SessionID{50, cyd})
	})
	s.entry("the same again, a gap, a session that has ended, one read before it ended", 820, func() {
		s.b.Ends(0, []protocol.SessionID{50, cyd})
		s.b.Ends(3, []protocol.SessionID{ann})
		s.b.Attach(cyd, 1)
		s.b.Attach(60, 1)
		s.b.Attach(61, 2)
		s.call(slot{cyd, home, 0}, counters, hits, counterAdd, ints(1))
		s.call(slot{60, home, 0}, counters, hits, counterAdd, ints(1))
		s.call(slot{61, home, 0}, counters, hits, counterAdd, ints(1))
	})
	s.entry("the holder's session ends, and in the same entry it calls again", 830, func() {
		s.b.Ends(2, []protocol.SessionID{bob})
		s.call(slot{bob, home, 0}, counters, hits, counterAdd, ints(1))
	})
}

// playGarbage destroys more than one entry may clear, and leaves work undone.
func (s *script) playGarbage() {
	in := slot{ann, third, 0}
	for part := range 4 {
		s.entry("a large map", 840+int64(part), func() {
			all := []any{0}
			for i := range 400 {
				all = append(all, key(fmt.Sprintf("k%d%03d", part, i)), small(byte(i%24)))
			}
			s.call(in, maps, "large", mapPutAll, items(all...))
		})
	}
	s.entry("it is destroyed: its rows go a thousand at a time", 850, func() {
		s.call(in, maps, "large", structures.OpDestroy, items())
		s.call(in, maps, "large", mapPut, items(key("k"), small(1), 0))
	})
	s.entry("much that is due at once", 860, func() {
		for part := range 3 {
			all := []any{100}
			for i := range 400 {
				all = append(all, key(fmt.Sprintf("d%d%03d", part, i)), small(byte(i%24)))
			}
			s.call(in, maps, "due", mapPutAll, items(all...))
		}
	})
	s.entry("goes a thousand at a time", 1000, func() {})
	s.entry("the end: a permit is held, a call waits, an element is reserved, a deadline is ahead", 1010, func() {
		s.call(slot{dan, home, 0}, semaphores, "last", semaphoreInit, ints(1))
		s.waiting(slot{dan, home, 0}, semaphores, "last", semaphoreAcquire, asking(1, 0))
		s.waiting(slot{ann, home, 1}, semaphores, "last", semaphoreAcquire, asking(1, 5000))
		s.waiting(slot{ann, home, 2}, queues, "last", queueTake, ints(0, 0))
		s.call(slot{dan, home, 1}, queues, "last", queueOffer, items(text("reserved")))
		for part := range 3 {
			all := []any{0}
			for i := range 400 {
				all = append(all, key(fmt.Sprintf("g%d%03d", part, i)), small(1))
			}
			s.call(in, maps, "garbage", mapPutAll, items(all...))
		}
		s.call(in, maps, "garbage", structures.OpDestroy, items())
	})
}

// playPassedOver lets more sessions end than are listed.
func (s *script) playPassedOver() {
	const eva, fay, gil, hal = protocol.SessionID(70), protocol.SessionID(71), protocol.SessionID(72), protocol.SessionID(200)
	s.entry("sessions that hold something, and one that waits", 1020, func() {
		for _, id := range []protocol.SessionID{eva, fay, gil} {
			s.b.Attach(id, 3)
			s.call(slot{id, home, 0}, semaphores, "passed", semaphoreInit, ints(2))
		}
		s.waiting(slot{eva, home, 1}, semaphores, "passed", semaphoreAcquire, asking(1, 0))
		s.waiting(slot{fay, home, 1}, semaphores, "passed", semaphoreAcquire, asking(1, 0))
		s.waiting(slot{gil, home, 1}, semaphores, "passed", semaphoreAcquire, asking(1, 0))
	})
	s.entry("ends are passed over; what was read before is not accepted, what was read then is", 1030, func() {
		s.b.PassOver(1000, 100)
		s.b.PassOver(900, 50)
		s.b.Ends(3, []protocol.SessionID{eva})
		s.b.Attach(90, 999)
		s.b.Attach(91, 1000)
		s.b.Attach(hal, 1000)
		s.call(slot{90, home, 0}, counters, hits, counterAdd, ints(1))
		s.call(slot{91, home, 0}, counters, hits, counterAdd, ints(1))
		s.call(slot{hal, home, 0}, counters, hits, counterAdd, ints(1))
	})
	s.entry("the known sessions are looked up: of another end, from elsewhere, the first part, again", 1040, func() {
		s.b.Ended(groupstate.Checked{End: 999, To: 72, IDs: []protocol.SessionID{eva}})
		s.b.Ended(groupstate.Checked{End: 1000, From: 5, To: 72, IDs: []protocol.SessionID{eva}})
		s.b.Ended(groupstate.Checked{End: 1000, To: 72, IDs: []protocol.SessionID{fay}})
		s.b.Ended(groupstate.Checked{End: 1000, To: 72, IDs: []protocol.SessionID{eva}})
	})
	s.entry("further ends meanwhile", 1050, func() { s.b.Ends(1000, []protocol.SessionID{hal, 300}) })
	s.entry("the rest", 1060, func() {
		s.b.Ended(groupstate.Checked{End: 1000, From: 72, To: 100, IDs: []protocol.SessionID{gil, 73}})
		s.b.Ended(groupstate.Checked{End: 1000, From: 100, To: 200, IDs: []protocol.SessionID{eva}})
	})
	s.entry("again, with nothing done of it yet", 1070, func() { s.b.PassOver(2000, 400) })
}
