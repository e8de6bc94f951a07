package bench

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
	"github.com/quorate/quorate/structures/dsemaphore"
	"github.com/quorate/quorate/structures/txn"
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
var workloads = map[string]workload{
	"a":         mapWorkload("50 % put, 50 % get", 50, opPut),
	"b":         mapWorkload("5 % put, 95 % get", 5, opPut),
	"c":         mapWorkload("100 % get", 0, opPut),
	"f":         mapWorkload("50 % update, 50 % get", 50, opUpdate),
	"put":       mapWorkload("100 % put", 100, opPut),
	"counter":   {about: "add 1", operations: []string{"add"}, prepare: prepareCounters},
	"queue":     {about: "put, then take", operations: []string{"put", "take"}, prepare: prepareQueues},
	"txn":       {about: "put 3 keys of one tag in a transaction", mapped: true, operations: []string{"commit"}, prepare: prepareTxns},
	"semaphore": {about: "acquire, then release", operations: []string{"acquire", "release"}, prepare: prepareSemaphores},
}

// The indexes of a map workload's operations.
const (
	opGet = iota
	opPut
	opUpdate
)

// mapWorkload is a mix of gets and, writes times in a hundred, of writing.
func mapWorkload(about string, writes int, write int) workload {
	w := workload{about: about, mapped: true, operations: []string{"get", "put", "update"}}
	w.prepare = func(ctx context.Context, inv structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
		if !c.NoLoad {
			if err := loadMap(ctx, inv, c, loaded); err != nil {
				return nil, err
			}
		}
		keys := make([]string, c.Keys)
		for i := range keys {
			keys[i] = key(i)
		}
		return func(inv structures.Invoker, stream uint64) turn {
			m := benchMap(inv, c)
			choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
			random := rand.New(rand.NewPCG(c.Seed, ^stream))
			value := randomBytes(random, c.ValueSize)
			return func(ctx context.Context, lap lap) {
				k := keys[choose.next()]
				if random.IntN(100) >= writes {
					_, _, err := m.Get(ctx, k)
					lap(opGet, err)
					return
				}
				value[random.IntN(len(value))]++
				if write == opUpdate {
					_, err := m.Update(ctx, k, func([]byte, bool) ([]byte, error) { return value, nil })
					lap(opUpdate, err)
					return
				}
				lap(opPut, m.Put(ctx, k, value))
			}
		}, nil
	}
	return w
}

// benchMap is the map of a run.
func benchMap(inv structures.Invoker, c Config) *dmap.Map[string, []byte] {
	return dmap.New[string, []byte](inv, c.Name)
}

// key returns the i-th key: ten bytes, as long as there are under a million.
func key(i int) string { return fmt.Sprintf("user%06d", i) }

// loadMap writes every key once.
func loadMap(ctx context.Context, inv structures.Invoker, c Config, loaded func(int)) error {
	m := benchMap(inv, c)
	random := rand.New(rand.NewPCG(c.Seed, 0))
	chunk := min(1000, max(1, (256<<10)/c.ValueSize))
	for from := 0; from < c.Keys; from += chunk {
		to := min(from+chunk, c.Keys)
		if err := m.PutAll(ctx, entries(random, from, to, c.ValueSize)); err != nil {
			return fmt.Errorf("load keys %d to %d: %w", from, to, err)
		}
		loaded(to)
	}
	return nil
}

func entries(random *rand.Rand, from, to, size int) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for i := from; i < to; i++ {
			if !yield(key(i), randomBytes(random, size)) {
				return
			}
		}
	}
}

func randomBytes(random *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('a' + random.IntN(26))
	}
	return b
}

// structure returns the name of the i-th counter, queue or semaphore.
func structure(c Config, i int) string { return fmt.Sprintf("%s-%d", c.Name, i) }

func prepareCounters(_ context.Context, _ structures.Invoker, c Config, _ func(int)) (newWorker, error) {
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		counters := make([]*dcounter.Counter, c.Keys)
		for i := range counters {
			counters[i] = dcounter.New(inv, structure(c, i))
		}
		return func(ctx context.Context, lap lap) {
			_, err := counters[choose.next()].Add(ctx, 1)
			lap(0, err)
		}
	}, nil
}

// prepareQueues empties the queues. A worker puts before it takes, so a take
// waits at most for a put that is on its way.
func prepareQueues(ctx context.Context, inv structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	for i := range c.Keys {
		if err := dqueue.New[string](inv, structure(c, i)).Clear(ctx); err != nil {
			return nil, err
		}
		loaded(i + 1)
	}
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		value := string(randomBytes(rand.New(rand.NewPCG(c.Seed, ^stream)), c.ValueSize))
		queues := make([]*dqueue.Queue[string], c.Keys)
		for i := range queues {
			queues[i] = dqueue.New[string](inv, structure(c, i))
		}
		return func(ctx context.Context, lap lap) {
			q := queues[choose.next()]
			err := q.Put(ctx, value)
			lap(0, err)
			if err != nil {
				return
			}
			_, err = q.Take(ctx)
			lap(1, err)
		}
	}, nil
}

// prepareTxns writes three entries together, whose keys have one tag.
func prepareTxns(_ context.Context, _ structures.Invoker, c Config, _ func(int)) (newWorker, error) {
	return func(inv structures.Invoker, stream uint64) turn {
		m := benchMap(inv, c).Txn()
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		value := randomBytes(rand.New(rand.NewPCG(c.Seed, ^stream)), c.ValueSize)
		return func(ctx context.Context, lap lap) {
			tag := fmt.Sprintf("{%s}", key(choose.next()))
			_, err := txn.New(inv).Then(m.Put(tag+"a", value), m.Put(tag+"b", value), m.Put(tag+"c", value)).Commit(ctx)
			lap(0, err)
		}
	}, nil
}

// prepareSemaphores makes semaphores with a permit for every worker, so that
// the operations are measured and not the queue for permits.
func prepareSemaphores(ctx context.Context, inv structures.Invoker, c Config, loaded func(int)) (newWorker, error) {
	name := func(i int) string { return fmt.Sprintf("%s-of-%d", structure(c, i), c.InFlight) }
	for i := range c.Keys {
		if err := dsemaphore.New(inv, name(i)).Init(ctx, int64(c.InFlight)); err != nil {
			return nil, err
		}
		loaded(i + 1)
	}
	return func(inv structures.Invoker, stream uint64) turn {
		choose := newChooser(c.Distribution, c.Keys, c.Seed, stream)
		semaphores := make([]*dsemaphore.Semaphore, c.Keys)
		for i := range semaphores {
			semaphores[i] = dsemaphore.New(inv, name(i))
		}
		return func(ctx context.Context, lap lap) {
			held, err := semaphores[choose.next()].Acquire(ctx, 1)
			lap(0, err)
			if err != nil {
				return
			}
			lap(1, held.Release(ctx))
		}
	}, nil
}
