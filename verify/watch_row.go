package verify

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/quorate/quorate/protocol"
)

// RowChange is what a watch of a counter was told.
type RowChange struct {
	At      time.Time
	Value   int64
	Version protocol.Version
	Gone    bool
}

// WatchedCounter is what was done to a counter to which 1 was added, and what its watches
// have yielded.
type WatchedCounter struct {
	Added     []time.Time // when each add was called, in order
	Destroyed []time.Time // when each destroy was called, in order
	Watches   [][]RowChange
}

// CheckCounterWatch reports whether the watches of a counter were told only newer states,
// that it had, and all the same ones.
func CheckCounterWatch(c WatchedCounter) error {
	var errs []error
	before := func(calls []time.Time, t time.Time) int {
		n, _ := slices.BinarySearchFunc(calls, t, time.Time.Compare)
		return n
	}
	values := map[protocol.Version]int64{}
	for i, told := range c.Watches {
		for j, now := range told {
			fail := func(format string, args ...any) {
				errs = append(errs, fmt.Errorf("watch %d, change %d, %d of version %d: %s", i, j, now.Value, now.Version, fmt.Sprintf(format, args...)))
			}
			if j > 0 && now.Version <= told[j-1].Version {
				fail("it comes behind version %d", told[j-1].Version)
			}
			if now.Gone {
				if j > 0 && before(c.Destroyed, now.At) == 0 {
					fail("it is gone, and nobody had destroyed it")
				}
				continue
			}
			if n := before(c.Added, now.At); now.Value < 1 || now.Value > int64(n) {
				fail("%d had been added", n)
			}
			if v, ok := values[now.Version]; ok && v != now.Value {
				fail("another watch was told %d", v)
			}
			values[now.Version] = now.Value
		}
	}
	return errors.Join(errs...)
}

// CheckCounterEnd reports whether each watch of a counter has come to the value that it has
// when nobody changes it any more.
func CheckCounterEnd(c WatchedCounter, value int64) error {
	for i, told := range c.Watches {
		if len(told) == 0 {
			return fmt.Errorf("watch %d was told nothing", i)
		}
		if last := told[len(told)-1]; last.Value != value {
			return fmt.Errorf("watch %d was last told %d of version %d, and the counter is %d", i, last.Value, last.Version, value)
		}
	}
	return nil
}
