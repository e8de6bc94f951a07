package workloads

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/txn"
	"github.com/quorate/quorate/verify"
)

// transfers move amounts between counters, in transactions that also note them in a map
// and append them to a queue. Whoever reads all counters in a transaction sees what they
// had together at the start. At the end the queue, replayed, gives their values.
type transfers struct {
	run *Run
	tag string

	opening sync.Mutex // held while the accounts are opened
	opened  bool

	mu  sync.Mutex // guards what follows
	all verify.Transfers
}

const (
	accounts      = 8
	startBalance  = 1000
	mostTransfers = 50_000
)

func newTransfers(r *Run) *transfers {
	t := &transfers{run: r, tag: "{" + r.cfg.Name + "-bank}"}
	t.all = verify.Transfers{Start: startBalance, Acknowledged: map[string]bool{}, Unknown: map[string]bool{}}
	r.atEnd("transfers", t.check)
	return t
}

func (t *transfers) account(c *client.Client, i int) *dcounter.Counter {
	return dcounter.New(c, fmt.Sprint(t.tag, "account-", i))
}

// open gives every account its balance, once: all together, or none.
func (t *transfers) open(ctx context.Context, c *client.Client) error {
	t.opening.Lock()
	defer t.opening.Unlock()
	if t.opened {
		return nil
	}
	open := dcounter.New(c, t.tag+"open").Txn()
	tx := txn.New(c).If(open.IfEqual(0)).Then(open.Set(1)).Else(open.Get())
	for i := range accounts {
		tx.Then(t.account(c, i).Txn().Set(startBalance))
	}
	_, err := tx.Commit(ctx)
	t.opened = err == nil
	return err
}

// balances reads all accounts in one state.
func (t *transfers) balances(ctx context.Context, c *client.Client) ([]int64, error) {
	tx := txn.New(c)
	gets := make([]*structures.TxnOp[int64], accounts)
	for i := range gets {
		gets[i] = t.account(c, i).Txn().Get()
		tx.Then(gets[i])
	}
	if _, err := tx.Commit(ctx); err != nil {
		return nil, err
	}
	balances := make([]int64, accounts)
	var errs []error
	for i, g := range gets {
		n, err := g.Result()
		balances[i] = n
		errs = append(errs, err)
	}
	return balances, errors.Join(errs...)
}

func (t *transfers) log(c *client.Client) *dqueue.Queue[verify.Transfer] {
	return dqueue.New[verify.Transfer](c, t.tag+"log")
}

func (t *transfers) worker(id int, c *client.Client) worker {
	done := dmap.New[string, int64](c, t.tag+"done").Txn()
	log := t.log(c).Txn()
	n := 0
	return func(ctx context.Context, _ *epoch, rng *rand.Rand) {
		if err := t.open(ctx, c); err != nil {
			_ = t.run.seen(err)
			return
		}
		if rng.IntN(3) == 0 || n*len(t.run.cfg.Clients) >= mostTransfers {
			balances, err := t.balances(ctx, c)
			if t.run.count(err) != nil {
				return
			}
			total := int64(0)
			for _, b := range balances {
				total += b
			}
			if total != accounts*startBalance {
				t.run.violates("transfers", "a reader sees %d: %d in all, not %d", balances, total, accounts*startBalance)
			}
			return
		}
		n++
		to := verify.Transfer{ID: fmt.Sprint(id, "-", n), From: rng.IntN(accounts), Amount: 1 + rng.Int64N(startBalance)}
		to.To = (to.From + 1 + rng.IntN(accounts-1)) % accounts
		from, into := t.account(c, to.From).Txn(), t.account(c, to.To).Txn()
		tx := txn.New(c).
			If(from.IfAtLeast(to.Amount), done.IfAbsent(to.ID)).
			Then(from.Add(-to.Amount), done.Put(to.ID, to.Amount), log.Offer(to), into.Add(to.Amount)).
			Else(from.Get())
		refused := rng.IntN(8) == 0
		if refused { // by its last operation: nothing may be left of it
			tx.Then(done.Replace("nobody", 1, 0))
		}
		yes, err := tx.Commit(ctx)
		_ = t.run.count(err)
		t.mu.Lock()
		defer t.mu.Unlock()
		switch {
		case refused && err == nil && yes:
			t.run.violates("transfers", "transfer %s was carried out, and its last operation cannot be", to.ID)
		case refused: // it must not be in the log
		case unknown(err):
			t.all.Unknown[to.ID] = true
		case err == nil && yes:
			t.all.Acknowledged[to.ID] = true
		}
	}
}

func (t *transfers) check(ctx context.Context) error {
	c := t.run.cfg.Clients[0]
	if !t.opened {
		return nil // nobody was answered
	}
	err := patiently(ctx, func(ctx context.Context) (err error) {
		t.all.Balances, err = t.balances(ctx, c)
		return err
	})
	if err != nil {
		return err
	}
	log := t.log(c)
	for {
		var page []verify.Transfer
		var lost error // a page whose outcome is not known: there is nothing to replay
		err := patiently(ctx, func(ctx context.Context) (err error) {
			page, err = log.Drain(ctx, 1000)
			t.all.Log = append(t.all.Log, page...)
			if unknown(err) {
				lost, err = err, nil
			}
			return err
		})
		if err = errors.Join(lost, err); err != nil {
			return fmt.Errorf("read the log: %w", err)
		}
		if len(page) == 0 {
			break
		}
	}
	t.run.counted.Add(int64(len(t.all.Log)))
	return verify.CheckTransfers(t.all)
}
