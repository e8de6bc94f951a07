package delection_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/delection"
	"github.com/quorate/quorate/structures/structurestest"
	"github.com/quorate/quorate/structures/txn"
)

type election = delection.Election[string]

type leadership = delection.Leadership[string]

// place is a grid, and who campaigns in it.
type place struct {
	*testing.T
	ctx     context.Context
	grid    *structurestest.Local
	waiting int
}

func newPlace(t *testing.T) *place {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return &place{T: t, ctx: ctx, grid: structurestest.NewLocal(t, delection.Kind(), dcounter.Kind())}
}

// client returns a client and its handle of the election.
func (p *place) client() (*structurestest.Client, *election) {
	c := p.grid.Client()
	return c, delection.New[string](c, "scheduler")
}

func (p *place) election() *election {
	_, e := p.client()
	return e
}

// elected is the outcome of a campaign.
type elected struct {
	lead *leadership
	err  error
}

// campaign begins a campaign that waits, and returns when it does.
func (p *place) campaign(ctx context.Context, e *election, value string, opts ...delection.CampaignOption) <-chan elected {
	p.Helper()
	done := make(chan elected, 1)
	go func() {
		lead, err := e.Campaign(ctx, value, opts...)
		done <- elected{lead, err}
	}()
	p.waiting++
	p.grid.AwaitWaiting(p.waiting)
	return done
}

// lead returns the leadership of a campaign that waited, or waits no longer.
func (p *place) lead(done <-chan elected) *leadership {
	p.Helper()
	select {
	case got := <-done:
		if got.err != nil {
			p.Fatal(got.err)
		}
		p.waiting--
		return got.lead
	case <-p.ctx.Done():
		p.Fatal("nobody was elected")
	}
	return nil
}

// leads campaigns where nobody leads.
func (p *place) leads(e *election, value string) *leadership {
	p.Helper()
	lead, err := e.Campaign(p.ctx, value)
	if err != nil {
		p.Fatal(err)
	}
	return lead
}

func (p *place) resign(lead *leadership) {
	p.Helper()
	if err := lead.Resign(p.ctx); err != nil {
		p.Fatal(err)
	}
}

// wantLeader checks who leads; "": nobody.
func (p *place) wantLeader(e *election, value string) delection.Leader[string] {
	p.Helper()
	l, ok, err := e.Leader(p.ctx)
	if err != nil || ok != (value != "") || l.Value != value || l.None == ok {
		p.Errorf("Leader = %+v, %t, %v, want %q", l, ok, err, value)
	}
	return l
}

// TestWhoIsNext: the candidate with the highest priority, and of those the one that came
// first. Nobody is pre-empted. Who came early is elected late with a token of then
// (ELECT-1).
func TestWhoIsNext(t *testing.T) {
	p := newPlace(t)
	first := p.leads(p.election(), "first")
	early := p.campaign(p.ctx, p.election(), "early", delection.Note("host a"))
	third := p.campaign(p.ctx, p.election(), "third", delection.Priority(5))
	fourth := p.campaign(p.ctx, p.election(), "fourth", delection.Priority(5))
	last := p.campaign(p.ctx, p.election(), "last", delection.Priority(-1))
	e := p.election()
	p.wantLeader(e, "first") // whatever the priorities of those who came
	p.grid.Advance(time.Second)
	list, err := e.Candidates(p.ctx)
	if err != nil {
		t.Fatal(err)
	}
	var order strings.Builder
	for _, c := range list {
		order.WriteString(fmt.Sprintf("%s %d %q %v; ", c.Value, c.Priority, c.Note, c.For))
	}
	if want := `third 5 "" 1s; fourth 5 "" 1s; early 0 "host a" 1s; last -1 "" 1s; `; order.String() != want {
		t.Errorf("candidates %s, want %s", order.String(), want)
	}
	lead, token := first, protocol.Token(0)
	for _, next := range []<-chan elected{third, fourth, early, last} {
		if lead.Token() <= token {
			t.Errorf("token %d after %d", lead.Token(), token)
		}
		token = lead.Token()
		p.resign(lead)
		lead = p.lead(next)
	}
	l := p.wantLeader(e, "last")
	if l.Hold != lead.ID() || l.Token != lead.Token() || l.Hold != list[3].Hold || l.Session != list[3].Session {
		t.Errorf("leader %+v, who was candidate %+v, has hold %d and token %d", l, list[3], lead.ID(), lead.Token())
	}
	p.resign(lead)
	p.wantLeader(e, "")
}

