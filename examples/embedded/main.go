// Command embedded is an HTTP service with a member of the grid inside: no other
// process is needed. Start it three times, and the counters are those of all three,
// and survive each.
//
//	go run ./examples/embedded -listen 127.0.0.1:7171 -http 127.0.0.1:8081 -join 127.0.0.1:7171,127.0.0.1:7172,127.0.0.1:7173
//	go run ./examples/embedded -listen 127.0.0.1:7172 -http 127.0.0.1:8082 -join 127.0.0.1:7171,127.0.0.1:7172,127.0.0.1:7173
//	go run ./examples/embedded -listen 127.0.0.1:7173 -http 127.0.0.1:8083 -join 127.0.0.1:7171,127.0.0.1:7172,127.0.0.1:7173
//	curl -X POST http://127.0.0.1:8082/hits/home
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"

	"github.com/quorate/quorate/grid"
	"github.com/quorate/quorate/structures"
	"github.com/quorate/quorate/structures/dcounter"
)

func main() {
	listen := flag.String("listen", grid.DefaultListen, "address of the member")
	address := flag.String("http", "127.0.0.1:8080", "address of the service")
	join := flag.String("join", "", "addresses of the members, if there are three")
	flag.Parse()
	cfg := grid.Config{Name: *listen, Listen: *listen, DataDir: "data-" + strings.ReplaceAll(*listen, ":", "-")}
	if *join != "" {
		cfg.Join, cfg.BootstrapExpect = strings.Split(*join, ","), 3
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := serve(ctx, cfg, *address); err != nil {
		log.Fatal(err)
	}
}

// serve runs a member and the service until ctx ends.
func serve(ctx context.Context, cfg grid.Config, address string) (err error) {
	m, err := grid.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }() // hands its leaderships over first
	if err := m.Ready(ctx); err != nil {
		return err
	}
	log.Println("member", m.Addr(), "service http://"+address)
	server := &http.Server{Addr: address, Handler: handler(m.Client())}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// handler counts: POST adds one, GET reads.
func handler(inv structures.Invoker) http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, n int64, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, n)
	}
	mux.HandleFunc("POST /hits/{page}", func(w http.ResponseWriter, q *http.Request) {
		n, err := dcounter.New(inv, q.PathValue("page")).Add(q.Context(), 1)
		answer(w, n, err)
	})
	mux.HandleFunc("GET /hits/{page}", func(w http.ResponseWriter, q *http.Request) {
		n, err := dcounter.New(inv, q.PathValue("page")).Get(q.Context())
		answer(w, n, err)
	})
	return mux
}
