package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// lock has each client lock and unlock, one lock after the other, chosen among a number.
func (l load) lock(ctx context.Context, clients []conn, locks int) figures {
	var mu sync.Mutex
	var f figures
	times := hdrhistogram.New(1, int64(time.Minute), 3)
	from := time.Now().Add(l.warmup)
	to := from.Add(l.duration)
	var workers sync.WaitGroup
	for i, c := range clients {
		workers.Go(func() {
			random := rand.New(rand.NewPCG(l.seed, uint64(i)))
			for time.Now().Before(to) && ctx.Err() == nil {
				begun := time.Now()
				unlock, err := c.lock(ctx, fmt.Sprintf("lock-%d", random.IntN(locks)))
				if err == nil {
					err = unlock(ctx)
				}
				mu.Lock()
				if f.fail(err); err == nil && begun.After(from) {
					_ = times.RecordValue(min(int64(time.Since(begun)), int64(time.Minute)))
				}
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	f.take(times, l.duration)
	return f
}

// handover has all clients want one lock, and measures from before each unlock until
// another has it.
func (l load) handover(ctx context.Context, clients []conn) figures {
	var mu sync.Mutex
	var f figures
	var released time.Time
	times := hdrhistogram.New(1, int64(time.Minute), 3)
	to := time.Now().Add(l.warmup + l.duration)
	var workers sync.WaitGroup
	for _, c := range clients {
		workers.Go(func() {
			for time.Now().Before(to) && ctx.Err() == nil {
				unlock, err := c.lock(ctx, "handover")
				now := time.Now()
				mu.Lock()
				if f.fail(err); err == nil && !released.IsZero() {
					_ = times.RecordValue(min(int64(now.Sub(released)), int64(time.Minute)))
				}
				mu.Unlock()
				if err != nil {
					continue
				}
				time.Sleep(time.Millisecond) // so that all others wait by then
				mu.Lock()
				released = time.Now()
				mu.Unlock()
				if err := unlock(ctx); err != nil {
					mu.Lock()
					f.fail(err)
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	f.take(times, l.warmup+l.duration)
	return f
}

// holder is the first argument of a process that takes a lock and keeps it; after it come
// the system, the lock, the TTL, and the addresses of the members.
const holder = "lock-holder"

// runHolder is what such a process does until it is killed.
func runHolder(args []string) error {
	if len(args) != 4 || clients[args[0]] == nil {
		return fmt.Errorf("%s takes a system, a lock, a TTL and addresses, not %q", holder, args)
	}
	ttl, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	ctx := context.Background()
	c, err := clients[args[0]](strings.Split(args[3], ",")).open(ctx, ttl)
	if err != nil {
		return err
	}
	if _, err := c.lock(ctx, args[1]); err != nil {
		return err
	}
	fmt.Println("held")
	time.Sleep(time.Hour)
	return nil
}

// takeover kills a process that holds a lock and measures until the next one has it.
func (l load) takeover(ctx context.Context, name string, s system, next conn) figures {
	times := hdrhistogram.New(1, int64(10*time.Minute), 3)
	var f figures
	took, err := takeover(ctx, name, s, next, l.ttl)
	if f.fail(err); err == nil {
		_ = times.RecordValue(int64(took))
	}
	f.take(times, max(took, 1))
	return f
}

func takeover(ctx context.Context, name string, s system, next conn, ttl time.Duration) (time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	lock := fmt.Sprintf("takeover-%d", time.Now().UnixNano())
	p := exec.CommandContext(ctx, self, holder, name, lock, ttl.String(), strings.Join(s.addresses(), ","))
	p.Stderr = os.Stderr
	out, err := p.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := p.Start(); err != nil {
		return 0, err
	}
	defer func() { _, _ = p.Process.Kill(), p.Wait() }()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "held\n" {
		return 0, errors.Join(errors.New("the holder did not get the lock"), err)
	}
	granted := make(chan error, 1)
	go func() {
		_, err := next.lock(ctx, lock)
		granted <- err
	}()
	time.Sleep(ttl/2 + rand.N(ttl/5)) // heartbeats come in between, at any moment of their interval
	killed := time.Now()
	if err := p.Process.Kill(); err != nil {
		return 0, err
	}
	err = <-granted
	return time.Since(killed), err
}
