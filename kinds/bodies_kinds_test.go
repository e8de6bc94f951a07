package kinds_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dbarrier"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/did"
	"github.com/quorate/quorate/structures/dlatch"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dpresence"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/drate"
	"github.com/quorate/quorate/structures/dref"
	"github.com/quorate/quorate/structures/drwlock"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/dservice"
	"github.com/quorate/quorate/structures/txn"
)

func mapBodies(r *recorder) {
	m := dmap.New[string, string](r.client, name)
	numbers := dmap.New[string, int64](r.client, name)
	small := dmap.New[string, int32](r.client, name)
	var version dmap.Version
	get := func(k string) func(ctx context.Context) error {
		return func(ctx context.Context) error {
			e, _, err := m.Entry(ctx, k)
			version = e.Version
			return err
		}
	}
	r.does("get what is not there", get("ada"))
	r.does("put", func(ctx context.Context) error { return m.Put(ctx, "ada", "Lovelace") })
	r.does("put with a time to live of a minute", func(ctx context.Context) error { return m.Put(ctx, "bob", "", dmap.TTL(time.Minute)) })
	r.does("put and keep the time to live", func(ctx context.Context) error { return m.Put(ctx, "bob", "Bobby", dmap.KeepTTL()) })
	r.does("put without an end", func(ctx context.Context) error { return m.Put(ctx, "eve", "Eve", dmap.TTL(200*365*24*time.Hour)) })
	r.does("get", get("ada"))
	r.does("get with a time to live", get("bob"))
	r.does("swap", func(ctx context.Context) error { _, _, err := m.Swap(ctx, "ada", "King"); return err })
	r.does("swap what is not there", func(ctx context.Context) error { _, _, err := m.Swap(ctx, "dan", "Dan"); return err })
	r.does("put if absent: it is there", func(ctx context.Context) error { _, _, err := m.PutIfAbsent(ctx, "ada", "x"); return err })
	r.does("put if absent: stored", func(ctx context.Context) error { _, _, err := m.PutIfAbsent(ctx, "cai", "Cai"); return err })
	r.fails("replace another version", func(ctx context.Context) error { _, err := m.Replace(ctx, "ada", version, "x"); return err })
	r.does("get the version", get("ada"))
	r.does("replace", func(ctx context.Context) error {
		var err error
		version, err = m.Replace(ctx, "ada", version, "Byron")
		return err
	})
	r.does("set the time to live", func(ctx context.Context) error { _, err := m.SetTTL(ctx, "ada", time.Hour); return err })
	r.does("set the time to live of what is not there", func(ctx context.Context) error { _, err := m.SetTTL(ctx, "zoe", time.Hour); return err })
	r.fails("delete another version", func(ctx context.Context) error { return m.DeleteVersion(ctx, "ada", 1) })
	r.does("delete the version", func(ctx context.Context) error {
		if err := get("ada")(ctx); err != nil {
			return err
		}
		return m.DeleteVersion(ctx, "ada", version)
	})
	r.does("delete", func(ctx context.Context) error { _, err := m.Delete(ctx, "bob"); return err })
	r.does("delete what is not there", func(ctx context.Context) error { _, err := m.Delete(ctx, "bob"); return err })
	r.does("remove", func(ctx context.Context) error { _, _, err := m.Remove(ctx, "cai"); return err })
	r.does("remove what is not there", func(ctx context.Context) error { _, _, err := m.Remove(ctx, "cai"); return err })
	r.does("add to what is not there", func(ctx context.Context) error { _, err := dmap.Add(ctx, numbers, "n", 1<<40); return err })
	r.does("add to 32 bits", func(ctx context.Context) error { _, err := dmap.Add(ctx, small, "s", -7); return err })
	r.fails("add to what is no integer", func(ctx context.Context) error { _, err := dmap.Add(ctx, numbers, "dan", 1); return err })
	r.fails("add more than fits", func(ctx context.Context) error { _, err := dmap.Add(ctx, small, "n", 1); return err })
	r.does("put all", func(ctx context.Context) error { return m.PutAll(ctx, maps.All(map[string]string{"a": "1", "b": "2"})) })
	r.does("get all: one is not there", func(ctx context.Context) error { _, err := m.GetAll(ctx, "b", "a", "c"); return err })
	r.does("delete all: one is not there", func(ctx context.Context) error { _, err := m.DeleteAll(ctx, "a", "c"); return err })
	r.does("add all", func(ctx context.Context) error {
		return dmap.AddAll(ctx, numbers, maps.All(map[string]int64{"n": 2, "o": -3}))
	})
	r.fails("add all: one is no integer", func(ctx context.Context) error {
		return dmap.AddAll(ctx, numbers, maps.All(map[string]int64{"dan": 1, "o": 1}))
	})
	r.fails("add all: one does not fit", func(ctx context.Context) error {
		return dmap.AddAll(ctx, small, maps.All(map[string]int32{"n": 1, "s": 1}))
	})
	r.does("scan: in one page", func(ctx context.Context) error {
		for _, err := range m.All(ctx) {
			if err != nil {
				break // values of several types
			}
		}
		return nil
	})
	page := protocol.AppendUint(protocol.AppendBytes(protocol.AppendBytes(protocol.AppendArray(nil, 3), []byte("\x01b")), []byte("\x01o")), 1)
	r.sends("scan: a page of one byte, so of one entry", r.kind.ID, opOf(r, "scan"), name, protocol.FlagRead, page)
	r.sends("scan keys: a page of one byte, so of one key", r.kind.ID, opOf(r, "scan_keys"), name, protocol.FlagRead, page)
	r.does("scan keys", func(ctx context.Context) error {
		for _, err := range m.Keys(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	r.does("put an integer as a key", func(ctx context.Context) error { return dmap.New[int, bool](r.client, name).Put(ctx, -1, true) })
	r.does("put with the raw codec", func(ctx context.Context) error {
		return dmap.New[string, []byte](r.client, name, dmap.Codec(structures.Raw)).Put(ctx, "raw", []byte{1, 2, 3})
	})
	r.does("put an ephemeral entry", func(ctx context.Context) error { return m.Put(ctx, "own", "x", dmap.Ephemeral()) })
	r.does("get an ephemeral entry", get("own"))
	r.does("swap for an ephemeral entry", func(ctx context.Context) error { _, _, err := m.Swap(ctx, "own", "y", dmap.Ephemeral()); return err })
	r.does("put if absent: an ephemeral entry", func(ctx context.Context) error {
		_, _, err := m.PutIfAbsent(ctx, "mine", "x", dmap.Ephemeral())
		return err
	})
	r.fails("replace another version by an ephemeral entry", func(ctx context.Context) error {
		_, err := m.Replace(ctx, "mine", version, "x", dmap.Ephemeral())
		return err
	})
	r.does("get the version to take over", get("mine"))
	r.does("replace by an ephemeral entry", func(ctx context.Context) error {
		_, err := m.Replace(ctx, "mine", version, "x", dmap.Ephemeral())
		return err
	})
	r.does("put under a sequential key", func(ctx context.Context) error { _, err := dmap.PutSequential(ctx, m, "{jobs}/", "x"); return err })
	r.does("put an ephemeral entry under a sequential key", func(ctx context.Context) error {
		_, err := dmap.PutSequential(ctx, m, "{jobs}/", "x", dmap.Ephemeral())
		return err
	})
	r.does("clear", m.Clear)
	r.does("length", func(ctx context.Context) error { _, err := m.Len(ctx); return err })
	r.does("configure", func(ctx context.Context) error { return m.Configure(ctx, dmap.DefaultTTL(time.Hour)) })
	r.fails("configure otherwise", func(ctx context.Context) error { return m.Configure(ctx, dmap.DefaultTTL(time.Minute)) })
}

func counterBodies(r *recorder) {
	c := dcounter.New(r.client, name)
	r.does("get what was never written", func(ctx context.Context) error { _, err := c.Get(ctx); return err })
	r.does("set", func(ctx context.Context) error { return c.Set(ctx, -1000) })
	r.does("get", func(ctx context.Context) error { _, err := c.Get(ctx); return err })
	r.does("add", func(ctx context.Context) error { _, err := c.Add(ctx, 1500); return err })
	r.does("compare and set", func(ctx context.Context) error { _, err := c.CompareAndSet(ctx, 500, 1<<62); return err })
	r.does("compare and set: it differs", func(ctx context.Context) error { _, err := c.CompareAndSet(ctx, 500, 0); return err })
	r.fails("add more than fits", func(ctx context.Context) error { _, err := c.Add(ctx, 1<<62); return err })
}

func semaphoreBodies(r *recorder) {
	s := dsemaphore.New(r.client, name)
	acquire := func(n int64, opts ...dsemaphore.AcquireOption) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := s.Acquire(ctx, n, opts...); return err }
	}
	r.fails("available before it is initialized", func(ctx context.Context) error { _, err := s.Available(ctx); return err })
	r.fails("acquire before it is initialized", acquire(1))
	r.fails("try before it is initialized", func(ctx context.Context) error { _, _, err := s.TryAcquire(ctx, 1); return err })
	r.fails("drain before it is initialized", func(ctx context.Context) error { _, err := s.Drain(ctx); return err })
	r.fails("add permits before it is initialized", func(ctx context.Context) error { return s.AddPermits(ctx, 1) })
	r.does("init", func(ctx context.Context) error { return s.Init(ctx, 3) })
	r.fails("init otherwise", func(ctx context.Context) error { return s.Init(ctx, 4) })
	var held *structures.Held
	r.does("acquire", func(ctx context.Context) error {
		var err error
		held, err = s.Acquire(ctx, 2, dsemaphore.Note("nightly"))
		return err
	})
	r.does("available", func(ctx context.Context) error { _, err := s.Available(ctx); return err })
	r.fails("acquire more than there are", acquire(4))
	r.fails("try more than there are", func(ctx context.Context) error { _, _, err := s.TryAcquire(ctx, 4); return err })
	r.does("try more than are free", func(ctx context.Context) error { _, _, err := s.TryAcquire(ctx, 2); return err })
	r.waits("acquire, and be granted it by a release", acquire(2), held.Release)
	r.does("try", func(ctx context.Context) error { _, _, err := s.TryAcquire(ctx, 1); return err })
	r.waits("acquire, and wait in vain", acquire(1, dsemaphore.Wait(time.Second)), func(context.Context) error {
		r.local.Advance(time.Minute)
		return nil
	})
	h := structures.NewHandle(r.client, &r.kind, name, nil)
	revoke := func(hold uint64, opts ...structures.RevokeOption) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := h.Revoke(ctx, protocol.HoldID(hold), opts...); return err }
	}
	hold := structures.AppendHold(nil, 3)
	r.waits("inspect while somebody waits", acquire(1), func(ctx context.Context) error {
		if _, err := h.Inspect(ctx); err != nil {
			return err
		}
		return s.AddPermits(ctx, 1)
	})
	r.does("ask for a hold", revoke(3, structures.AskOnly(), structures.Reason("maintenance")))
	r.sends("a hold that was asked for", r.kind.ID, structures.OpHold, name, protocol.FlagRead, hold)
	r.sends("acknowledge what is not revoked", r.kind.ID, structures.OpAcknowledge, name, 0, hold)
	r.does("revoke with a grace of a minute", revoke(3, structures.Grace(time.Minute), structures.Reason("host gone")))
	r.sends("a hold that is revoked", r.kind.ID, structures.OpHold, name, protocol.FlagRead, hold)
	r.sends("acknowledge a revocation", r.kind.ID, structures.OpAcknowledge, name, 0, hold)
	r.does("inspect a revoked hold", func(ctx context.Context) error { _, err := h.Inspect(ctx); return err })
	r.does("revoke at once", revoke(3, structures.Grace(0)))
	r.does("revoke what is not held", revoke(3))
	r.sends("a hold that is not there", r.kind.ID, structures.OpHold, name, protocol.FlagRead, hold)
	r.sends("release what is not held", r.kind.ID, opOf(r, "release"), name, 0, protocol.AppendUint(protocol.AppendArray(nil, 1), 1))
	r.does("add permits", func(ctx context.Context) error { return s.AddPermits(ctx, 5) })
	r.does("drain", func(ctx context.Context) error { _, err := s.Drain(ctx); return err })
}

