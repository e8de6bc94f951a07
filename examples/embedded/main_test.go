package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/internal/ports"
)

// TestEmbedded counts, restarts the service, and counts on.
func TestEmbedded(t *testing.T) {
	addresses, err := ports.Free(2)
	if err != nil {
		t.Fatal(err)
	}
	cfg := grid.Config{Name: "n1", Listen: addresses[0], DataDir: t.TempDir()}
	for _, want := range []string{"1", "2"} {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- serve(ctx, cfg, addresses[1]) }()
		if got := hit(t, "http://"+addresses[1]+"/hits/home", ended); got != want {
			t.Errorf("hits: %q, want %s", got, want)
		}
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
}

// hit adds one as soon as the service is there.
func hit(t *testing.T, url string, ended <-chan error) string {
	t.Helper()
	for {
		r, err := http.Post(url, "", nil)
		if err == nil {
			defer r.Body.Close()
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			return strings.TrimSpace(string(b))
		}
		select {
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
