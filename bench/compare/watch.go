package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// watched is the key that is watched.
const watched = "watched"

// watching has watchers of one key, spread over the clients, while do runs. Each event's
// value goes to event.
func watching(ctx context.Context, clients []conn, watchers int, event func(value []byte), do func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running, ready sync.WaitGroup
	ready.Add(watchers)
	for i := range watchers {
		running.Go(func() {
			registered := sync.OnceFunc(ready.Done)
			defer registered()
			if err := clients[i%len(clients)].watch(ctx, watched, registered, event); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("watch: %w", err))
			}
		})
	}
	ready.Wait()
	err := context.Cause(ctx)
	if err == nil {
		err = do(ctx)
	}
	if err == nil {
		err = context.Cause(ctx)
	}
	cancel(nil)
	running.Wait()
	return err
}

// latency puts the watched key a hundred times a second, and measures from before each put
// until each watcher has its event.
func (l load) latency(ctx context.Context, clients []conn, watchers int) figures {
	times := hdrhistogram.New(1, int64(time.Minute), 3)
	var mu sync.Mutex
	begun := time.Now()
	event := func(value []byte) {
		took := time.Since(begun) - time.Duration(binary.BigEndian.Uint64(value))
		mu.Lock()
		defer mu.Unlock()
		_ = times.RecordValue(min(int64(took), int64(time.Minute)))
	}
	var f figures
	err := watching(ctx, clients, watchers, event, func(ctx context.Context) error {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for puts := int(l.duration / (10 * time.Millisecond)); puts > 0; puts-- {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			value := make([]byte, max(l.valueSize, 8))
			binary.BigEndian.PutUint64(value, uint64(time.Since(begun)))
			if err := clients[0].put(ctx, watched, value); err != nil {
				return err
			}
		}
		time.Sleep(time.Second) // until the last events have come
		return nil
	})
	f.fail(err)
	f.take(times, l.duration)
	return f
}

// events puts the watched key as fast as 16 writers can, and counts what its watchers get.
func (l load) events(ctx context.Context, clients []conn, watchers int) figures {
	var seen atomic.Int64
	var f figures
	f.fail(watching(ctx, clients, watchers, func([]byte) { seen.Add(1) }, func(ctx context.Context) error {
		f.Puts = l.write(ctx, clients)
		f.PerSecond = float64(seen.Load()) / l.duration.Seconds()
		return nil
	}))
	return f
}

// stalled puts the watched key as fast as 16 writers can, while its watchers take their
// first event and no other.
func (l load) stalled(ctx context.Context, clients []conn, watchers int) figures {
	var f figures
	ended := make(chan struct{})
	f.fail(watching(ctx, clients, watchers, func([]byte) { <-ended }, func(ctx context.Context) error {
		defer close(ended)
		f.PerSecond = l.write(ctx, clients)
		return nil
	}))
	return f
}

// write puts the watched key as fast as 16 writers can, and returns how many puts a second
// were acknowledged.
func (l load) write(ctx context.Context, clients []conn) float64 {
	var puts atomic.Int64
	to := time.Now().Add(l.duration)
	var writers sync.WaitGroup
	for w := range 16 {
		writers.Go(func() {
			for time.Now().Before(to) && ctx.Err() == nil {
				if clients[w%len(clients)].put(ctx, watched, make([]byte, l.valueSize)) == nil {
					puts.Add(1)
				}
			}
		})
	}
	writers.Wait()
	return float64(puts.Load()) / l.duration.Seconds()
}
