package bench

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/quorate/quorate/structures"
)

// workload is a mix of operations.
type workload struct {
	about      string
	mapped     bool     // works on the entries of one map
	operations []string // what is measured, by index
	// prepare makes the structures ready; it returns how a worker works.
	prepare func(ctx context.Context, inv structures.Invoker, c Config, load func(done int)) (newWorker, error)
}

// newWorker returns a worker's turn. stream is different for every worker.
type newWorker func(inv structures.Invoker, stream uint64) turn

// turn carries out one or more operations and calls lap after each.
type turn func(ctx context.Context, lap lap)

// lap reports the outcome of an operation, whose index it gets.
type lap func(operation int, err error)

// Workloads returns the names of the workloads.
func Workloads() []string { return slices.Sorted(maps.Keys(workloads)) }

// About returns what a workload does, in a few words.
func About(name string) string { return workloads[name].about }

// workloads are the workloads by name.
var workloads = func() map[string]workload {
	all := map[string]workload{}
	for _, some := range []map[string]workload{mapWorkloads, counterWorkloads, queueWorkloads, semaphoreWorkloads, lockWorkloads, latchWorkloads, barrierWorkloads, electionWorkloads, refWorkloads, idWorkloads, rateWorkloads, serviceWorkloads, txnWorkloads, nearWorkloads} {
		maps.Copy(all, some)
	}
	return all
}()

func randomBytes(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + random.IntN(26))
	}
	return b
}

// structure returns the name of the i-th structure without keys.
func structure(c Config, i int) string { return fmt.Sprintf("%s-%d", c.Name, i) }
