package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/quorate/quorate/grid/gridtest"
)

// TestCrawler has three crawlers share a site of twelve pages.
func TestCrawler(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		mu.Lock()
		asked[q.URL.Path]++
		mu.Unlock()
		n := 0
		_, _ = fmt.Sscanf(q.URL.Path, "/%d", &n)
		fmt.Fprintf(w, `<a href="/%d">next</a> <a href="/%d#x">other</a> <a href="http://127.0.0.2/">not ours</a>`, (n+1)%12, (n*5)%12)
	}))
	defer site.Close()
	const gap = 100 * time.Millisecond
	c := gridtest.Start(t, 1).Client(t)
	began := time.Now()
	var all sync.WaitGroup
	total := 0
	for range 3 {
		all.Go(func() {
			fetched, err := crawl(t.Context(), c, site.URL+"/0", gap)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			total += len(fetched)
		})
	}
	all.Wait()
	if total != 12 || len(asked) != 12 {
		t.Errorf("%d pages fetched, asked: %v", total, asked)
	}
	for page, n := range asked {
		if n != 1 {
			t.Errorf("%s was fetched %d times", page, n)
		}
	}
	if took := time.Since(began); took < 11*gap {
		t.Errorf("12 pages in %v, faster than the rate", took)
	}
}
