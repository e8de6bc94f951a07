package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/cmd/quorate/internal/cli"
	"github.com/quorate/quorate/internal/contexts"
	"github.com/quorate/quorate/protocol"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dlock"
	"github.com/quorate/quorate/verify"
	"github.com/quorate/quorate/verify/nemesis"
)

// verifyWriter is a client process that holds a lock, and is careless: it writes on for a
// while when the lock is lost, to something outside of the grid and to a counter in the
// partition of the lock. Then it acquires the lock again, and waits until it is killed.
type verifyWriter struct {
	Endpoints []string      `required:""`
	Lock      string        `required:""`
	TTL       time.Duration `required:""`
}

const (
	writeEvery   = 10 * time.Millisecond
	writesOn     = time.Second     // when the lock was lost
	writerAdd    = 2 * time.Second // for an add that is carried out only while it is held
	writesBefore = 20              // lines of the writer, before it is stopped

	// What a writer says.
	saysHeld    = "held"    // token
	saysWrites  = "writes"  // token: to what is outside
	saysAdded   = "added"   // to the counter
	saysRefused = "refused" // an add: nothing has changed
	saysUnknown = "unknown" // whether it added
	saysLost    = "lost"    // the lock
)

// Run runs the command.
func (cmd *verifyWriter) Run(ctx context.Context, a *cli.App) error {
	c, err := client.Dial(ctx, cmd.Endpoints, client.WithSessionTTL(cmd.TTL), client.WithName("verify writer"))
	if err != nil {
		return err
	}
	defer c.Close()
	lock := dlock.New(c, cmd.Lock)
	held, err := lock.Lock(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.Stdout, saysHeld, held.Token())
	on := time.Time{} // when the loss was seen
	for on.IsZero() || time.Since(on) < writesOn {
		if on.IsZero() && held.Context().Err() != nil {
			on = time.Now()
			fmt.Fprintln(a.Stdout, saysLost)
		}
		fmt.Fprintln(a.Stdout, saysWrites, held.Token())
		fmt.Fprintln(a.Stdout, writerAdds(ctx, c, cmd.Lock, held))
		if err := contexts.Sleep(ctx, writeEvery); err != nil {
			return err
		}
	}
	if held, err = lock.Lock(ctx); err != nil {
		return err
	}
	fmt.Fprintln(a.Stdout, saysHeld, held.Token())
	<-ctx.Done()
	return contexts.Err(ctx)
}

// writerAdds adds to the counter if the lock is held, and returns what came of it.
func writerAdds(ctx context.Context, c *client.Client, name string, held *structures.Held) string {
	ctx, cancel := context.WithTimeout(ctx, writerAdd)
	defer cancel()
	switch _, err := dcounter.New(c, name).Add(ctx, 1, dcounter.IfHeld(held)); {
	case err == nil:
		return saysAdded
	case errors.Is(err, quorate.ErrOutcomeUnknown):
		return saysUnknown
	}
	return saysRefused
}

// writer is such a process as the nemesis has it.
type writer struct {
	v       *verification
	name    string         // of the lock, and of the counter
	next    *client.Client // who is granted the lock after it
	process *nemesis.Client
	token   protocol.Token // that it was granted first
	outside verify.Resource

	added, refused, unknown int64 // of its adds
	late                    int64 // writes that what is outside has refused
	lost                    bool
}

// startWriter starts a client process that holds a lock and writes, and stops it.
func (v *verification) startWriter(ctx context.Context, name string, next *client.Client) (*writer, error) {
	w := &writer{v: v, name: "{" + name + "}", next: next}
	var err error
	if w.process, w.token, err = v.startClient(ctx, "writer", "--lock", w.name); err != nil {
		return nil, err
	}
	for range writesBefore {
		if err == nil {
			_, err = w.take(ctx, 0)
		}
	}
	if err == nil {
		err = w.process.Pause()
	}
	if err != nil {
		w.process.Kill()
		return nil, err
	}
	return w, nil
}

