package client

import "sync"

// tasks are the goroutines of a client. The zero value is ready for use.
type tasks struct {
	mu     sync.Mutex
	closed bool
	wg     sync.WaitGroup
}

// spawn runs f in a goroutine that wait waits for. It reports false, and runs
// nothing, if the client is closed.
func (t *tasks) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.wg.Go(f)
	return true
}

// close keeps further goroutines from starting.
func (t *tasks) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
}

// wait returns when every goroutine has ended.
func (t *tasks) wait() { t.wg.Wait() }
