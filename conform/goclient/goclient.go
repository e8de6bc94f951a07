// Package goclient has this project's client perform the tasks of a conformance
// test. Clients in other languages have the like: docs/protocol.md, section
// Conformance, says what the lines mean.
package goclient

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

// Serve performs the tasks that it reads from in, a line each, and writes a line to
// out for each, until in or ctx ends. It returns what in or out returned, if that is
// not the end.
func Serve(ctx context.Context, c *client.Client, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() && ctx.Err() == nil {
		if _, err := fmt.Fprintln(out, reply(ctx, c, strings.Split(lines.Text(), " "))); err != nil {
			return err
		}
	}
	return lines.Err()
}

// errLost is that what was held is lost.
var errLost = errors.New("lost")

func reply(ctx context.Context, c *client.Client, task []string) string {
	result, ok, err := perform(ctx, c, task[0], task[1:])
	text := ""
	if err != nil {
		text = strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	switch {
	case err == nil && !ok:
		return "none"
	case err == nil:
		return strings.TrimSuffix("ok "+result, " ")
	case errors.Is(err, quorate.ErrOutcomeUnknown):
		return "unknown " + text
	case errors.Is(err, errLost):
		return "lost " + text
	case errors.Is(err, quorate.ErrUnavailable), errors.Is(err, quorate.ErrCodec), errors.Is(err, quorate.ErrSessionLost), errors.Is(err, errTask):
		return "failed " + text
	}
	return "refused " + text
}

// errTask is that a line is not a task.
var errTask = errors.New("not a task")

// perform returns the result of a task, and false if there is none to have.
func perform(ctx context.Context, c *client.Client, what string, args []string) (result string, ok bool, err error) {
	want := map[string]int{"add": 2, "add-many": 4, "get": 1, "put": 3, "look-up": 2, "offer": 2, "take": 2, "give-up": 2, "hold": 2}
	if n, known := want[what]; !known || len(args) != n {
		return "", false, fmt.Errorf("%q with %d words: %w", what, len(args), errTask)
	}
	var n []int64 // the words after the name, if they are numbers
	for _, word := range args[1:] {
		v, _ := strconv.ParseInt(word, 10, 64) // 0 if it is none
		n = append(n, v)
	}
	ms := func(i int) time.Duration { return time.Duration(n[i]) * time.Millisecond }
	switch what {
	case "add", "add-many":
		var sum int64
		if what == "add" {
			sum, err = dcounter.New(c, args[0]).Add(ctx, n[0])
		} else {
			sum, err = addMany(ctx, dcounter.New(c, args[0]), n[0], n[1], n[2])
		}
		return strconv.FormatInt(sum, 10), true, err
	case "get":
		v, err := dcounter.New(c, args[0]).Get(ctx)
		return strconv.FormatInt(v, 10), true, err
	case "put":
		return "", true, dmap.New[string, string](c, args[0]).Put(ctx, args[1], args[2])
	case "look-up":
		return dmap.New[string, string](c, args[0]).Get(ctx, args[1])
	case "offer":
		ok, err := dqueue.New[string](c, args[0]).Offer(ctx, args[1])
		return "", ok, err
	case "take":
		var wait []dqueue.WaitOption
		if n[0] > 0 {
			wait = append(wait, dqueue.Wait(ms(0)))
		}
		v, err := dqueue.New[string](c, args[0]).Take(ctx, wait...)
		if errors.Is(err, quorate.ErrNotInTime) {
			return "", false, nil
		}
		return v, true, err
	case "give-up":
		within, cancel := context.WithTimeout(ctx, ms(0))
		defer cancel()
		v, err := dqueue.New[string](c, args[0]).Take(within)
		if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, quorate.ErrOutcomeUnknown) && ctx.Err() == nil {
			return "", false, nil
		}
		return v, true, err
	}
	return "", true, hold(ctx, dsemaphore.New(c, args[0]), ms(0))
}

// addMany adds delta so many times, with so many calls at once, and returns the
// largest sum.
func addMany(ctx context.Context, counter *dcounter.Counter, delta, times, atOnce int64) (int64, error) {
	var wg sync.WaitGroup
	var mu sync.Mutex // guards what follows
	var largest int64
	var failed error
	for w := range atOnce {
		wg.Go(func() {
			for i := w; i < times; i += atOnce {
				sum, err := counter.Add(ctx, delta)
				mu.Lock()
				largest = max(largest, sum)
				failed = errors.Join(failed, err)
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	return largest, failed
}

func hold(ctx context.Context, s *dsemaphore.Semaphore, d time.Duration) error {
	held, err := s.Acquire(ctx, 1)
	if err != nil {
		return err
	}
	select {
	case <-time.After(d):
	case <-held.Context().Done():
		return fmt.Errorf("%w: %w", errLost, context.Cause(held.Context()))
	}
	return held.Release(ctx)
}