func queueBodies(r *recorder) {
	q := dqueue.New[string](r.client, name)
	other := dqueue.New[string](r.client, name, dqueue.Codec(structures.JSON))
	second := []dqueue.WaitOption{dqueue.Wait(time.Second)}
	minute := func(context.Context) error { r.local.Advance(time.Minute); return nil }
	r.does("poll an empty queue", func(ctx context.Context) error { _, _, err := q.Poll(ctx); return err })
	r.does("peek at an empty queue", func(ctx context.Context) error { _, _, err := q.Peek(ctx); return err })
	r.does("configure", func(ctx context.Context) error { return q.Configure(ctx, dqueue.Capacity(3)) })
	r.fails("configure otherwise", func(ctx context.Context) error { return q.Configure(ctx, dqueue.Capacity(4)) })
	r.waits("take, and be given an element by a put", func(ctx context.Context) error { _, err := q.Take(ctx); return err },
		func(ctx context.Context) error { return q.Put(ctx, "first") })
	r.waits("take, and wait in vain", func(ctx context.Context) error { _, err := q.Take(ctx, second...); return err }, minute)
	r.waits("take several, and wait in vain", func(ctx context.Context) error { _, err := q.TakeN(ctx, 2, second...); return err }, minute)
	r.waits("take, and withdraw", func(ctx context.Context) error { _, err := q.Take(ctx); return err }, nil)
	r.does("put", func(ctx context.Context) error { return q.Put(ctx, "a") })
	r.does("offer", func(ctx context.Context) error { _, err := q.Offer(ctx, "b"); return err })
	r.does("put all: as many as there is capacity for", func(ctx context.Context) error {
		_ = q.PutAll(ctx, []string{"c", "d"}, dqueue.Wait(0)) // it says how many were not put
		return nil
	})
	r.does("offer to a full queue", func(ctx context.Context) error { _, err := q.Offer(ctx, "x"); return err })
	r.waits("put, and wait in vain", func(ctx context.Context) error { return q.Put(ctx, "x", second...) }, minute)
	r.does("peek", func(ctx context.Context) error { _, _, err := q.Peek(ctx); return err })
	r.fails("take with another codec", func(ctx context.Context) error { _, err := other.Take(ctx); return err })
	r.fails("take several with another codec", func(ctx context.Context) error { _, err := other.TakeN(ctx, 2); return err })
	r.fails("poll with another codec", func(ctx context.Context) error { _, _, err := other.Poll(ctx); return err })
	r.fails("drain with another codec", func(ctx context.Context) error { _, err := other.Drain(ctx, 2); return err })
	r.does("poll", func(ctx context.Context) error { _, _, err := q.Poll(ctx); return err })
	r.does("take", func(ctx context.Context) error { _, err := q.Take(ctx); return err })
	r.does("put all", func(ctx context.Context) error { return q.PutAll(ctx, []string{"e", "f"}) })
	r.does("take several", func(ctx context.Context) error { _, err := q.TakeN(ctx, 2); return err })
	r.does("drain", func(ctx context.Context) error { _, err := q.Drain(ctx, 10); return err })
	r.does("clear", q.Clear)
	r.waits("take while it is destroyed", func(ctx context.Context) error { _, err := q.Take(ctx); return err }, q.Destroy)
	r.does("configure again", func(ctx context.Context) error { return q.Configure(ctx, dqueue.Capacity(3)) })
}

