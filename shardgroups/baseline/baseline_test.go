package baseline

import (
	"context"
	"testing"
	"time"
)

func TestBaselineRuns(t *testing.T) {
	Quiet()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	for _, storage := range []Storage{Disk, Memory, MemoryPebble} {
		c, err := Start(ctx, storage, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Run(ctx, Config{InFlight: 9, Duration: 300 * time.Millisecond, Keys: 100, ValueSize: 100})
		c.Close()
		if err != nil || r.Errors != 0 || r.OpsPerSecond < 10 {
			t.Fatalf("%s: %+v: %v", storage, r, err)
		}
		t.Logf("%s: %.0f writes a second, mean %v", storage, r.OpsPerSecond, r.Mean)
	}
	trip, err := LoopbackRoundTrip(ctx, 150, 100*time.Millisecond)
	if err != nil || trip <= 0 {
		t.Fatalf("round trip %v: %v", trip, err)
	}
	t.Logf("round trip %v", trip)
}
