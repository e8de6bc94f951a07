package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/grid/gridtest"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/delection"
)

// electionName and electionWork are in one partition, as IfHeld needs.
const (
	electionName = "{jobs}scheduler"
	electionWork = "{jobs}done"
)

// leadership is that of a campaign.
type leadership = *delection.Leadership[string]

// campaign campaigns with a client of its own, whose name is the value, in the background.
// It returns when the campaign waits, with what returns the leadership.
func campaign(ctx context.Context, t *testing.T, c *gridtest.Cluster, cl *client.Client, value string, opts ...delection.CampaignOption) (elected func() leadership) {
	t.Helper()
	e := delection.New[string](cl, electionName)
	candidates := func() int {
		all, err := e.Candidates(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	before := candidates()
	done := make(chan leadership, 1)
	go func() {
		defer close(done)
		lead, err := e.Campaign(ctx, value, opts...)
		if err != nil {
			t.Errorf("candidate %s: %v", value, err)
			return
		}
		done <- lead
	}()
	c.Eventually(value+" to be a candidate", func() bool { return candidates() > before })
	return func() leadership {
		t.Helper()
		lead := <-done
		if lead == nil {
			t.FailNow()
		}
		return lead
	}
}

// observer is what one observer of the election has seen.
type observer struct {
	mu     sync.Mutex // guards the rest
	last   delection.Leader[string]
	tokens []protocol.Token // of the leaders, each once
}

// observeElection observes until ctx ends. Whatever fails meanwhile, tokens never go back.
func observeElection(ctx context.Context, t *testing.T, cl *client.Client) *observer {
	t.Helper()
	o := new(observer)
	var observing sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	t.Cleanup(func() { cancel(); observing.Wait() })
	observing.Go(func() {
		for l, err := range delection.New[string](cl, electionName).Observe(ctx) {
			if err != nil {
				if ctx.Err() == nil {
					t.Errorf("observe: %v", err)
				}
				return
			}
			o.mu.Lock()
			o.last = l
			if n := len(o.tokens); !l.None && (n == 0 || l.Token != o.tokens[n-1]) {
				if n > 0 && l.Token < o.tokens[n-1] {
					t.Errorf("token %d was observed after token %d", l.Token, o.tokens[n-1])
				}
				o.tokens = append(o.tokens, l.Token)
			}
			o.mu.Unlock()
		}
	})
	return o
}

// sees reports whether the last leader that was observed has a token and a value; token 0
// is that nobody leads.
func (o *observer) sees(token protocol.Token, value string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last.None == (token == 0) && o.last.Token == token && o.last.Value == value
}

// TestElection_DeadProcess: when the leader's process has died its session ends by its TTL,
// and the candidate with the highest priority leads with a larger token; by then the
// leader's context has ended, should it live after all, and what it writes with IfHeld
// counts no more.
func TestElection_DeadProcess(t *testing.T) {
	t.Parallel()
	const ttl = 2 * time.Second
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	way := new(gate)
	defer way.close()
	dying, cl := c.Client(t, client.WithSessionTTL(ttl), client.WithDialer(way.dial)), c.Client(t)
	observed := observeElection(ctx, t, cl)
	c.Eventually("nobody to lead", func() bool { return observed.sees(0, "") })
	lead, err := delection.New[string](dying, electionName).Campaign(ctx, "dies")
	if err != nil {
		t.Fatal(err)
	}
	work := dcounter.New(dying, electionWork)
	if _, err := work.Add(ctx, 1, dcounter.IfHeld(lead.Held)); err != nil {
		t.Fatal(err)
	}
	c.Eventually("the leader to be observed", func() bool { return observed.sees(lead.Token(), "dies") })
	first := campaign(ctx, t, c, c.Client(t), "first")
	elected := campaign(ctx, t, c, c.Client(t), "important", delection.Priority(1))

	way.close(c.Addrs()...)
	after := elected()
	if lead.Context().Err() == nil {
		t.Error("another was elected while the context of the leader lives")
	}
	if after.Token() <= lead.Token() {
		t.Errorf("token %d after token %d", after.Token(), lead.Token())
	}
	if cause := context.Cause(lead.Context()); !errors.Is(cause, quorate.ErrSessionLost) {
		t.Errorf("the leadership has ended because of %v", cause)
	}
	way.close()
	if _, err := work.Add(ctx, 1, dcounter.IfHeld(lead.Held)); !errors.Is(err, structures.ErrNotHeld) && !errors.Is(err, quorate.ErrSessionLost) {
		t.Errorf("the leader of before writes: %v", err)
	}
	if n, err := dcounter.New(cl, electionWork).Add(ctx, 1); n != 2 || err != nil {
		t.Errorf("%d writes count, %v, want 2", n, err)
	}
	c.Eventually("the successor to be observed", func() bool { return observed.sees(after.Token(), "important") })
	if err := after.Resign(ctx); err != nil {
		t.Errorf("resign: %v", err)
	}
	last := first()
	c.Eventually("the last to be observed", func() bool { return observed.sees(last.Token(), "first") })
}

// TestElection_Clients: whoever leads and waits is shown with the name of its client, and
// who has no name without.
func TestElection_Clients(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 1, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	admin := delection.New[string](c.Client(t), electionName)
	lead, err := delection.New[string](c.Client(t, client.WithName("first host")), electionName).Campaign(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	second := campaign(ctx, t, c, c.Client(t, client.WithName("second host")), "b", delection.Priority(1))
	third := campaign(ctx, t, c, c.Client(t), "nameless")
	leads := func(value, name string) {
		t.Helper()
		if l, ok, err := admin.Leader(ctx); err != nil || !ok || l.Value != value || l.Client != name {
			t.Errorf("%+v, %t, %v leads, want %s of %s", l, ok, err, value, name)
		}
	}
	leads("a", "first host")
	list, err := admin.Candidates(ctx)
	if err != nil || len(list) != 2 || list[0].Client != "second host" || list[1].Client != "" {
		t.Errorf("the candidates are %+v, %v", list, err)
	}
	i, err := admin.Inspect(ctx)
	if err != nil || len(i.Holders) != 1 || i.Holders[0].Client != "first host" || len(i.Waiters) != 2 || i.Waiters[0].Client != "second host" {
		t.Errorf("inspected %+v, %v", i, err)
	}
	if err := lead.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	next := second()
	leads("b", "second host")
	if err := next.Resign(ctx); err != nil {
		t.Fatal(err)
	}
	third()
	leads("nameless", "")
}

// TestElection_KilledMember: a leadership and those who wait for it outlive the member that
// leads their group, and so does the candidate that a Transfer has named.
func TestElection_KilledMember(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	cl, admin := c.Client(t), delection.New[string](c.Client(t), electionName)
	observed := observeElection(ctx, t, c.Client(t))
	lead, err := delection.New[string](cl, electionName).Campaign(ctx, "leads")
	if err != nil {
		t.Fatal(err)
	}
	named := campaign(ctx, t, c, c.Client(t), "named", delection.Note("named"))
	important := campaign(ctx, t, c, c.Client(t), "important", delection.Priority(1))

	killed := c.Leader(cl, electionName, nil)
	c.Kill(killed)
	if err := lead.Proclaim(ctx, "leads on"); err != nil {
		t.Errorf("proclaim after a member was killed: %v", err)
	}
	if l, ok, err := admin.Leader(ctx); !ok || err != nil || l.Token != lead.Token() || l.Value != "leads on" {
		t.Errorf("the leader is %+v, %t, %v", l, ok, err)
	}
	c.Eventually("the value to be observed", func() bool { return observed.sees(lead.Token(), "leads on") })
	if err := lead.Context().Err(); err != nil {
		t.Errorf("the leadership has ended: %v", err)
	}
	c.Restart(killed)
	c.WaitReady()

	candidates, err := admin.Candidates(ctx)
	if err != nil || len(candidates) != 2 || candidates[0].Value != "important" || candidates[1].Value != "named" {
		t.Fatalf("the candidates are %+v, %v", candidates, err)
	}
	// The grace is longer than it takes to elect another leader of the group; it ends early,
	// since the leader resigns.
	existed, err := admin.Transfer(ctx, lead.ID(), candidates[1].Hold, delection.Grace(30*time.Second), delection.Reason("maintenance"))
	if !existed || err != nil {
		t.Fatalf("transfer: %t, %v", existed, err)
	}
	ended(ctx, t, lead.Held, structures.ErrRevoked)
	killed = c.Leader(cl, electionName, nil)
	c.Kill(killed)
	if err := lead.Resign(ctx); err != nil {
		t.Errorf("resign: %v", err)
	}
	second := named()
	c.Eventually("the candidate that was named to be observed", func() bool { return observed.sees(second.Token(), "named") })
	c.Restart(killed)
	if err := second.Resign(ctx); err != nil {
		t.Errorf("resign: %v", err)
	}
	third := important()
	if second.Token() <= lead.Token() || third.Token() <= second.Token() {
		t.Errorf("tokens %d, %d, %d do not grow", lead.Token(), second.Token(), third.Token())
	}
	c.Eventually("the last to be observed", func() bool { return observed.sees(third.Token(), "important") })
	if err := third.Resign(ctx); err != nil {
		t.Errorf("resign: %v", err)
	}
	c.Eventually("nobody to lead", func() bool { return observed.sees(0, "") })
}

// TestElection_Observers: while members are killed and leaders follow each other, observers
// see some of the leaders, in the order of their tokens, and end in the last one; one leads
// at a time, so all writes with IfHeld count.
func TestElection_Observers(t *testing.T) {
	t.Parallel()
	c := gridtest.Start(t, 3, gridtest.WithMemoryDisks())
	ctx := testContext(t)
	watching := []*observer{observeElection(ctx, t, c.Client(t)), observeElection(ctx, t, c.Client(t))}
	var (
		mu      sync.Mutex
		leading string // who leads now
		tokens  = map[protocol.Token]bool{}
		writes  int64
	)
	stop := make(chan struct{})
	var running sync.WaitGroup
	for i := range 4 {
		name, cl := fmt.Sprint("c", i), c.Client(t)
		running.Go(func() {
			work := dcounter.New(cl, electionWork)
			for {
				select {
				case <-stop:
					return
				default:
				}
				lead, err := delection.New[string](cl, electionName).Campaign(ctx, name)
				if err != nil {
					t.Errorf("candidate %s: %v", name, err)
					return
				}
				mu.Lock()
				if leading != "" {
					t.Errorf("%s is elected while %s leads", name, leading)
				}
				leading, tokens[lead.Token()] = name, true
				mu.Unlock()
				_, err = work.Add(ctx, 1, dcounter.IfHeld(lead.Held))
				mu.Lock()
				if leading = ""; err == nil {
					writes++
				} else {
					t.Errorf("leader %s writes: %v", name, err)
				}
				mu.Unlock()
				if err := lead.Resign(ctx); err != nil {
					t.Errorf("leader %s resigns: %v", name, err)
				}
			}
		})
	}
	led := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(tokens)
	}
	cl := c.Client(t)
	for range 2 {
		from := led()
		c.Eventually("leaders to follow each other", func() bool { return led() >= from+20 })
		killed := c.Leader(cl, electionName, nil)
		c.Kill(killed)
		from = led()
		c.Eventually("leaders to follow each other without a member", func() bool { return led() >= from+20 })
		c.Restart(killed)
		c.WaitReady()
	}
	close(stop)
	running.Wait()
	last, err := delection.New[string](cl, electionName).Campaign(ctx, "last")
	if err != nil {
		t.Fatal(err)
	}
	tokens[last.Token()] = true
	for i, o := range watching {
		c.Eventually("the last leader to be observed", func() bool { return o.sees(last.Token(), "last") })
		o.mu.Lock()
		for _, token := range o.tokens {
			if !tokens[token] {
				t.Errorf("observer %d has seen token %d, which no leader had", i, token)
			}
		}
		t.Logf("observer %d has seen %d of %d leaders", i, len(o.tokens), len(tokens))
		o.mu.Unlock()
	}
	if n, err := dcounter.New(cl, electionWork).Get(ctx); n != writes || err != nil {
		t.Errorf("%d writes count, %v, want %d", n, err, writes)
	}
}
