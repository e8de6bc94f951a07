package verify

import (
	"errors"
	"fmt"
)

// Transfer moves an amount from one account to another, under an id of its own, in one
// transaction that also appends it to a log. It is carried out only if the account has
// the amount.
type Transfer struct {
	ID       string
	From, To int // accounts
	Amount   int64
}

// Transfers is what happened to accounts that began with the same balance.
type Transfers struct {
	Start        int64           // of each account
	Balances     []int64         // at the end, of one state
	Log          []Transfer      // in its order, read at the end
	Acknowledged map[string]bool // that they were carried out
	Unknown      map[string]bool // that may have been carried out
}

// CheckTransfers reports whether each transfer in the log was asked for and is there once,
// all that were acknowledged are, no account was ever overdrawn, and the log, replayed,
// gives the balances.
func CheckTransfers(t Transfers) error {
	var errs []error
	balances := make([]int64, len(t.Balances))
	for i := range balances {
		balances[i] = t.Start
	}
	seen := map[string]bool{}
	for _, l := range t.Log {
		if l.From < 0 || l.From >= len(balances) || l.To < 0 || l.To >= len(balances) {
			errs = append(errs, fmt.Errorf("the log has a transfer from %d to %d", l.From, l.To))
			continue
		}
		balances[l.From] -= l.Amount
		balances[l.To] += l.Amount
		switch {
		case seen[l.ID]:
			errs = append(errs, fmt.Errorf("transfer %q is in the log twice", l.ID))
		case !t.Acknowledged[l.ID] && !t.Unknown[l.ID]:
			errs = append(errs, fmt.Errorf("transfer %q is in the log, and was not carried out", l.ID))
		case balances[l.From] < 0:
			errs = append(errs, fmt.Errorf("transfer %q leaves %d in account %d", l.ID, balances[l.From], l.From))
		}
		seen[l.ID] = true
	}
	for id := range t.Acknowledged {
		if !seen[id] {
			errs = append(errs, fmt.Errorf("transfer %q was acknowledged, and is not in the log", id))
		}
	}
	for i, n := range t.Balances {
		if n != balances[i] {
			errs = append(errs, fmt.Errorf("account %d has %d, by the log %d", i, n, balances[i]))
		}
	}
	const most = 20
	if n := len(errs); n > most {
		errs = append(errs[:most], fmt.Errorf("and %d more", n-most))
	}
	return errors.Join(errs...)
}