func lockBodies(r *recorder) {
	l := dlock.New(r.client, name)
	lock := func(opts ...dlock.LockOption) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := l.Lock(ctx, opts...); return err }
	}
	r.does("configure", func(ctx context.Context) error { return l.Configure(ctx, dlock.Delay(time.Second)) })
	r.fails("configure otherwise", func(ctx context.Context) error { return l.Configure(ctx, dlock.Delay(0)) })
	var held *structures.Held
	r.does("lock", func(ctx context.Context) error {
		var err error
		held, err = l.Lock(ctx, dlock.Note("nightly"))
		return err
	})
	r.does("try in vain", func(ctx context.Context) error { _, _, err := l.TryLock(ctx); return err })
	r.waits("lock, and be granted it by a release", func(ctx context.Context) error {
		_, err := l.Lock(ctx, dlock.Note("ann"))
		return err
	}, held.Release)
	r.waits("lock, and wait in vain", lock(dlock.Wait(time.Second)), func(context.Context) error {
		r.local.Advance(time.Minute)
		return nil
	})
	r.does("force unlock at once", func(ctx context.Context) error {
		i, err := l.Inspect(ctx)
		if err != nil || len(i.Holders) != 1 {
			return fmt.Errorf("%+v, %w", i, err)
		}
		_, err = l.ForceUnlock(ctx, i.Holders[0].ID, dlock.Now())
		return err
	})
	r.does("try within the delay", func(ctx context.Context) error { _, _, err := l.TryLock(ctx); return err })
	r.local.Advance(time.Minute)
	r.does("try", func(ctx context.Context) error { _, _, err := l.TryLock(ctx); return err })
	hold := structures.AppendHold(nil, 2)
	r.sends("release what is not held", r.kind.ID, opOf(r, "release"), name, 0, hold)
	r.sends("acknowledge what is not revoked", r.kind.ID, structures.OpAcknowledge, name, 0, hold)
	r.sends("a hold that is not there", r.kind.ID, structures.OpHold, name, protocol.FlagRead, hold)
}

