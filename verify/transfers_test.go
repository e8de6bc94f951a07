package verify_test

import (
	"strings"
	"testing"

	"github.com/quorate/quorate/verify"
)

// TestCheckTransfers: the checker accepts what can have happened, and says what cannot.
func TestCheckTransfers(t *testing.T) {
	one, two := verify.Transfer{ID: "1", From: 0, To: 1, Amount: 10}, verify.Transfer{ID: "2", From: 1, To: 0, Amount: 15}
	good := func() verify.Transfers {
		return verify.Transfers{
			Start: 10, Balances: []int64{15, 5}, Log: []verify.Transfer{one, two},
			Acknowledged: map[string]bool{"1": true}, Unknown: map[string]bool{"2": true, "3": true},
		}
	}
	if err := verify.CheckTransfers(good()); err != nil {
		t.Error(err)
	}
	for what, test := range map[string]struct {
		spoil func(*verify.Transfers)
		says  string
	}{
		"half of one":      {func(x *verify.Transfers) { x.Balances[0] = 5 }, "account 0 has 5, by the log 15"},
		"twice":            {func(x *verify.Transfers) { x.Log = append(x.Log, two); x.Balances = []int64{30, -10} }, `"2" is in the log twice`},
		"lost":             {func(x *verify.Transfers) { x.Log = x.Log[:0]; x.Balances = []int64{10, 10} }, `"1" was acknowledged, and is not in the log`},
		"refused":          {func(x *verify.Transfers) { delete(x.Unknown, "2") }, `"2" is in the log, and was not carried out`},
		"overdrawn":        {func(x *verify.Transfers) { x.Log = []verify.Transfer{two, one} }, `"2" leaves -5 in account 1`},
		"no such account":  {func(x *verify.Transfers) { x.Log = append(x.Log, verify.Transfer{ID: "3", From: 2}) }, "from 2 to 0"},
		"a balance beside": {func(x *verify.Transfers) { x.Balances[1]++ }, "account 1 has 6, by the log 5"},
	} {
		x := good()
		test.spoil(&x)
		if err := verify.CheckTransfers(x); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
