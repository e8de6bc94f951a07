package main

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// needsJava skips a test where the machine has no Java: no other test needs it.
func needsJava(t testing.TB) {
	for _, command := range []string{"java", "mvn"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("the comparison with Curator is not tested here: %v", err)
		}
	}
}

func TestCuratorMeasured(t *testing.T) {
	needsJava(t)
	measureAll(t, "curator", "5s")
}

// TestCuratorNeedsJava has nothing to run, and says so.
func TestCuratorNeedsJava(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	err := compare(t.Context(), []string{"-systems", "curator"}, t.Output())
	if err == nil || !strings.Contains(err.Error(), "curator needs java") {
		t.Errorf("%v", err)
	}
}

func TestCurator(t *testing.T) {
	needsJava(t)
	s := &curator{}
	defer s.stop()
	if err := s.start(t.Context(), t.TempDir()); err != nil {
		t.Fatal(err)
	}
	open := func(t *testing.T) conn {
		t.Helper()
		c, err := s.open(t.Context(), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.close)
		return c
	}
	t.Run("locks exclude", func(t *testing.T) { curatorExcludes(t, open) })
	t.Run("a wait is canceled", func(t *testing.T) { curatorCancels(t, open) })
	t.Run("watches have values", func(t *testing.T) { curatorWatches(t, open) })
	t.Run("errors are reported", func(t *testing.T) {
		if c, err := s.open(t.Context(), 500*time.Millisecond); err == nil || !strings.Contains(err.Error(), "a session of 1000 ms") {
			t.Errorf("a session that is too short: %v, %v", c, err)
		}
		c := open(t)
		if err := c.put(t.Context(), "large", make([]byte, 2<<20)); err == nil {
			t.Error("a value is put that the servers refuse")
		}
		c.close()
		if _, err := c.lock(t.Context(), "after"); err == nil {
			t.Error("a connection that is closed locks")
		}
	})
	t.Run("the end of Java is reported", func(t *testing.T) {
		c := open(t)
		if err := s.bridge.process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for _, call := range []func() error{
			func() error { return c.put(t.Context(), "k", nil) },
			func() error { return c.get(t.Context(), "k") },
			func() error { return c.watch(t.Context(), "k", func() {}, func([]byte) {}) },
			func() error { _, err := c.lock(t.Context(), "k"); return err },
		} {
			if call() == nil {
				t.Error("a call succeeds")
			}
		}
	})
}

// curatorExcludes has sessions, and goroutines that share one, want one lock.
func curatorExcludes(t *testing.T, open func(*testing.T) conn) {
	var held, most, grants atomic.Int64
	var workers sync.WaitGroup
	for range 4 {
		c := open(t)
		for range 2 {
			workers.Go(func() {
				for range 10 {
					unlock, err := c.lock(t.Context(), "one")
					if err != nil {
						t.Error(err)
						return
					}
					now := held.Add(1)
					if now > 1 {
						most.Store(now)
					}
					grants.Add(1)
					time.Sleep(time.Millisecond) // so that another would get in
					held.Add(-1)
					if err := unlock(t.Context()); err != nil {
						t.Error(err)
					}
					if unlock(t.Context()) == nil {
						t.Error("a lock is unlocked twice")
					}
				}
			})
		}
	}
	workers.Wait()
	if most.Load() > 0 || grants.Load() != 80 {
		t.Errorf("%d grants, %d at once", grants.Load(), most.Load())
	}
}

// curatorCancels ends a call that waits for a lock: it must not get it later.
func curatorCancels(t *testing.T, open func(*testing.T) conn) {
	a, b := open(t), open(t)
	unlock, err := a.lock(t.Context(), "canceled")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := b.lock(ctx, "canceled"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a lock that another holds: %v", err)
		}
		cancel()
	}
	if err := unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if unlock, err = a.lock(t.Context(), "canceled"); err != nil {
		t.Fatal(err)
	}
	if err := unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// curatorWatches puts a value when its watcher has seen the one before.
func curatorWatches(t *testing.T, open func(*testing.T) conn) {
	a, b := open(t), open(t)
	if err := a.put(t.Context(), "seen", []byte("before")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var seen []string
	put := func(i int) {
		if err := a.put(ctx, "seen", []byte(strconv.Itoa(i))); err != nil {
			t.Error(err)
			cancel()
		}
	}
	err := b.watch(ctx, "seen", func() { go put(0) }, func(value []byte) {
		if seen = append(seen, string(value)); len(seen) == 3 {
			cancel()
			return
		}
		go put(len(seen))
	})
	if !errors.Is(err, context.Canceled) || !slices.Equal(seen, []string{"0", "1", "2"}) {
		t.Errorf("%q, %v", seen, err)
	}
	if err := b.get(t.Context(), "seen"); err != nil {
		t.Error(err)
	}
	if err := b.get(t.Context(), "never-put"); err != nil {
		t.Error(err)
	}
}

// BenchmarkBridge is what the way to Java and back adds to each request: as long as that
// of a lock, which is handed from one thread of Java to another.
func BenchmarkBridge(b *testing.B) {
	needsJava(b)
	s := &curator{}
	defer s.stop()
	if err := buildCurator(b.Context()); err != nil {
		b.Fatal(err)
	}
	java, err := s.bridged()
	if err != nil {
		b.Fatal(err)
	}
	echo := func(b *testing.B) {
		if _, err := java.call(b.Context(), "echo"); err != nil {
			b.Error(err)
		}
	}
	b.Run("one", func(b *testing.B) {
		for b.Loop() {
			echo(b)
		}
	})
	b.Run("many", func(b *testing.B) {
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				echo(b)
			}
		})
	})
}