func rwlockBodies(r *recorder) {
	l := drwlock.New(r.client, name)
	r.does("configure", func(ctx context.Context) error { return l.Configure(ctx, drwlock.Delay(time.Second)) })
	r.fails("configure otherwise", func(ctx context.Context) error { return l.Configure(ctx, drwlock.Delay(0)) })
	var held, next *structures.Held
	lock := func(f func(context.Context, ...drwlock.LockOption) (*structures.Held, error), opts ...drwlock.LockOption) func(context.Context) error {
		return func(ctx context.Context) (err error) {
			got, err := f(ctx, opts...)
			if err == nil {
				next = got
			}
			return err
		}
	}
	r.does("lock to write", lock(l.Lock, drwlock.Note("nightly")))
	r.does("try to read in vain", func(ctx context.Context) error { _, _, err := l.TryRLock(ctx); return err })
	held = next
	r.waits("lock to read, and be granted it by a downgrade", lock(l.RLock, drwlock.Note("ann")), func(ctx context.Context) (err error) {
		held, err = l.Downgrade(ctx, held)
		return err
	})
	r.does("upgrade in vain", func(ctx context.Context) error { _, _, err := l.TryUpgrade(ctx, held); return err })
	r.waits("lock to write, and wait in vain", lock(l.Lock, drwlock.Wait(time.Second)), func(context.Context) error {
		r.local.Advance(time.Minute)
		return nil
	})
	r.does("release", func(ctx context.Context) error { return next.Release(ctx) })
	r.does("upgrade", func(ctx context.Context) (err error) { held, _, err = l.TryUpgrade(ctx, held); return err })
	revoke := func(ctx context.Context) error { _, err := l.ForceUnlock(ctx, held.ID()); return err }
	r.does("force unlock", revoke)
	hold := structures.AppendHold(nil, held.ID())
	r.sends("downgrade what is revoked", r.kind.ID, opOf(r, "downgrade"), name, 0, hold)
	r.does("release what is revoked", func(ctx context.Context) error { return held.Release(ctx) })
	r.does("try to write", func(ctx context.Context) (err error) { held, _, err = l.TryLock(ctx); return err })
	r.does("release", func(ctx context.Context) error { return held.Release(ctx) })
	r.does("try to read", func(ctx context.Context) (err error) { held, _, err = l.TryRLock(ctx); return err })
	r.does("force unlock", revoke)
	hold = structures.AppendHold(nil, held.ID())
	r.sends("upgrade what is revoked", r.kind.ID, opOf(r, "try_upgrade"), name, 0, hold)
	hold = structures.AppendHold(nil, 2)
	for _, op := range []string{"release", "downgrade", "try_upgrade"} {
		r.sends(op+" what is not held", r.kind.ID, opOf(r, op), name, 0, hold)
	}
	r.sends("acknowledge what is not revoked", r.kind.ID, structures.OpAcknowledge, name, 0, hold)
	r.sends("a hold that is not there", r.kind.ID, structures.OpHold, name, protocol.FlagRead, hold)
}

