package demo

import (
	"context"
	"sync"
	"time"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
)

// demoWatched is what a watch of the counter of words has seen. It goes on while members are
// killed.
type demoWatched struct {
	mu      sync.Mutex // guards what follows
	words   int64
	changes int
}

// follow watches until ctx ends, or the client is closed.
func (w *demoWatched) follow(ctx context.Context, inv structures.Invoker) {
	go func() {
		for c, err := range dcounter.New(inv, demoWords).Watch(ctx) {
			w.mu.Lock()
			if err == nil {
				w.words, w.changes = c.Value, w.changes+1
			}
			w.mu.Unlock()
		}
	}()
}

// await waits a short while until the watch has seen a number of words, and returns how many
// it has.
func (w *demoWatched) await(words int64) (seen int64, changes int) {
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		w.mu.Lock()
		seen, changes = w.words, w.changes
		w.mu.Unlock()
		if seen == words || time.Now().After(end) {
			return seen, changes
		}
	}
}
