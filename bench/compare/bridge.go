package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
)

// bridge is a process of Java that speaks for clients of this process: see Bridge.java for
// the lines that go there and come back. It halts when this process ends, however it ends.
type bridge struct {
	process *exec.Cmd
	in      io.WriteCloser
	ended   chan struct{} // closed when there are no more answers

	mu      sync.Mutex // guards what follows, and writes to in
	last    int
	pending map[int]*request
	err     error // why there are no more answers
}

// request is one that is pending: begun, and not answered, or answered by further events.
type request struct {
	done  chan error
	event func(value string) // nil: it has none
}

func startBridge(command string, args ...string) (*bridge, error) {
	c := exec.Command(command, args...)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.Start(); err != nil {
		return nil, err
	}
	b := &bridge{process: c, in: in, ended: make(chan struct{}), pending: map[int]*request{}}
	go b.read(out)
	return b, nil
}

// read hands out the answers until there are no more.
func (b *bridge) read(out io.Reader) {
	defer close(b.ended)
	lines := bufio.NewReaderSize(out, 1<<16)
	var err error
	for err == nil {
		var line string
		if line, err = lines.ReadString('\n'); err == nil {
			err = b.answered(strings.TrimSuffix(line, "\n"))
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = fmt.Errorf("the process of Java has ended: %w", err)
	for _, r := range b.pending {
		r.finish(b.err)
	}
	clear(b.pending)
}

func (b *bridge) answered(line string) error {
	number, answer, _ := strings.Cut(line, " ")
	id, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("no answer: %q", line)
	}
	what, more, _ := strings.Cut(answer, " ")
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.pending[id]
	switch {
	case r == nil: // its caller has canceled it
	case what == "event" && r.event != nil:
		r.event(more)
	case what == "ok" && r.event != nil:
		r.finish(nil)
	case what == "ok":
		delete(b.pending, id)
		r.finish(nil)
	default:
		delete(b.pending, id)
		r.finish(errors.New(strings.TrimPrefix(answer, "error ")))
	}
	return nil
}

func (r *request) finish(err error) {
	select {
	case r.done <- err:
	default: // the one before was not taken, nor will this be
	}
}

// begin sends a request. Its events must not wait for anything.
func (b *bridge) begin(event func(string), words ...string) (int, *request, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, nil, b.err
	}
	b.last++
	r := &request{make(chan error, 1), event}
	b.pending[b.last] = r
	line := strconv.Itoa(b.last) + " " + strings.Join(words, " ") + "\n"
	if _, err := io.WriteString(b.in, line); err != nil {
		delete(b.pending, b.last)
		return 0, nil, err
	}
	return b.last, r, nil
}

// call sends a request and waits for its answer. It returns its number, by which it is
// ended if it began something; when ctx ends, call ends that itself.
func (b *bridge) call(ctx context.Context, words ...string) (string, error) {
	id, r, err := b.begin(nil, words...)
	if err != nil {
		return "", err
	}
	number := strconv.Itoa(id)
	select {
	case err := <-r.done:
		return number, err
	case <-ctx.Done():
		_, _, _ = b.begin(nil, "end", number)
		return number, ctx.Err()
	}
}

// watch sends a request that has events, and returns when it has failed or ctx has ended.
// Events wait in a queue without bounds while event runs, since others' answers come the
// same way.
func (b *bridge) watch(ctx context.Context, ready func(), event func(value string), words ...string) error {
	events := queue{more: sync.NewCond(new(sync.Mutex))}
	var taking sync.WaitGroup
	defer taking.Wait()
	defer events.close()
	taking.Go(func() {
		for value, ok := events.take(); ok; value, ok = events.take() {
			event(value)
		}
	})
	id, r, err := b.begin(events.put, words...)
	if err != nil {
		return err
	}
	defer func() {
		b.mu.Lock()
		delete(b.pending, id)
		b.mu.Unlock()
		_, _ = b.call(context.Background(), "end", strconv.Itoa(id))
	}()
	for {
		select {
		case err := <-r.done:
			if err != nil {
				return err
			}
			ready()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stop ends the process, and with it all that was begun. Sessions are left to expire.
func (b *bridge) stop() {
	_ = b.process.Process.Kill()
	<-b.ended
	_ = b.process.Wait()
}

// queue has what was put in and not taken yet.
type queue struct {
	more   *sync.Cond // its lock guards what follows
	values []string
	closed bool
}

func (q *queue) put(value string) {
	q.more.L.Lock()
	defer q.more.L.Unlock()
	q.values = append(q.values, value)
	q.more.Signal()
}

// take waits for a value; false: the queue was closed.
func (q *queue) take() (string, bool) {
	q.more.L.Lock()
	defer q.more.L.Unlock()
	for len(q.values) == 0 && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return "", false
	}
	value := q.values[0]
	q.values = q.values[1:]
	return value, true
}

func (q *queue) close() {
	q.more.L.Lock()
	defer q.more.L.Unlock()
	q.closed = true
	q.more.Signal()
}
