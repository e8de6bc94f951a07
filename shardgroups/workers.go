package shardgroups

import "sync"

// workers counts the goroutines that Close waits for. Unlike with a sync.WaitGroup,
// more may be started while Close waits, and afterwards: a request that is in the Host
// when it closes is still answered.
type workers struct {
	mu   sync.Mutex
	n    int
	none chan struct{} // closed when n becomes 0; nil: there is no waiter
}

// run runs f in a goroutine of its own.
func (w *workers) run(f func()) {
	w.mu.Lock()
	w.n++
	w.mu.Unlock()
	go func() {
		defer w.done()
		f()
	}()
}

func (w *workers) done() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n--; w.n == 0 && w.none != nil {
		close(w.none)
		w.none = nil
	}
}

// wait returns when no goroutine runs. It does not wait for goroutines that are started
// later.
func (w *workers) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.n > 0 {
		if w.none == nil {
			w.none = make(chan struct{})
		}
		none := w.none
		w.mu.Unlock()
		<-none
		w.mu.Lock()
	}
}
