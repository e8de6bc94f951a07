// Command workpool has several workers take jobs from one queue, with never more than
// two of them at work: a semaphore has a permit for each. Start it as often as you
// like, on as many machines: the workers of all share the jobs and the permits.
//
//	quorate dev
//	go run ./examples/workpool
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
)

const atWork = 2 // jobs that are done at the same time, in the whole grid

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := client.Dial(ctx, []string{"127.0.0.1:7170"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	jobs := make([]int, 20)
	for i := range jobs {
		jobs[i] = i + 1
	}
	if err := dqueue.New[int](c, "jobs").PutAll(ctx, jobs); err != nil {
		log.Fatal(err)
	}
	done, err := run(ctx, c, 8)
	fmt.Println(done, "jobs done here")
	if err != nil {
		log.Fatal(err)
	}
}

// run has workers do jobs until none has come for a second, and returns how many
// they did.
func run(ctx context.Context, inv structures.Invoker, workers int) (done int, err error) {
	permits := dsemaphore.New(inv, "at-work")
	if err := permits.Init(ctx, atWork); err != nil { // the first to do so decides
		return 0, err
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			n, failed := work(ctx, inv, permits)
			mu.Lock()
			defer mu.Unlock()
			done += n
			err = errors.Join(err, failed)
		})
	}
	all.Wait()
	return done, err
}

// work takes a permit, then a job, does it, and records its result.
func work(ctx context.Context, inv structures.Invoker, permits *dsemaphore.Semaphore) (done int, err error) {
	jobs, results := dqueue.New[int](inv, "jobs"), dmap.New[int, int](inv, "squares")
	for {
		held, err := permits.Acquire(ctx, 1)
		if err != nil {
			return done, err
		}
		// The context ends before anybody else can have the permit.
		job, err := jobs.Take(held.Context(), structures.Wait(time.Second))
		if err == nil {
			err = results.Put(held.Context(), job, job*job)
		}
		err = errors.Join(err, held.Release(ctx))
		if errors.Is(err, quorate.ErrNotInTime) {
			return done, nil // no job is left
		}
		if err != nil {
			return done, err
		}
		done++
	}
}