// take takes in what the process says next. It returns the token of a grant.
func (w *writer) take(ctx context.Context, newest protocol.Token) (held protocol.Token, err error) {
	line, err := w.process.Line(ctx)
	if err != nil {
		return 0, err
	}
	switch what, _, _ := strings.Cut(line, " "); what {
	case saysWrites:
		token, err := tokenOf(line)
		if err != nil {
			return 0, err
		}
		switch accepted := w.outside.Write(token); {
		case !accepted:
			w.late++
		case token < newest:
			return 0, nemesis.Violated("a write with token %d was accepted after one with token %d", token, newest)
		}
	case saysAdded:
		w.added++
	case saysRefused:
		w.refused++
	case saysUnknown:
		w.unknown++
	case saysLost:
		w.lost = true
	default:
		return tokenOf(line)
	}
	return 0, nil
}

// check has the lock granted to the next, lets the process go on, and sees that nothing of
// what it writes then counts; that it learns of its loss; and that it is granted the lock
// again.
func (w *writer) check(ctx context.Context) error {
	defer w.process.Kill()
	ctx, cancel := context.WithTimeout(ctx, 2*holderBack)
	defer cancel()
	began := time.Now()
	held, err := dlock.New(w.next, w.name).Lock(ctx)
	if err != nil {
		return nemesis.Violated("the lock of a client that is stopped was not granted to the next: %v", err)
	}
	stopped := time.Since(began).Round(time.Millisecond)
	if held.Token() <= w.token {
		return nemesis.Violated("token %d was granted after token %d", held.Token(), w.token)
	}
	if !w.outside.Write(held.Token()) {
		return nemesis.Violated("a write of the holder, with token %d, was refused", held.Token())
	}
	counter := dcounter.New(w.next, w.name)
	n, err := counter.Add(ctx, 1, dcounter.IfHeld(held))
	if err != nil {
		return nemesis.Violated("the holder, with token %d, cannot add to the counter: %v", held.Token(), err)
	}
	if err := w.process.Resume(); err != nil {
		return err
	}
	for !w.lost {
		again, err := w.take(ctx, held.Token())
		switch {
		case err != nil:
			return w.broken("it does not learn that the lock was lost", err)
		case again != 0:
			return nemesis.Violated("a client that was stopped was granted token %d, and had not lost token %d", again, w.token)
		}
	}
	if err := held.Release(ctx); err != nil {
		return nemesis.Violated("the holder, with token %d, cannot release: %v", held.Token(), err)
	}
	again := protocol.Token(0)
	for again == 0 {
		if again, err = w.take(ctx, held.Token()); err != nil {
			return w.broken("it is not granted the lock again", err)
		}
	}
	if again <= held.Token() {
		return nemesis.Violated("token %d was granted after token %d", again, held.Token())
	}
	return w.count(ctx, counter, n, stopped)
}

// broken is a violation, or what the process has done instead of going on.
func (w *writer) broken(what string, err error) error {
	var violation *nemesis.Violation
	if errors.As(err, &violation) {
		return err
	}
	return nemesis.Violated("a client was stopped, and %s: %v", what, err)
}

// count sees that nothing was added by the process after the next had added, which made
// it n.
func (w *writer) count(ctx context.Context, counter *dcounter.Counter, n int64, stopped time.Duration) error {
	got, err := counter.Get(ctx)
	switch {
	case err != nil:
		return err
	case got != n:
		return nemesis.Violated("a client that was stopped has added %d to a counter after another had been granted the lock", got-n)
	case w.added > n-1 || w.added+w.unknown < n-1:
		return nemesis.Violated("the counter had %d when the next was granted the lock, and the client that was stopped had added %d, and perhaps %d more", n-1, w.added, w.unknown)
	}
	w.v.Note("client-pause: stopped until the next was granted the lock, %v; then %d of its writes and %d of its adds were refused", stopped, w.late, w.refused)
	return counter.Destroy(ctx)
}
