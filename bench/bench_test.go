package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorate/quorate"
)

func TestZipfianIsSkewedAndScattered(t *testing.T) {
	const n, draws = 1000, 200_000
	z := newChooser(Zipfian, n, 1, 1)
	counts := make([]int, n)
	for range draws {
		counts[z.next()]++
	}
	most, hottest := 0, 0
	for i, c := range counts {
		if c > most {
			most, hottest = c, i
		}
	}
	// The most popular of ten billion items has 1/zeta = 3.8 % of the draws, plus
	// what else is hashed onto its key.
	if share := float64(most) / draws; share < 0.03 || share > 0.06 {
		t.Errorf("the most popular key has %.1f %% of the draws, want about 4", share*100)
	}
	if hottest != int(fnv64(0)%n) {
		t.Errorf("the most popular key is %d: it must be where rank 0 is hashed to", hottest)
	}
}

func TestUniformChoosesAll(t *testing.T) {
	u := newChooser(Uniform, 10, 1, 1)
	counts := make([]int, 10)
	for range 10_000 {
		counts[u.next()]++
	}
	for i, c := range counts {
		if c < 800 || c > 1200 {
			t.Errorf("%d was chosen %d times of 10,000, want about 1,000", i, c)
		}
	}
}

func TestChoosersOfASeedRepeat(t *testing.T) {
	for _, d := range []Distribution{Uniform, Zipfian} {
		a, b, other := newChooser(d, 1000, 7, 1), newChooser(d, 1000, 7, 1), newChooser(d, 1000, 7, 2)
		same := true
		for range 100 {
			x := a.next()
			if y := b.next(); x != y {
				t.Fatalf("%s: the same seed chose %d and %d", d, x, y)
			}
			same = same && x == other.next()
		}
		if same {
			t.Errorf("%s: two workers chose alike", d)
		}
	}
}

func TestValidateNamesAllThatIsWrong(t *testing.T) {
	err := Config{Workload: "x", Distribution: "normal", InFlight: -1, Keys: -1, ValueSize: -1, Rate: -1, Duration: -1}.Validate()
	for _, want := range []string{"workload", "distribution", "in flight", "keys", "value size", "rate", "duration"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name the %s: %v", want, err)
		}
	}
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the defaults are refused: %v", err)
	}
}

// turns runs a made-up workload.
func turns(t *testing.T, c Config, work turn) *Measurement {
	t.Helper()
	c = c.withDefaults()
	r := newRun(c, []string{"work"})
	if err := r.do(t.Context(), func(int) turn { return work }); err != nil {
		t.Fatal(err)
	}
	return r.measurement()
}

// An open loop must not lose the operations that were due while the grid stood
// still: their latency is counted from when they were due.
func TestOpenLoopCountsFromTheIntendedStart(t *testing.T) {
	var once atomic.Bool
	m := turns(t, Config{InFlight: 1, Duration: 500 * time.Millisecond, Warmup: -1, Rate: 200}, func(_ context.Context, lap lap) {
		if once.CompareAndSwap(false, true) {
			time.Sleep(200 * time.Millisecond) // the pause under test
		}
		lap(0, nil)
	})
	l := m.Operations["work"]
	if l.Count != 100 {
		t.Errorf("%d operations, want the 100 that were due", l.Count)
	}
	// During the pause 40 operations fell due; half of them waited over 100 ms.
	if l.P90 < 100*time.Millisecond {
		t.Errorf("p90 is %v: the operations that had to wait are missing", l.P90)
	}
}

func TestErrorsAreCountedByCause(t *testing.T) {
	var n atomic.Int64
	m := turns(t, Config{InFlight: 2, Duration: 50 * time.Millisecond, Warmup: -1, Rate: 1000}, func(_ context.Context, lap lap) {
		var err error
		switch n.Add(1) % 3 {
		case 1:
			err = &quorate.Error{Op: "put", Cause: context.DeadlineExceeded, Unknown: true}
		case 2:
			err = fmt.Errorf("wrapped: %w", &quorate.Error{Op: "put", Cause: quorate.ErrOverloaded})
		}
		lap(0, err)
	})
	for _, name := range []string{"outcome unknown: context deadline exceeded", "overloaded"} {
		if m.Errors[name] < 15 {
			t.Errorf("%d errors %q, want about 17: %v", m.Errors[name], name, m.Errors)
		}
	}
	if total := m.Operations["work"].Count; total < 15 || total > 18 {
		t.Errorf("%d operations succeeded, want about 17", total)
	}
	if m.FirstError == nil || ErrorName(errors.New("x")) != "x" {
		t.Error("an error is missing")
	}
}

func TestWarmupIsNotMeasured(t *testing.T) {
	m := turns(t, Config{InFlight: 1, Duration: 50 * time.Millisecond, Warmup: 50 * time.Millisecond, Rate: 1000}, func(_ context.Context, lap lap) {
		lap(0, nil)
	})
	if n := m.Operations["work"].Count; n != 50 {
		t.Errorf("%d operations were measured, 50 were due in the measurement", n)
	}
}

func TestResultIsOneLineOfJSON(t *testing.T) {
	m := turns(t, Config{InFlight: 1, Duration: 20 * time.Millisecond, Warmup: -1, Rate: 1000, Workload: "b"}, func(_ context.Context, lap lap) { lap(0, nil) })
	r := m.Result(Grid{Durability: "disk", Members: 3, Groups: 3, Partitions: 271, Clients: 1})
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil || strings.Count(b.String(), "\n") != 1 {
		t.Fatalf("%v: %q", err, b.String())
	}
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"ops_per_sec", "errors", "operations", "durability", "members", "groups", "commit", "go", "cpus"} {
		if _, ok := got[field]; !ok {
			t.Errorf("the field %s is missing: %s", field, b.String())
		}
	}
	b.Reset()
	if err := r.WriteTable(&b); err != nil || !strings.Contains(b.String(), "durability disk, members 3, groups 3") {
		t.Errorf("%v:\n%s", err, b.String())
	}
}

func BenchmarkLog(b *testing.B) {
	b.ReportAllocs()
	l := newRecorder([]string{"work"}).log()
	now := time.Now()
	l.flushed = now
	for b.Loop() {
		l.add(0, now, now.Add(time.Millisecond), true)
	}
}