func latchBodies(r *recorder) {
	l := dlatch.New(r.client, name)
	var round dlatch.Round
	set := func(ctx context.Context) error { var err error; round, err = l.Set(ctx, 2); return err }
	await := func(opts ...dlatch.AwaitOption) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := l.Await(ctx, opts...); return err }
	}
	down := func(opts ...dlatch.DownOption) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := l.CountDown(ctx, opts...); return err }
	}
	hold := func(opts ...dlatch.HoldOption) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := l.Hold(ctx, opts...); return err }
	}
	count := func(ctx context.Context) error { _, _, err := l.Count(ctx); return err }
	r.fails("count before it is set", count)
	r.fails("count down before it is set", down())
	r.fails("await before it is set", await())
	r.fails("hold before it is set", hold())
	r.does("set", set)
	r.fails("set again while the count is above 0", set)
	r.does("count", count)
	r.does("count down by 1", down())
	r.fails("count down in another round", down(dlatch.In(77)))
	r.fails("await another round", await(dlatch.In(77)))
	r.fails("hold in another round", hold(dlatch.In(77)))
	var held *structures.Held
	r.does("hold", func(ctx context.Context) error {
		var err error
		held, err = l.Hold(ctx, dlatch.In(round), dlatch.Note("host a"))
		return err
	})
	r.waits("await, and wait in vain", await(dlatch.Wait(time.Second)), func(context.Context) error { r.local.Advance(time.Minute); return nil })
	r.waits("await, and be answered by the last count down", await(), down(dlatch.By(5)))
	r.does("await an open latch", await(dlatch.In(round)))
	r.does("count down an open latch", down())
	r.fails("hold an open latch", hold())
	r.does("set the next round", set)
	r.does("release a hold of the round before: it counts nothing down", held.Release)
	r.sends("release what is not held", r.kind.ID, opOf(r, "release"), name, 0, structures.AppendHold(nil, 1))
	r.does("hold in this round", func(ctx context.Context) error { var err error; held, err = l.Hold(ctx, dlatch.In(round)); return err })
	revokedBodies(r, held)
}

func barrierBodies(r *recorder) {
	b, d := dbarrier.New(r.client, name, 2), dbarrier.NewDouble(r.client, name, 2)
	await := func(opts ...dbarrier.WaitOption) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := b.Await(ctx, opts...); return err }
	}
	minute := func(context.Context) error { r.local.Advance(time.Minute); return nil }
	r.fails("await, and not wait", await(dbarrier.Wait(0)))
	r.waits("await, and wait in vain", await(dbarrier.Wait(time.Second)), minute)
	r.waits("await, and meet another one", await(), await())
	r.waits("await, and refuse another number of parties", await(dbarrier.Wait(time.Second)), func(ctx context.Context) error {
		if _, err := dbarrier.New(r.client, name, 3).Await(ctx); !errors.Is(err, quorate.ErrSettings) {
			return err
		}
		if _, err := d.Enter(ctx); !errors.Is(err, quorate.ErrSettings) {
			return err
		}
		return minute(ctx)
	})
	r.waits("enter, and wait in vain", func(ctx context.Context) error { _, err := d.Enter(ctx, dbarrier.Wait(time.Second)); return err }, minute)
	var first, second *dbarrier.Inside
	r.waits("enter together", func(ctx context.Context) error {
		var err error
		first, err = d.Enter(ctx, dbarrier.Note("host a"))
		return err
	},
		func(ctx context.Context) error { var err error; second, err = d.Enter(ctx); return err })
	r.does("release", first.Release)
	left := protocol.AppendInts(nil, int64(first.Round()), 1000)
	r.waits("wait that all leave, in vain", func(ctx context.Context) error {
		r.sends("left", r.kind.ID, opOf(r, "left"), name, protocol.FlagWait, left)
		return nil
	}, minute)
	r.sends("release what is not held", r.kind.ID, opOf(r, "release"), name, 0, structures.AppendHold(nil, 1))
	r.does("wait that all leave a round that is over", func(ctx context.Context) error { return d.AwaitLeft(ctx, 1) })
	revokedBodies(r, second.Held)
}