// TestSessionEnds: the leader's context has ended before the next is elected (ELECT-7),
// and who has gone is not elected.
func TestSessionEnds(t *testing.T) {
	p := newPlace(t)
	c, e := p.client()
	lead := p.leads(e, "first")
	own := p.campaign(p.ctx, e, "of the same client", delection.Priority(9))
	next := p.campaign(p.ctx, p.election(), "next")
	if _, ok, err := e.Leader(p.ctx); !ok || err != nil {
		t.Fatal(err)
	}
	c.End()
	got := p.lead(next)
	if err := lead.Context().Err(); err == nil {
		t.Error("two contexts of leaders live")
	}
	if cause := context.Cause(lead.Context()); !errors.Is(cause, quorate.ErrSessionLost) {
		t.Errorf("its context ended because of %v", cause)
	}
	if lost := <-own; !errors.Is(lost.err, quorate.ErrSessionLost) {
		t.Errorf("the campaign of the session that ended: %v", lost.err)
	}
	if got.Token() <= lead.Token() {
		t.Errorf("token %d after %d", got.Token(), lead.Token())
	}
	if err := lead.Resign(p.ctx); !errors.Is(err, quorate.ErrSessionLost) {
		t.Errorf("Resign after the end: %v", err)
	}
	p.wantLeader(p.election(), "next")
}

// TestProclaim: a leader's value changes, and that of a deposed one never shows as the
// value of the next (ELECT-2).
func TestProclaim(t *testing.T) {
	p := newPlace(t)
	c, e := p.client()
	lead := p.leads(e, "first")
	token := lead.Token()
	if err := lead.Proclaim(p.ctx, "first, ready"); err != nil {
		t.Fatal(err)
	}
	if l := p.wantLeader(e, "first, ready"); l.Token != token {
		t.Errorf("token %d, want %d", l.Token, token)
	}
	next := p.campaign(p.ctx, p.election(), "next")
	if ok, err := e.ForceResign(p.ctx, lead.ID(), delection.Grace(0)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	got := p.lead(next)
	if err := lead.Proclaim(p.ctx, "deposed"); !errors.Is(err, structures.ErrNotHeld) || !quorate.SafeToRetry(err) {
		t.Errorf("a deposed leader proclaims: %v, want ErrNotHeld", err)
	}
	p.wantLeader(e, "next")
	c.End()
	if err := lead.Proclaim(p.ctx, "lost"); !errors.Is(err, quorate.ErrSessionLost) {
		t.Errorf("after the session: %v, want ErrSessionLost", err)
	}
	p.resign(got)
	if err := got.Proclaim(p.ctx, "resigned"); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("after Resign: %v, want ErrNotHeld", err)
	}
	p.wantLeader(p.election(), "")
}

