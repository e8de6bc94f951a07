package verify

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/delection"
	"github.com/quorate/quorate/structures/structurestest"
)

func TestElectionModel(t *testing.T) {
	campaign := func(grant int) electionInput {
		return electionInput{op: electionCampaign, grant: grant, value: fmt.Sprint("v", grant)}
	}
	elected := func(token int) electionOutput {
		return electionOutput{elected: true, hold: protocol.HoldID(token), token: protocol.Token(token)}
	}
	resign := func(grant int) electionInput { return electionInput{op: electionResign, grant: grant} }
	proclaim := func(grant int, value string) electionInput {
		return electionInput{op: electionProclaim, grant: grant, value: value}
	}
	look := electionInput{op: electionLeader}
	leads := func(token int, value string) electionOutput {
		return electionOutput{hold: protocol.HoldID(token), token: protocol.Token(token), value: value}
	}
	nobody, done, notHeld := electionOutput{none: true}, electionOutput{}, electionOutput{err: structures.ErrNotHeld}
	first := op{1, 2, campaign(1), elected(1)}
	run(t, elections, []history{
		{name: "handed over", want: Linearizable, ops: []op{
			{0, 1, look, nobody},
			first,
			{3, 4, look, leads(1, "v1")},
			{5, 9, campaign(2), elected(2)},
			{6, 7, proclaim(1, "new"), done},
			{7, 8, resign(1), done},
			{10, 11, look, leads(2, "v2")},
		}},
		{name: "two lead", want: Illegal, ops: []op{first, {3, 4, campaign(2), elected(2)}, {5, 6, resign(1), done}}},
		{name: "tokens fall", want: Illegal, ops: []op{
			{1, 2, campaign(1), elected(7)}, {3, 4, resign(1), done}, {5, 6, campaign(2), elected(6)},
		}},
		{name: "the session's end", want: Linearizable, ops: []op{first, {3, 0, resign(1), nil}, {4, 9, campaign(2), elected(2)}}},
		{name: "elected before the other was deposed", want: Illegal, ops: []op{
			first, {7, 0, resign(1), nil}, {5, 6, campaign(2), elected(2)},
		}},
		{name: "a deposed leader's value", want: Illegal, ops: []op{
			first, {3, 4, resign(1), done}, {5, 6, campaign(2), elected(2)}, {7, 8, proclaim(1, "old"), done},
		}},
		{name: "a deposed leader's value is refused", want: Linearizable, ops: []op{
			first, {3, 4, resign(1), done}, {5, 6, campaign(2), elected(2)}, {7, 8, proclaim(1, "old"), notHeld}, {9, 10, look, leads(2, "v2")},
		}},
		{name: "a leader's value is refused", want: Illegal, ops: []op{first, {3, 4, proclaim(1, "new"), notHeld}}},
		{name: "the value of another token", want: Illegal, ops: []op{first, {3, 4, look, leads(2, "v1")}}},
		{name: "nobody, while one leads", want: Illegal, ops: []op{first, {3, 4, look, nobody}}},
		{name: "an unknown campaign leads, and is seen", want: Linearizable, ops: []op{
			{1, 0, campaign(1), nil},
			{1, 0, resign(1), nil},
			{3, 4, look, leads(5, "v1")},
			{5, 6, look, leads(5, "v1")},
			{7, 9, campaign(2), elected(6)},
		}},
		{name: "an unknown campaign with two tokens", want: Illegal, ops: []op{
			{1, 0, campaign(1), nil}, {3, 4, look, leads(5, "v1")}, {5, 6, look, leads(6, "v1")},
		}},
		{name: "refused without reason", want: Illegal, ops: []op{{3, 4, campaign(1), done}}},
		{
			name: "refused because others wait", want: Linearizable, ops: []op{{3, 4, campaign(1), done}},
			lines: []wait{{call: 2, end: 5}},
		},
	})
}

// TestElectionHistory records a transfer: the leadership may end since then, and not
// before.
func TestElectionHistory(t *testing.T) {
	grid := structurestest.NewLocal(t, delection.Kind())
	h, ctx := NewHistory(), t.Context()
	client := func(n int) *Election {
		return NewElection(h, n, "e", delection.New[string](grid.Client(), "e"))
	}
	first, second, admin := client(1), client(2), client(3)
	lead, err := first.Campaign(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if err := lead.Proclaim(ctx, "a2"); err != nil {
		t.Fatal(err)
	}
	next := make(chan *Lead, 1)
	go func() {
		lead, err := second.Campaign(ctx, "b")
		if err != nil {
			t.Error(err)
		}
		next <- lead
	}()
	grid.AwaitWaiting(1)
	if l, ok, err := admin.Leader(ctx); !ok || err != nil || l.Value != "a2" {
		t.Fatalf("%+v, %t, %v", l, ok, err)
	}
	list, err := admin.Candidates(ctx)
	if err != nil || len(list) != 1 {
		t.Fatal(list, err)
	}
	between := h.now()
	if ok, err := admin.Transfer(ctx, lead.ID(), list[0].Hold, delection.Grace(time.Second)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	grid.Advance(time.Minute)
	got := <-next
	if err := lead.Proclaim(ctx, "late"); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("Proclaim = %v", err)
	}
	if err := lead.Resign(ctx); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("Resign = %v", err)
	}
	if _, _, err := admin.Leader(ctx); err != nil {
		t.Fatal(err)
	}
	if err := got.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	if v := Check(h, 10*time.Second); v.Outcome != Linearizable || v.Checked < 8 {
		t.Errorf("the history as it was recorded: %v", v)
	}
	for i := range h.ops {
		if in := h.ops[i].Input.(electionInput); in.op == electionCampaign && in.grant == got.grant.grant {
			h.ops[i].Call, h.ops[i].Return = between, between+1
		}
	}
	if v := Check(h, 10*time.Second); v.Outcome != Illegal {
		t.Errorf("another led before it was deposed: %v", v)
	}
}

// TestObserved: what an observer sees wrong is noticed.
func TestObserved(t *testing.T) {
	sees := func(token int, value string) delection.Leader[string] {
		return delection.Leader[string]{Token: protocol.Token(token), Value: value}
	}
	none := delection.Leader[string]{None: true}
	said := func(value string) (protocol.Token, bool, bool) {
		known := map[string]protocol.Token{"a": 1, "b": 2, "unknown": 0}
		token, ok := known[value]
		return token, token != 0, ok
	}
	for _, test := range []struct {
		name        string
		seen        []delection.Leader[string]
		take, check bool // are errors
	}{
		{"in order", []delection.Leader[string]{none, sees(1, "a"), none, sees(2, "b"), sees(3, "unknown"), none}, false, false},
		{"a token goes back", []delection.Leader[string]{sees(2, "b"), sees(1, "a")}, true, false},
		{"a value with two tokens", []delection.Leader[string]{sees(1, "a"), sees(2, "a")}, true, false},
		{"what nobody has said", []delection.Leader[string]{sees(1, "x")}, false, true},
		{"with another token", []delection.Leader[string]{sees(2, "a")}, false, true},
	} {
		o := new(Observed)
		var wrong error
		for _, l := range test.seen {
			wrong = errors.Join(wrong, o.Take(l))
		}
		_, err := o.Check(said)
		if (wrong != nil) != test.take || !test.take && (err != nil) != test.check {
			t.Errorf("%s: %v, %v", test.name, wrong, err)
		}
		if last, ok := o.Last(); !ok || last != test.seen[len(test.seen)-1] {
			t.Errorf("%s: the last is %+v", test.name, last)
		}
	}
}