func idBodies(r *recorder) {
	s := did.New(r.client, name)
	reserve := func(n int64) func(context.Context) error {
		return func(context.Context) error {
			r.sends("reserve, refused in the end", r.kind.ID, opOf(r, "reserve"), name, 0, protocol.AppendInts(nil, n))
			return nil
		}
	}
	r.does("reserve", func(ctx context.Context) error { _, err := s.Next(ctx); return err })
	r.does("raise", func(ctx context.Context) error { _, err := s.Raise(ctx, 7000); return err })
	for range 17 {
		r.does("reserve as many as there are", reserve(did.MaxBlock))
	}
}

func rateBodies(r *recorder) {
	l := drate.New(r.client, name)
	allow := func(ctx context.Context) error { _, err := l.Allow(ctx, 2); return err }
	left := func(ctx context.Context) error { _, err := l.Left(ctx); return err }
	r.fails("allow before it is configured", allow)
	r.fails("left before it is configured", left)
	r.does("configure", func(ctx context.Context) error {
		return l.Configure(ctx, drate.Rate(2000, time.Minute), drate.Burst(3))
	})
	r.fails("configure otherwise", func(ctx context.Context) error { return l.Configure(ctx, drate.Rate(2, time.Minute)) })
	r.does("allow", allow)
	r.does("left", left)
	r.does("allow, and it is not now", allow)
	r.does("wait", func(ctx context.Context) error { return l.Wait(ctx, 2) })
}

// revokedBodies are of the operations that every kind with operations that hold has: a hold
// is revoked, acknowledged, and then taken away.
func revokedBodies(r *recorder, held *structures.Held) {
	h := structures.NewHandle(r.client, &r.kind, name, nil)
	revoke := func(opts ...structures.RevokeOption) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := h.Revoke(ctx, held.ID(), opts...); return err }
	}
	hold := structures.AppendHold(nil, held.ID())
	r.does("revoke with a grace of a minute", revoke(structures.Grace(time.Minute), structures.Reason("host gone")))
	r.sends("a hold that is revoked", r.kind.ID, structures.OpHold, name, protocol.FlagRead, hold)
	r.sends("acknowledge a revocation", r.kind.ID, structures.OpAcknowledge, name, 0, hold)
	r.does("revoke at once", revoke(structures.Grace(0)))
}

func serviceBodies(r *recorder) {
	s := dservice.New(r.client, name)
	rosterBodies(r)
	r.does("drain", func(ctx context.Context) error { _, err := s.Drain(ctx, "a", dservice.Reason("repair")); return err })
	r.does("drain again", func(ctx context.Context) error { _, err := s.Drain(ctx, "a", dservice.Reason("repair")); return err })
	r.does("list what is drained", func(ctx context.Context) error { _, _, err := s.List(ctx); return err })
	r.does("undrain", func(ctx context.Context) error { _, err := s.Undrain(ctx, "a"); return err })
	r.does("remove", func(ctx context.Context) error { _, err := s.Remove(ctx, "a"); return err })
	r.does("remove what is not there", func(ctx context.Context) error { _, err := s.Remove(ctx, "a"); return err })
	r.does("list: nothing", func(ctx context.Context) error { _, _, err := s.List(ctx); return err })
}

func presenceBodies(r *recorder) {
	g := dpresence.New[string](r.client, name)
	rosterBodies(r)
	empty := protocol.AppendArray(nil, 0)
	drain := protocol.AppendString(protocol.AppendBool(protocol.AppendString(protocol.AppendArray(nil, 3), "a"), true), "")
	r.sends("drain", r.kind.ID, opOf(r, "drain"), name, 0, drain)
	r.does("remove", func(ctx context.Context) error { _, err := g.Remove(ctx, "a"); return err })
	r.sends("destroy", r.kind.ID, structures.OpDestroy, name, 0, empty)
}