// TestTransfer: a transfer names who is next, whatever the priorities; the leader has the
// grace to stop, and no other than the one that was named is deposed.
func TestTransfer(t *testing.T) {
	p := newPlace(t)
	first := p.leads(p.election(), "first")
	a := p.campaign(p.ctx, p.election(), "a", delection.Priority(2))
	b := p.campaign(p.ctx, p.election(), "b")
	withdrawn, withdraw := context.WithCancel(p.ctx)
	c := p.campaign(withdrawn, p.election(), "c", delection.Priority(1))
	admin := p.election()
	list, err := admin.Candidates(p.ctx)
	if err != nil || len(list) != 3 {
		t.Fatal(list, err)
	}
	hold := map[string]protocol.HoldID{}
	for _, l := range list {
		hold[l.Value] = l.Hold
	}
	if _, err := admin.Transfer(p.ctx, first.ID(), 12345); !errors.Is(err, delection.ErrNoCandidate) {
		t.Errorf("to nobody: %v, want ErrNoCandidate", err)
	}
	if ok, err := admin.Transfer(p.ctx, hold["a"], hold["b"]); ok || err != nil {
		t.Errorf("from who does not lead: %t, %v", ok, err)
	}
	if ok, err := admin.Transfer(p.ctx, first.ID(), hold["b"], delection.Grace(10*time.Second), delection.Reason("maintenance")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if list, err := admin.Candidates(p.ctx); err != nil || list[0].Value != "b" || !list[0].Named || list[1].Named {
		t.Errorf("after the transfer the candidates are %+v, %v", list, err)
	}
	p.grid.Advance(9 * time.Second)
	if cause := context.Cause(first.Context()); !errors.Is(cause, structures.ErrRevoked) || !strings.Contains(cause.Error(), "maintenance") {
		t.Errorf("the context of the leader has ended because of %v", cause)
	}
	p.wantLeader(admin, "first") // until the grace is over
	p.grid.Advance(time.Second)
	second := p.lead(b)
	if second.ID() != hold["b"] || second.Token() <= first.Token() {
		t.Errorf("the next has hold %d and token %d", second.ID(), second.Token())
	}
	// Who was named has gone when the leader resigns: the next by priority.
	if ok, err := admin.Transfer(p.ctx, second.ID(), hold["c"], delection.AskOnly()); !ok || err != nil {
		t.Fatal(ok, err)
	}
	p.grid.Advance(time.Minute)
	select {
	case <-second.Asked():
	default:
		t.Error("the leader does not know that it was asked to resign")
	}
	if err := second.Context().Err(); err != nil {
		t.Errorf("it was only asked: %v", err)
	}
	withdraw()
	if got := <-c; !errors.Is(got.err, context.Canceled) {
		t.Errorf("a withdrawn campaign: %v", got.err)
	}
	p.waiting--
	p.resign(second)
	third := p.lead(a)
	// At once.
	d := p.campaign(p.ctx, p.election(), "d")
	if list, err = admin.Candidates(p.ctx); err != nil {
		t.Fatal(err)
	}
	if ok, err := admin.Transfer(p.ctx, third.ID(), list[0].Hold, delection.Grace(0)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if l := p.wantLeader(admin, "d"); l.Hold != p.lead(d).ID() {
		t.Error("another leads")
	}
	if ok, err := admin.ForceResign(p.ctx, third.ID()); ok || err != nil {
		t.Errorf("who does not lead any more: %t, %v", ok, err)
	}
	p.wantLeader(admin, "d")
}

// TestObserve: observers see nobody, the leader, its values, and the next without nobody
// in between (ELECT-4); tokens never go back; and the last that comes holds (ELECT-5).
func TestObserve(t *testing.T) {
	p := newPlace(t)
	next, stop := iter.Pull2(p.election().Observe(p.ctx))
	defer stop()
	token := protocol.Token(0)
	want := func(value string) {
		t.Helper()
		l, err, ok := next()
		if !ok || err != nil || l.Value != value || l.None != (value == "") {
			t.Fatalf("observed %+v, %v, want %q", l, err, value)
		}
		if !l.None && l.Token < token {
			t.Errorf("token %d after %d", l.Token, token)
		}
		token = max(token, l.Token)
	}
	want("")
	first := p.leads(p.election(), "first")
	want("first")
	if err := first.Proclaim(p.ctx, "first, ready"); err != nil {
		t.Fatal(err)
	}
	want("first, ready")
	second := p.campaign(p.ctx, p.election(), "second")
	third := p.campaign(p.ctx, p.election(), "third")
	p.resign(first)
	want("second")
	// A slow loop misses some, but not the last.
	p.resign(p.lead(second))
	lead := p.lead(third)
	for i := range 100 {
		if err := lead.Proclaim(p.ctx, fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for seen := ""; seen != "99"; {
		l, err, ok := next()
		if !ok || err != nil || l.None || l.Token < token {
			t.Fatalf("observed %+v, %v", l, err)
		}
		seen, token = l.Value, l.Token
	}
	if err := p.election().Destroy(p.ctx); err != nil {
		t.Fatal(err)
	}
	want("")
	lead = p.leads(p.election(), "after")
	want("after")
	p.resign(lead)
	want("")
}

func TestWaitAndDestroy(t *testing.T) {
	p := newPlace(t)
	e := p.election()
	lead, err := e.Campaign(p.ctx, "first", delection.Wait(0))
	if err != nil {
		t.Fatal(err)
	}
	other := p.election()
	if _, err := other.Campaign(p.ctx, "x", delection.Wait(0)); !errors.Is(err, quorate.ErrNotInTime) {
		t.Errorf("while another leads: %v, want ErrNotInTime", err)
	}
	waits := p.campaign(p.ctx, other, "x", delection.Wait(time.Second))
	p.grid.Advance(time.Second)
	if got := <-waits; !errors.Is(got.err, quorate.ErrNotInTime) || !quorate.SafeToRetry(got.err) {
		t.Errorf("after the wait: %v, want ErrNotInTime", got.err)
	}
	p.waiting--
	waits = p.campaign(p.ctx, other, "y")
	if i, err := other.Inspect(p.ctx); err != nil || len(i.Holders) != 1 || i.Waiting != 1 || i.Waiters[0].Operation != "campaign" || i.Length != 1 {
		t.Errorf("%+v, %v", i, err)
	}
	if err := other.Destroy(p.ctx); err != nil {
		t.Fatal(err)
	}
	if got := <-waits; !errors.Is(got.err, quorate.ErrDestroyed) {
		t.Errorf("a campaign in a destroyed election: %v", got.err)
	}
	p.grid.Advance(time.Second)
	if cause := context.Cause(lead.Context()); !errors.Is(cause, structures.ErrRevoked) {
		t.Errorf("the leader's context has ended because of %v", cause)
	}
}

func TestErrors(t *testing.T) {
	p := newPlace(t)
	c, e := p.client()
	lead := p.leads(e, "first")
	bytes := delection.New[[]byte](c, "scheduler", delection.Codec(structures.Raw))
	campaign := func(value string, opts ...delection.CampaignOption) func() error {
		return func() error { _, err := e.Campaign(p.ctx, value, opts...); return err }
	}
	for _, test := range []struct {
		name string
		do   func() error
		want error
		text string
	}{
		{"bad name", func() error { _, err := delection.New[int](c, "").Campaign(p.ctx, 1); return err }, quorate.ErrInvalid, "name"},
		{"long value", campaign(strings.Repeat("x", delection.MaxValue)), quorate.ErrTooLarge, "campaign in election scheduler"},
		{"long note", campaign("x", delection.Note(strings.Repeat("x", 256))), quorate.ErrTooLarge, "256 bytes"},
		{"note that is not UTF-8", campaign("x", delection.Note("\xff")), quorate.ErrInvalid, ""},
		{"priority", campaign("x", delection.Priority(1<<31)), quorate.ErrInvalid, "32 bits"},
		{"inside", func() error { _, err := e.Campaign(lead.Bind(p.ctx), "x"); return err }, delection.ErrLeading, ""},
		{"long proclamation", func() error { return lead.Proclaim(p.ctx, strings.Repeat("x", delection.MaxValue)) }, quorate.ErrTooLarge, ""},
		{"another codec", func() error { _, _, err := bytes.Leader(p.ctx); return err }, quorate.ErrCodec, ""},
		{"candidate 0", func() error { _, err := e.Transfer(p.ctx, lead.ID(), 0); return err }, quorate.ErrInvalid, "candidate 0"},
		{"leader 0", func() error { _, err := e.Transfer(p.ctx, 0, 1); return err }, quorate.ErrInvalid, "hold 0"},
		{"hold 0", func() error { _, err := e.ForceResign(p.ctx, 0); return err }, quorate.ErrInvalid, ""},
		{"negative grace", func() error { _, err := e.Transfer(p.ctx, lead.ID(), 1, delection.Grace(-1)); return err }, quorate.ErrInvalid, ""},
		{"ended context", func() error {
			ctx, cancel := context.WithCancel(p.ctx)
			cancel()
			_, err := e.Campaign(ctx, "x")
			return err
		}, context.Canceled, ""},
	} {
		err := test.do()
		if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.text) || !quorate.SafeToRetry(err) {
			t.Errorf("%s: %v, want %v %q", test.name, err, test.want, test.text)
		}
	}
	for _, err := range bytes.Observe(p.ctx) {
		if !errors.Is(err, quorate.ErrCodec) {
			t.Errorf("observed with another codec: %v", err)
		}
	}
}

// TestMaxCandidates: so many may wait, and no more.
func TestMaxCandidates(t *testing.T) {
	p := newPlace(t)
	first := p.leads(p.election(), "first")
	var e *election
	for i := range delection.MaxCandidates {
		if i%100 == 0 {
			e = p.election()
		}
		go func(e *election) { _, _ = e.Campaign(p.ctx, "x") }(e)
	}
	p.grid.AwaitWaiting(delection.MaxCandidates)
	if _, err := p.election().Campaign(p.ctx, "one more"); !errors.Is(err, quorate.ErrOverloaded) {
		t.Errorf("one more: %v, want ErrOverloaded", err)
	}
	if list, err := e.Candidates(p.ctx); len(list) != delection.MaxCandidates || err != nil {
		t.Errorf("%d candidates, %v", len(list), err)
	}
	p.resign(first)
	p.grid.AwaitWaiting(delection.MaxCandidates - 1)
}

// TestVanishes: an election that nobody leads leaves nothing behind.
func TestVanishes(t *testing.T) {
	p := newPlace(t)
	c := p.grid.Client()
	var tokens protocol.Token
	for i := range 100 {
		e := delection.New[int](c, fmt.Sprint("user-", i))
		lead, err := e.Campaign(p.ctx, i)
		if err != nil {
			t.Fatal(err)
		}
		if err := lead.Resign(p.ctx); err != nil {
			t.Fatal(err)
		}
		again, err := e.Campaign(p.ctx, i)
		if err != nil || again.Token() <= lead.Token() {
			t.Fatalf("token %d after %d: %v", again.Token(), lead.Token(), err)
		}
		tokens = max(tokens, again.Token())
		if err := again.Resign(p.ctx); err != nil {
			t.Fatal(err)
		}
	}
	k := delection.Kind()
	for i := range c.Partitions() {
		reply, err := c.Invoke(p.ctx, structures.ListCall(&k, protocol.PartitionID(i), "", 1000))
		if err != nil {
			t.Fatal(err)
		}
		if list, _, err := structures.ReadListed(reply.Body); len(list) != 0 || err != nil {
			t.Errorf("partition %d has %v, %v", i, list, err)
		}
	}
}

// TestTxn: what is written with IfHeld is written by the leader or not at all.
func TestTxn(t *testing.T) {
	p := newPlace(t)
	c := p.grid.Client()
	e, n := delection.New[string](c, "{jobs}scheduler"), dcounter.New(c, "{jobs}done")
	lead, err := e.Campaign(p.ctx, "first")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Add(p.ctx, 1, dcounter.IfHeld(lead.Held)); err != nil {
		t.Fatal(err)
	}
	who := e.Txn().Leader()
	yes, err := txn.New(c).If(e.Txn().IfHeld(lead.Held)).Then(n.Txn().Add(1), e.Txn().Proclaim(lead, "two done"), who).Commit(p.ctx)
	if l, ok, werr := who.Result(); !yes || err != nil || !ok || werr != nil || l.Value != "two done" {
		t.Errorf("%t, %v: %+v %t %v", yes, err, l, ok, werr)
	}
	if ok, err := e.ForceResign(p.ctx, lead.ID(), delection.Grace(0)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := n.Add(p.ctx, 1, dcounter.IfHeld(lead.Held)); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("a deposed leader writes: %v", err)
	}
	if _, err := txn.New(c).Then(n.Txn().Add(1), e.Txn().Proclaim(lead, "x")).Commit(p.ctx); !errors.Is(err, structures.ErrNotHeld) {
		t.Errorf("a deposed leader proclaims: %v", err)
	}
	who = e.Txn().Leader()
	if yes, err := txn.New(c).Then(who).Commit(p.ctx); !yes || err != nil {
		t.Error(yes, err)
	}
	if _, ok, err := who.Result(); ok || err != nil {
		t.Errorf("a leader: %t, %v", ok, err)
	}
	if lead, err = e.Campaign(p.ctx, "again"); err != nil {
		t.Fatal(err)
	}
	if yes, err := txn.New(c).Then(n.Txn().Add(1), e.Txn().Resign(lead.Held)).Commit(p.ctx); !yes || err != nil {
		t.Error(yes, err)
	}
	if cause := context.Cause(lead.Context()); !errors.Is(cause, structures.ErrReleased) {
		t.Errorf("its context has ended because of %v", cause)
	}
	if _, ok, err := e.Leader(p.ctx); ok || err != nil {
		t.Error(ok, err)
	}
	if v, err := n.Get(p.ctx); v != 3 || err != nil {
		t.Errorf("%d done, %v, want 3", v, err)
	}
}
