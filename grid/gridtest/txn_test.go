package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/txn"
)

const (
	accounts = 6
	each     = int64(100)
)

// bank is a client's view of accounts, and of what was transferred between them.
type bank struct {
	inv      structures.Invoker
	accounts [accounts]*dcounter.Counter
	done     *dmap.Map[string, int64]   // by transfer: the amount
	log      *dqueue.Queue[transferred] // of all transfers, in their order
}

// transferred is a transfer as the log has it.
type transferred struct {
	ID       string
	From, To int
	Amount   int64
}

func bankOf(inv structures.Invoker) *bank {
	b := &bank{inv: inv, done: dmap.New[string, int64](inv, "{bank}done"), log: dqueue.New[transferred](inv, "{bank}log")}
	for i := range b.accounts {
		b.accounts[i] = dcounter.New(inv, fmt.Sprintf("{bank}account-%d", i))
	}
	return b
}

// transfer moves an amount if the account has it.
func (b *bank) transfer(ctx context.Context, t transferred) (bool, error) {
	from, to := b.accounts[t.From].Txn(), b.accounts[t.To].Txn()
	return txn.New(b.inv).
		If(from.IfAtLeast(t.Amount), b.done.Txn().IfAbsent(t.ID)).
		Then(from.Add(-t.Amount), b.done.Txn().Put(t.ID, t.Amount), b.log.Txn().Offer(t), to.Add(t.Amount)).
		Commit(ctx)
}

// balances reads all accounts in one state.
func (b *bank) balances(ctx context.Context) (all [accounts]int64, err error) {
	var gets [accounts]*structures.TxnOp[int64]
	t := txn.New(b.inv)
	for i, a := range b.accounts {
		gets[i] = a.Txn().Get()
		t.Then(gets[i])
	}
	if _, err := t.Commit(ctx); err != nil {
		return all, err
	}
	for i, g := range gets {
		if all[i], err = g.Result(); err != nil {
			return all, err
		}
	}
	return all, nil
}