// rosterBodies are of the operations that services and presence share. Nonces are random in
// the handles, so they are sent by hand.
func rosterBodies(r *recorder) {
	type item = func([]byte) []byte
	text := func(s string) item { return func(b []byte) []byte { return protocol.AppendString(b, s) } }
	number := func(n uint64) item { return func(b []byte) []byte { return protocol.AppendUint(b, n) } }
	data := func(s string) item { return func(b []byte) []byte { return protocol.AppendBytes(b, []byte(s)) } }
	sends := func(what, op string, items ...item) {
		b := protocol.AppendArray(nil, len(items))
		for _, f := range items {
			b = f(b)
		}
		flags := protocol.Flags(0)
		if op == "list" {
			flags = protocol.FlagRead
		}
		r.sends(what, r.kind.ID, opOf(r, op), name, flags, b)
	}
	value := string([]byte{structures.CBOR.ID(), 0xa1, 0x64, 'p', 'o', 'r', 't', 0x19, 0x1f, 0x90}) // {"port": 8080}
	sends("list: nothing", "list", text(""), number(1<<20))
	sends("register", "register", text("a"), number(7), data(value), number(0), number(0), number(0), number(0), text(""))
	sends("register one that is permanent, with a time to live, and critical", "register",
		text("b"), number(8), data(value), number(10_000), number(60_000), number(1), number(2), text("starting"))
	sends("register again, and another has the ID", "register",
		text("a"), number(9), data(value), number(0), number(0), number(2), number(0), text(""))
	sends("register in place of another", "register", text("a"), number(9), data(value), number(0), number(0), number(0), number(0), text(""))
	sends("report", "report", text("b"), number(8), number(0), text("well"))
	sends("report, replaced", "report", text("a"), number(7), number(1), text(""))
	sends("report of what is not there", "report", text("c"), number(7), number(1), text(""))
	sends("update", "update", text("a"), number(9), data(value))
	sends("update, replaced", "update", text("a"), number(7), data(value))
	sends("update of what is not there", "update", text("c"), number(7), data(value))
	sends("list", "list", text(""), number(1<<20))
	sends("list: a page of one byte, so of one entry", "list", text("a"), number(1))
	sends("deregister", "deregister", text("b"), number(8))
	sends("deregister, replaced", "deregister", text("a"), number(7))
	sends("deregister what is not there", "deregister", text("b"), number(8))
}

// transactionBodies has each condition of each kind, and each outcome.
func transactionBodies(r *recorder) {
	m, c := dmap.New[string, string](r.client, name), dcounter.New(r.client, name)
	s, q := dsemaphore.New(r.client, name), dqueue.New[string](r.client, name)
	ref := dref.New[string](r.client, name)
	var held *structures.Held
	r.does("prepare", func(ctx context.Context) error {
		err := errors.Join(m.Put(ctx, "ada", "Lovelace"), c.Set(ctx, 5), s.Init(ctx, 3), ref.Set(ctx, "a"))
		if err == nil {
			held, err = s.Acquire(ctx, 1)
		}
		return err
	})
	commit := func(t *txn.Txn) func(ctx context.Context) error {
		return func(ctx context.Context) error { _, err := t.Commit(ctx); return err }
	}
	u, n, g, j := m.Txn(), c.Txn(), s.Txn(), q.Txn()
	r.does("a transaction without conditions", commit(txn.New(r.client).Then(n.Add(1))))
	r.does("all conditions of a map hold", commit(txn.New(r.client).
		If(u.IfVersion("ada", 1), u.IfAbsent("bob"), u.IfPresent("ada"), u.IfValue("ada", "Lovelace")).Then(u.Get("ada"), u.Put("bob", "Bob"))))
	r.does("all conditions of a counter hold", commit(txn.New(r.client).If(n.IfEqual(6), n.IfAtLeast(6), n.IfAtMost(6)).Then(n.Get())))
	r.does("all conditions of a semaphore hold", commit(txn.New(r.client).If(g.IfHeld(held), g.IfAvailable(2)).Then(g.Available())))
	r.does("all conditions of a queue hold; a poll finds an element, and one finds none", commit(txn.New(r.client).
		If(j.IfEmpty(), j.IfLen(0)).Then(j.Offer("job"), j.Poll(), j.Poll())))
	r.does("all conditions of a reference hold", commit(txn.New(r.client).
		If(ref.Txn().IfVersion(4), ref.Txn().IfValue("a")).Then(ref.Txn().Delete())))
	r.does("there is no value", commit(txn.New(r.client).If(ref.Txn().IfAbsent()).Then(ref.Txn().Get())))
	r.does("condition 1 does not hold", commit(txn.New(r.client).If(n.IfAtLeast(0), n.IfAtLeast(7)).Then(n.Add(1)).Else(n.Add(-1), n.Get())))
	r.fails("operation 1 of then is refused", commit(txn.New(r.client).Then(n.Add(1), u.Replace("ada", 99, "x"))))
	r.fails("operation 0 of else is refused", commit(txn.New(r.client).If(n.IfEqual(0)).Else(n.Add(1<<63-1))))
	r.does("add, if it is held", func(ctx context.Context) error { _, err := c.Add(ctx, 1, dcounter.IfHeld(held)); return err })
	r.does("released, as part of it", commit(txn.New(r.client).If(g.IfHeld(held)).Then(u.Delete("bob"), g.Release(held))))
	r.fails("add, and it is no longer held", func(ctx context.Context) error { _, err := c.Add(ctx, 1, dcounter.IfHeld(held)); return err })
}

