// Command crawler fetches pages that link to each other, each once, and not more often
// than a rate, however many crawlers run: the pages that have been seen are a map, those
// to fetch a queue, and the rate is a map entry that expires.
//
//	quorate dev
//	go run ./examples/crawler https://example.org/
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"time"

	"github.com/quorate/quorate"
	"github.com/quorate/quorate/client"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dmap"
	"github.com/quorate/quorate/structures/dqueue"
)

const maxPage = 1 << 20 // bytes of a page that are read

var link = regexp.MustCompile(`href="([^"]+)"`)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: crawler URL")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c, err := client.Dial(ctx, []string{"127.0.0.1:7170"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	fetched, err := crawl(ctx, c, os.Args[1], time.Second)
	for _, page := range fetched {
		fmt.Println(page)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// crawl fetches the pages of a site, one for each gap (100 ms or more), until none is left for
// a while. It returns those that this crawler has fetched.
func crawl(ctx context.Context, inv structures.Invoker, start string, gap time.Duration) (fetched []string, err error) {
	site, err := url.Parse(start)
	if err != nil {
		return nil, err
	}
	pages, seen := dqueue.New[string](inv, "pages"), dmap.New[string, bool](inv, "seen")
	// Only who stores a page first queues it.
	offer := func(page string) error {
		if _, first, err := seen.PutIfAbsent(ctx, page, true); err != nil || !first {
			return err
		}
		return pages.Put(ctx, page)
	}
	if err := offer(site.String()); err != nil {
		return nil, err
	}
	for {
		page, err := pages.Take(ctx, structures.Wait(10*gap))
		if errors.Is(err, quorate.ErrNotInTime) {
			return fetched, nil
		}
		if err != nil {
			return fetched, err
		}
		if err := awaitTurn(ctx, inv, site.Host, gap); err != nil {
			return fetched, err
		}
		links, err := fetch(ctx, page)
		if err != nil {
			return fetched, err
		}
		fetched = append(fetched, page)
		for _, l := range links {
			if u, err := site.Parse(l); err == nil && u.Host == site.Host {
				u.Fragment = ""
				if err := offer(u.String()); err != nil {
					return fetched, err
				}
			}
		}
	}
}

// awaitTurn returns once for each gap and host, in the whole grid: who stores the
// entry has the turn, and it expires after the gap, by the grid's clock.
func awaitTurn(ctx context.Context, inv structures.Invoker, host string, gap time.Duration) error {
	turns := dmap.New[string, bool](inv, "turns")
	for {
		if _, mine, err := turns.PutIfAbsent(ctx, host, true, dmap.TTL(gap)); err != nil || mine {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(gap / 4):
		}
	}
}

// fetch returns the links of a page.
func fetch(ctx context.Context, page string) ([]string, error) {
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return nil, err
	}
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(io.LimitReader(r.Body, maxPage))
	var links []string
	for _, m := range link.FindAllSubmatch(b, -1) {
		links = append(links, string(m[1]))
	}
	return links, err
}