// TestTxn_KilledLeaders: while the leader is killed, again and again, transfers between
// counters are carried out whole and once: no reader ever sees another sum, each transfer
// that was acknowledged is in the map and in the queue once, none that was refused is, and
// the queue, replayed, gives the balances.
func TestTxn_KilledLeaders(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	first := bankOf(c.Client(t))
	for _, a := range first.accounts {
		if err := a.Set(ctx, each); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex // guards outcomes
	outcomes := map[string]string{}
	var done, reads atomic.Int64 // done: transfers that were carried out
	var stop atomic.Bool
	var workers sync.WaitGroup
	defer func() { stop.Store(true); workers.Wait() }()
	for w := range 4 {
		b := bankOf(c.Client(t))
		random := rand.New(rand.NewPCG(uint64(w), 1))
		workers.Go(func() {
			for n := 0; !stop.Load(); n++ {
				to := transferred{ID: fmt.Sprintf("%d-%d", w, n), From: random.IntN(accounts), Amount: 1 + random.Int64N(2*each)}
				to.To = (to.From + 1 + random.IntN(accounts-1)) % accounts
				yes, err := b.transfer(ctx, to)
				outcome := fmt.Sprint(yes)
				switch {
				case yes && err == nil:
					done.Add(1)
				case errors.Is(err, quorate.ErrOutcomeUnknown):
					outcome = "unknown"
				case err != nil && quorate.SafeToRetry(err):
					outcome = "false"
				case err != nil:
					t.Errorf("transfer %s: %v", to.ID, err)
				}
				mu.Lock()
				outcomes[to.ID] = outcome
				mu.Unlock()
			}
		})
	}
	reader := bankOf(c.Client(t))
	workers.Go(func() {
		for ; !stop.Load(); reads.Add(1) {
			all, err := reader.balances(ctx)
			if err != nil {
				t.Errorf("read: %v", err)
				return
			}
			if sum(all) != accounts*each {
				t.Errorf("a reader sees %v: %d in all", all, sum(all))
				return
			}
		}
	})
	more := func() {
		t.Helper()
		most, read := done.Load()+20, reads.Load()
		c.Eventually("transfers and reads", func() bool { return done.Load() > most && reads.Load() > read })
	}
	for range 3 {
		more()
		victim := c.Leader(c.Client(t), "{bank}done", nil)
		c.Kill(victim)
		more()
		c.Restart(victim)
		c.WaitReady()
	}
	stop.Store(true)
	workers.Wait()

	counts := map[string]int{}
	for _, o := range outcomes {
		counts[o]++
	}
	t.Logf("%d transfers: %v; %d reads", len(outcomes), counts, reads.Load())
	if counts["false"] == 0 {
		t.Errorf("too little happened: %v, %d reads", counts, reads.Load())
	}
	logged, err := first.log.Drain(ctx, len(outcomes)+1)
	if err != nil {
		t.Fatal(err)
	}
	var balances [accounts]int64
	for i := range balances {
		balances[i] = each
	}
	seen := map[string]bool{}
	for _, l := range logged {
		balances[l.From] -= l.Amount
		balances[l.To] += l.Amount
		if seen[l.ID] || outcomes[l.ID] == "false" || balances[l.From] < 0 {
			t.Errorf("the log has %+v: again %t, acknowledged as %q, leaves %d", l, seen[l.ID], outcomes[l.ID], balances[l.From])
		}
		seen[l.ID] = true
		if amount, ok, err := first.done.Get(ctx, l.ID); !ok || err != nil || amount != l.Amount {
			t.Errorf("the map has %d %t of %+v: %v", amount, ok, l, err)
		}
	}
	for id, o := range outcomes {
		if o == "true" && !seen[id] {
			t.Errorf("%s was acknowledged, and is not in the log", id)
		}
	}
	if n, err := first.done.Len(ctx); n != len(logged) || err != nil {
		t.Errorf("the map has %d entries, the log %d: %v", n, len(logged), err)
	}
	if now, err := first.balances(ctx); now != balances || err != nil {
		t.Errorf("balances %v, by the log %v: %v", now, balances, err)
	}
	sameHashes(t, c)
}

func sum(all [accounts]int64) (total int64) {
	for _, n := range all {
		total += n
	}
	return total
}

// TestIfHeld_Late: a write of a holder that has lost what it held, and does not know, is not
// carried out, though it arrives; the next holder's is.
func TestIfHeld_Late(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3)
	ctx := testContext(t)
	late, next := c.Client(t, client.WithSessionTTL(10*time.Second)), c.Client(t) // it asks every 2 s
	gates := dsemaphore.New(late, "{report}writer")
	if err := gates.Init(ctx, 1); err != nil {
		t.Fatal(err)
	}
	held, err := gates.Acquire(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	lines := dmap.New[string, string](late, "{report}lines")
	if err := lines.Put(ctx, "first", "late", dmap.IfHeld(held)); err != nil {
		t.Fatal(err)
	}
	if existed, err := dsemaphore.New(next, "{report}writer").Revoke(ctx, held.ID(), structures.Grace(0)); !existed || err != nil {
		t.Fatal(existed, err)
	}
	// Its client has not been told: the context lives, and what it sends arrives.
	err = lines.Put(ctx, "second", "late", dmap.IfHeld(held))
	if !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("a late write: %v", err)
	}
	mine, err := dsemaphore.New(next, "{report}writer").Acquire(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := dmap.New[string, string](next, "{report}lines").Put(ctx, "second", "next", dmap.IfHeld(mine)); err != nil {
		t.Error(err)
	}
	if err := late.Session().Close(ctx); err != nil {
		t.Fatal(err)
	}
	// Whether the group knows that the session has ended, or only that the hold has.
	if err := lines.Put(ctx, "third", "late", dmap.IfHeld(held)); !errors.Is(err, quorate.ErrSessionLost) && !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("after its session: %v", err)
	}
	if v, _, err := lines.Get(ctx, "second"); v != "next" || err != nil {
		t.Errorf("the second line is of %q: %v", v, err)
	}
	if _, ok, err := lines.Get(ctx, "third"); ok || err != nil {
		t.Errorf("there is a third line: %v", err)
	}
}