// opOf returns the number of an operation by its name.
func opOf(r *recorder, name string) protocol.Op {
	for _, o := range r.kind.Ops {
		if o.Name == name {
			return o.Op
		}
	}
	r.Fatalf("a %s has no operation %s", r.kind.Name, name)
	return 0
}

// genericBodies are of the operations that every kind has and the script of the kind
// has not used.
func genericBodies(r *recorder) {
	h := structures.NewHandle(r.client, &r.kind, name, nil)
	r.does("inspect", func(ctx context.Context) error { _, err := h.Inspect(ctx); return err })
	empty := protocol.AppendArray(nil, 0)
	r.sends("length", r.kind.ID, structures.OpLength, name, protocol.FlagRead, empty)
	if len(r.kind.Settings) == 0 {
		r.sends("configure what has no settings: refused", r.kind.ID, structures.OpConfigure, name, 0, empty)
	}
	r.sends("settings", r.kind.ID, structures.OpSettings, name, protocol.FlagRead, empty)
	names := func(from string) []byte {
		b := protocol.AppendUint(protocol.AppendArray(nil, 3), uint64(r.kind.ID))
		return protocol.AppendUint(protocol.AppendString(b, from), 100)
	}
	r.sends("names", protocol.KindControl, protocol.OpNames, "", protocol.FlagRead, names(""))
	r.sends("names behind the last", protocol.KindControl, protocol.OpNames, "", protocol.FlagRead, names(name+"x"))
	if !r.kind.Lasting {
		r.sends("destroy", r.kind.ID, structures.OpDestroy, name, 0, empty)
	}
	r.sends("settings of what is not there", r.kind.ID, structures.OpSettings, name, protocol.FlagRead, empty)
}

func refBodies(r *recorder) {
	ref := dref.New[string](r.client, name)
	other := dref.New[string](r.client, name, dref.Codec(structures.JSON))
	var version dref.Version
	get := func(ctx context.Context) error {
		e, _, err := ref.Entry(ctx)
		version = e.Version
		return err
	}
	history := func(ctx context.Context) error {
		for _, err := range ref.History(ctx) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	replace := func(ctx context.Context) (err error) {
		version, err = ref.Replace(ctx, version, "replaced")
		return err
	}
	r.does("configure", func(ctx context.Context) error { return ref.Configure(ctx, dref.Keep(2)) })
	r.fails("configure otherwise", func(ctx context.Context) error { return ref.Configure(ctx, dref.Keep(3)) })
	r.does("get what was never set", get)
	r.does("set if absent: set", func(ctx context.Context) error { _, _, err := ref.SetIfAbsent(ctx, "first"); return err })
	r.does("set if absent: it is there", func(ctx context.Context) error { _, _, err := ref.SetIfAbsent(ctx, "x"); return err })
	r.does("set", func(ctx context.Context) error { return ref.Set(ctx, "set") })
	r.does("get", get)
	r.does("replace", replace)
	r.fails("replace another version", func(ctx context.Context) error { _, err := ref.Replace(ctx, 1, "x"); return err })
	r.fails("replace what must not be there", func(ctx context.Context) error { _, err := ref.Replace(ctx, 0, "x"); return err })
	r.does("swap", func(ctx context.Context) error { _, _, err := ref.Swap(ctx, "swapped"); return err })
	r.does("compare and set", func(ctx context.Context) error { _, err := ref.CompareAndSet(ctx, "swapped", "compared"); return err })
	r.does("compare and set: it differs", func(ctx context.Context) error { _, err := ref.CompareAndSet(ctx, "swapped", "x"); return err })
	r.fails("compare and set with another codec", func(ctx context.Context) error { _, err := other.CompareAndSet(ctx, "compared", "x"); return err })
	r.does("history", history)
	page := protocol.AppendUint(protocol.AppendUint(protocol.AppendArray(nil, 2), uint64(version)), 1)
	r.sends("history: a page of one byte, so of one value, from a version on", r.kind.ID, opOf(r, "history"), name, protocol.FlagRead, page)
	r.does("roll back", func(ctx context.Context) error { _, err := ref.Rollback(ctx, version); return err })
	r.fails("roll back to what is not kept", func(ctx context.Context) error { _, err := ref.Rollback(ctx, 1); return err })
	r.does("delete", func(ctx context.Context) error { _, err := ref.Delete(ctx); return err })
	r.does("delete what is not there", func(ctx context.Context) error { _, err := ref.Delete(ctx); return err })
	r.does("swap what is not there", func(ctx context.Context) error { _, _, err := ref.Swap(ctx, "again"); return err })
}
