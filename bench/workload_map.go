package bench

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"

	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
)

var mapWorkloads = map[string]workload{
	"a":   mapWorkload("50 % put, 50 % get", 50, opPut),
	"b":   mapWorkload("5 % put, 95 % get", 5, opPut),
	"c":   mapWorkload("100 % get", 0, opPut),
	"f":   mapWorkload("50 % update, 50 % get", 50, opUpdate),
	"put": mapWorkload("100 % put", 100, opPut),
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
