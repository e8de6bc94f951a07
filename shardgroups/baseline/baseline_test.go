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
	c, err := Start(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	r, err := c.Run(ctx, Config{InFlight: 9, Duration: 500 * time.Millisecond, Keys: 100, ValueSize: 100})
	if err != nil || r.Errors != 0 || r.OpsPerSecond < 10 {
		t.Fatalf("%+v: %v", r, err)
	}
	trip, err := LoopbackRoundTrip(ctx, 150, 100*time.Millisecond)
	if err != nil || trip <= 0 {
		t.Fatalf("round trip %v: %v", trip, err)
	}
	t.Logf("%.0f writes a second, mean %v; round trip %v", r.OpsPerSecond, r.Mean, trip)
}
