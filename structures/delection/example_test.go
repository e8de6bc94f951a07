package delection_test

import (
	"context"
	"fmt"
	"time"

	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/delection"
	"github.com/quorate/quorate/structures/structurestest"
)

// A leader writes with IfHeld, into the partition of the election: what it sends after it
// has lost the leadership is not carried out, however late it arrives.
func Example() {
	c := structurestest.Example(delection.Kind(), dcounter.Kind()) // in an application: client.Dial
	ctx := context.Background()

	schedulers := delection.New[string](c, "{jobs}scheduler")
	lead, err := schedulers.Campaign(ctx, "10.0.0.1:8080", delection.Note("host a"))
	if err != nil {
		fmt.Println(err)
		return
	}
	done := dcounter.New(c, "{jobs}done")
	n, err := done.Add(ctx, 1, dcounter.IfHeld(lead.Held))
	fmt.Println("done:", n, err)

	l, ok, err := schedulers.Leader(ctx)
	fmt.Println("leader:", l.Value, l.Token == lead.Token(), ok, err)
	if err := lead.Resign(ctx); err != nil {
		fmt.Println(err)
	}
	_, err = done.Add(ctx, 1, dcounter.IfHeld(lead.Held))
	fmt.Println(err)
	// Output:
	// done: 1 <nil>
	// leader: 10.0.0.1:8080 true true <nil>
	// add counter {jobs}done: not held
}

// Curator's LeaderLatch is Campaign and the context of the leadership: start is Campaign,
// hasLeadership the context's Err, close is Resign. Its getParticipants is Candidates,
// beside the leader.
func Example_leaderLatch() {
	c := structurestest.Example(delection.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()

	latch := delection.New[string](c, "latch")
	lead, err := latch.Campaign(ctx, "a") // start and await
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("has leadership:", lead.Context().Err() == nil)

	other := delection.New[string](grid.Client(), "latch")
	elected := make(chan *delection.Leadership[string])
	go func() {
		lead, err := other.Campaign(ctx, "b")
		if err != nil {
			fmt.Println(err)
		}
		elected <- lead
	}()
	grid.AwaitWaiting(1)
	waiting, err := latch.Candidates(ctx) // getParticipants
	fmt.Println("waits:", waiting[0].Value, err)
	_ = lead.Resign(ctx) // close
	next := <-elected
	fmt.Println("has leadership:", lead.Context().Err() == nil, next.Context().Err() == nil)
	// Output:
	// has leadership: true
	// waits: b <nil>
	// has leadership: false true
}

// Curator's LeaderSelector with autoRequeue is Run: takeLeadership is its function, and
// when the leadership was lost it campaigns again after that has returned.
func ExampleElection_Run() {
	c := structurestest.Example(delection.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()
	operator := delection.New[string](grid.Client(), "selector")

	selector := delection.New[string](c, "selector")
	turn := 0
	err := selector.Run(ctx, "a", func(ctx context.Context, _ protocol.Token) error {
		turn++
		fmt.Println("leads, turn", turn)
		if turn == 2 {
			return nil // resigns, and ends Run
		}
		l, _, err := operator.Leader(ctx)
		if err != nil {
			return err
		}
		if _, err := operator.ForceResign(ctx, l.Hold, delection.Grace(0)); err != nil {
			return err
		}
		grid.Advance(time.Second) // time passes: the client learns of it
		<-ctx.Done()
		fmt.Println("lost:", context.Cause(ctx))
		return nil // does not count
	})
	fmt.Println(err)
	// Output:
	// leads, turn 1
	// lost: revoked
	// leads, turn 2
	// <nil>
}

// The verbs of etcd's Election: Campaign, Proclaim, Leader, Observe, Resign. Observe says,
// too, when nobody leads, which etcd's does not.
func ExampleElection_Observe() {
	c := structurestest.Example(delection.Kind()) // in an application: client.Dial
	ctx := context.Background()

	e := delection.New[string](c, "election")
	var lead *delection.Leadership[string]
	var err error
	step := 0
	for l, observed := range e.Observe(ctx) {
		if observed != nil {
			fmt.Println(observed)
		}
		if l.None {
			fmt.Println("nobody leads")
		} else {
			fmt.Println("leader:", l.Value)
		}
		step++
		switch step {
		case 1:
			lead, err = e.Campaign(ctx, "a")
		case 2:
			err = lead.Proclaim(ctx, "a, ready")
		case 3:
			err = lead.Resign(ctx)
		case 4:
			return
		}
		if err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// nobody leads
	// leader: a
	// leader: a, ready
	// nobody leads
}

// Consul's leader election is a key that a session acquires; whoever finds it taken waits
// and tries again. Here Campaign does all of that. Its lock-delay is not needed: what a
// leader of before still sends is refused by IfHeld, or by its token.
func Example_consul() {
	c := structurestest.Example(delection.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()

	service := delection.New[string](c, "service/web/leader")
	if _, err := service.Campaign(ctx, "node-1"); err != nil { // session create, kv acquire
		fmt.Println(err)
	}
	other := grid.Client()
	_, err := delection.New[string](other, "service/web/leader").Campaign(ctx, "node-2", delection.Wait(0))
	fmt.Println(err) // acquire: false
	c.End()          // the session ends: it was invalidated, or its process died
	lead, err := delection.New[string](other, "service/web/leader").Campaign(ctx, "node-2")
	fmt.Println(lead.Context().Err(), err)
	// Output:
	// campaign in election service/web/leader: not in time
	// <nil> <nil>
}

// A leader that an operator replaces, for maintenance, by a candidate of choice.
func ExampleElection_Transfer() {
	c := structurestest.Example(delection.Kind()) // in an application: client.Dial
	grid := c.Local()
	ctx := context.Background()

	lead, err := delection.New[string](c, "primary").Campaign(ctx, "a")
	if err != nil {
		fmt.Println(err)
	}
	elected := make(chan string)
	go func() {
		if _, err := delection.New[string](grid.Client(), "primary").Campaign(ctx, "b"); err == nil {
			elected <- "b"
		}
	}()
	grid.AwaitWaiting(1)

	operator := delection.New[string](grid.Client(), "primary")
	l, _, err := operator.Leader(ctx)
	if err != nil {
		fmt.Println(err)
	}
	candidates, err := operator.Candidates(ctx)
	if err != nil {
		fmt.Println(err)
	}
	done, err := operator.Transfer(ctx, l.Hold, candidates[0].Hold, delection.Grace(5*time.Second), delection.Reason("maintenance"))
	fmt.Println("transferred:", done, err)
	grid.Advance(5 * time.Second) // time passes
	fmt.Println("leader:", <-elected)
	fmt.Println(context.Cause(lead.Context())) // it Is structures.ErrRevoked
	// Output:
	// transferred: true <nil>
	// leader: b
	// revoked: maintenance
}
