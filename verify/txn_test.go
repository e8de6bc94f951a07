package verify

import (
	"testing"
	"time"
)

// txnHistory is a history of transactions, one after the other.
type txnHistory struct {
	h *History
	r recorder
}

func (t *txnHistory) did(out any, p TxnPlan) {
	if t.h == nil {
		t.h = NewHistory()
		t.r = recorder{t.h, 0, object{kind: transactions, name: "{t}"}}
	}
	t.r.record(t.h.now(), txnInput{&p}, out, nil)
	time.Sleep(time.Microsecond) // the next begins later
}

func TestTxnModel(t *testing.T) {
	move := TxnPlan{
		If:   []TxnStep{{Op: TxnIfAbsent, Key: "k"}, {Op: TxnIfAtLeast, N: 0}},
		Then: []TxnStep{{Op: TxnPut, Key: "k", Value: "1"}, {Op: TxnAdd, N: 2}, {Op: TxnOffer, Value: "a"}, {Op: TxnLen}},
		Else: []TxnStep{{Op: TxnGet, Key: "k"}, {Op: TxnPoll}},
	}
	look := TxnPlan{Then: []TxnStep{{Op: TxnGet, Key: "k"}, {Op: TxnCount}, {Op: TxnLen}}}
	refused := TxnPlan{Then: []TxnStep{{Op: TxnAdd, N: 5}, {Op: TxnRemove, Key: "k"}, {Op: TxnRefuse}}}
	for _, c := range []struct {
		name string
		want Outcome
		say  func(*txnHistory)
	}{
		{"all is done", Linearizable, func(h *txnHistory) {
			h.did(txnOutput{yes: true, results: ",2,,1,"}, move)
			h.did(txnOutput{yes: true, refused: true}, refused)
			h.did(txnOutput{yes: true, results: "1,2,1,"}, look)
			h.did(txnOutput{results: "1,a,"}, move)
			h.did(txnOutput{yes: true, results: "1,2,0,"}, look)
		}},
		{"the wrong branch", Illegal, func(h *txnHistory) {
			h.did(txnOutput{yes: true, results: ",2,,1,"}, move)
			h.did(txnOutput{yes: true, results: ",4,,2,"}, move)
		}},
		{"half of it", Illegal, func(h *txnHistory) {
			h.did(txnOutput{yes: true, results: ",2,,1,"}, move)
			h.did(txnOutput{yes: true, results: "1,2,0,"}, look)
		}},
		{"refused and carried out", Illegal, func(h *txnHistory) {
			h.did(txnOutput{yes: true, results: ",2,,1,"}, move)
			h.did(txnOutput{yes: true, refused: true}, refused)
			h.did(txnOutput{yes: true, results: "1,7,1,"}, look)
		}},
		{"an operation does not see the one before", Illegal, func(h *txnHistory) {
			h.did(txnOutput{yes: true, results: ",2,,0,"}, move)
		}},
	} {
		h := &txnHistory{}
		c.say(h)
		if v := Check(h.h, 10*time.Second); v.Outcome != c.want {
			t.Errorf("%s: %v", c.name, v)
		}
	}
}
