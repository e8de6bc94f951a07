package workloads

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
)

// Backlog writes far more entries with a short time to live than anybody reads,
// into every group: what is due must not keep what waits, and what an ended
// session held, from their turn, and must be removed afterwards.
type Backlog struct {
	clients []*client.Client
	name    string
	over    context.Context
	stop    context.CancelFunc
	writers sync.WaitGroup
	written atomic.Int64
}

const (
	backlogTTL     = 300 * time.Millisecond
	backlogBatch   = 1_000 // entries of a request
	backlogWriters = 8     // of a group
	backlogWait    = 500 * time.Millisecond
	backlogLate    = 15 * time.Second // at which a wait of half a second has not timed out
)

// StartBacklog starts the writers, which use two clients or more.
func StartBacklog(name string, clients []*client.Client) *Backlog {
	b := &Backlog{clients: clients, name: name}
	b.over, b.stop = context.WithCancel(context.Background())
	for _, g := range Groups(clients[0]) {
		for i := range backlogWriters {
			c := clients[i%len(clients)]
			m := dmap.New[string, int64](c, fmt.Sprint(CounterOf(c, fmt.Sprint(name, "-", i, "-{"), g), "}"))
			b.writers.Go(func() { b.write(m, i) })
		}
	}
	return b
}

// write puts batches of entries.
func (b *Backlog) write(m *dmap.Map[string, int64], id int) {
	for n := int64(0); b.over.Err() == nil; n++ {
		ctx, cancel := context.WithTimeout(b.over, operationTime)
		err := m.PutAll(ctx, func(yield func(string, int64) bool) {
			for i := range int64(backlogBatch) {
				if !yield(fmt.Sprint(id, "-", n, "-", i), i) {
					return
				}
			}
		}, dmap.TTL(backlogTTL))
		cancel()
		if err == nil {
			b.written.Add(backlogBatch)
		}
	}
}

// Written returns how many entries were written.
func (b *Backlog) Written() int64 { return b.written.Load() }

// TimesOut sees that a wait of half a second at each group ends without an
// element, and does not go on for ever.
func (b *Backlog) TimesOut(ctx context.Context) error {
	c := b.clients[0]
	errs := make(chan error, len(Groups(c)))
	for _, g := range Groups(c) {
		q := dqueue.New[string](c, CounterOf(c, b.name+"-queue-", g))
		go func() {
			ctx, cancel := context.WithTimeout(ctx, backlogLate)
			defer cancel()
			_, err := q.Take(ctx, dqueue.Wait(backlogWait))
			if errors.Is(err, quorate.ErrNotInTime) {
				err = nil
			} else {
				err = fmt.Errorf("a Take that was to wait %v at group %d has not ended within %v: %w", backlogWait, g, backlogLate, err)
			}
			errs <- err
		}()
	}
	var first error
	for range cap(errs) {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// Stop ends the writers.
func (b *Backlog) Stop() {
	b.stop()
	b.writers.Wait()
}
